//! How many frames a client may send that carry nothing.

use std::io;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(10);

/// An allowance that refills when a window has passed or when work was done.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u32,
    spent: u32,
    since: Instant,
}

impl Budget {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, spent: 0, since: Instant::now() }
    }

    pub(super) fn refund(&mut self, frames: u32) {
        self.spent = self.spent.saturating_sub(frames);
    }

    pub(super) fn spend(&mut self) -> io::Result<()> {
        self.spent += 1;
        if self.spent <= self.limit {
            return Ok(());
        }
        if self.since.elapsed() < WINDOW {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many http/2 frames that carry nothing"));
        }
        self.spent = 0;
        self.since = Instant::now();
        Ok(())
    }
}
