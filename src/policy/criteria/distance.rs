//! `distance`: how far the claimed place is from the gateway.

use crate::evidence::Evidence;
use crate::latency::Kilometres;
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::seen::Seen;
use crate::policy::source::Value;

#[derive(Debug)]
pub struct Distance {
    below: Kilometres,
}

impl Distance {
    pub fn lower(value: Value<'_>) -> Option<Self> {
        let mut table = value.table()?;
        let below = table.required("below", Value::distance);
        table.finish();
        Some(Self { below: below? })
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        Judgement::of(&evidence.timing.distance, Reason::DistanceAbsent, |distance| {
            if distance.0.is_nan() {
                // neither below nor above: under `not` it would pass
                Judgement::unknown(Reason::DistanceAbsent)
            } else if *distance < self.below {
                Judgement::met(Reason::DistanceBelow, Seen::Kilometres(*distance))
            } else {
                Judgement::unmet(Reason::DistanceAbove, Seen::Kilometres(*distance))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use super::*;
    use crate::evidence::Fact;
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};
    use crate::policy::given;

    #[test]
    fn below_and_not_at() {
        let that = "{ distance = { below = '150km' } }";
        assert_eq!(judge(that, "distance = '149.9km'"), (Met, "distance-below"));
        assert_eq!(judge(that, "distance = '150km'"), (Unmet, "distance-above"));
        assert_eq!(judge(that, ""), (Unknown, "distance-absent"));
        assert_eq!(judge(that, "unavailable = ['distance']"), (Unknown, "gateway-unplaced"));
    }

    #[test]
    fn what_is_no_number_is_not_known() {
        let mut evidence = given::nothing();
        evidence.timing.distance = Fact::Known(Kilometres(f64::NAN));
        assert_eq!(Distance { below: Kilometres(150.0) }.judge(&evidence).verdict, Unknown);
    }

    #[test]
    fn a_distance_has_a_unit() {
        assert_eq!(faults("{ distance = { below = '150' } }"), "`150` is not a distance\n");
        assert_eq!(faults("{ distance = {} }"), "`below` is missing\n");
    }
}
