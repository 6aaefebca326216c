//! `path`: which part of the resource is asked for, as patterns over the canonical path.

use crate::evidence::Evidence;
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::seen::Seen;
use crate::policy::segments::Pattern;
use crate::policy::source::Value;

/// One of these patterns.
#[derive(Debug)]
pub struct Paths(Box<[Pattern]>);

impl Paths {
    pub fn lower(value: Value<'_>) -> Option<Self> {
        let patterns = value.one_or_more(|path| {
            path.parsed("a path pattern", "/admin/**", |text| Pattern::parse(text).map_err(str::to_owned))
        })?;
        Some(Self(patterns.into()))
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        if self.0.iter().any(|pattern| pattern.matches(&evidence.request.path)) {
            Judgement::met(Reason::PathNamed, Seen::Nothing)
        } else {
            Judgement::unmet(Reason::PathOther, Seen::Nothing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unmet};

    #[test]
    fn one_of_the_patterns() {
        assert_eq!(judge("{ path = ['/x', '/a/*'] }", ""), (Met, "path-named"));
        assert_eq!(judge("{ path = '/a' }", ""), (Unmet, "path-other"));
        assert_eq!(faults("{ path = ['a', '/a/**/b'] }").lines().count(), 2);
    }
}
