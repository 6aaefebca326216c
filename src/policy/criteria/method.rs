//! `method`: what is to be done with the resource.

use crate::evidence::Evidence;
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::diagnostic::{Diagnostic, nearest};
use crate::policy::seen::Seen;
use crate::policy::source::Value;

/// One of these methods, compared without case: `post` must not slip past `POST`.
#[derive(Debug)]
pub struct Methods(Box<[Box<str>]>);

/// The registry of HTTP methods (RFC 9110 section 16.1.1), without `PRI`, which is the preface of HTTP/2 and no request.
const REGISTERED: [&str; 39] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

impl Methods {
    pub fn lower(value: Value<'_>) -> Option<Self> {
        let methods = value.one_or_more(|method| {
            let word = method.parsed("a method", "POST", Ok)?;
            let others = "methods of no registry are matched by what they are not: `not = { method = [ … ] }`";
            registered(method, word, "", others)
        })?;
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

/// The method that `word` is, in upper case and registered. Any other is reported: what is required of a misspelt one
/// would be required of no request. `after` is what follows it in the value, `others` how else to match.
pub fn registered(value: Value<'_>, word: &str, after: &str, others: &str) -> Option<Box<str>> {
    if REGISTERED.contains(&word) {
        return Some(word.into());
    }
    let fault = Diagnostic::error(value.place(), format!("`{word}` is not a method"));
    let fault = fault.label("no name of the registry of HTTP methods, which are in upper case");
    value.report(match nearest(word, REGISTERED) {
        Some(near) => fault.suggest(value.place(), format!("\"{near}{after}\"")),
        None => fault.help(others),
    });
    None
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use super::REGISTERED;
    use crate::policy::decision::Verdict::{Met, Unmet};

    #[test]
    fn one_of_the_methods() {
        assert_eq!(judge("{ method = ['GET', 'HEAD'] }", ""), (Met, "method-named"));
        assert_eq!(judge("{ method = ['POST', 'VERSION-CONTROL', 'QUERY'] }", ""), (Unmet, "method-other"));
    }

    #[test]
    fn what_is_in_no_registry_is_no_method() {
        for slip in ["get", "PSOT", "DELTE", "BREW", "PRI", "", "*", "GET ", "GET,HEAD"] {
            assert_eq!(faults(&format!("{{ method = ['GET', '{slip}'] }}")), format!("`{slip}` is not a method\n"));
        }
        assert!(REGISTERED.is_sorted() && !REGISTERED.contains(&"PRI"));
    }
}
