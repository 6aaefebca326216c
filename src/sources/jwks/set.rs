//! A key set as the issuer publishes it (RFC 7517), reduced to the keys that may verify tokens here.

use crate::store::Digest;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keys in one set; more is not a key set but an attack or a mistake.
const MAX_KEYS: usize = 100;

/// Verification keys by id.
pub struct KeySet {
    generation: u64,
    content: Digest,
    keys: Arc<[Key]>,
    skipped: usize,
}

/// A public key and the one algorithm it is used with. What a token's header says has no part in it.
pub struct Key {
    pub id: Option<String>,
    pub algorithm: Algorithm,
    pub verifier: DecodingKey,
}

/// Why a document is no key set to put in place of another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetFault {
    #[error("not a JSON object with a list of keys (RFC 7517)")]
    NotASet,
    #[error("{0} keys, the limit is {MAX_KEYS}")]
    TooMany(usize),
    #[error("none of the {0} keys can verify tokens with the allowed algorithms")]
    NoneUsable(usize),
}

impl KeySet {
    /// Keys that cannot be read or used are left out, as RFC 7517 section 5 asks; a set without any other is a fault.
    pub fn read(document: &[u8], allowed: &[Algorithm]) -> Result<Self, SetFault> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        let document_keys = serde_json::from_slice::<Document>(document).map_err(|_| SetFault::NotASet)?.keys;
        let offered = document_keys.len();
        if offered > MAX_KEYS {
            return Err(SetFault::TooMany(offered));
        }
        let keys: Arc<[_]> = document_keys.into_iter().filter_map(|key| Key::read(key, allowed)).collect();
        if keys.is_empty() {
            return Err(SetFault::NoneUsable(offered));
        }
        Ok(Self { generation: next_generation(), content: Digest::of(document), skipped: offered - keys.len(), keys })
    }

    /// Differs between any two sets of this process.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The same keys under a new generation, so that nothing verified with the old one is taken for verified.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self { generation: next_generation(), keys: Arc::clone(&self.keys), ..*self }
    }

    pub fn same_as(&self, other: &Self) -> bool {
        self.content == other.content
    }

    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Keys of the document that were left out.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The keys a token with this key id may have been signed with. A token without an id can only mean the only key.
    pub fn find(&self, id: Option<&str>) -> impl Iterator<Item = &Key> {
        let only = self.keys.len() == 1;
        self.keys.iter().filter(move |key| match id {
            Some(_) => key.id.as_deref() == id,
            None => only,
        })
    }
}

fn next_generation() -> u64 {
    static GENERATION: AtomicU64 = AtomicU64::new(1);
    GENERATION.fetch_add(1, Ordering::Relaxed)
}

impl Key {
    fn read(key: serde_json::Value, allowed: &[Algorithm]) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(key).ok()?;
        if !for_verifying(&jwk) {
            return None;
        }
        let fits = |algorithm: &Algorithm| suits(*algorithm, &jwk.algorithm);
        let algorithm = match jwk.common.key_algorithm {
            Some(stated) => {
                let stated = Algorithm::try_from(stated).ok().filter(|_| jwk.is_supported())?;
                allowed.iter().copied().find(|algorithm| *algorithm == stated).filter(fits)?
            }
            // Many issuers leave `alg` out. Then the key's kind decides, and for RSA the first that is allowed.
            None => allowed.iter().copied().find(fits)?,
        };
        let verifier = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { id: jwk.common.key_id, algorithm, verifier })
    }
}

/// RFC 7517 sections 4.2 and 4.3.
fn for_verifying(jwk: &Jwk) -> bool {
    let by_use = jwk.common.public_key_use.as_ref().is_none_or(|use_| *use_ == PublicKeyUse::Signature);
    let by_operations = jwk.common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    by_use && by_operations
}

/// Whether a key of this kind and curve can be meant for the algorithm. Secret (`oct`) keys never are.
fn suits(algorithm: Algorithm, kind: &AlgorithmParameters) -> bool {
    match kind {
        AlgorithmParameters::RSA(_) => algorithm.family() == AlgorithmFamily::Rsa,
        AlgorithmParameters::EllipticCurve(key) => match algorithm {
            Algorithm::ES256 => key.curve == EllipticCurve::P256,
            Algorithm::ES384 => key.curve == EllipticCurve::P384,
            _ => false,
        },
        AlgorithmParameters::OctetKeyPair(key) => algorithm == Algorithm::EdDSA && key.curve == EllipticCurve::Ed25519,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const ALLOWED: [Algorithm; 4] = [Algorithm::ES256, Algorithm::PS256, Algorithm::RS256, Algorithm::EdDSA];

    fn read(keys: Value) -> Result<Vec<(Option<String>, Algorithm)>, SetFault> {
        let set = KeySet::read(json!({ "keys": keys }).to_string().as_bytes(), &ALLOWED)?;
        Ok(set.keys.iter().map(|key| (key.id.clone(), key.algorithm)).collect())
    }

    fn ec(curve: &str) -> Value {
        json!({ "kty": "EC", "crv": curve, "x": "AA", "y": "AA", "kid": curve })
    }

    fn with(mut key: Value, more: Value) -> Value {
        for (name, value) in more.as_object().expect("an object") {
            key[name] = value.clone();
        }
        key
    }

    #[test]
    fn the_key_decides_the_algorithm() {
        let rsa = json!({ "kty": "RSA", "n": "AA", "e": "AQAB" });
        assert_eq!(read(json!([ec("P-256")])), Ok(vec![(Some("P-256".into()), Algorithm::ES256)]));
        assert_eq!(read(json!([rsa])), Ok(vec![(None, Algorithm::PS256)]), "the first allowed for its kind");
        assert_eq!(read(json!([with(rsa, json!({"alg": "RS256"}))])), Ok(vec![(None, Algorithm::RS256)]));
        let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": "AA" });
        assert_eq!(read(json!([ed])), Ok(vec![(None, Algorithm::EdDSA)]));
    }

    #[test]
    fn keys_for_something_else_are_left_out() {
        let p256 = || ec("P-256");
        for other in [
            json!({ "kty": "oct", "k": "c2VjcmV0" }),
            json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }),
            with(p256(), json!({ "use": "enc" })),
            with(p256(), json!({ "key_ops": ["sign"] })),
            with(p256(), json!({ "alg": "ES384" })),
            with(p256(), json!({ "alg": "RS256" })),
            with(p256(), json!({ "alg": "HS256" })),
            with(p256(), json!({ "alg": "none" })),
            with(p256(), json!({ "alg": 7 })),
            ec("P-384"),
            ec("P-521"),
            json!({ "kty": "EC", "crv": "P-256", "x": "!" , "y": "AA" }),
            json!({ "kty": "RSA", "n": "AA", "e": "AQAB", "alg": "RSA-OAEP" }),
            json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA" }),
            json!("key"),
            json!(null),
        ] {
            assert_eq!(read(json!([other])), Err(SetFault::NoneUsable(1)), "{other}");
            assert_eq!(read(json!([other, p256()])).map(|keys| keys.len()), Ok(1), "{other}");
        }
    }

    #[test]
    fn what_is_no_set_is_refused_whole() {
        for bad in ["", "[]", "{}", "null", r#"{"keys":{}}"#, r#"{"keys":1}"#, "<html>", "{\"keys\":[}"] {
            assert_eq!(KeySet::read(bad.as_bytes(), &ALLOWED).err(), Some(SetFault::NotASet), "{bad}");
        }
        assert_eq!(read(json!([])), Err(SetFault::NoneUsable(0)));
        assert_eq!(read(Value::from(vec![ec("P-256"); 101])), Err(SetFault::TooMany(101)));
        assert_eq!(read(Value::from(vec![ec("P-256"); 100])).map(|keys| keys.len()), Ok(100));
    }

    #[test]
    fn a_token_without_a_key_id_can_only_mean_the_only_key() {
        let set = |keys: Value| KeySet::read(json!({ "keys": keys }).to_string().as_bytes(), &ALLOWED).expect("a set");
        let one = set(json!([ec("P-256")]));
        assert_eq!(one.find(None).count(), 1);
        assert_eq!(one.find(Some("P-256")).count(), 1);
        assert_eq!(one.find(Some("p-256")).count(), 0);
        let nameless = json!({ "kty": "OKP", "crv": "Ed25519", "x": "AA" });
        let two = set(json!([ec("P-256"), nameless]));
        assert_eq!(two.find(None).count(), 0);
        assert_eq!(two.find(Some("P-256")).count(), 1);
    }
}
