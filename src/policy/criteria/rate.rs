//! `rate`: so many requests in a while, counted by who asks, from which machine or from where.

use super::Names;
use crate::evidence::{Evidence, Quota, QuotaName};
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::decision::Remedy;
use crate::policy::seen::Seen;
use crate::policy::source::Value;
use std::time::Duration;

/// What a limit is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKey {
    Subject,
    Device,
    Address,
}

/// A limit that somebody has to count before the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The same across versions of a policy as long as the limit is the same; the baseline's are shared by all resources.
    pub name: QuotaName,
    pub limit: u32,
    pub period: Duration,
    pub by: LimitKey,
}

#[derive(Debug)]
pub struct Rate {
    pub limit: Limit,
}

const KEYS: [(&str, LimitKey); 3] =
    [("subject", LimitKey::Subject), ("device", LimitKey::Device), ("address", LimitKey::Address)];

impl Rate {
    pub fn lower(value: Value<'_>, names: Names<'_>) -> Option<Self> {
        let mut table = value.table()?;
        let limit = table.required("limit", |limit| limit.integer_in::<u32>(1..=1_000_000_000));
        let period = table.required("per", |per| {
            let period = per.positive_duration()?;
            match period.as_millis() {
                1..=604_800_000 => Some(period),
                _ => per.fault("`per` is out of range", "expected one millisecond to one week"),
            }
        });
        let by = table.required("by", |by| Some((by.one_of(&KEYS)?, by.text()?)));
        table.finish();
        let (limit, period, (by, key)) = (limit?, period?, by?);
        let name = format!("{}/{}/{limit}-per-{}ms-by-{key}", names.owner, names.requirement, period.as_millis());
        Some(Self { limit: Limit { name: name.into(), limit, period, by } })
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        Judgement::of(&evidence.quota(&self.limit.name), Reason::RateAbsent, |quota| match quota {
            Quota::Within => Judgement::met(Reason::RateWithin, Seen::Nothing),
            Quota::Exceeded { .. } => Judgement::unmet(Reason::RateExceeded, Seen::Nothing),
        })
    }

    pub fn remedy(&self, evidence: &Evidence) -> Remedy {
        match evidence.quota(&self.limit.name).known() {
            Some(Quota::Exceeded { retry_after_ms }) => Remedy::Retry { after_ms: *retry_after_ms },
            _ => Remedy::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};

    #[test]
    fn within_exceeded_or_uncounted() {
        let that = "{ rate = { limit = 60, per = '1m', by = 'subject' } }";
        assert_eq!(judge(that, "quota = 'within'"), (Met, "rate-within"));
        assert_eq!(judge(that, "quota = 'exceeded'"), (Unmet, "rate-exceeded"));
        assert_eq!(judge(that, ""), (Unknown, "rate-absent"));
        assert_eq!(judge(that, "unavailable = ['quota']"), (Unknown, "quota-table-full"));
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(faults("{ rate = { limit = 0, per = '0s', by = 'user' } }").lines().count(), 3);
        assert_eq!(faults("{ rate = { limit = 1, per = '8d', by = 'device' } }"), "`per` is out of range\n");
    }
}
