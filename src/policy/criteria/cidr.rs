//! `cidr`: the client's address itself.

use crate::evidence::Evidence;
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::seen::Seen;
use crate::policy::source::Value;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;

/// One of these prefixes. Disjoint and sorted, so that asking takes a search and not a walk.
#[derive(Debug)]
pub struct Cidr {
    v4: Box<[Ipv4Net]>,
    v6: Box<[Ipv6Net]>,
}

impl Cidr {
    pub fn lower(value: Value<'_>) -> Option<Self> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in value.one_or_more(Value::network)? {
            match network {
                IpNet::V4(network) => v4.push(network),
                IpNet::V6(network) => v6.push(network),
            }
        }
        let (mut v4, mut v6) = (Ipv4Net::aggregate(&v4), Ipv6Net::aggregate(&v6));
        v4.sort_unstable();
        v6.sort_unstable();
        Some(Self { v4: v4.into(), v6: v6.into() })
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        Judgement::of(&evidence.network.address, Reason::AddressAbsent, |address| {
            if self.holds(*address) {
                Judgement::met(Reason::AddressInside, Seen::Address(*address))
            } else {
                Judgement::unmet(Reason::AddressOutside, Seen::Address(*address))
            }
        })
    }

    pub fn holds(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                let after = self.v4.partition_point(|network| network.network() <= address);
                after
                    .checked_sub(1)
                    .and_then(|last| self.v4.get(last))
                    .is_some_and(|network| network.contains(&address))
            }
            IpAddr::V6(address) => {
                let after = self.v6.partition_point(|network| network.network() <= address);
                after
                    .checked_sub(1)
                    .and_then(|last| self.v6.get(last))
                    .is_some_and(|network| network.contains(&address))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};

    #[test]
    fn one_of_the_prefixes() {
        let that = "{ cidr = ['198.51.100.0/25', '192.0.2.0/24', '192.0.2.128/25', '2001:db8::/32', '203.0.113.9'] }";
        for (address, expected) in [
            ("192.0.2.200", (Met, "address-inside")),
            ("198.51.100.1", (Met, "address-inside")),
            ("198.51.100.200", (Unmet, "address-outside")),
            ("203.0.113.9", (Met, "address-inside")),
            ("203.0.113.10", (Unmet, "address-outside")),
            ("2001:db8::1", (Met, "address-inside")),
            ("::1", (Unmet, "address-outside")),
            ("0.0.0.0", (Unmet, "address-outside")),
        ] {
            assert_eq!(judge(that, &format!("address = '{address}'")), expected, "{address}");
        }
        assert_eq!(judge(that, ""), (Unknown, "address-absent"));
    }

    #[test]
    fn only_whole_prefixes() {
        assert_eq!(faults("{ cidr = ['10.1.2.3/8', 'ten'] }").lines().count(), 2);
    }
}
