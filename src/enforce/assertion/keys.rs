//! The keys that sign assertions: read or made, named and published.

use crate::store::private_file::{Closed, read_closed};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, Signature};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::{self, PemObject as _};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Why there is no signer.
#[derive(Debug, thiserror::Error)]
pub enum AssertionError {
    #[error("the assertion key `{}`: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error(
        "`{}` holds no PKCS#8 private key in PEM\n  help: make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`",
        path.display()
    )]
    NotPkcs8 { path: PathBuf },
    #[error(
        "the key in `{}` is not an ECDSA P-256 key\n  help: make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`",
        path.display()
    )]
    NotP256 { path: PathBuf },
}

pub(super) struct SigningKey {
    pair: EcdsaKeyPair,
    jwk: Jwk,
    /// The JOSE header, encoded.
    header: String,
}

impl SigningKey {
    pub fn read(path: &Path) -> Result<Self, AssertionError> {
        let text =
            read_closed(path, Closed::Group).map_err(|why| AssertionError::Unreadable { path: path.into(), why })?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(&text)
            .map_err(|_: pem::Error| AssertionError::NotPkcs8 { path: path.into() })?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der())
            .map(Self::new)
            .map_err(|_| AssertionError::NotP256 { path: path.into() })
    }

    pub fn generate() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self::new(pair.expect("a P-256 key can be made while the system has randomness"))
    }

    fn new(pair: EcdsaKeyPair) -> Self {
        let jwk = Jwk::of(pair.public_key().as_ref());
        // `typ` keeps an assertion from passing for any other kind of JWT (RFC 8725 section 3.11).
        let header = format!(r#"{{"alg":"ES256","typ":"rangegate-assertion+jwt","kid":"{}"}}"#, jwk.kid);
        Self { pair, header: BASE64URL.encode(header), jwk }
    }

    /// The RFC 7638 thumbprint of the public key, base64url.
    pub fn id(&self) -> &str {
        &self.jwk.kid
    }

    pub fn header(&self) -> &str {
        &self.header
    }

    /// The signature as JWS wants it: `r || s`, 64 bytes (RFC 7518 section 3.4).
    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        signature.expect("a loaded key signs while the system has randomness")
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.jwk.kid).finish_non_exhaustive()
    }
}

/// The key set document.
pub(super) fn jwks<'a>(keys: impl Iterator<Item = &'a SigningKey>) -> Bytes {
    #[derive(Serialize)]
    struct Set<'a> {
        keys: Vec<&'a Jwk>,
    }
    let set = Set { keys: keys.map(|key| &key.jwk).collect() };
    serde_json::to_vec(&set).expect("text always serializes").into()
}

/// A public key as RFC 7518 section 6.2 writes it.
#[derive(Serialize)]
struct Jwk {
    kty: &'static str,
    crv: &'static str,
    #[serde(rename = "use")]
    purpose: &'static str,
    alg: &'static str,
    kid: String,
    x: String,
    y: String,
}

impl Jwk {
    /// From an uncompressed point (SEC 1 section 2.3.3): `04 || x || y`.
    fn of(point: &[u8]) -> Self {
        let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
        let (x, y) = (BASE64URL.encode(x), BASE64URL.encode(y));
        // RFC 7638 section 3: the required members in this order, without a space.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes());
        let kid = BASE64URL.encode(digest);
        Self { kty: "EC", crv: "P-256", purpose: "sig", alg: "ES256", kid, x, y }
    }
}
