//! `memory-age`: how long ago what the gateway remembers (devices, identities, grants) was last known to be current.

use crate::evidence::Evidence;
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::seen::Seen;
use crate::policy::source::Value;

#[derive(Debug)]
pub struct MemoryAge {
    below_ms: u64,
}

impl MemoryAge {
    pub fn lower(value: Value<'_>) -> Option<Self> {
        let mut table = value.table()?;
        let below = table.required("below", Value::positive_duration);
        table.finish();
        Some(Self { below_ms: u64::try_from(below?.as_millis()).unwrap_or(u64::MAX) })
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        Judgement::of(&evidence.memory_age, Reason::MemoryAbsent, |age| {
            if *age < self.below_ms {
                Judgement::met(Reason::MemoryFresh, Seen::Age(*age))
            } else {
                Judgement::unmet(Reason::MemoryStale, Seen::Age(*age))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};

    #[test]
    fn fresh_stale_or_nothing_kept() {
        let that = "{ memory-age = { below = '5m' } }";
        assert_eq!(judge(that, "memory-age = '4m 59s'"), (Met, "memory-fresh"));
        assert_eq!(judge(that, "memory-age = '5m'"), (Unmet, "memory-stale"));
        assert_eq!(judge(that, ""), (Unknown, "memory-absent"));
        assert_eq!(judge(that, "unavailable = ['memory-age']"), (Unknown, "registry-unavailable"));
        assert_eq!(faults("{ memory-age = {} }"), "`below` is missing\n");
    }
}
