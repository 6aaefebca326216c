//! Who is asking: bearer tokens verified against the issuer's keys.

use std::collections::BTreeMap;
use std::time::Duration;

/// A token issuer and how to read its tokens.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// Compared with `iss` byte by byte.
    pub issuer: String,
    /// One of these must be in `aud`.
    pub audiences: Vec<String>,
    /// Where the key set is fetched from: https, or http on loopback.
    pub jwks: String,
    /// PEM file of authorities for the key set's server. None: the system's.
    pub jwks_ca: Option<std::path::PathBuf>,
    /// JOSE names: `ES256`, `RS256`, `PS256`, `EdDSA`.
    pub algorithms: Vec<String>,
    /// Accepted `typ` header values, compared without case and without `application/`. Default: `at+jwt`, `jwt`.
    pub types: Vec<String>,
    /// Clock skew tolerated for `exp`, `nbf` and `iat`; at most 60 s.
    pub skew: Duration,
    /// The claim that names the user in policies and in the device registry.
    pub user_claim: String,
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
#[derive(Clone, Debug, Default)]
pub struct Assurance {
    pub acr: Vec<String>,
    pub amr: Vec<String>,
}
