//! `method`: what is to be done with the resource.

use crate::evidence::Evidence;
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::seen::Seen;
use crate::policy::source::Value;

/// One of these methods, compared without case: `post` must not slip past `POST`.
#[derive(Debug)]
pub struct Methods(Box<[Box<str>]>);

impl Methods {
    pub fn lower(value: Value<'_>) -> Option<Self> {
        let methods = value.one_or_more(|method| method.parsed("a method", "POST", parse))?;
        Some(Self(methods.into()))
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        let method = &evidence.request.method;
        let seen = match method {
            std::borrow::Cow::Borrowed(word) => Seen::Word(word),
            std::borrow::Cow::Owned(word) => Seen::Text(word.as_str().into()),
        };
        if self.0.iter().any(|known| known.eq_ignore_ascii_case(method)) {
            Judgement::met(Reason::MethodNamed, seen)
        } else {
            Judgement::unmet(Reason::MethodOther, seen)
        }
    }
}

/// A method as RFC 9110 section 9.1 writes it, in upper case.
pub fn parse(text: &str) -> Result<Box<str>, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        Ok(text.into())
    } else {
        Err("expected a method in upper case, such as `GET` or `POST`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unmet};

    #[test]
    fn one_of_the_methods() {
        assert_eq!(judge("{ method = ['GET', 'HEAD'] }", ""), (Met, "method-named"));
        assert_eq!(judge("{ method = 'POST' }", ""), (Unmet, "method-other"));
        assert_eq!(faults("{ method = ['get'] }"), "`get` is not a method\n");
    }
}
