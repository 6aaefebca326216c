//! The token that a connection sent last: most send the same one again and again.

use super::header::bearer;
use crate::evidence::Fact;
use crate::store::Digest;
use http::{HeaderMap, header};
use std::sync::{Mutex, PoisonError};

/// Of one connection. It spares the reading and hashing of a field that came before, and vouches for nothing: whether
/// the token of that digest is still good is asked each time.
#[derive(Debug, Default)]
pub struct LastToken(Mutex<Option<Sent>>);

#[derive(Debug)]
struct Sent {
    /// The value of `Authorization`.
    field: Box<[u8]>,
    /// The token's digest.
    name: Digest,
}

/// Longer ones are hashed each time: a connection is not to grow by what its client sends.
const KEPT: usize = 4096;

impl LastToken {
    /// The digest of the bearer token, or why there is none.
    pub(super) fn name(&self, headers: &HeaderMap) -> Fact<Digest> {
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else { return hashed(headers) };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sent) = last.as_ref().filter(|sent| *sent.field == *field.as_bytes()) {
            return Fact::Known(sent.name);
        }
        let name = hashed(headers);
        *last = match name {
            Fact::Known(name) if field.len() <= KEPT => Some(Sent { field: field.as_bytes().into(), name }),
            _ => None,
        };
        name
    }
}

fn hashed(headers: &HeaderMap) -> Fact<Digest> {
    bearer(headers).map(|token| Digest::of(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Fault;
    use http::HeaderValue;

    #[test]
    fn what_came_before_does_not_change_what_is_read() {
        let last = LastToken::default();
        let long = format!("Bearer {}", "a".repeat(KEPT));
        let ask = |fields: &[&str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(field).expect("a field value"));
            }
            assert_eq!(last.name(&headers), hashed(&headers), "{fields:?}");
            last.name(&headers)
        };
        assert_eq!(ask(&["Bearer a.b.c"]), Fact::Known(Digest::of(b"a.b.c")));
        assert_eq!(ask(&["Bearer a.b.d"]), Fact::Known(Digest::of(b"a.b.d")));
        assert_eq!(ask(&["Bearer a.b.d", "Bearer a.b.d"]), Fact::Invalid(Fault::TokenRepeated));
        assert_eq!(ask(&["Bearer a b"]), Fact::Invalid(Fault::TokenMalformed));
        assert_eq!(ask(&["Basic a"]), Fact::Absent);
        assert_eq!(ask(&[]), Fact::Absent);
        ask(&[&long]);
        assert!(last.0.lock().expect("one thread").is_none());
    }
}
