//! What a verified token says of its subject, in the types that its claims must have.

use super::Assurance;
use crate::evidence::{Fault, Moment, Subject};
use crate::store::Digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How an issuer's claims are read.
pub(super) struct Mapping {
    pub(super) issuer: Arc<str>,
    /// Milliseconds.
    pub(super) skew: i64,
    pub(super) user: String,
    pub(super) groups: String,
    pub(super) assurance: BTreeMap<String, Assurance>,
}

/// A subject, and while when its token is good: from the first moment, no longer at the second.
pub(super) struct Validated {
    pub(super) subject: Subject,
    pub(super) from: Moment,
    pub(super) until: Moment,
}

pub(super) type Claims = Map<String, Value>;

impl Mapping {
    /// Checks the token's times against `now`. A claim of the wrong type is a fault: half of what an issuer says is
    /// not what it says, and a list of groups cut short could loosen a rule that excludes one.
    pub(super) fn read(&self, claims: &Claims, now: Moment) -> Result<Validated, Fault> {
        let expires = date(claims, "exp")?.ok_or(Fault::TokenClaims)?;
        let authenticated = date(claims, "auth_time")?;
        let begins = [date(claims, "nbf")?, date(claims, "iat")?, authenticated].into_iter().flatten().max();
        let from = begins.map_or(Moment(i64::MIN), |begins| begins.plus_millis(-self.skew));
        let until = expires.plus_millis(self.skew);
        if now >= until {
            return Err(Fault::TokenExpired);
        }
        if now < from {
            return Err(Fault::TokenNotYetValid);
        }
        let acr = text(claims.get("acr"))?;
        let amr = texts(claims.get("amr"))?;
        let subject = Subject {
            issuer: Arc::clone(&self.issuer),
            id: text(claims.get("sub"))?.ok_or(Fault::TokenClaims)?,
            user: text(find(claims, &self.user))?.ok_or(Fault::TokenClaims)?,
            groups: texts(find(claims, &self.groups))?,
            assurance: self.assurance(acr.as_deref(), &amr),
            acr,
            amr,
            authenticated,
            expires,
            bound_to: confirmation(claims)?,
        };
        Ok(Validated { subject, from, until })
    }

    fn assurance(&self, acr: Option<&str>, amr: &[Arc<str>]) -> Vec<Arc<str>> {
        let proves = |assurance: &Assurance| {
            assurance.acr.iter().any(|value| acr == Some(value))
                || assurance.amr.iter().any(|value| amr.iter().any(|method| **method == **value))
        };
        self.assurance.iter().filter(|(_, assurance)| proves(assurance)).map(|(name, _)| name.as_str().into()).collect()
    }
}

/// The claim of that name, or the one that `a.b` leads to inside `a`.
fn find<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        find(claims.get(first)?.as_object()?, rest)
    })
}

/// A NumericDate (RFC 7519 section 2): seconds as a number, never as text.
fn date(claims: &Claims, name: &str) -> Result<Option<Moment>, Fault> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(seconds)) => {
            let millis = seconds.as_f64().map(|seconds| seconds * 1000.0).filter(|millis| millis.is_finite());
            // Casting saturates; a date that far away is as good as never.
            millis.map(|millis| Some(Moment(millis as i64))).ok_or(Fault::TokenClaims)
        }
        Some(_) => Err(Fault::TokenClaims),
    }
}

fn text(claim: Option<&Value>) -> Result<Option<Arc<str>>, Fault> {
    match claim {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.as_str().into())),
        Some(_) => Err(Fault::TokenClaims),
    }
}

/// A list of texts; one text counts as a list of one.
fn texts(claim: Option<&Value>) -> Result<Vec<Arc<str>>, Fault> {
    match claim {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.as_str().into()]),
        Some(Value::Array(texts)) => {
            texts.iter().map(|text| text.as_str().map(Into::into).ok_or(Fault::TokenClaims)).collect()
        }
        Some(_) => Err(Fault::TokenClaims),
    }
}

/// `cnf.x5t#S256` (RFC 8705 section 3.1) as lower-case hex. A confirmation of any other kind (RFC 7800) would have to
/// be checked, and cannot be.
fn confirmation(claims: &Claims) -> Result<Option<Arc<str>>, Fault> {
    let Some(confirmation) = claims.get("cnf") else { return Ok(None) };
    let thumbprint = confirmation.as_object().ok_or(Fault::TokenClaims)?.get("x5t#S256");
    let thumbprint = thumbprint.ok_or(Fault::TokenConfirmation)?.as_str().ok_or(Fault::TokenClaims)?;
    let bytes = URL_SAFE_NO_PAD.decode(thumbprint).map_err(|_| Fault::TokenClaims)?;
    let digest = Digest::from_bytes(&bytes).ok_or(Fault::TokenClaims)?;
    Ok(Some(digest.hex().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Moment = Moment(1_800_000_000_000);
    const SECONDS: i64 = 1_800_000_000;

    fn mapping(skew: i64) -> Mapping {
        let passkey = Assurance { acr: vec!["phr".into()], amr: vec!["hwk".into()] };
        let mfa = Assurance { acr: vec![], amr: vec!["mfa".into(), "otp".into()] };
        Mapping {
            issuer: "https://id.example".into(),
            skew,
            user: "email".into(),
            groups: "realm.groups".into(),
            assurance: BTreeMap::from([("passkey".to_owned(), passkey), ("mfa".to_owned(), mfa)]),
        }
    }

    fn read(more: Value) -> Result<Subject, Fault> {
        read_at(more, NOW, 0)
    }

    fn read_at(more: Value, now: Moment, skew: i64) -> Result<Subject, Fault> {
        let mut claims = json!({ "exp": SECONDS + 60, "sub": "1", "email": "ann@corp.example" });
        for (name, value) in more.as_object().expect("an object") {
            match value {
                // Takes the claim away.
                Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        mapping(skew).read(claims.as_object().expect("an object"), now).map(|validated| validated.subject)
    }

    #[test]
    fn claims_become_a_subject() {
        let x5t = URL_SAFE_NO_PAD.encode([7; 32]);
        let subject = read(json!({
            "realm": { "groups": ["payroll", "staff"] }, "acr": "phr", "amr": ["pwd", "otp"],
            "auth_time": SECONDS - 5, "cnf": { "x5t#S256": x5t },
        }))
        .expect("a subject");
        assert_eq!((&*subject.id, &*subject.user), ("1", "ann@corp.example"));
        assert_eq!(subject.groups, ["payroll".into(), "staff".into()]);
        assert_eq!(subject.assurance, ["mfa".into(), "passkey".into()]);
        assert_eq!(subject.authenticated, Some(Moment(NOW.0 - 5000)));
        assert_eq!(subject.expires, Moment(NOW.0 + 60_000));
        assert_eq!(subject.bound_to.as_deref(), Some(&*"07".repeat(32)));
        assert_eq!(read(json!({ "realm.groups": "one" })).map(|subject| subject.groups), Ok(vec!["one".into()]));
    }

    #[test]
    fn times_are_exact_to_the_millisecond_and_skew_is_added_once() {
        let exp = |now: i64, skew| read_at(json!({ "exp": SECONDS }), Moment(NOW.0 + now), skew).err();
        assert_eq!(exp(-1, 0), None);
        assert_eq!(exp(0, 0), Some(Fault::TokenExpired));
        assert_eq!(exp(29_999, 30_000), None);
        assert_eq!(exp(30_000, 30_000), Some(Fault::TokenExpired));
        for claim in ["nbf", "iat", "auth_time"] {
            let begins = |now: i64, skew| read_at(json!({ claim: SECONDS }), Moment(NOW.0 + now), skew).err();
            assert_eq!(begins(0, 0), None, "{claim}");
            assert_eq!(begins(-1, 0), Some(Fault::TokenNotYetValid), "{claim}");
            assert_eq!(begins(-30_000, 30_000), None, "{claim}");
            assert_eq!(begins(-30_001, 30_000), Some(Fault::TokenNotYetValid), "{claim}");
        }
        assert_eq!(read(json!({ "exp": SECONDS as f64 + 0.5 })).map(|s| s.expires), Ok(Moment(NOW.0 + 500)));
        assert_eq!(read(json!({ "exp": 1e300 })).map(|s| s.expires), Ok(Moment(i64::MAX)));
        assert_eq!(read(json!({ "exp": -1e300 })).err(), Some(Fault::TokenExpired));
        assert_eq!(read(json!({ "nbf": 1e300 })).err(), Some(Fault::TokenNotYetValid));
    }

    #[test]
    fn a_claim_missing_or_of_the_wrong_type_is_a_fault() {
        for wrong in [
            json!({ "exp": null }),
            json!({ "exp": "1800000060" }),
            json!({ "exp": true }),
            json!({ "nbf": "0" }),
            json!({ "iat": [] }),
            json!({ "auth_time": {} }),
            json!({ "sub": null }),
            json!({ "sub": 7 }),
            json!({ "sub": "" }),
            json!({ "email": null }),
            json!({ "email": ["ann@corp.example"] }),
            json!({ "realm": { "groups": 7 } }),
            json!({ "realm": { "groups": ["staff", 7] } }),
            json!({ "acr": 1 }),
            json!({ "amr": [null] }),
            json!({ "cnf": "x" }),
            json!({ "cnf": { "x5t#S256": 7 } }),
            json!({ "cnf": { "x5t#S256": "AAAA" } }),
            json!({ "cnf": { "x5t#S256": "not base64!" } }),
        ] {
            assert_eq!(read(wrong.clone()).err(), Some(Fault::TokenClaims), "{wrong}");
        }
        assert_eq!(read(json!({ "cnf": { "jkt": "x" } })).err(), Some(Fault::TokenConfirmation));
        assert_eq!(read(json!({ "cnf": {} })).err(), Some(Fault::TokenConfirmation));
    }
}
