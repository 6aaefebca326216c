//! Place and autonomous system of an address, from MaxMind-format databases.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub struct GeoSettings {
    /// Country or city databases, tried in order; one may hold IPv4 and another IPv6.
    pub places: Vec<PathBuf>,
    /// ASN databases, tried in order.
    pub asns: Vec<PathBuf>,
    /// Beyond this age a database's answers are `Unavailable`. None: any age will do.
    pub max_age: Option<Duration>,
}
