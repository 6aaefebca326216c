//! What a round trip says about a claimed place: *too near* is proof, *too far* is only evidence.
//!
//! Noise is one-sided: queues, radios and busy machines add delay, nothing removes it. So a round trip below the
//! floor proves the claim false however it was measured, while one above the expectation only makes it less likely.

use super::{Kilometres, Rtt};

/// Light in fibre covers at most 200 km in a millisecond, so a round trip covers at most 100 km of path.
const ROUND_TRIP_KM_PER_MS: f64 = 100.0;

/// No two places are further apart than half the equator (WGS 84), km.
const HALF_WAY_ROUND_KM: f64 = 20_037.5;

/// The least round trip that physics allows over `distance` less `tolerance`: one millisecond per 100 km.
///
/// Never more than physics allows: rounded down to whole microseconds, and zero (which proves nothing) when either
/// number is not a number or the tolerance covers the distance. Of 59,887 measured pairs of servers 148 lie below
/// the floor, 137 of them on two hosts that are not where they are said to be.
pub fn floor(distance: Kilometres, tolerance: Kilometres) -> Rtt {
    if distance.0.is_nan() || tolerance.0.is_nan() {
        return Rtt::from_micros(0);
    }
    let sure = distance.0.min(HALF_WAY_ROUND_KM) - tolerance.0.max(0.0);
    Rtt::from_micros(micros(sure / ROUND_TRIP_KM_PER_MS))
}

/// Whether the answer came back sooner than `floor` allows: then the claimed place is false.
pub fn too_near(measured: Rtt, floor: Rtt) -> bool {
    measured < floor
}

/// The round trip one expects over a distance: a base for the last mile and detours, and a part per kilometre.
///
/// Fitted to minimum round trips between servers. Home lines add to it: the minimum's median and 95th percentile
/// are 7 and 23 ms on fibre, 12 and 30 on cable, 24 and 53 on DSL (all in the US).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    base_ms: f64,
    ms_per_km: f64,
}

impl Line {
    /// Both ends in the United States. Residuals: 95 % below +20 ms, 99 % below +37, 99.9 % below +64.
    pub const UNITED_STATES: Self = Self { base_ms: 15.6, ms_per_km: 0.0144 };

    /// Anywhere. Residuals: 95 % below +99 ms, so an excess under 100 ms says little.
    pub const WORLD: Self = Self { base_ms: 25.4, ms_per_km: 0.0171 };

    /// The line for two ISO 3166-1 countries; `None` is a country that is not known.
    pub fn between(gateway: Option<&str>, client: Option<&str>) -> Self {
        match (gateway, client) {
            (Some("US"), Some("US")) => Self::UNITED_STATES,
            _ => Self::WORLD,
        }
    }

    /// What is not a distance (negative, not a number) counts as none.
    pub fn expected(self, distance: Kilometres) -> Rtt {
        let km = distance.0.clamp(0.0, HALF_WAY_ROUND_KM);
        let km = if km.is_nan() { 0.0 } else { km };
        Rtt::from_micros(micros(self.base_ms + self.ms_per_km * km))
    }

    /// How much `measured` exceeds what is expected; zero when it does not.
    pub fn excess(self, measured: Rtt, distance: Kilometres) -> Rtt {
        measured.saturating_sub(self.expected(distance))
    }
}

/// Whole microseconds, rounded down and held to what an `Rtt` can carry; zero for what is not a number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` from float saturates, NaN becomes 0")]
fn micros(ms: f64) -> u32 {
    (ms * 1000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Coordinates;
    use proptest::prelude::*;

    const NO_TOLERANCE: Kilometres = Kilometres(0.0);

    #[test]
    fn a_server_listed_in_honduras_cannot_answer_new_jersey_in_under_four_milliseconds() {
        let (new_jersey, la_ceiba) =
            (Coordinates { latitude: 40.74, longitude: -74.17 }, Coordinates { latitude: 15.77, longitude: -86.79 });
        let distance = new_jersey.distance_to(la_ceiba);
        let least = floor(distance, NO_TOLERANCE);
        assert!((29.0..32.0).contains(&least.as_millis_f64()), "{distance} needs {least}");
        assert!(too_near(Rtt::from_micros(3_700), least));
        assert!(too_near(Rtt::from_micros(3_700), floor(distance, Kilometres(500.0))));
        assert!(!too_near(Rtt::from_millis(45), least));
    }

    #[test]
    fn the_floor_is_a_millisecond_per_hundred_kilometres_less_the_tolerance() {
        assert_eq!(floor(Kilometres(3_040.0), NO_TOLERANCE), Rtt::from_micros(30_400));
        assert_eq!(floor(Kilometres(3_040.0), Kilometres(500.0)), Rtt::from_micros(25_400));
        assert_eq!(floor(Kilometres(300.0), Kilometres(500.0)), Rtt::from_micros(0));
    }

    #[test]
    fn what_is_no_number_proves_nothing() {
        let nothing = Rtt::from_micros(0);
        for odd in [f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(floor(Kilometres(odd), NO_TOLERANCE), nothing);
        }
        assert_eq!(floor(Kilometres(5_000.0), Kilometres(f64::NAN)), nothing);
        assert_eq!(floor(Kilometres(5_000.0), Kilometres(f64::INFINITY)), nothing);
        assert!(!too_near(nothing, nothing));
        // further than the Earth is wide: no more than half way round
        assert_eq!(floor(Kilometres(f64::INFINITY), NO_TOLERANCE), Rtt::from_micros(200_375));
    }

    #[test]
    fn expectations_follow_the_fitted_lines() {
        let coast_to_coast = Kilometres(4_000.0);
        assert_eq!(Line::UNITED_STATES.expected(coast_to_coast), Rtt::from_micros(73_200));
        assert_eq!(Line::WORLD.expected(coast_to_coast), Rtt::from_micros(93_800));
        assert_eq!(Line::WORLD.expected(Kilometres(f64::NAN)), Rtt::from_micros(25_400));
        assert_eq!(Line::UNITED_STATES.excess(Rtt::from_micros(90_000), coast_to_coast), Rtt::from_micros(16_800));
        assert_eq!(Line::UNITED_STATES.excess(Rtt::from_millis(10), coast_to_coast), Rtt::from_micros(0));
    }

    #[test]
    fn the_american_line_needs_both_ends_in_america() {
        assert_eq!(Line::between(Some("US"), Some("US")), Line::UNITED_STATES);
        for (gateway, client) in [(Some("US"), Some("CA")), (None, Some("US")), (Some("US"), None), (None, None)] {
            assert_eq!(Line::between(gateway, client), Line::WORLD);
        }
    }

    proptest! {
        #[test]
        fn the_floor_grows_with_distance_and_shrinks_with_tolerance(
            near in 0.0..25_000.0_f64, more in 0.0..25_000.0_f64, tolerance in 0.0..5_000.0_f64, slack in 0.0..5_000.0_f64,
        ) {
            let (near, far, tolerance) = (Kilometres(near), Kilometres(near + more), Kilometres(tolerance));
            prop_assert!(floor(near, tolerance) <= floor(far, tolerance));
            prop_assert!(floor(near, Kilometres(tolerance.0 + slack)) <= floor(near, tolerance));
        }

        #[test]
        fn at_or_above_the_floor_is_never_too_near(km in any::<f64>(), tolerance in any::<f64>(), above in any::<u32>()) {
            let floor = floor(Kilometres(km), Kilometres(tolerance));
            prop_assert!(!too_near(Rtt::from_micros(floor.as_micros().saturating_add(above)), floor));
        }

        #[test]
        fn the_floor_never_claims_more_than_light_in_fibre_allows(km in 0.0..20_037.0_f64) {
            prop_assert!(floor(Kilometres(km), NO_TOLERANCE).as_millis_f64() <= km / 100.0);
        }

        #[test]
        fn the_expectation_is_never_below_the_floor_and_grows_with_distance(km in 0.0..20_037.0_f64, more in 0.0..10_000.0_f64) {
            for line in [Line::UNITED_STATES, Line::WORLD] {
                prop_assert!(line.expected(Kilometres(km)) >= floor(Kilometres(km), NO_TOLERANCE));
                prop_assert!(line.expected(Kilometres(km)) <= line.expected(Kilometres(km + more)));
            }
        }

        #[test]
        fn excess_is_total_and_never_above_the_measurement(micros in any::<u32>(), km in any::<f64>()) {
            let measured = Rtt::from_micros(micros);
            for line in [Line::UNITED_STATES, Line::WORLD] {
                prop_assert!(line.excess(measured, Kilometres(km)) <= measured);
            }
        }
    }
}
