//! `asn`: which network announces the address to the internet.

use crate::evidence::Evidence;
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::seen::Seen;
use crate::policy::source::Value;

/// One of these autonomous systems; sorted.
#[derive(Debug)]
pub struct Asns(Box<[u32]>);

impl Asns {
    /// Numbers, or texts like `AS64500`.
    pub fn lower(value: Value<'_>) -> Option<Self> {
        let mut numbers = value.one_or_more(|number| match number.is_text() {
            true => number.parsed("a network number", "AS64500", |text| {
                let digits = text.strip_prefix("AS").unwrap_or(text);
                digits
                    .parse::<u32>()
                    .ok()
                    .filter(|number| *number > 0)
                    .ok_or_else(|| "expected one such as `AS64500`".to_owned())
            }),
            false => number.integer_in::<u32>(1..=i64::from(u32::MAX)),
        })?;
        numbers.sort_unstable();
        Some(Self(numbers.into()))
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        Judgement::of(&evidence.network.asn, Reason::AsnAbsent, |asn| {
            let seen = Seen::Asn(asn.number);
            if self.holds(asn.number) {
                Judgement::met(Reason::AsnInside, seen)
            } else {
                Judgement::unmet(Reason::AsnOutside, seen)
            }
        })
    }

    pub fn holds(&self, number: u32) -> bool {
        self.0.binary_search(&number).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};

    #[test]
    fn one_of_the_networks() {
        let that = "{ asn = [64501, 'AS64500'] }";
        assert_eq!(judge(that, "asn = 64500"), (Met, "asn-inside"));
        assert_eq!(judge(that, "asn = 64502"), (Unmet, "asn-outside"));
        assert_eq!(judge(that, ""), (Unknown, "asn-absent"));
    }

    #[test]
    fn numbers_within_range() {
        assert_eq!(faults("{ asn = [0, 4294967296, 'ASX'] }").lines().count(), 3);
    }
}
