//! A round-trip time, in whole microseconds.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A round-trip time in microseconds. Never zero by default: what is not known has no `Rtt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rtt(u32);

impl Rtt {
    pub const fn from_micros(micros: u32) -> Self {
        Self(micros)
    }

    /// Rounded down to whole microseconds; the longest an `Rtt` can carry (71 minutes) for anything longer.
    pub fn from_duration(duration: std::time::Duration) -> Self {
        Self(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX))
    }

    pub const fn from_millis(millis: u32) -> Self {
        Self(millis.saturating_mul(1000))
    }

    pub const fn as_micros(self) -> u32 {
        self.0
    }

    pub fn as_millis_f64(self) -> f64 {
        f64::from(self.0) / 1000.0
    }

    /// The part of `self` above `other`; nothing when `other` is the larger.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Rtt {
    /// Milliseconds as people read them, and tenths below 100 ms. In whole numbers, because findings say it at every
    /// request.
    pub const fn shown(self) -> (u32, Option<u32>) {
        let tenths = self.0.saturating_add(50) / 100;
        match tenths {
            0..1000 => (tenths / 10, Some(tenths % 10)),
            _ => (self.0.saturating_add(500) / 1000, None),
        }
    }
}

/// One decimal below 100 ms, none above: `0.3 ms`, `38.4 ms`, `187 ms`.
impl fmt::Display for Rtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shown() {
            (millis, Some(tenth)) => write!(f, "{millis}.{tenth} ms"),
            (millis, None) => write!(f, "{millis} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn shown_as_people_read_it() {
        for (micros, text) in [
            (300, "0.3 ms"),
            (38_400, "38.4 ms"),
            (187_123, "187 ms"),
            (0, "0.0 ms"),
            (99_949, "99.9 ms"),
            (99_950, "100 ms"),
        ] {
            assert_eq!(Rtt::from_micros(micros).to_string(), text);
        }
    }

    #[test]
    fn extremes_saturate() {
        assert_eq!(Rtt::from_millis(u32::MAX).as_micros(), u32::MAX);
        assert_eq!(Rtt::from_duration(Duration::MAX).as_micros(), u32::MAX);
        assert_eq!(Rtt::from_duration(Duration::from_nanos(1_999)).as_micros(), 1);
    }
}
