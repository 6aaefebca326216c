//! `grant`: a named, expiring privilege is held at this moment.

use super::Names;
use crate::evidence::Evidence;
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
            let held = || grants.iter().filter(|grant| grant.role == self.role);
            match held().map(|grant| grant.expires).max() {
                Some(expires) if expires > evidence.at => {
                    Judgement::met(Reason::GrantHeld, Seen::Text(Arc::clone(&self.role)))
                }
                Some(expires) => Judgement::unmet(Reason::GrantExpired, Seen::Moment(expires)),
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

    #[test]
    fn a_grant_ends_when_it_expires() {
        let mut evidence = given::nothing();
        let grant = Grant { role: "approver".into() };
        for (expires, reason) in [(1001, Reason::GrantHeld), (1000, Reason::GrantExpired)] {
            evidence.at = Moment(1000);
            let held = crate::evidence::Grant { role: "approver".into(), expires: Moment(expires) };
            evidence.grants = Fact::Known([held].into());
            assert_eq!(grant.judge(&evidence).reason, reason);
        }
    }
}
