//! `region`: the part of a country the databases place the address in, as ISO 3166-2 has it: `US-AZ`.

use crate::evidence::Evidence;
use crate::policy::Reason;
use crate::policy::countries;
use crate::policy::criterion::Judgement;
use crate::policy::seen::Seen;
use crate::policy::source::Value;
use std::sync::Arc;

/// One of these: a country and a region in it.
#[derive(Debug)]
pub struct Regions(Box<[([u8; 2], Box<str>)]>);

impl Regions {
    pub fn lower(value: Value<'_>) -> Option<Self> {
        let regions = value.one_or_more(|region| {
            region.parsed("a region", "US-AZ", |text| match text.split_once('-') {
                Some((country, rest)) if !rest.trim().is_empty() => Ok((countries::parse(country)?, rest.into())),
                _ => Err("expected a country, a hyphen and a region, such as `US-AZ`".to_owned()),
            })
        })?;
        Some(Self(regions.into()))
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        let place = &evidence.network.place;
        Judgement::of(&place.country, Reason::CountryAbsent, |country| {
            if !self.0.iter().any(|(code, _)| code == country.as_bytes()) {
                // whatever the region, it is not one of these
                return Judgement::unmet(Reason::RegionOutside, Seen::Text(Arc::clone(country)));
            }
            Judgement::of(&place.region, Reason::RegionAbsent, |region| {
                let seen = Seen::Text(Arc::clone(region));
                let named = |(code, name): &([u8; 2], Box<str>)| {
                    code == country.as_bytes() && name.eq_ignore_ascii_case(region)
                };
                if self.0.iter().any(named) {
                    Judgement::met(Reason::RegionInside, seen)
                } else {
                    Judgement::unmet(Reason::RegionOutside, seen)
                }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};

    #[test]
    fn country_and_region_together() {
        let that = "{ region = ['US-AZ', 'CA-QC'] }";
        assert_eq!(judge(that, "country = 'US', region = 'AZ'"), (Met, "region-inside"));
        assert_eq!(judge(that, "country = 'US', region = 'QC'"), (Unmet, "region-outside"));
        assert_eq!(judge(that, "country = 'MX'"), (Unmet, "region-outside"));
        assert_eq!(judge(that, "country = 'US'"), (Unknown, "region-absent"));
        assert_eq!(judge(that, "region = 'AZ'"), (Unknown, "country-absent"));
    }

    #[test]
    fn a_region_names_its_country() {
        assert_eq!(faults("{ region = 'AZ' }"), "`AZ` is not a region\n");
        assert_eq!(faults("{ region = 'USA-AZ' }"), "`USA-AZ` is not a region\n");
    }
}
