//! Deadlines that move with every request and are nearly never reached.
//!
//! Arming the runtime's timer for each request, and disarming it, costs more than looking at the clock. So an alarm is
//! left armed: when it goes off before the deadline as it stands by then, it is set anew. That is once a minute or so.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::time::{Instant, Sleep, sleep_until};

/// Alarms that one core has used and will use again.
#[derive(Clone, Debug, Default)]
pub struct Alarms(Arc<Mutex<Vec<Pin<Box<Sleep>>>>>);

/// Kept when not in use; about 150 bytes each.
const SPARE: usize = 1024;

impl Alarms {
    /// Arms nothing before it is first polled.
    pub fn take(&self) -> Alarm {
        Alarm { sleep: self.lock().pop(), home: Some(self.clone()) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Pin<Box<Sleep>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for one deadline after another.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// None: it is of no use to others.
    home: Option<Alarms>,
}

impl Alarm {
    /// Ready once `deadline` has passed. The next call may name another.
    pub fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let (Some(mut sleep), Some(home)) = (self.sleep.take(), self.home.take()) {
            // It must not keep hold of the task that last waited for it.
            let _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let mut spare = home.lock();
            if spare.len() < SPARE {
                spare.push(sleep);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    const TICK: Duration = Duration::from_millis(20);

    async fn wait(alarm: &mut Alarm, deadline: Instant) -> Duration {
        poll_fn(|cx| alarm.poll(deadline, cx)).await;
        Instant::now().saturating_duration_since(deadline)
    }

    async fn look(alarm: &mut Alarm, deadline: Instant) -> bool {
        poll_fn(|cx| Poll::Ready(alarm.poll(deadline, cx).is_ready())).await
    }

    #[tokio::test]
    async fn a_deadline_may_move_either_way_and_is_kept() {
        let mut alarm = Alarm::default();
        let start = Instant::now();
        assert!(!look(&mut alarm, start + 50 * TICK).await);
        assert!(!look(&mut alarm, start + TICK).await, "sooner");
        wait(&mut alarm, start + 3 * TICK).await;
        assert!(start.elapsed() >= 3 * TICK, "and later than it was armed for");
        assert!(look(&mut alarm, start + 2 * TICK).await, "long past");
        assert!(!look(&mut alarm, Instant::now() + 50 * TICK).await);
    }

    #[tokio::test]
    async fn what_one_has_armed_serves_the_next() {
        let alarms = Alarms::default();
        let start = Instant::now();
        let mut first = alarms.take();
        assert!(!look(&mut first, start + TICK).await);
        drop(first);
        let mut second = alarms.take();
        assert!(second.sleep.is_some());
        wait(&mut second, start + 3 * TICK).await;
        assert!(start.elapsed() >= 3 * TICK);
    }
}
