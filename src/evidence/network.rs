//! Where the packets come from, by address.

use super::{Fact, Moment};
use crate::latency::Coordinates;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// How the client's address was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// The TCP peer itself.
    Direct,
    /// PROXY protocol from a listed balancer.
    ProxyProtocol,
    /// `X-Forwarded-For` or `Forwarded` from a listed forwarder.
    Forwarder,
}

/// An autonomous system: the network that announces the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asn {
    pub number: u32,
    /// Empty when the database names none.
    pub organisation: Arc<str>,
}

/// What a geography database says of the address. GeoIP is a claim, not a measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// ISO 3166-1 alpha-2, upper case.
    pub country: Fact<Arc<str>>,
    /// ISO 3166-2 without the country prefix where the database has it, else the region's name.
    pub region: Fact<Arc<str>>,
    pub city: Fact<Arc<str>>,
    pub coordinates: Fact<Coordinates>,
    /// When the database was built.
    pub built: Fact<Moment>,
}

/// What is known of the client's address. The same for a whole connection until a database changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Canonical: never an IPv4-mapped IPv6 address.
    pub address: Fact<IpAddr>,
    /// The TCP peer.
    pub peer: IpAddr,
    pub via: Via,
    pub place: Place,
    pub asn: Fact<Asn>,
    /// For each configured list (`hosting`, `anonymous`): is the address or its ASN on it? Sorted by name.
    #[serde(with = "super::named")]
    pub lists: Vec<(Arc<str>, Fact<bool>)>,
}

impl Network {
    /// Whether the address is on the list `name`; `Unavailable` for a list nobody configured.
    pub fn on_list(&self, name: &str) -> Fact<bool> {
        self.lists
            .iter()
            .find(|(known, _)| &**known == name)
            .map_or(Fact::Unavailable(super::Fault::ListUnavailable), |(_, fact)| fact.clone())
    }
}
