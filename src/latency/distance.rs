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
    /// None for what is no place on Earth: not a number, or beyond 90° north or south or 180° east or west.
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let real = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
        real.then_some(Self { latitude, longitude })
    }

    /// Distance along the surface by the haversine formula; within 0.6 % of the ellipsoid.
    pub fn distance_to(self, other: Self) -> Kilometres {
        let (lat1, lat2) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_lat = (lat2 - lat1) / 2.0;
        let half_lon = (other.longitude - self.longitude).to_radians() / 2.0;
        let h = half_lat.sin().powi(2) + lat1.cos() * lat2.cos() * half_lon.sin().powi(2);
        Kilometres(2.0 * EARTH_RADIUS_KM * h.clamp(0.0, 1.0).sqrt().asin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PHOENIX: Coordinates = Coordinates { latitude: 33.4484, longitude: -112.0740 };
    const DENVER: Coordinates = Coordinates { latitude: 39.7392, longitude: -104.9903 };
    const HONOLULU: Coordinates = Coordinates { latitude: 21.3069, longitude: -157.8583 };
    const DANDONG: Coordinates = Coordinates { latitude: 40.1290, longitude: 124.3947 };
    const LONDON: Coordinates = Coordinates { latitude: 51.5074, longitude: -0.1278 };
    const SYDNEY: Coordinates = Coordinates { latitude: -33.8688, longitude: 151.2093 };

    #[test]
    fn known_pairs_of_cities() {
        for (from, to, km) in [
            (PHOENIX, DENVER, 943.0),
            (PHOENIX, HONOLULU, 4_690.0),
            (PHOENIX, DANDONG, 10_090.0),
            (LONDON, SYDNEY, 16_994.0),
        ] {
            let got = from.distance_to(to);
            assert!((got.0 - km).abs() < km * 0.01, "expected {km} km, got {got}");
        }
    }

    #[test]
    fn the_antipode_is_half_way_round() {
        let here = Coordinates { latitude: 10.0, longitude: 20.0 };
        let there = Coordinates { latitude: -10.0, longitude: -160.0 };
        assert!((here.distance_to(there).0 - std::f64::consts::PI * EARTH_RADIUS_KM).abs() < 1.0);
    }

    #[test]
    fn no_place_on_earth() {
        for (latitude, longitude) in
            [(f64::NAN, 0.0), (0.0, f64::NAN), (90.1, 0.0), (0.0, -180.1), (f64::INFINITY, 0.0)]
        {
            assert_eq!(Coordinates::new(latitude, longitude), None);
        }
        assert!(Coordinates::new(-90.0, 180.0).is_some());
    }

    prop_compose! {
        fn anywhere()(latitude in -90.0..=90.0_f64, longitude in -180.0..=180.0_f64) -> Coordinates {
            Coordinates { latitude, longitude }
        }
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_bounded(a in anywhere(), b in anywhere()) {
            let (there, back) = (a.distance_to(b).0, b.distance_to(a).0);
            prop_assert!((there - back).abs() < 1e-6);
            prop_assert!((0.0..=20_016.0).contains(&there));
            prop_assert!(a.distance_to(a).0 < 1e-6);
        }

        #[test]
        fn no_detour_is_shorter(a in anywhere(), b in anywhere(), c in anywhere()) {
            prop_assert!(a.distance_to(c).0 <= a.distance_to(b).0 + b.distance_to(c).0 + 1e-6);
        }
    }
}
