//! The gateway's own pings: when the next is due, and which are unanswered.

use super::super::frames::{self, Payload};
use crate::latency::Rtt;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many pings may be unanswered, and none is forgotten sooner: a late answer must not go upstream.
const PINGS: usize = 4;
const PING_MEMORY: Duration = Duration::from_secs(60);

pub(super) struct Pings {
    interval: Option<Duration>,
    next: Option<Instant>,
    /// The latest first; each with the moment it went out, once it has.
    unanswered: VecDeque<([u8; 8], Option<Instant>)>,
}

impl Pings {
    /// The first is due at once: many sockets live shorter than an interval.
    pub(super) fn new(interval: Option<Duration>, now: Instant) -> Self {
        Self { interval, next: interval.map(|_| now), unanswered: VecDeque::new() }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }

    pub(super) fn stop(&mut self) {
        self.next = None;
    }

    /// The frame of a ping that is due, if it is worth one more. `room`: nothing else waits to be said.
    pub(super) fn frame(&mut self, now: Instant, room: bool) -> Option<SmallVec<[u8; 16]>> {
        self.next = Some(now + self.interval.filter(|_| self.next.is_some())?);
        let mut secret = [0; 8];
        if self.unanswered.back().is_some_and(|(_, sent)| sent.is_some_and(|sent| now > sent + PING_MEMORY)) {
            self.unanswered.clear();
        }
        let room = room && self.unanswered.len() < PINGS;
        if !room || aws_lc_rs::rand::fill(&mut secret).is_err() {
            return None;
        }
        self.unanswered.push_front((secret, None));
        Some(frames::ping(secret))
    }

    /// The latest has gone out, if it had not before.
    pub(super) fn sent(&mut self, at: Instant) {
        if let Some((_, sent @ None)) = self.unanswered.front_mut() {
            *sent = Some(at);
        }
    }

    /// The round trip, if a pong answers one of our pings; each is answered once. Pongs keep their order, and clients may
    /// answer only the latest ping: older ones are answered with it.
    pub(super) fn answered(&mut self, payload: &Payload) -> Option<Rtt> {
        let place = self.unanswered.iter().position(|(secret, sent)| sent.is_some() && secret[..] == payload[..])?;
        let sent = self.unanswered.drain(place..).next()?.1?;
        let micros = u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX);
        Some(Rtt::from_micros(micros.max(1)))
    }
}
