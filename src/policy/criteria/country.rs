//! `country`: where the databases place the address. A claim, not a measurement.

use crate::evidence::Evidence;
use crate::policy::Reason;
use crate::policy::countries;
use crate::policy::criterion::Judgement;
use crate::policy::seen::Seen;
use crate::policy::source::Value;
use std::sync::Arc;

/// One of these countries, ISO 3166-1 alpha-2.
#[derive(Debug)]
pub struct Countries(Box<[[u8; 2]]>);

impl Countries {
    pub fn lower(value: Value<'_>) -> Option<Self> {
        Some(Self(value.one_or_more(countries::lower)?.into()))
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        Judgement::of(&evidence.network.place.country, Reason::CountryAbsent, |country| {
            let seen = Seen::Text(Arc::clone(country));
            if self.holds(country) {
                Judgement::met(Reason::CountryInside, seen)
            } else {
                Judgement::unmet(Reason::CountryOutside, seen)
            }
        })
    }

    pub fn holds(&self, country: &str) -> bool {
        self.0.iter().any(|code| code == country.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};

    #[test]
    fn one_of_the_countries() {
        let that = "{ country = ['US', 'CA'] }";
        assert_eq!(judge(that, "country = 'CA'"), (Met, "country-inside"));
        assert_eq!(judge(that, "country = 'MX'"), (Unmet, "country-outside"));
        assert_eq!(judge(that, ""), (Unknown, "country-absent"));
        assert_eq!(judge(that, "unavailable = ['country']"), (Unknown, "database-missing"));
    }

    #[test]
    fn only_countries_that_exist() {
        assert_eq!(faults("{ country = ['USA', 'UK', 'us'] }").lines().count(), 3);
    }
}
