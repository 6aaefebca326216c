//! How long a client that does not read is waited for, whatever is spoken with it.
//!
//! A socket takes no more when the kernel's buffer is full, and takes bytes again only when a third of it is free: that
//! may be a megabyte, which a slow line needs minutes for. So what the client has taken is asked of the kernel, which
//! knows what was acknowledged; and only when the patience is at an end, never while bytes flow.

use crate::enforce::rate::{Allowance, MinRate};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

#[derive(Debug)]
pub struct Patience {
    /// How long the client may take not a byte.
    silence: Duration,
    silent: Duration,
    allowance: Allowance,
    /// What the client had acknowledged when the kernel was last asked.
    acknowledged: u64,
    /// Since when a write waits, and when that is to be looked at.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// The kernel is asked no more often than this, however little is left.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Patience {
    pub fn new(silence: Duration, rate: MinRate) -> Self {
        Self {
            silence,
            silent: Duration::ZERO,
            allowance: Allowance::new(rate, silence),
            acknowledged: 0,
            waiting: None,
        }
    }

    /// A write waits. Ready when it has waited for too long. `acknowledged` asks how many bytes of the connection the
    /// client has acknowledged; none: nobody knows.
    pub fn poll(&mut self, cx: &mut Context<'_>, acknowledged: impl Fn() -> Option<u64>) -> Poll<()> {
        loop {
            let next = self.next_look();
            let (since, alarm) =
                self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(next))));
            ready!(alarm.as_mut().poll(cx));
            let waited = since.elapsed();
            self.waiting = None;
            if self.look(waited, acknowledged()) {
                return Poll::Ready(());
            }
        }
    }

    /// The write did not wait any more.
    pub fn broken(&mut self) {
        if let Some((since, _)) = self.waiting.take() {
            self.silent = Duration::ZERO;
            // What it took shows when the kernel is next asked.
            self.allowance.account(since.elapsed(), 0);
        }
    }

    fn next_look(&self) -> Duration {
        let silence = self.silence.saturating_sub(self.silent);
        self.allowance.left(0).map_or(silence, |left| silence.min(left.max(LOOK_EVERY.min(self.silence))))
    }

    /// Whether it has been too long.
    fn look(&mut self, waited: Duration, acknowledged: Option<u64>) -> bool {
        let Some(acknowledged) = acknowledged else {
            self.silent += waited;
            return self.silent >= self.silence;
        };
        let taken = acknowledged.saturating_sub(self.acknowledged);
        self.acknowledged = acknowledged;
        self.silent = if taken == 0 { self.silent + waited } else { Duration::ZERO };
        self.allowance.account(waited, taken);
        self.silent >= self.silence || self.allowance.left(0) == Some(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SILENCE: Duration = Duration::from_secs(120);

    /// How long a client is waited for that acknowledges `bytes` once in each `every`, for at most a day. The clock is
    /// a number: it moves from look to look.
    fn waited(rate: MinRate, every: Duration, bytes: Option<u64>) -> Option<Duration> {
        let mut patience = Patience::new(SILENCE, rate);
        let mut clock = Duration::ZERO;
        while clock < 86_400 * SECOND {
            let next = patience.next_look();
            clock += next;
            let acknowledged = bytes.map(|bytes| clock.as_millis() as u64 / every.as_millis() as u64 * bytes);
            if patience.look(next, acknowledged) {
                return Some(clock);
            }
        }
        None
    }

    #[test]
    fn who_reads_at_a_trickle_is_cut_and_who_reads_slowly_is_not() {
        let rate = MinRate { bytes_per_second: 240, grace: 20 * SECOND };
        assert_eq!(waited(rate, SECOND, Some(0)), Some(20 * SECOND));
        assert!(waited(rate, 10 * SECOND, Some(1)).is_some_and(|cut| cut <= 25 * SECOND));
        assert!(waited(rate, SECOND, Some(120)).is_some_and(|cut| cut <= 60 * SECOND));
        assert_eq!(waited(rate, SECOND, Some(300)), None);
        // A window that opens seldom and far, as a large buffer's does.
        assert_eq!(waited(rate, 15 * SECOND, Some(375_000)), None);
        // Without a rate, or where nobody knows, only silence ends it.
        assert_eq!(waited(MinRate::NONE, 100 * SECOND, Some(1)), None);
        assert_eq!(waited(MinRate::NONE, SECOND, Some(0)), Some(SILENCE));
        assert_eq!(waited(rate, SECOND, None), Some(SILENCE));
    }

    #[test]
    fn writes_that_wait_again_and_again_add_up() {
        let mut patience = Patience::new(SILENCE, MinRate { bytes_per_second: 240, grace: 20 * SECOND });
        for _ in 0..19 {
            patience.allowance.account(SECOND, 0);
        }
        assert_eq!(patience.next_look(), SECOND);
        assert!(patience.look(SECOND, Some(0)));
    }
}
