//! `identity`: what the organisation's own records say of the person, and whether they are where they live.

use super::{affirmed, asks_nothing, only_known, texts};
use crate::evidence::{Employment, Evidence, Home, Identity, IdentityStatus};
use crate::latency::Kilometres;
use crate::policy::Reason;
use crate::policy::compile::role::EMPLOYMENTS;
use crate::policy::criterion::Judgement;
use crate::policy::diagnostic::Diagnostic;
use crate::policy::seen::Seen;
use crate::policy::source::Value;
use std::sync::Arc;

/// Everything named must hold; what the record does not say holds nothing.
#[derive(Debug)]
pub struct OnRecord {
    only_known: bool,
    status: Box<[IdentityStatus]>,
    employment: Option<Box<[Employment]>>,
    vendor: Option<Box<[Arc<str>]>>,
    proofed_within_ms: Option<u64>,
    country_is_home: bool,
    region_is_home: bool,
    at_home: Option<AtHome>,
}

/// How near to the home's coordinates the address has to be placed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum AtHome {
    /// Within the radius on record.
    AsRecorded,
    Within(Kilometres),
}

pub const STATUSES: [(&str, IdentityStatus); 3] = [
    ("active", IdentityStatus::Active),
    ("watched", IdentityStatus::Watched),
    ("suspended", IdentityStatus::Suspended),
];

/// How far ahead of the gateway's clock a record's may run.
const SKEW_MS: i64 = 60_000;

impl OnRecord {
    pub fn lower(value: Value<'_>) -> Option<Self> {
        let mut table = value.table()?;
        if table.keys().is_empty() {
            return asks_nothing(value, "identity = { known = true }");
        }
        let only_known = only_known(&table);
        table.optional("known", affirmed);
        let status = table.optional("status", |value| value.one_or_more(|status| status.one_of(&STATUSES)));
        let employment = table.optional("employment", |value| value.one_or_more(|kind| kind.one_of(&EMPLOYMENTS)));
        let on_record = Self {
            only_known,
            status: status.unwrap_or_else(|| vec![IdentityStatus::Active, IdentityStatus::Watched]).into(),
            employment: employment.map(Into::into),
            vendor: table.optional("vendor", texts),
            proofed_within_ms: table
                .optional("proofed-within", Value::positive_duration)
                .map(|within| u64::try_from(within.as_millis()).unwrap_or(u64::MAX)),
            country_is_home: table.or("country-is-home", false, affirmed),
            region_is_home: table.or("region-is-home", false, affirmed),
            at_home: table.optional("at-home", at_home),
        };
        table.finish();
        Some(on_record)
    }

    pub const fn only_known(&self) -> bool {
        self.only_known
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        Judgement::of(&evidence.identity, Reason::IdentityAbsent, |identity| {
            self.judge_status(identity)
                .and(|| self.judge_employment(identity))
                .and(|| self.judge_vendor(identity))
                .and(|| self.judge_proofing(identity, evidence))
                .and(|| self.judge_country(identity, evidence))
                .and(|| self.judge_region(identity, evidence))
                .and(|| self.judge_distance(identity, evidence))
        })
    }

    fn judge_status(&self, identity: &Identity) -> Judgement {
        if self.status.contains(&identity.status) {
            return Judgement::met(Reason::IdentityPresent, Seen::Text(Arc::clone(&identity.user)));
        }
        let word = STATUSES.iter().find(|(_, status)| *status == identity.status).map_or("", |(word, _)| word);
        Judgement::unmet(Reason::IdentityStatusOther, Seen::Word(word))
    }

    fn judge_employment(&self, identity: &Identity) -> Judgement {
        let Some(asked) = &self.employment else { return unasked() };
        let Some(has) = identity.employment else { return Judgement::unknown(Reason::EmploymentUnknown) };
        let word = EMPLOYMENTS.iter().find(|(_, kind)| *kind == has).map_or("", |(word, _)| word);
        match asked.contains(&has) {
            true => Judgement::met(Reason::IdentityPresent, Seen::Word(word)),
            false => Judgement::unmet(Reason::EmploymentOther, Seen::Word(word)),
        }
    }

    fn judge_vendor(&self, identity: &Identity) -> Judgement {
        let Some(asked) = &self.vendor else { return unasked() };
        let Some(vendor) = &identity.vendor else { return Judgement::unknown(Reason::VendorUnknown) };
        match asked.contains(vendor) {
            true => Judgement::met(Reason::IdentityPresent, Seen::Text(Arc::clone(vendor))),
            false => Judgement::unmet(Reason::VendorOther, Seen::Text(Arc::clone(vendor))),
        }
    }

    fn judge_proofing(&self, identity: &Identity, evidence: &Evidence) -> Judgement {
        let Some(within) = self.proofed_within_ms else { return unasked() };
        let Some(proofing) = &identity.proofing else { return Judgement::unknown(Reason::ProofingUnknown) };
        if proofing.at > evidence.at.plus_millis(SKEW_MS) {
            // a proofing in the future has no age
            return Judgement { seen: Seen::Moment(proofing.at), ..Judgement::unknown(Reason::ProofingUnknown) };
        }
        let age = evidence.at.since(proofing.at);
        match age <= within && proofing.until.is_none_or(|until| evidence.at < until) {
            true => Judgement::met(Reason::IdentityPresent, Seen::Age(age)),
            false => Judgement::unmet(Reason::ProofingTooOld, Seen::Age(age)),
        }
    }

    fn judge_country(&self, identity: &Identity, evidence: &Evidence) -> Judgement {
        if !self.country_is_home && !self.region_is_home {
            return unasked();
        }
        let Some(home) = &identity.home else { return Judgement::unknown(Reason::HomeUnknown) };
        Judgement::of(&evidence.network.place.country, Reason::CountryAbsent, |country| {
            at_home_if(*country == home.country, Seen::Text(Arc::clone(country)))
        })
    }

    fn judge_region(&self, identity: &Identity, evidence: &Evidence) -> Judgement {
        if !self.region_is_home {
            return unasked();
        }
        let Some(home) = identity.home.as_ref().and_then(|home| home.region.as_ref()) else {
            return Judgement::unknown(Reason::HomeUnknown);
        };
        Judgement::of(&evidence.network.place.region, Reason::RegionAbsent, |region| {
            at_home_if(region.eq_ignore_ascii_case(home), Seen::Text(Arc::clone(region)))
        })
    }

    fn judge_distance(&self, identity: &Identity, evidence: &Evidence) -> Judgement {
        let Some(asked) = self.at_home else { return unasked() };
        let Some((home, within)) =
            identity.home.as_ref().and_then(|home| Some((home.coordinates?, asked.within(home)?)))
        else {
            return Judgement::unknown(Reason::HomeUnknown);
        };
        Judgement::of(&evidence.network.place.coordinates, Reason::HomeUnknown, |place| {
            let distance = place.distance_to(home);
            match distance.partial_cmp(&within) {
                // no number: neither near nor far, and under `not` it would pass
                None => Judgement::unknown(Reason::HomeUnknown),
                Some(order) => at_home_if(order.is_le(), Seen::Kilometres(distance)),
            }
        })
    }
}

impl AtHome {
    fn within(self, home: &Home) -> Option<Kilometres> {
        match self {
            Self::AsRecorded => home.radius_km.map(Kilometres),
            Self::Within(distance) => Some(distance),
        }
    }
}

fn at_home(value: Value<'_>) -> Option<AtHome> {
    match value.is_boolean() {
        true if value.boolean()? => Some(AtHome::AsRecorded),
        true => {
            let fault = Diagnostic::error(value.place(), "`at-home` can only be `true` or a distance");
            let help = "write `at-home = \"150km\"`, or put the criterion under `not`";
            value.report(fault.label("this would ask for nothing").help(help));
            None
        }
        false => value.distance().map(AtHome::Within),
    }
}

const fn unasked() -> Judgement {
    Judgement::met(Reason::IdentityPresent, Seen::Nothing)
}

const fn at_home_if(there: bool, seen: Seen) -> Judgement {
    if there { Judgement::met(Reason::IdentityPresent, seen) } else { Judgement::unmet(Reason::AwayFromHome, seen) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use super::*;
    use crate::evidence::Fact;
    use crate::latency::Coordinates;
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};
    use crate::policy::given;

    #[test]
    fn status_and_employment() {
        for (that, given, expected) in [
            ("known = true", "identity = {}", (Met, "identity-present")),
            ("known = true", "user = 'ann'", (Unknown, "identity-absent")),
            ("known = true", "unavailable = ['identity']", (Unknown, "registry-unavailable")),
            ("known = true", "identity = { status = 'watched' }", (Met, "identity-present")),
            ("known = true", "identity = { status = 'suspended' }", (Unmet, "identity-status-other")),
            ("status = 'active'", "identity = { status = 'watched' }", (Unmet, "identity-status-other")),
            ("employment = ['employee', 'vendor']", "identity = { employment = 'vendor' }", (Met, "identity-present")),
            ("employment = 'employee'", "identity = { employment = 'contractor' }", (Unmet, "employment-other")),
            ("employment = 'employee'", "identity = {}", (Unknown, "employment-unknown")),
            ("vendor = 'acme'", "identity = { vendor = 'acme' }", (Met, "identity-present")),
            ("vendor = 'acme'", "identity = { vendor = 'other' }", (Unmet, "vendor-other")),
            ("vendor = 'acme'", "identity = {}", (Unknown, "vendor-unknown")),
        ] {
            assert_eq!(judge(&format!("{{ identity = {{ {that} }} }}"), given), expected, "{that}: {given}");
        }
    }

    #[test]
    fn proofing_ages_and_may_end_sooner() {
        let that = "{ identity = { proofed-within = '180d' } }";
        for (given, expected) in [
            ("proofed = '180d'", (Met, "identity-present")),
            ("proofed = '181d'", (Unmet, "proofing-too-old")),
            ("proofed = '10d', proofing-left = '1ms'", (Met, "identity-present")),
            ("proofed = '10d', proofing-left = '0s'", (Unmet, "proofing-too-old")),
            ("", (Unknown, "proofing-unknown")),
        ] {
            assert_eq!(judge(that, &format!("identity = {{ {given} }}")), expected, "{given}");
        }
    }

    #[test]
    fn home_by_country_by_region_and_by_distance() {
        let phoenix = "identity = { home = { country = 'US', region = 'AZ', coordinates = [33.4484, -112.0740], radius = '50km' } }";
        for (that, place, expected) in [
            ("country-is-home = true", "country = 'US'", (Met, "identity-present")),
            ("country-is-home = true", "country = 'CA'", (Unmet, "away-from-home")),
            ("country-is-home = true", "", (Unknown, "country-absent")),
            ("region-is-home = true", "country = 'US', region = 'AZ'", (Met, "identity-present")),
            ("region-is-home = true", "country = 'US', region = 'CO'", (Unmet, "away-from-home")),
            ("region-is-home = true", "country = 'CA', region = 'AZ'", (Unmet, "away-from-home")),
            ("region-is-home = true", "country = 'US'", (Unknown, "region-absent")),
            // Tucson lies some 170 km away.
            ("at-home = true", "coordinates = [33.5, -112.1]", (Met, "identity-present")),
            ("at-home = true", "coordinates = [32.2226, -110.9747]", (Unmet, "away-from-home")),
            ("at-home = '200km'", "coordinates = [32.2226, -110.9747]", (Met, "identity-present")),
            ("at-home = '150km'", "coordinates = [32.2226, -110.9747]", (Unmet, "away-from-home")),
            ("at-home = '150km'", "country = 'US'", (Unknown, "home-unknown")),
            ("at-home = '150km'", "unavailable = ['coordinates']", (Unknown, "database-missing")),
        ] {
            assert_eq!(
                judge(&format!("{{ identity = {{ {that} }} }}"), &format!("{phoenix}, {place}")),
                expected,
                "{that}: {place}"
            );
        }
        let bare = "identity = { home = { country = 'US' } }, coordinates = [33.5, -112.1]";
        for that in ["at-home = true", "at-home = '150km'", "region-is-home = true"] {
            let given = format!("{bare}, country = 'US', region = 'AZ'");
            assert_eq!(judge(&format!("{{ identity = {{ {that} }} }}"), &given), (Unknown, "home-unknown"), "{that}");
        }
        assert_eq!(judge("{ identity = { at-home = true } }", "identity = {}"), (Unknown, "home-unknown"));
    }

    #[test]
    fn what_is_no_number_is_neither_near_nor_far() {
        let mut evidence = given::nothing();
        let home = Home {
            country: "US".into(),
            region: None,
            coordinates: Some(Coordinates { latitude: 1.0, longitude: 1.0 }),
            radius_km: Some(f64::NAN),
        };
        let identity = Identity { home: Some(home), ..given::person("ann") };
        evidence.identity = Fact::Known(Arc::new(identity));
        Arc::make_mut(&mut evidence.network).place.coordinates =
            Fact::Known(Coordinates { latitude: f64::NAN, longitude: 1.0 });
        for at_home in [AtHome::AsRecorded, AtHome::Within(Kilometres(1.0))] {
            let asked = OnRecord {
                only_known: false,
                status: [IdentityStatus::Active].into(),
                employment: None,
                vendor: None,
                proofed_within_ms: None,
                country_is_home: false,
                region_is_home: false,
                at_home: Some(at_home),
            };
            assert_eq!(asked.judge(&evidence).verdict, Unknown);
        }
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(faults("{ identity = {} }"), "`identity` asks for nothing\n");
        assert_eq!(faults("{ identity = { at-home = false } }"), "`at-home` can only be `true` or a distance\n");
        assert_eq!(faults("{ identity = { at-home = '150' } }"), "`150` is not a distance\n");
        assert_eq!(faults("{ identity = { employment = 'intern' } }"), "`employment` cannot be `intern`\n");
        assert_eq!(faults("{ identity = { country-is-home = false } }"), "`country-is-home` can only be `true`\n");
        assert_eq!(faults("{ identity = { proofed = '1d' } }"), "unknown key `proofed`\n");
    }
}
