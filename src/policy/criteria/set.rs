//! `set`: networks and countries under a name of the policy's own, `[set.office]`.

use super::Names;
use super::asn::Asns;
use super::cidr::Cidr;
use super::country::Countries;
use crate::evidence::Evidence;
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::diagnostic::Diagnostic;
use crate::policy::seen::Seen;
use crate::policy::source::Value;
use std::sync::Arc;

/// A named set. The address is in it when any member says so.
#[derive(Debug, Default)]
pub struct Set {
    name: Arc<str>,
    cidr: Option<Cidr>,
    asn: Option<Asns>,
    country: Option<Countries>,
}

impl Set {
    pub fn lower(name: &str, value: Value<'_>) -> Option<Self> {
        let mut table = value.table()?;
        if table.keys().is_empty() {
            let fault =
                Diagnostic::error(value.place(), format!("the set `{name}` holds nothing")).label("an empty table");
            value.report(fault.help("give it a `cidr`, `asn` or `country`"));
            return None;
        }
        let set = Self {
            name: name.into(),
            cidr: table.optional("cidr", Cidr::lower),
            asn: table.optional("asn", Asns::lower),
            country: table.optional("country", Countries::lower),
        };
        table.finish();
        Some(set)
    }

    fn judge(&self, evidence: &Evidence) -> Judgement {
        let network = &evidence.network;
        let judged = |inside: bool, seen: Seen| match inside {
            true => Judgement::met(Reason::SetInside, Seen::Text(Arc::clone(&self.name))),
            false => Judgement::unmet(Reason::SetOutside, seen),
        };
        let cidr = self.cidr.iter().map(|cidr| {
            Judgement::of(&network.address, Reason::SetUnknown, |ip| judged(cidr.holds(*ip), Seen::Address(*ip)))
        });
        let asn = self.asn.iter().map(|asns| {
            Judgement::of(&network.asn, Reason::SetUnknown, |asn| judged(asns.holds(asn.number), Seen::Asn(asn.number)))
        });
        let country = self.country.iter().map(|countries| {
            Judgement::of(&network.place.country, Reason::SetUnknown, |country| {
                judged(countries.holds(country), Seen::Text(Arc::clone(country)))
            })
        });
        any(cidr.chain(asn).chain(country))
    }
}

/// In one of these sets.
#[derive(Debug)]
pub struct Sets(Box<[Arc<Set>]>);

impl Sets {
    pub fn lower(value: Value<'_>, names: Names<'_>) -> Option<Self> {
        let sets = value.one_or_more(|name| {
            let text = name.name()?;
            let set = names.sets.get(text);
            if set.is_none() {
                let fault = Diagnostic::error(name.place(), format!("no set is called `{text}`"));
                let fault = fault.label("not defined in any file");
                name.report(match crate::policy::diagnostic::nearest(text, names.sets.keys().map(String::as_str)) {
                    Some(near) => fault.suggest(name.place(), format!("\"{near}\"")),
                    None => fault.help(format!("define it: `[set.{text}]`")),
                });
            }
            set.map(Arc::clone)
        })?;
        Some(Self(sets.into()))
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        any(self.0.iter().map(|set| set.judge(evidence)))
    }
}

fn any(judgements: impl Iterator<Item = Judgement>) -> Judgement {
    judgements.reduce(|one, other| one.or(|| other)).unwrap_or(Judgement::unknown(Reason::SetUnknown))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};

    #[test]
    fn any_member_is_enough() {
        let that = "{ set = 'office' }";
        assert_eq!(judge(that, "address = '192.0.2.1'"), (Met, "set-inside"));
        assert_eq!(judge(that, "asn = 64500"), (Met, "set-inside"));
        assert_eq!(judge(that, "country = 'CH'"), (Met, "set-inside"));
        assert_eq!(judge(that, "address = '198.51.100.1', asn = 1, country = 'FR'"), (Unmet, "set-outside"));
        assert_eq!(judge(that, "address = '198.51.100.1', country = 'FR'"), (Unknown, "set-unknown"));
    }

    #[test]
    fn only_sets_that_are_defined() {
        assert_eq!(faults("{ set = ['nowhere'] }"), "no set is called `nowhere`\n");
    }
}
