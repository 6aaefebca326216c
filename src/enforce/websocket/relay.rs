//! The relay's state: two lanes, what the gateway itself says to the client, and when it has to.

pub(super) mod ending;
mod pings;

use super::frames::{Frames, Next};
use super::lane::Lane;
use super::{Closing, Ended, RelaySettings, Summary};
use crate::evidence::timing::TlsSource;
use crate::latency::Rtt;
use pings::Pings;
use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

pub(super) struct Relay<C, U> {
    client: C,
    upstream: U,
    settings: RelaySettings,
    up: Lane,
    down: Lane,
    /// What the gateway itself says to the client, and how much of it was written.
    inject: Vec<u8>,
    injected: usize,
    pings: Pings,
    active: Instant,
    /// Since when the client has taken nothing of what waits for it, and how much it had taken until then.
    untaken: Option<(Instant, u64)>,
    deadline: Option<Instant>,
    end: Option<(Ended, Option<u16>)>,
    phase: Phase,
    /// The upstream is where a close frame may follow, and is owed one.
    farewell: bool,
    client_shut: bool,
    upstream_shut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The close frame in `inject` goes out at the next boundary.
    Closing,
    /// It is out; the client's answer is awaited.
    Closed,
    /// Both ends are being shut down.
    Finished,
}

impl<C: AsyncRead + AsyncWrite + Unpin, U: AsyncRead + AsyncWrite + Unpin> Relay<C, U> {
    pub(super) fn new(client: C, upstream: U, settings: RelaySettings) -> Self {
        let now = Instant::now();
        Self {
            client,
            upstream,
            settings,
            up: Lane::new(Frames::from_client()),
            down: Lane::new(Frames::from_upstream()),
            inject: Vec::new(),
            injected: 0,
            pings: Pings::new(settings.ping_interval, now),
            active: now,
            untaken: None,
            deadline: None,
            end: None,
            phase: Phase::Open,
            farewell: false,
            client_shut: false,
            upstream_shut: false,
        }
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut cut: Pin<&mut impl Future<Output = Closing>>,
        mut timer: Pin<&mut Sleep>,
        sink: &mut impl FnMut(Rtt, TlsSource),
    ) -> Poll<Summary> {
        loop {
            if self.phase == Phase::Finished {
                return self.poll_finish(cx, timer.as_mut());
            }
            if self.phase == Phase::Open
                && let Poll::Ready(closing) = cut.as_mut().poll(cx)
            {
                self.close(Ended::Cut, &closing);
            }
            self.keep_time();
            let moved = match self.phase {
                Phase::Open | Phase::Closing => self.poll_down(cx),
                Phase::Closed => self.poll_answer(cx),
                Phase::Finished => true,
            };
            if (self.phase == Phase::Open && self.poll_up(cx, sink)) || moved {
                continue;
            }
            let Some(wake) = self.next_event() else { return Poll::Pending };
            // An earlier alarm may stand: the wheel is not turned for every byte.
            if timer.is_elapsed() || timer.deadline() > wake.into() {
                timer.as_mut().reset(wake.into());
            }
            ready!(timer.as_mut().poll(cx));
        }
    }

    /// The earliest moment at which `keep_time` has something to do.
    fn next_event(&self) -> Option<Instant> {
        let open = self.phase == Phase::Open;
        let ping = self.pings.due().filter(|_| open);
        let idle = self.settings.idle_timeout.filter(|_| open).map(|limit| self.active + limit);
        [ping, idle, self.deaf_at(), self.deadline].into_iter().flatten().min()
    }

    /// When a client that only talks has done so for too long.
    fn deaf_at(&self) -> Option<Instant> {
        let (since, _) = self.untaken.filter(|_| self.phase == Phase::Open)?;
        Some(since + self.settings.idle_timeout?)
    }

    fn wait_for_client(&mut self) {
        let taken = self.down.traffic().bytes + self.injected as u64;
        if self.untaken.is_none_or(|(_, before)| before != taken) {
            self.untaken = Some((Instant::now(), taken));
        }
    }

    fn keep_time(&mut self) {
        let Some(event) = self.next_event() else { return };
        let now = Instant::now();
        if now < event {
            return;
        }
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return self.finish(Ended::Idle, None);
        }
        if self.phase != Phase::Open {
            return;
        }
        if self.deaf_at().is_some_and(|at| now >= at) {
            // It would not take a close frame either.
            return self.finish(Ended::Idle, None);
        }
        if self.settings.idle_timeout.is_some_and(|limit| now >= self.active + limit) {
            self.close(Ended::Idle, &Closing { code: 1001, reason: Cow::Borrowed("idle for too long") });
        } else if let Some(ping) = self.pings.frame(now, self.inject.is_empty()) {
            self.inject.extend_from_slice(&ping);
        }
    }

    /// Upstream to client. True when something moved.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.inject.is_empty() && (self.injected > 0 || self.down.at_boundary()) {
            return self.poll_inject(cx);
        }
        match self.down.poll_write(cx, &mut self.client) {
            Poll::Pending => {
                self.wait_for_client();
                return false;
            }
            Poll::Ready(Err(_)) => {
                self.finish(Ended::Client, None);
                return true;
            }
            Poll::Ready(Ok(())) => self.untaken = None,
        }
        if self.look_down() {
            return true;
        }
        if !self.down.closed {
            match self.down.poll_read(cx, &mut self.upstream) {
                Poll::Ready(Ok(1..)) => {
                    self.active = Instant::now();
                    self.look_down();
                    return true;
                }
                Poll::Ready(_) => {
                    self.finish(Ended::Upstream, None);
                    return true;
                }
                Poll::Pending => {}
            }
        }
        if self.down.poll_flush(cx, &mut self.client).is_err() {
            self.finish(Ended::Client, None);
            return true;
        }
        false
    }

    /// Finds what of the held bytes may go to the client; stops at a boundary when there is something to put in.
    fn look_down(&mut self) -> bool {
        let before = self.down.ready;
        while !self.down.closed && self.down.ready < self.down.buffer.len() {
            if !self.inject.is_empty() && self.down.frames.at_boundary() {
                break;
            }
            match self.down.frames.next(&self.down.buffer[self.down.ready..]) {
                Next::Incomplete => break,
                Next::Data(length) | Next::Ping(length) | Next::Pong(length, _) => self.down.ready += length,
                Next::Close(length, code) => {
                    self.down.ready += length;
                    self.half_closed(Ended::Upstream, code);
                    self.down.closed = true;
                }
                Next::Violation => {
                    self.down.buffer.truncate(self.down.ready);
                    self.close(Ended::UpstreamViolation, &Closing { code: 1014, reason: Cow::Borrowed("bad gateway") });
                    return true;
                }
            }
        }
        self.down.ready > before
    }

    fn poll_inject(&mut self, cx: &mut Context<'_>) -> bool {
        // From before the write: a core that is held up after it must find the round trip longer, never shorter.
        let began = Instant::now();
        while self.injected < self.inject.len() {
            match Pin::new(&mut self.client).poll_write(cx, &self.inject[self.injected..]) {
                Poll::Ready(Ok(written @ 1..)) => self.injected += written,
                Poll::Ready(_) => {
                    self.finish(Ended::Client, None);
                    return true;
                }
                Poll::Pending => {
                    self.wait_for_client();
                    return false;
                }
            }
        }
        self.untaken = None;
        self.inject = Vec::new();
        self.injected = 0;
        self.down.unflushed = true;
        self.pings.sent(began);
        if self.phase == Phase::Closing {
            self.phase = Phase::Closed;
        }
        true
    }

    /// Client to upstream. True when something moved.
    fn poll_up(&mut self, cx: &mut Context<'_>, sink: &mut impl FnMut(Rtt, TlsSource)) -> bool {
        match self.up.poll_write(cx, &mut self.upstream) {
            Poll::Pending => return false,
            Poll::Ready(Err(_)) => {
                self.finish(Ended::Upstream, None);
                return true;
            }
            Poll::Ready(Ok(())) => {}
        }
        if self.up.closed && self.down.closed && self.down.given == self.down.ready {
            self.finish(Ended::Client, None);
            return true;
        }
        if !self.up.closed {
            match self.up.poll_read(cx, &mut self.client) {
                Poll::Ready(Ok(1..)) => {
                    self.look_up(sink);
                    return true;
                }
                Poll::Ready(_) => {
                    self.finish(Ended::Client, None);
                    return true;
                }
                Poll::Pending => {}
            }
        }
        if self.up.poll_flush(cx, &mut self.upstream).is_err() {
            self.finish(Ended::Upstream, None);
            return true;
        }
        false
    }

    /// Finds what of the held bytes may go upstream, and keeps the answers to our pings.
    fn look_up(&mut self, sink: &mut impl FnMut(Rtt, TlsSource)) {
        while !self.up.closed && self.up.ready < self.up.buffer.len() {
            match self.up.frames.next(&self.up.buffer[self.up.ready..]) {
                Next::Incomplete => return,
                Next::Data(length) | Next::Ping(length) => {
                    self.up.ready += length;
                    self.active = Instant::now();
                }
                Next::Pong(length, payload) => match self.pings.answered(&payload) {
                    Some(round_trip) => {
                        self.up.buffer.drain(self.up.ready..self.up.ready + length);
                        sink(round_trip, TlsSource::WebsocketPing);
                    }
                    None => {
                        self.up.ready += length;
                        self.active = Instant::now();
                    }
                },
                Next::Close(length, code) => {
                    self.up.ready += length;
                    self.half_closed(Ended::Client, code);
                    self.up.closed = true;
                }
                Next::Violation => {
                    self.up.buffer.truncate(self.up.ready);
                    self.close(
                        Ended::ClientViolation,
                        &Closing { code: 1002, reason: Cow::Borrowed("protocol error") },
                    );
                    return;
                }
            }
        }
    }
}
