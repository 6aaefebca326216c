//! HTTP/2 answers that their clients do not take: each stream is ended by itself, so that none holds an upstream,
//! or a page, for as long as its client likes. (On HTTP/1 the socket tells; here a stream's window may stay shut while
//! the others flow.)

use crate::enforce::rate::{Allowance, MinRate};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// How long one stream's client may take nothing of what there is for it.
pub struct Pace {
    patience: Duration,
    allowance: Allowance,
    waiting: Option<Waiting>,
}

struct Waiting {
    since: Instant,
    ring: Pin<Box<Sleep>>,
}

impl Pace {
    pub fn new(patience: Duration, rate: MinRate) -> Self {
        Self { patience, allowance: Allowance::new(rate, patience), waiting: None }
    }

    /// To be asked while `held` bytes wait for the client; ready when its time is over.
    pub fn poll(&mut self, held: u64, cx: &mut Context<'_>) -> Poll<()> {
        let waiting = self.waiting.get_or_insert_with(|| {
            let left = self.allowance.left(held);
            let patience = left.map_or(self.patience, |left| left.min(self.patience));
            Waiting { since: Instant::now(), ring: Box::pin(tokio::time::sleep(patience)) }
        });
        waiting.ring.as_mut().poll(cx)
    }

    /// It took so many bytes.
    pub fn took(&mut self, bytes: u64) {
        let waited = self.waiting.take().map_or(Duration::ZERO, |waiting| waiting.since.elapsed());
        self.allowance.account(waited, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[tokio::test]
    async fn what_is_held_gives_time_and_what_was_taken_earns_it() {
        let rate = MinRate { bytes_per_second: 1000, grace: Duration::from_secs(2) };
        let mut pace = Pace::new(Duration::from_secs(60), rate);
        let mut cx = Context::from_waker(Waker::noop());
        let seconds = |pace: &Pace, held| pace.allowance.left(held).unwrap().as_secs_f64().round() as u64;
        assert!(pace.poll(3000, &mut cx).is_pending());
        let waiting = pace.waiting.as_ref().unwrap();
        assert_eq!((waiting.ring.deadline() - waiting.since).as_secs_f64().round() as u64, 2 + 3);
        // Four seconds later, to the pace, it is taken; nothing follows, for as long as the upstream likes.
        pace.waiting.as_mut().unwrap().since -= Duration::from_secs(4);
        pace.took(3000);
        assert!(pace.waiting.is_none());
        assert_eq!(seconds(&pace, 0), 2 + 3 - 4);
        // A trickle spends more than it earns.
        assert!(pace.poll(3000, &mut cx).is_pending());
        pace.waiting.as_mut().unwrap().since -= Duration::from_secs(2);
        pace.took(100);
        assert_eq!(seconds(&pace, 0), 0);
    }
}
