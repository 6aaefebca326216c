//! `too-near = false`: the round trip does not prove the claimed place false.

use crate::evidence::Evidence;
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::seen::Seen;
use crate::policy::source::Value;

#[derive(Debug)]
pub struct NotTooNear;

impl NotTooNear {
    pub fn lower(value: Value<'_>) -> Option<Self> {
        match value.boolean()? {
            false => Some(Self),
            true => value.fault(
                "`too-near` can only be `false`",
                "write `false`: the round trip must not prove the place false",
            ),
        }
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        Judgement::of(&evidence.timing.nearness, Reason::PlaceUntested, |nearness| {
            let seen = Seen::Rtt(nearness.measured);
            if nearness.too_near {
                Judgement::unmet(Reason::TooNear, seen)
            } else {
                Judgement::met(Reason::PlacePossible, seen)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};

    #[test]
    fn proven_false_possible_or_untested() {
        let that = "{ too-near = false }";
        assert_eq!(judge(that, "too-near = true, rtt = '3ms'"), (Unmet, "too-near"));
        assert_eq!(judge(that, "too-near = false, rtt = '38ms'"), (Met, "place-possible"));
        assert_eq!(judge(that, "rtt = '38ms'"), (Unknown, "place-untested"));
        assert_eq!(judge(that, "unavailable = ['too-near']"), (Unknown, "insufficient"));
    }

    #[test]
    fn its_opposite_is_refused() {
        assert_eq!(faults("{ too-near = true }"), "`too-near` can only be `false`\n");
    }
}
