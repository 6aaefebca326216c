//! Finding the token in a request, and the little of it that is read before its signature is checked.

use crate::evidence::{Fact, Fault};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, header};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Longest token looked at, in bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// The bearer token (RFC 6750 section 2.1). `Absent`: no `Authorization`, or another scheme.
/// Several `Authorization` fields are refused: which of them counts would be a guess.
pub(super) fn bearer(headers: &HeaderMap) -> Fact<&str> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Fact::Absent };
    if fields.next().is_some() {
        return Fact::Invalid(Fault::TokenRepeated);
    }
    let bytes = field.as_bytes();
    let scheme = b"bearer";
    match bytes.split_at_checked(scheme.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(scheme) && rest.first().is_none_or(|b| *b == b' ') => {
            let token = rest.trim_ascii();
            if token.len() > MAX_TOKEN {
                return Fact::Invalid(Fault::TokenTooLarge);
            }
            let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            match std::str::from_utf8(token) {
                Ok(text) if !text.is_empty() && token.iter().all(plain) => Fact::Known(text),
                _ => Fact::Invalid(Fault::TokenMalformed),
            }
        }
        _ => Fact::Absent,
    }
}

/// The JOSE header (RFC 7515 section 4), as far as it matters. `jku`, `jwk`, `x5u` and `x5c` do not.
#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    #[serde(default)]
    pub(super) typ: Option<String>,
    #[serde(default)]
    pub(super) kid: Option<String>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

/// Any critical extension is refused, for none is understood (RFC 7515 section 4.1.11).
pub(super) fn read(token: &str) -> Result<Header, Fault> {
    let [header, _] = parts(token)?;
    let header: Header = json(header)?;
    if header.crit.is_some() {
        return Err(Fault::TokenCritical);
    }
    Ok(header)
}

/// What the token claims its issuer is: good for choosing the keys to check it with, and for nothing else.
pub(super) fn unverified_issuer(token: &str) -> Result<String, Fault> {
    #[derive(Deserialize)]
    struct Named {
        iss: Option<serde_json::Value>,
    }
    let [_, claims] = parts(token)?;
    match json::<Named>(claims)?.iss {
        Some(serde_json::Value::String(issuer)) => Ok(issuer),
        _ => Err(Fault::TokenClaims),
    }
}

/// Header and claims of exactly three parts.
fn parts(token: &str) -> Result<[&str; 2], Fault> {
    let mut parts = token.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(claims), Some(_), None) => Ok([header, claims]),
        _ => Err(Fault::TokenMalformed),
    }
}

fn json<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, Fault> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::TokenMalformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Fault::TokenMalformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn found(fields: &[&str]) -> Fact<String> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(field.as_bytes()).expect("a field"));
        }
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn one_bearer_token_or_the_reason_there_is_none() {
        assert_eq!(found(&[]), Fact::Absent);
        assert_eq!(found(&["Basic YTpi"]), Fact::Absent);
        assert_eq!(found(&["Bearer2 x"]), Fact::Absent);
        assert_eq!(found(&["Bea"]), Fact::Absent);
        assert_eq!(found(&["Bearer a.b-_.c"]), Fact::Known("a.b-_.c".to_owned()));
        assert_eq!(found(&["bEARER   a.b.c "]), Fact::Known("a.b.c".to_owned()));
        for broken in ["Bearer", "Bearer ", "Bearer a b", "Bearer a.b.c, Bearer d.e.f", "Bearer a=", "Bearer é"] {
            assert_eq!(found(&[broken]), Fact::Invalid(Fault::TokenMalformed), "{broken}");
        }
        assert_eq!(found(&["Bearer a.b.c", "Bearer a.b.c"]), Fact::Invalid(Fault::TokenRepeated));
        assert_eq!(found(&["Basic YTpi", "Bearer a.b.c"]), Fact::Invalid(Fault::TokenRepeated));
        assert_eq!(found(&[&format!("Bearer {}", "a".repeat(MAX_TOKEN))]).known().map(String::len), Some(MAX_TOKEN));
        assert_eq!(found(&[&format!("Bearer {}", "a".repeat(MAX_TOKEN + 1))]), Fact::Invalid(Fault::TokenTooLarge));
    }

    #[test]
    fn a_header_that_is_not_one_is_malformed() {
        let token = |header: &str| format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header));
        assert!(read(&token(r#"{"alg":"ES256","jwk":7,"x5u":"http://169.254.169.254/"}"#)).is_ok());
        for crit in [r#"["exp"]"#, "[]", "7", r#""b64""#] {
            let critical = read(&token(&format!(r#"{{"alg":"ES256","crit":{crit}}}"#)));
            assert_eq!(critical.err(), Some(Fault::TokenCritical), "{crit}");
        }
        for bad in ["", "{}", "[]", r#"{"alg":7}"#, r#"{"alg":"ES256","alg":"none"}"#, r#"{"alg":"ES256","kid":[]}"#] {
            assert_eq!(read(&token(bad)).err(), Some(Fault::TokenMalformed), "{bad}");
        }
        for bad in ["", "a", "a.b", "e30.e30.c2ln.x", "....", "e30=.e30.c2ln", "\0.e30.c2ln"] {
            assert_eq!(read(bad).err(), Some(Fault::TokenMalformed), "{bad}");
        }
    }
}
