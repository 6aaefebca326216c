//! Who is asking: bearer tokens (RFC 6750, RFC 9068) verified against the issuer's keys.
//!
//! ```text
//! Authorization ─▶ cache? ─▶ header ─▶ issuer ─▶ key ─▶ signature, iss, aud ─▶ times ─▶ Subject
//! ```
//!
//! The algorithm belongs to the key; the token's header may only agree with it. Keys come from the configured key set
//! and from nowhere a token points to. Verifying costs tens of microseconds, so a worker remembers what it verified.

mod cache;
mod claims;
mod header;
mod issuer;
mod last;

pub use cache::TokenCache;
pub use issuer::IssuerFault;
pub use last::LastToken;

use crate::evidence::{Fact, Fault, Moment, Subject};
use cache::Remembered;
use http::HeaderMap;
use issuer::{Issuer, Refused};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// A token issuer and how to read its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// Compared with `iss` byte by byte.
    pub issuer: String,
    /// One of these must be in `aud`.
    pub audiences: Vec<String>,
    /// Where the key set is fetched from: https, or http on loopback.
    pub jwks: String,
    /// PEM file of authorities for the key set's server. None: the system's.
    pub jwks_ca: Option<std::path::PathBuf>,
    /// Whether the host name in `jwks` may lead to a private address. An address written there itself always may.
    pub jwks_private: bool,
    /// JOSE names: `ES256`, `RS256`, `PS256`, `EdDSA`. For an RSA key that names none, the first of its kind is used.
    pub algorithms: Vec<String>,
    /// Accepted `typ` header values, compared without case and without `application/`. Empty: `at+jwt` and `jwt`.
    /// An empty text among them accepts tokens without `typ`.
    pub types: Vec<String>,
    /// Clock skew tolerated for `exp`, `nbf`, `iat` and `auth_time`; at most 60 s.
    pub skew: Duration,
    /// The claim that names the user in policies and in the device registry. `a.b` looks inside `a`, unless a claim
    /// is called `a.b`.
    pub user_claim: String,
    /// Likewise; its value is a list of texts or one text.
    pub groups_claim: String,
    /// Assurance name → the `acr` and `amr` values that prove it.
    pub assurance: BTreeMap<String, Assurance>,
    /// How long a key set may be used after its last successful fetch.
    pub stale_for: Duration,
    /// How often the key set is fetched anew.
    pub refresh: Duration,
    /// The least time between two fetches asked for by unknown key ids.
    pub cooldown: Duration,
}

/// Any of these values proves the assurance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assurance {
    pub acr: Vec<String>,
    pub amr: Vec<String>,
}

/// All configured issuers. Shared by all workers; each worker brings its own `TokenCache`.
pub struct Tokens {
    issuers: Vec<Issuer>,
}

impl Tokens {
    /// Fetches nothing yet: until `run` has, every token is `Unavailable`. All faults are reported at once.
    pub fn new(settings: Vec<IssuerSettings>) -> Result<Arc<Self>, Vec<IssuerFault>> {
        Ok(Arc::new(Self { issuers: issuer::all(settings)? }))
    }

    /// For a reload: starts with the keys that `before` has of the same issuers, so that nobody waits for a fetch and an
    /// issuer that is away is not missed. Tokens are verified anew, under the new settings.
    pub fn inherit(&self, before: &Self) {
        for issuer in &self.issuers {
            if let Some(old) = before.issuers.iter().find(|old| old.name == issuer.name) {
                issuer.keys.inherit(&old.keys);
            }
        }
    }

    /// Keeps all key sets current until `shutdown`, and passes on what that says. One task for the process.
    pub async fn run<T>(self: Arc<Self>, shutdown: impl Future<Output = T>) -> T {
        let mut keepers = JoinSet::new();
        for index in 0..self.issuers.len() {
            let tokens = Arc::clone(&self);
            keepers.spawn(async move { tokens.issuers[index].keys.keep().await });
        }
        shutdown.await
    }

    /// Issuers whose keys are missing or stale right now: for readiness and metrics.
    pub fn without_keys(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().filter(|issuer| issuer.keys.current().is_none()).map(|issuer| &*issuer.name)
    }

    /// Whether tokens of this issuer are read at all.
    pub fn believes(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|known| *known.name == *issuer)
    }

    /// The subject fact for a request's headers at `now`. Waits only when a key is missing, at most a second.
    /// `Absent`: no bearer token was sent.
    pub async fn subject(
        &self,
        cache: &TokenCache,
        last: &LastToken,
        headers: &HeaderMap,
        now: Moment,
    ) -> Fact<Arc<Subject>> {
        let name = match last.name(headers) {
            Fact::Known(name) => name,
            lack => return lack.and_then(|_| Fact::Absent),
        };
        if let Some(subject) = cache.get(&name, |entry| self.still_holds(entry, now)) {
            return Fact::Known(subject);
        }
        let token = match header::bearer(headers) {
            Fact::Known(token) => token,
            lack => return lack.and_then(|_| Fact::Absent),
        };
        let mut verified = self.verify(token, now);
        if let Err(Refused::UnknownKey(index) | Refused::NoKeys(index)) = verified
            // Boxed: the rare wait must not make every request's future larger.
            && Box::pin(self.issuers[index].keys.ask()).await
        {
            verified = self.verify(token, now);
        }
        match verified {
            Ok(remembered) => {
                let subject = Arc::clone(&remembered.subject);
                cache.insert(name, remembered);
                Fact::Known(subject)
            }
            Err(Refused::Invalid(fault)) => Fact::Invalid(fault),
            Err(Refused::UnknownKey(_)) => Fact::Invalid(Fault::TokenUnknownKey),
            Err(Refused::NoKeys(_)) => Fact::Unavailable(Fault::KeysUnavailable),
        }
    }

    fn verify(&self, token: &str, now: Moment) -> Result<Remembered, Refused> {
        let header = header::read(token)?;
        let named = header::unverified_issuer(token)?;
        let index = self.issuers.iter().position(|issuer| *issuer.name == *named).ok_or(Fault::TokenIssuer)?;
        self.issuers[index].verify(index, &header, token, now)
    }

    /// A remembered token is as good as its own times, and the key set that verified it.
    fn still_holds(&self, entry: &Remembered, now: Moment) -> bool {
        let keys = self.issuers.get(entry.issuer).and_then(|issuer| issuer.keys.current());
        entry.from <= now && now < entry.until && keys.is_some_and(|keys| keys.generation() == entry.keys)
    }
}
