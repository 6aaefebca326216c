//! One configured issuer: its rules, its keys, and the verification of a token that claims to be its.

use super::IssuerSettings;
use super::cache::Remembered;
use super::claims::{Claims, Mapping};
use super::header::Header;
use crate::evidence::{Fault, Moment};
use crate::sources::jwks::{Endpoint, Key, KeySource, Pace};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, AlgorithmFamily, Validation};
use std::sync::Arc;
use std::time::Duration;

/// The longest tolerated clock skew.
const MAX_SKEW: Duration = Duration::from_secs(60);

/// What an issuer uses for access tokens unless told otherwise.
const TYPES: [&str; 2] = ["at+jwt", "jwt"];

/// A setting of an issuer that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}\n  in `{setting}` of issuer `{issuer}`\n  help: {help}")]
pub struct IssuerFault {
    pub issuer: String,
    /// As the configuration file calls it.
    pub setting: &'static str,
    pub problem: String,
    pub help: &'static str,
}

pub(super) struct Issuer {
    pub(super) name: Arc<str>,
    pub(super) keys: KeySource,
    /// Lower case, without `application/`. An empty one stands for no `typ`.
    types: Vec<String>,
    /// One for each allowed algorithm: a key's own is the only one its tokens may have.
    validations: Vec<(Algorithm, Validation)>,
    mapping: Mapping,
}

/// Why a token was not verified.
pub(super) enum Refused {
    Invalid(Fault),
    /// The issuer with this index has keys, but not this one.
    UnknownKey(usize),
    /// The issuer with this index has no keys that may be used.
    NoKeys(usize),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::Invalid(fault)
    }
}

impl Issuer {
    /// `index` is this issuer's place among all, for the refusals that ask for keys.
    pub(super) fn verify(
        &self,
        index: usize,
        header: &Header,
        token: &str,
        now: Moment,
    ) -> Result<Remembered, Refused> {
        if !self.accepts_type(header.typ.as_deref()) {
            return Err(Fault::TokenType.into());
        }
        let stated = header.alg.parse::<Algorithm>().map_err(|_| Fault::TokenAlgorithm)?;
        if !self.validations.iter().any(|(allowed, _)| *allowed == stated) {
            return Err(Fault::TokenAlgorithm.into());
        }
        let keys = self.keys.current().ok_or(Refused::NoKeys(index))?;
        let mut candidates = keys.find(header.kid.as_deref()).peekable();
        if candidates.peek().is_none() {
            return Err(Refused::UnknownKey(index));
        }
        let key = candidates.find(|key| key.algorithm == stated).ok_or(Fault::TokenAlgorithm)?;
        let claims = self.check(key, token)?;
        let validated = self.mapping.read(&claims, now)?;
        Ok(Remembered {
            subject: Arc::new(validated.subject),
            issuer: index,
            keys: keys.generation(),
            from: validated.from,
            until: validated.until,
        })
    }

    /// Signature, issuer and audience. Times are checked later against the request's own `now`.
    fn check(&self, key: &Key, token: &str) -> Result<Claims, Fault> {
        let validation = self.validations.iter().find(|(algorithm, _)| *algorithm == key.algorithm);
        let (_, validation) = validation.ok_or(Fault::TokenAlgorithm)?;
        match jsonwebtoken::decode::<Claims>(token, &key.verifier, validation) {
            Ok(decoded) => Ok(decoded.claims),
            Err(error) => Err(match error.kind() {
                ErrorKind::InvalidAlgorithm => Fault::TokenAlgorithm,
                ErrorKind::InvalidIssuer => Fault::TokenIssuer,
                ErrorKind::InvalidAudience => Fault::TokenAudience,
                ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => Fault::TokenClaims,
                ErrorKind::Base64(_) | ErrorKind::Json(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidToken => {
                    Fault::TokenMalformed
                }
                // The signature, or a key that cannot check one.
                _ => Fault::TokenForged,
            }),
        }
    }

    fn accepts_type(&self, stated: Option<&str>) -> bool {
        let stated = plain_type(stated.unwrap_or_default());
        self.types.contains(&stated)
    }
}

/// RFC 7515 section 4.1.9: `application/` may be left out.
fn plain_type(stated: &str) -> String {
    let lower = stated.to_ascii_lowercase();
    lower.strip_prefix("application/").map(str::to_owned).unwrap_or(lower)
}

/// All issuers, or every fault of all of them.
pub(super) fn all(settings: Vec<IssuerSettings>) -> Result<Vec<Issuer>, Vec<IssuerFault>> {
    // Chosen explicitly: left to itself, the library panics at the first token if another crate in the tree
    // turns on its other provider. A second call finds it installed already.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let mut faults = Vec::new();
    let mut issuers: Vec<Issuer> = Vec::new();
    for settings in settings {
        if issuers.iter().any(|issuer| *issuer.name == *settings.issuer) {
            let problem = format!("issuer `{}` is configured twice", settings.issuer);
            faults.push(fault(&settings.issuer, "issuer", problem, "remove one of the two"));
        } else {
            issuers.extend(one(settings, &mut faults));
        }
    }
    if faults.is_empty() { Ok(issuers) } else { Err(faults) }
}

fn one(settings: IssuerSettings, faults: &mut Vec<IssuerFault>) -> Option<Issuer> {
    let before = faults.len();
    let mut complain = |setting, problem: String, help| faults.push(fault(&settings.issuer, setting, problem, help));
    if settings.issuer.is_empty() {
        complain("issuer", "the issuer has no name".to_owned(), "write the value its tokens have in `iss`");
    }
    if settings.audiences.is_empty() || settings.audiences.iter().any(String::is_empty) {
        let problem = "tokens for anybody would be accepted".to_owned();
        complain("audiences", problem, "write the value its tokens for this gateway have in `aud`");
    }
    if settings.skew > MAX_SKEW {
        let problem = format!("{:?} of clock skew is more than {MAX_SKEW:?}", settings.skew);
        complain("skew", problem, "set the clocks instead");
    }
    if settings.refresh.is_zero() || settings.stale_for < settings.refresh {
        let problem = "keys would go stale before they are fetched again".to_owned();
        complain("refresh", problem, "it must be more than zero and at most `stale-for`");
    }
    if settings.algorithms.is_empty() {
        complain("algorithms", "no algorithm is allowed".to_owned(), ALGORITHMS);
    }
    let mut algorithms = Vec::new();
    for name in &settings.algorithms {
        match name.parse::<Algorithm>() {
            Ok(algorithm) if algorithm.family() != AlgorithmFamily::Hmac => algorithms.push(algorithm),
            Ok(_) => {
                let problem = format!("`{name}` signs with a secret, and whoever can verify could forge");
                complain("algorithms", problem, ALGORITHMS);
            }
            Err(_) => complain("algorithms", format!("`{name}` is not supported"), ALGORITHMS),
        }
    }
    let endpoint = Endpoint::new(&settings.jwks, settings.jwks_ca.as_deref(), settings.jwks_private)
        .map_err(|problem| complain("jwks", problem, "an https URL, or http to a loopback address"))
        .ok();
    let endpoint = endpoint.filter(|_| faults.len() == before)?;
    let pace = Pace { refresh: settings.refresh, stale_for: settings.stale_for, cooldown: settings.cooldown };
    let types = if settings.types.is_empty() { TYPES.map(str::to_owned).to_vec() } else { settings.types };
    let name: Arc<str> = settings.issuer.as_str().into();
    Some(Issuer {
        keys: KeySource::new(settings.issuer, endpoint, algorithms.clone(), pace),
        types: types.iter().map(|name| plain_type(name)).collect(),
        validations: algorithms.into_iter().map(|a| (a, validation(a, &name, &settings.audiences))).collect(),
        mapping: Mapping {
            issuer: Arc::clone(&name),
            skew: i64::try_from(settings.skew.as_millis()).unwrap_or(0),
            user: settings.user_claim,
            groups: settings.groups_claim,
            assurance: settings.assurance,
        },
        name,
    })
}

const ALGORITHMS: &str = "one of `ES256`, `ES384`, `EdDSA`, `PS256`, `PS384`, `PS512`, `RS256`, `RS384`, `RS512`";

/// One algorithm, this issuer, these audiences, all of them required. Times are off: the library would read the
/// system's clock, and a decision knows only the request's `now`.
fn validation(algorithm: Algorithm, issuer: &str, audiences: &[String]) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[issuer]);
    validation.set_audience(audiences);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}

fn fault(issuer: &str, setting: &'static str, problem: String, help: &'static str) -> IssuerFault {
    IssuerFault { issuer: issuer.to_owned(), setting, problem, help }
}
