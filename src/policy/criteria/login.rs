//! `login`: who signed in, where, how strongly, and how long ago.

use super::{affirmed, asks_nothing, only_known, texts};
use crate::evidence::{Evidence, Subject};
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::decision::Remedy;
use crate::policy::seen::Seen;
use crate::policy::source::Value;
use std::sync::Arc;

/// Everything named must hold; each list asks for one of its items.
#[derive(Debug)]
pub struct Login {
    only_known: bool,
    issuer: Option<Box<[Arc<str>]>>,
    user: Option<Box<[Arc<str>]>>,
    group: Option<Box<[Arc<str>]>>,
    with: Option<Box<[Arc<str>]>>,
    within_ms: Option<u64>,
    bound: bool,
}

/// How far ahead of the gateway's clock an issuer's may run.
const SKEW_MS: i64 = 60_000;

impl Login {
    pub fn lower(value: Value<'_>) -> Option<Self> {
        let mut table = value.table()?;
        if table.keys().is_empty() {
            return asks_nothing(value, "login = { known = true }");
        }
        let only_known = only_known(&table);
        table.optional("known", affirmed);
        let login = Self {
            only_known,
            issuer: table.optional("issuer", texts),
            user: table.optional("user", texts),
            group: table.optional("group", texts),
            with: table.optional("with", texts),
            within_ms: table
                .optional("within", Value::positive_duration)
                .map(|within| u64::try_from(within.as_millis()).unwrap_or(u64::MAX)),
            bound: table.or("bound", false, affirmed),
        };
        table.finish();
        Some(login)
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        Judgement::of(&evidence.subject, Reason::LoginAbsent, |subject| {
            let user = || Seen::Text(Arc::clone(&subject.user));
            let one_of = |asked: &Option<Box<[Arc<str>]>>, has: &dyn Fn(&Arc<str>) -> bool, other: Reason| match asked {
                Some(asked) if !asked.iter().any(has) => Some(Judgement::unmet(other, user())),
                _ => None,
            };
            one_of(&self.issuer, &|issuer| *issuer == subject.issuer, Reason::IssuerOther)
                .or_else(|| one_of(&self.user, &|name| *name == subject.user, Reason::UserOther))
                .or_else(|| one_of(&self.group, &|group| subject.groups.contains(group), Reason::GroupMissing))
                .or_else(|| one_of(&self.with, &|with| subject.assurance.contains(with), Reason::AssuranceMissing))
                .unwrap_or_else(|| Judgement::met(Reason::LoginPresent, user()))
                .and(|| self.judge_age(subject, evidence))
                .and(|| self.judge_bound(subject, evidence))
        })
    }

    pub const fn only_known(&self) -> bool {
        self.only_known
    }

    pub fn remedy(&self) -> Remedy {
        Remedy::Login {
            with: self.with.as_deref().and_then(|with| with.first()).map(Arc::clone),
            within_seconds: self.within_ms.map(|within| within / 1000),
        }
    }

    fn judge_age(&self, subject: &Subject, evidence: &Evidence) -> Judgement {
        let Some(within) = self.within_ms else { return Judgement::met(Reason::LoginPresent, Seen::Nothing) };
        match subject.authenticated {
            Some(authenticated) if authenticated <= evidence.at.plus_millis(SKEW_MS) => {
                let age = evidence.at.since(authenticated);
                if age <= within {
                    Judgement::met(Reason::LoginPresent, Seen::Age(age))
                } else {
                    Judgement::unmet(Reason::LoginTooOld, Seen::Age(age))
                }
            }
            // a login in the future has no age
            Some(authenticated) => {
                Judgement { seen: Seen::Moment(authenticated), ..Judgement::unknown(Reason::LoginTimeUnknown) }
            }
            None => Judgement::unknown(Reason::LoginTimeUnknown),
        }
    }

    fn judge_bound(&self, subject: &Subject, evidence: &Evidence) -> Judgement {
        if !self.bound {
            return Judgement::met(Reason::LoginPresent, Seen::Nothing);
        }
        let Some(bound_to) = &subject.bound_to else { return Judgement::unmet(Reason::TokenUnbound, Seen::Nothing) };
        Judgement::of(&evidence.certificate, Reason::CertificateAbsent, |certificate| {
            if certificate.sha256 == *bound_to {
                Judgement::met(Reason::LoginPresent, Seen::Nothing)
            } else {
                Judgement::unmet(Reason::TokenElsewhere, Seen::Nothing)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};

    #[test]
    fn everything_named_must_hold() {
        let that = "{ login = { issuer = 'https://id', group = ['a', 'b'], with = 'passkey', within = '10m' } }";
        let good = "user = 'ann', issuer = 'https://id', groups = ['b'], with = ['passkey']";
        for (given, expected) in [
            (format!("{good}, login-age = '10m'"), (Met, "login-present")),
            (format!("{good}, login-age = '11m'"), (Unmet, "login-too-old")),
            (good.to_owned(), (Unknown, "login-time-unknown")),
            (good.replace("https", "http"), (Unmet, "issuer-other")),
            (good.replace("['b']", "['c']"), (Unmet, "group-missing")),
            (good.replace("passkey", "otp"), (Unmet, "assurance-missing")),
            (String::new(), (Unknown, "login-absent")),
            ("unavailable = ['login']".to_owned(), (Unknown, "keys-unavailable")),
        ] {
            assert_eq!(judge(that, &given), expected, "{given}");
        }
    }

    #[test]
    fn an_unmet_part_speaks_before_an_unknown_one() {
        let that = "{ login = { within = '10m', bound = true } }";
        assert_eq!(judge(that, "user = 'ann'"), (Unmet, "token-unbound"));
    }

    #[test]
    fn a_bound_token_belongs_to_this_certificate() {
        let that = "{ login = { bound = true } }";
        assert_eq!(judge(that, "user = 'ann', device = 'd', bound = true"), (Met, "login-present"));
        assert_eq!(
            judge(that, "user = 'ann', device = 'd', bound = 'another-certificate'"),
            (Unmet, "token-elsewhere")
        );
        assert_eq!(judge(that, "user = 'ann', device = 'd', bound = 'device-only'"), (Unmet, "token-unbound"));
    }

    #[test]
    fn nothing_asked_is_a_fault() {
        assert_eq!(faults("{ login = {} }"), "`login` asks for nothing\n");
        assert_eq!(faults("{ login = { known = false } }"), "`known` can only be `true`\n");
        assert_eq!(faults("{ login = { group = [] } }"), "`group` is empty\n");
    }
}
