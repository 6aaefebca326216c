//! Great-circle distance between two places.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Degrees, WGS 84; north and east are positive.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coordinates {
    pub latitude: f64,
    pub longitude: f64,
}

/// A distance in kilometres.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kilometres(pub f64);

impl fmt::Display for Kilometres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} km", self.0)
    }
}

/// Mean Earth radius (IUGG), km.
const EARTH_RADIUS_KM: f64 = 6371.0088;

impl Coordinates {
    /// Distance along the surface by the haversine formula; within 0.6 % of the ellipsoid.
    pub fn distance_to(self, other: Self) -> Kilometres {
        let (lat1, lat2) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_lat = (lat2 - lat1) / 2.0;
        let half_lon = (other.longitude - self.longitude).to_radians() / 2.0;
        let h = half_lat.sin().powi(2) + lat1.cos() * lat2.cos() * half_lon.sin().powi(2);
        Kilometres(2.0 * EARTH_RADIUS_KM * h.clamp(0.0, 1.0).sqrt().asin())
    }
}
