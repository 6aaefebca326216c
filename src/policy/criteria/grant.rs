//! `grant`: a named, expiring privilege is held at this moment.

use super::Names;
use crate::evidence::{Evidence, Grant as Held, Over};
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::decision::Remedy;
use crate::policy::diagnostic::{Diagnostic, nearest};
use crate::policy::seen::Seen;
use crate::policy::source::Value;
use std::sync::Arc;

#[derive(Debug)]
pub struct Grant {
    role: Arc<str>,
}

impl Grant {
    /// Only a role that is defined and opens the resource: any other could never be held here.
    pub fn lower(value: Value<'_>, names: Names<'_>) -> Option<Self> {
        let role = value.name()?;
        let Some((id, opens)) = names.roles.get_key_value(role) else {
            let fault = Diagnostic::error(value.place(), format!("no role is called `{role}`"));
            let fault = fault.label("nobody could ever hold it");
            value.report(match nearest(role, names.roles.keys().map(|known| &**known)) {
                Some(near) => fault.suggest(value.place(), format!("\"{near}\"")),
                None => fault.help(format!("add a `[[role]]` with `id = \"{role}\"`")),
            });
            return None;
        };
        // The baseline's are held against all resources when these are known; an unnamed resource and a role that
        // opens nothing are at fault anyway.
        if !matches!(names.owner, "" | "*")
            && !opens.is_empty()
            && !opens.iter().any(|resource| **resource == *names.owner)
        {
            let fault = Diagnostic::error(value.place(), format!("`{role}` does not open `{}`", names.owner));
            let fault = fault.label("it would count for nothing here");
            value.report(fault.help(format!("add `{}` to the `opens` of the role", names.owner)));
            return None;
        }
        Some(Self { role: Arc::clone(id) })
    }

    pub fn role(&self) -> &Arc<str> {
        &self.role
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        Judgement::of(&evidence.grants, Reason::GrantsAbsent, |grants| {
            let of_role = || grants.iter().filter(|grant| grant.role == self.role);
            if of_role().any(|grant| grant.is_held(evidence.at)) {
                return Judgement::met(Reason::GrantHeld, Seen::Text(Arc::clone(&self.role)));
            }
            match of_role().max_by_key(|grant| grant.expires) {
                Some(Held { over: Some(Over::Ended), expires, .. }) => {
                    Judgement::unmet(Reason::GrantEnded, Seen::Moment(*expires))
                }
                Some(Held { expires, .. }) => Judgement::unmet(Reason::GrantExpired, Seen::Moment(*expires)),
                None => Judgement::unmet(Reason::GrantMissing, Seen::Nothing),
            }
        })
    }

    pub fn remedy(&self) -> Remedy {
        Remedy::Grant { role: Arc::clone(&self.role) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use super::*;
    use crate::evidence::{Fact, Moment};
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};
    use crate::policy::given;

    #[test]
    fn held_missing_or_unasked() {
        let that = "{ grant = 'approver' }";
        assert_eq!(judge(that, "grants = ['approver']"), (Met, "grant-held"));
        assert_eq!(judge(that, "grants = []"), (Unmet, "grant-missing"));
        assert_eq!(judge(that, ""), (Unknown, "grants-absent"));
        assert_eq!(faults("{ grant = '' }"), "`grant` is empty\n");
    }

    fn held(expires: i64, over: Option<Over>) -> Held {
        Held { role: "approver".into(), expires: Moment(expires), over }
    }

    fn judged(grants: &[Held]) -> Judgement {
        let mut evidence = given::nothing();
        (evidence.at, evidence.grants) = (Moment(1000), Fact::Known(grants.into()));
        Grant { role: "approver".into() }.judge(&evidence)
    }

    #[test]
    fn a_grant_ends_when_it_expires() {
        assert_eq!(judged(&[held(1001, None)]).reason, Reason::GrantHeld);
        assert_eq!(judged(&[held(1000, None)]).reason, Reason::GrantExpired);
    }

    #[test]
    fn what_is_over_grants_nothing_and_says_when_it_ended() {
        for (over, reason) in [(Over::Expired, Reason::GrantExpired), (Over::Ended, Reason::GrantEnded)] {
            // However far in the future the clock of whoever ended it was.
            for end in [900, 1000, 1001, i64::MAX] {
                let judgement = judged(&[held(end, Some(over))]);
                assert_eq!((judgement.verdict, judgement.reason), (Unmet, reason));
                assert_eq!(judgement.seen, Seen::Moment(Moment(end)));
                let other = Held { role: "other".into(), ..held(i64::MAX, None) };
                assert_eq!(judged(&[held(end, Some(over)), other]).verdict, Unmet, "another role's");
                assert_eq!(judged(&[held(end, Some(over)), held(1001, None)]).reason, Reason::GrantHeld);
            }
        }
        let judgement = judged(&[held(900, Some(Over::Expired)), held(950, Some(Over::Ended))]);
        assert_eq!((judgement.reason, judgement.seen), (Reason::GrantEnded, Seen::Moment(Moment(950))), "the last");
    }
}
