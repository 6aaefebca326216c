//! Stopping without breaking anything: no new connections, open ones finish, a deadline ends the rest.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;

/// How far the gateway has come in stopping. Only ever moves forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    #[default]
    Serving,
    /// Connections finish what they have and take no more requests.
    Draining,
    /// Whatever is still open is cut.
    Cutting,
}

/// How long what is cut may take to say so to its client: longer than a WebSocket waits for the answer to its close.
pub const FAREWELL: Duration = Duration::from_millis(1500);

/// The gateway's end of the signal.
#[derive(Clone, Debug)]
pub struct Drain(watch::Sender<Phase>);

/// What connections and workers listen to.
pub type Signal = watch::Receiver<Phase>;

impl Drain {
    pub fn new() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }

    pub fn signal(&self) -> Signal {
        self.0.subscribe()
    }

    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    pub fn enter(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let later = phase > *current;
            *current = phase.max(*current);
            later
        });
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs `work` until it ends, or to nothing when the gateway has reached `phase` before.
///
/// To be awaited by a task as it is, not within others: the signal is asked once, and again only when it has moved,
/// so that a wake-up for the work costs nothing here.
pub async fn unless<F: Future>(mut work: Pin<&mut F>, signal: &mut Signal, phase: Phase) -> Option<F::Output> {
    let moved = signal.clone();
    let mut asked = false;
    let mut reached = pin!(reached(signal, phase));
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        if asked && !moved.has_changed().unwrap_or(true) {
            return Poll::Pending;
        }
        asked = true;
        reached.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Resolves when the gateway has reached `phase`, at once if it already has.
pub async fn reached(signal: &mut Signal, phase: Phase) {
    // The sender lives as long as the gateway; when it is gone everything is over anyway.
    let _ = signal.wait_for(|current| *current >= phase).await;
}

/// When the gateway stops waiting for a connection whose exchanges it has cut.
pub async fn farewell(mut signal: Signal) {
    reached(&mut signal, Phase::Cutting).await;
    tokio::time::sleep(FAREWELL).await;
}
