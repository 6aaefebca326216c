//! What the walk and the guard of one HTTP/1 connection tell each other.

use super::framing::Violation;
use crate::enforce::interim::Interim;
use crate::evidence::Malformed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

/// The guard writes what was wrong, the walk what becomes of the connection.
#[derive(Debug, Default)]
pub struct GuardState {
    served: AtomicU32,
    broken_head: AtomicU32,
    /// Index into `Malformed::ALL`, plus one.
    malformed: AtomicU8,
    verdict: AtomicU8,
    /// The number of the head that it is about.
    held: AtomicU32,
    late: AtomicBool,
    waiting: Mutex<Option<Waker>>,
    interim: Arc<Interim>,
}

/// What becomes of the bytes behind a head. Only a WebSocket handshake leaves it undecided.
pub(super) const HTTP: u8 = 0;
pub(super) const UNDECIDED: u8 = 1;
pub(super) const TRANSPARENT: u8 = 2;

impl GuardState {
    /// To be called once for each request that hyper hands over, in order: what was wrong with its head.
    pub fn next_head(&self) -> Option<Malformed> {
        let number = self.served.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if self.broken_head.load(Ordering::Acquire) == number { self.violation() } else { None }
    }

    /// Whether a head was wrong: then the walk has denied it.
    pub fn broke_a_head(&self) -> bool {
        self.broken_head.load(Ordering::Acquire) != 0
    }

    /// What was wrong with the connection, in a head or in a body.
    pub fn violation(&self) -> Option<Malformed> {
        let index = usize::from(self.malformed.load(Ordering::Acquire)).checked_sub(1)?;
        Malformed::ALL.get(index).copied()
    }

    /// The WebSocket handshake was accepted: what follows is not HTTP. To be called before the 101 is handed to hyper.
    pub fn transparent(&self) {
        self.settle(TRANSPARENT);
    }

    /// The WebSocket handshake, if it was one, was refused: what follows is the next request. Until one of the two is
    /// called, the bytes behind a handshake wait; so it is to be called for whatever else a request turned out to be.
    pub fn upgrade_refused(&self) {
        self.settle(HTTP);
    }

    /// A request before the handshake, sent together with it, decides nothing about it.
    fn settle(&self, verdict: u8) {
        let own = self.held.load(Ordering::Acquire) == self.served.load(Ordering::Relaxed);
        if own && self.verdict.load(Ordering::Acquire) == UNDECIDED {
            self.decide(verdict);
        }
    }

    /// What upstreams say before their answers.
    pub fn interim(&self) -> &Arc<Interim> {
        &self.interim
    }

    /// Whether a head did not come in time.
    pub fn late(&self) -> bool {
        self.late.load(Ordering::Acquire)
    }

    /// The bytes behind this head, by its number on the connection, wait until it is decided what they are.
    pub(super) fn hold(&self, head: u32) {
        self.held.store(head, Ordering::Release);
        self.verdict.store(UNDECIDED, Ordering::Release);
    }

    pub(super) fn verdict(&self) -> u8 {
        self.verdict.load(Ordering::Acquire)
    }

    pub(super) fn came_late(&self) {
        self.late.store(true, Ordering::Release);
    }

    #[cfg(test)]
    pub(super) fn served(&self) -> u32 {
        self.served.load(Ordering::Relaxed)
    }

    pub(super) fn decide(&self, verdict: u8) {
        self.verdict.store(verdict, Ordering::Release);
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    pub(super) fn wait(&self, cx: &Context<'_>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
    }

    pub(super) fn break_with(&self, violation: &Violation) {
        let index = Malformed::ALL.iter().position(|known| *known == violation.malformed).unwrap_or(0);
        self.malformed.store(u8::try_from(index + 1).unwrap_or(u8::MAX), Ordering::Release);
        if let Some((number, _)) = violation.head {
            self.broken_head.store(number, Ordering::Release);
        }
    }
}
