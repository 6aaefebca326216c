//! How slowly a client may take or give bytes while it is waited for.
//!
//! Limits on silence do not stop whoever moves one byte before each of them. So a client has an allowance of time:
//! waiting for it spends the allowance, and the bytes that it moves earn it back, each as much as the least rate gives it.
//! Only waiting counts. An event stream or a WebSocket on which there is nothing to say spends nothing, however long, and
//! neither does an upload that the upstream does not take.

use std::time::Duration;

/// The least that a client has to move. A rate of zero asks for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinRate {
    pub bytes_per_second: u32,
    /// How long a client may take over its first bytes.
    pub grace: Duration,
}

impl MinRate {
    pub const NONE: Self = Self { bytes_per_second: 0, grace: Duration::ZERO };
}

impl Default for MinRate {
    fn default() -> Self {
        Self { bytes_per_second: 240, grace: Duration::from_secs(20) }
    }
}

/// What is left of one client's time, on one connection, stream or body.
#[derive(Clone, Debug)]
pub struct Allowance {
    rate: u32,
    left: Duration,
    /// A fast beginning does not pay for a trickle without end.
    most: Duration,
}

impl Allowance {
    /// `silence` is how long nothing at all may move: whoever has earned as much may use it.
    pub fn new(rate: MinRate, silence: Duration) -> Self {
        Self { rate: rate.bytes_per_second, left: rate.grace, most: rate.grace.max(silence) }
    }

    /// How much longer the client may be waited for when it has `bytes` to take. None: for ever.
    pub fn left(&self, bytes: u64) -> Option<Duration> {
        Some(self.left.saturating_add(self.worth(bytes)?))
    }

    /// The client was waited for, and moved so many bytes.
    pub fn account(&mut self, waited: Duration, bytes: u64) {
        if let Some(earned) = self.worth(bytes) {
            self.left = self.left.saturating_add(earned).saturating_sub(waited).min(self.most);
        }
    }

    /// The time in which the least rate moves so many bytes.
    fn worth(&self, bytes: u64) -> Option<Duration> {
        let millis = bytes.saturating_mul(1000).checked_div(u64::from(self.rate))?;
        Some(Duration::from_millis(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const RATE: MinRate = MinRate { bytes_per_second: 100, grace: Duration::from_secs(20) };

    /// Moves `bytes` each `every` until the allowance is used up, for at most a day.
    fn lasts(mut allowance: Allowance, every: Duration, bytes: u64) -> Option<Duration> {
        let mut elapsed = Duration::ZERO;
        while elapsed < 86_400 * SECOND {
            elapsed += every;
            allowance.account(every, bytes);
            if allowance.left(0) == Some(Duration::ZERO) {
                return Some(elapsed);
            }
        }
        None
    }

    #[test]
    fn a_trickle_ends_and_a_slow_client_does_not() {
        let allowance = || Allowance::new(RATE, 30 * SECOND);
        assert_eq!(lasts(allowance(), SECOND, 0), Some(20 * SECOND));
        assert_eq!(lasts(allowance(), SECOND, 1), Some(Duration::from_secs(21)));
        assert_eq!(lasts(allowance(), SECOND, 50), Some(40 * SECOND));
        assert_eq!(lasts(allowance(), SECOND, 100), None);
        // In gulps, each within the grace.
        assert_eq!(lasts(allowance(), 19 * SECOND, 1900), None);
        assert_eq!(lasts(allowance(), 19 * SECOND, 1000), Some(57 * SECOND));
        assert_eq!(lasts(Allowance::new(MinRate::NONE, SECOND), SECOND, 0), None);
    }

    #[test]
    fn a_fast_beginning_is_soon_used_up() {
        let mut allowance = Allowance::new(RATE, 120 * SECOND);
        allowance.account(SECOND, 1 << 40);
        assert_eq!(allowance.left(0), Some(120 * SECOND));
        assert_eq!(lasts(allowance, SECOND, 0), Some(120 * SECOND));
    }

    #[test]
    fn what_is_to_be_taken_gives_time_to_take_it() {
        let allowance = Allowance::new(RATE, SECOND);
        assert_eq!(allowance.left(1000), Some(30 * SECOND));
        assert_eq!(Allowance::new(MinRate::NONE, SECOND).left(1000), None);
    }
}
