//! When and from where a device was seen.

use crate::evidence::Moment;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// One connection of a device, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sighting {
    pub at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// For people: `Phoenix, AZ, US`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Arc<str>>,
    /// For people: `AS7922 Comcast`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Arc<str>>,
    /// Least round trip to its TLS endpoint, or else to its TCP peer, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip: Option<u32>,
}

/// The first and the last time a device was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Seen {
    pub device: Arc<str>,
    pub first: Sighting,
    pub last: Sighting,
}
