//! A bearer token and the key set that proves it.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rangegate_benches::Result;
use serde_json::json;
use std::time::SystemTime;

pub const ISSUER: &str = "https://login.bench.example";
pub const USER: &str = "ann@bench.example";

/// Signs tokens with one key.
#[derive(Debug)]
pub struct Signer {
    key: EcdsaKeyPair,
    /// A JSON Web Key Set (RFC 7517).
    pub keys: String,
}

impl Signer {
    pub fn new() -> Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        // An uncompressed point: 04, x, y.
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let keys = json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "bench", "x": encode(x), "y": encode(y),
        }] });
        Ok(Self { keys: keys.to_string(), key })
    }

    /// The whole `Authorization` field: ES256, an hour long, bound to the certificate with this SHA-256 (RFC 8705).
    pub fn bearer(&self, user: &str, certificate: &[u8; 32]) -> Result<String> {
        #[expect(clippy::disallowed_methods, reason = "the bench is its own clock")]
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "bench" });
        let claims = json!({
            "iss": ISSUER, "aud": "rangegate", "sub": "7d1c", "email": user, "groups": ["staff", "console", "payroll"],
            "amr": ["hwk"], "auth_time": now - 60, "iat": now - 60, "nbf": now - 60, "exp": now + 3_600,
            "cnf": { "x5t#S256": encode(certificate) },
        });
        let signed = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes())?;
        Ok(format!("Bearer {signed}.{}", encode(signature.as_ref())))
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
