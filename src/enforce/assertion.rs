//! The signed word of the gateway to the upstream: who asked, with what, and that it was allowed.
//!
//! A JWT by ES256: of the algorithms that every upstream's library verifies it is the quickest to sign, and it is
//! the one the operator's key files hold. A signature still costs some 25 µs, so each worker remembers what it
//! signed and says the same again for at most half an assertion's lifetime. That is why there is no `jti`: an
//! assertion names a person, a device and a resource, not a request.

mod cache;
mod keys;

pub use cache::AssertionCache;
pub use keys::AssertionError;

use super::headers;
use crate::evidence::{Binding, Evidence, Moment};
use crate::policy::Decision;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use cache::Premises;
use http::HeaderValue;
use keys::SigningKey;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionSettings {
    /// The header that carries the assertion. Default: `rangegate-assertion`.
    pub header: String,
    /// The `iss` claim.
    pub issuer: String,
    /// How long an assertion is valid.
    pub lifetime: Duration,
    /// PKCS#8 PEM of an ECDSA P-256 key. None: a key made at start, gone at stop.
    pub key: Option<PathBuf>,
}

/// Who asks, in the values of three fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub assertion: HeaderValue,
    pub user: Option<HeaderValue>,
    pub device: Option<HeaderValue>,
}

/// How many retired keys stay published, so that what they signed can be verified until it expires.
const RETIRED: usize = 3;

/// Signs assertions, and publishes the keys to verify them with.
#[derive(Debug)]
pub struct Signer {
    /// Tells this signer from the ones before and after it: a cache never answers with another's word.
    generation: u64,
    issuer: String,
    lifetime_ms: i64,
    key: Arc<SigningKey>,
    /// Public JWKs of keys that signed before, newest first.
    retired: Vec<Arc<SigningKey>>,
    jwks: Bytes,
}

impl Signer {
    /// The signer for these settings. Errors: the key file cannot be read or holds no P-256 key.
    pub fn load(settings: &AssertionSettings) -> Result<Self, AssertionError> {
        let key = match &settings.key {
            Some(path) => SigningKey::read(path)?,
            None => SigningKey::generate(),
        };
        Ok(Self::new(settings, Arc::new(key), Vec::new()))
    }

    /// The signer for these settings, taking over from `self`: keys that signed until now stay published,
    /// and without a key file the key made at start stays in use.
    pub fn reload(&self, settings: &AssertionSettings) -> Result<Self, AssertionError> {
        let key = match &settings.key {
            Some(path) => Arc::new(SigningKey::read(path)?),
            None => Arc::clone(&self.key),
        };
        let retired = std::iter::once(&self.key)
            .chain(&self.retired)
            .filter(|known| known.id() != key.id())
            .take(RETIRED)
            .cloned()
            .collect();
        Ok(Self::new(settings, key, retired))
    }

    fn new(settings: &AssertionSettings, key: Arc<SigningKey>, retired: Vec<Arc<SigningKey>>) -> Self {
        static GENERATIONS: AtomicU64 = AtomicU64::new(0);
        let jwks = keys::jwks(std::iter::once(&key).chain(&retired).map(AsRef::as_ref));
        Self {
            generation: GENERATIONS.fetch_add(1, Ordering::Relaxed),
            issuer: settings.issuer.clone(),
            lifetime_ms: i64::try_from(settings.lifetime.as_millis()).unwrap_or(i64::MAX),
            key,
            retired,
            jwks,
        }
    }

    /// The key set (RFC 7517 section 5) as it is served: `application/jwk-set+json`.
    pub fn jwks(&self) -> Bytes {
        self.jwks.clone()
    }

    /// What the upstream is told: as earlier for the same premises, or anew.
    ///
    /// An assertion never outlives the token or the certificate it rests on.
    pub fn assertion(&self, cache: &mut AssertionCache, evidence: &Evidence, decision: &Decision, now: Moment) -> Told {
        let premises = Premises::of(self.generation, evidence, decision);
        let slot = cache.slot(&premises);
        if let Some(told) = cache.find(slot, &premises, now) {
            return told;
        }
        let expires = self.expiry(&premises, now);
        let told = Told {
            assertion: self.sign(&premises, now, expires),
            user: premises.subject.map(|subject| headers::text(&subject.user)),
            device: premises.device.map(|device| headers::text(&device.id)),
        };
        let reusable_until = expires.min(now.plus_millis(self.lifetime_ms / 2));
        cache.keep(slot, &premises, told.clone(), now, reusable_until);
        told
    }

    fn expiry(&self, premises: &Premises<'_>, now: Moment) -> Moment {
        let own = now.plus_millis(self.lifetime_ms);
        let token = premises.subject.map_or(own, |subject| subject.expires);
        let certificate = premises.certificate.map_or(own, |certificate| certificate.not_after);
        own.min(token).min(certificate)
    }

    fn sign(&self, premises: &Premises<'_>, now: Moment, expires: Moment) -> HeaderValue {
        let subject = premises.subject;
        let claims = Claims {
            iss: &self.issuer,
            aud: premises.resource,
            sub: subject.map(|subject| &*subject.id),
            iat: seconds(now),
            exp: seconds(expires),
            idp: subject.map(|subject| &*subject.issuer),
            user: subject.map(|subject| &*subject.user),
            groups: subject.map_or(&[], |subject| &subject.groups),
            acr: subject.and_then(|subject| subject.acr.as_deref()),
            auth_time: subject.and_then(|subject| subject.authenticated).map(seconds),
            device: premises.device.map(|device| &*device.id),
            binding: premises.binding,
            resource: premises.resource,
            policy: premises.policy,
        };
        let claims = serde_json::to_vec(&claims).expect("text and numbers always serialize");
        let mut token = String::with_capacity(self.key.header().len() + claims.len() * 4 / 3 + 96);
        token.push_str(self.key.header());
        token.push('.');
        BASE64URL.encode_string(&claims, &mut token);
        let signature = self.key.sign(token.as_bytes());
        token.push('.');
        BASE64URL.encode_string(signature, &mut token);
        let mut value = HeaderValue::from_maybe_shared(Bytes::from(token)).expect("base64url and dots are header text");
        // Keeps it out of HPACK tables and of anything that prints headers.
        value.set_sensitive(true);
        value
    }
}

/// Whole seconds since the epoch, rounded down: an `exp` is never later than what it stands for.
const fn seconds(moment: Moment) -> i64 {
    moment.millis().div_euclid(1000)
}

/// The claims. Whatever is not known is left out.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    /// The resource's id: one upstream's assertion is worth nothing at another's.
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    iat: i64,
    exp: i64,
    /// Who issued the person's token: `sub` is unique only together with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    idp: Option<&'a str>,
    /// The name that policies and the device registry use.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [Arc<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binding: Option<Binding>,
    resource: &'a str,
    /// The version of the policy that allowed it.
    policy: &'a str,
}

#[cfg(test)]
mod tests;
