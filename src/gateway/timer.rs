//! Hyper's timer for one HTTP/1 connection: it asks for a new deadline with every head and nearly never meets one.

use crate::enforce::alarm::Alarm;
use crate::enforce::upstream::Pool;
use hyper::rt::{Sleep, Timer};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Keeps one alarm, for whichever of hyper's deadlines is polled.
#[derive(Clone, Debug)]
pub struct Lazy(Arc<Mutex<Alarm>>);

impl Lazy {
    pub fn new(pool: &Pool) -> Self {
        Self(Arc::new(Mutex::new(pool.alarm())))
    }

    fn alarm(&self) -> MutexGuard<'_, Alarm> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timer for Lazy {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until { deadline: deadline.into(), timer: self.clone() })
    }
}

struct Until {
    deadline: tokio::time::Instant,
    timer: Lazy,
}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.alarm().poll(self.deadline, cx)
    }
}

impl Sleep for Until {}
