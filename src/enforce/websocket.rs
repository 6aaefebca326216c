//! Carries an open WebSocket between client and upstream, times its client, and can close it in good order.
//!
//! Frames are told apart by their headers and pass untouched, so every extension the two ends agreed on works. The
//! gateway puts in only pings of its own and, in the end, a close frame; the answers to its pings go no further.
//! Each direction has one buffer: whoever does not read stops whoever sends.

pub mod frames;

use crate::evidence::timing::TlsSource;
use crate::latency::Rtt;
use frames::{Frames, Next, Payload};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

#[derive(Clone, Copy, Debug)]
pub struct RelaySettings {
    /// How often the client's round trip is measured. None: never.
    pub ping_interval: Option<Duration>,
    /// After so long without a byte from either end (the gateway's own pings aside) the relay is over. None: never.
    pub idle_timeout: Option<Duration>,
}

/// Why the gateway ends it, as the client is told (RFC 6455 section 7.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    pub code: u16,
    /// At most 123 bytes are sent.
    pub reason: Cow<'static, str>,
}

impl Closing {
    /// 1008: access was taken away.
    pub fn policy(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code: 1008, reason: reason.into() }
    }

    /// 1001: the gateway is going away.
    pub fn going_away() -> Self {
        Self { code: 1001, reason: Cow::Borrowed("the gateway is shutting down") }
    }
}

/// Who ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By a close frame, by closing, or by failing.
    Client,
    Upstream,
    /// By the `cut` future.
    Cut,
    Idle,
    /// Broke RFC 6455.
    ClientViolation,
    UpstreamViolation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Bytes and whole messages that the other end got.
    pub from_client: Traffic,
    pub from_upstream: Traffic,
    pub ended: Ended,
    /// Of the first close frame. None: it ended without one.
    pub code: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes: u64,
    pub messages: u64,
}

/// Relays until either end is done, nothing happens, or `cut` resolves; a `cut` that never resolves is fine.
/// Both sockets want `TCP_NODELAY`: small frames and their acknowledgements would wait for each other.
///
/// On `cut` nothing more goes upstream. The client gets the rest of the frame it was getting and a close frame, or
/// is closed without one after a second. `sink` gets the round trips of the gateway's pings.
pub async fn relay<C, U>(
    client: C,
    upstream: U,
    settings: RelaySettings,
    cut: impl Future<Output = Closing>,
    mut sink: impl FnMut(Rtt, TlsSource),
) -> Summary
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut cut = pin!(cut);
    let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
    let mut relay = Relay::new(client, upstream, settings);
    std::future::poll_fn(|cx| relay.poll(cx, cut.as_mut(), timer.as_mut(), &mut sink)).await
}

/// The bound on a close in good order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the second close frame may take after the first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const BUFFER: usize = 16 * 1024;
/// So many pings may be unanswered, and none is forgotten sooner: a late answer must not go upstream.
const PINGS: usize = 4;
const PING_MEMORY: Duration = Duration::from_secs(60);

struct Relay<C, U> {
    client: C,
    upstream: U,
    settings: RelaySettings,
    up: Lane,
    down: Lane,
    /// What the gateway itself says to the client, and how much of it was written.
    inject: Vec<u8>,
    injected: usize,
    pings: VecDeque<([u8; 8], Option<Instant>)>,
    next_ping: Option<Instant>,
    active: Instant,
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

/// One direction: `given..ready` is being written, what is behind it was not looked at or is not whole.
struct Lane {
    frames: Frames,
    buffer: Vec<u8>,
    given: usize,
    ready: usize,
    bytes: u64,
    /// A close frame went by: nothing may follow.
    closed: bool,
    unflushed: bool,
}

impl Lane {
    fn new(frames: Frames) -> Self {
        Self { frames, buffer: Vec::new(), given: 0, ready: 0, bytes: 0, closed: false, unflushed: false }
    }

    /// Whether what was written ends with a frame's end.
    fn at_boundary(&self) -> bool {
        self.given == self.ready && self.frames.at_boundary()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> Poll<io::Result<()>> {
        while self.given < self.ready {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer[self.given..self.ready]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.given += written;
            self.bytes += written as u64;
            self.unflushed = true;
        }
        self.buffer.drain(..self.given);
        self.given = 0;
        self.ready = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads behind what is held; zero bytes at the stream's end.
    fn poll_read(&mut self, cx: &mut Context<'_>, from: &mut (impl AsyncRead + Unpin)) -> Poll<io::Result<usize>> {
        let held = self.buffer.len();
        self.buffer.resize(BUFFER.max(held + 1024), 0);
        let mut space = ReadBuf::new(&mut self.buffer[held..]);
        let polled = Pin::new(from).poll_read(cx, &mut space);
        let read = space.filled().len();
        self.buffer.truncate(held + read);
        if self.buffer.is_empty() {
            // A quiet socket keeps no buffer.
            self.buffer = Vec::new();
        }
        polled.map_ok(|()| read)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if self.unflushed && Pin::new(to).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }

    const fn traffic(&self) -> Traffic {
        Traffic { bytes: self.bytes, messages: self.frames.messages() }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin, U: AsyncRead + AsyncWrite + Unpin> Relay<C, U> {
    fn new(client: C, upstream: U, settings: RelaySettings) -> Self {
        let now = Instant::now();
        Self {
            client,
            upstream,
            settings,
            up: Lane::new(Frames::from_client()),
            down: Lane::new(Frames::from_upstream()),
            inject: Vec::new(),
            injected: 0,
            pings: VecDeque::new(),
            // The first at once: many sockets live shorter than an interval.
            next_ping: settings.ping_interval.map(|_| now),
            active: now,
            deadline: None,
            end: None,
            phase: Phase::Open,
            farewell: false,
            client_shut: false,
            upstream_shut: false,
        }
    }

    fn poll(
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
        let ping = self.next_ping.filter(|_| open);
        let idle = self.settings.idle_timeout.filter(|_| open).map(|limit| self.active + limit);
        [ping, idle, self.deadline].into_iter().flatten().min()
    }

    fn keep_time(&mut self) {
        let Some(event) = self.next_event() else { return };
        let now = Instant::now();
        if now < event {
            return;
        }
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.finish(Ended::Idle, None);
        } else if self.phase != Phase::Open {
        } else if self.settings.idle_timeout.is_some_and(|limit| now >= self.active + limit) {
            self.close(Ended::Idle, &Closing { code: 1001, reason: Cow::Borrowed("idle for too long") });
        } else if let (Some(interval), Some(_)) = (self.settings.ping_interval, self.next_ping) {
            self.next_ping = Some(now + interval);
            let mut secret = [0; 8];
            if self.pings.back().is_some_and(|(_, sent)| sent.is_some_and(|sent| now > sent + PING_MEMORY)) {
                self.pings.clear();
            }
            let room = self.inject.is_empty() && self.pings.len() < PINGS;
            if room && aws_lc_rs::rand::fill(&mut secret).is_ok() {
                self.inject.extend_from_slice(&frames::ping(secret));
                self.pings.push_front((secret, None));
            }
        }
    }

    /// Ends it in good order: a close frame at the next boundary, and nothing upstream any more.
    fn close(&mut self, ended: Ended, closing: &Closing) {
        self.end.get_or_insert((ended, Some(closing.code)));
        if self.down.closed {
            // The client has its close frame already.
            return self.finish(ended, None);
        }
        self.farewell = !self.up.closed && self.up.at_boundary();
        self.deadline = Some(Instant::now() + CLOSE_TIMEOUT);
        self.phase = Phase::Closing;
        if self.injected == 0 {
            self.inject.clear();
        }
        self.inject.extend_from_slice(&frames::close(closing.code, &closing.reason, None));
    }

    fn finish(&mut self, ended: Ended, code: Option<u16>) {
        self.end.get_or_insert((ended, code));
        if self.phase == Phase::Finished {
            return;
        }
        if self.phase == Phase::Open {
            self.farewell = !self.up.closed && self.up.at_boundary();
            self.deadline = Some(Instant::now() + CLOSE_TIMEOUT);
        }
        self.phase = Phase::Finished;
    }

    /// Upstream to client. True when something moved.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.inject.is_empty() && (self.injected > 0 || self.down.at_boundary()) {
            return self.poll_inject(cx);
        }
        match self.down.poll_write(cx, &mut self.client) {
            Poll::Pending => return false,
            Poll::Ready(Err(_)) => {
                self.finish(Ended::Client, None);
                return true;
            }
            Poll::Ready(Ok(())) => {}
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
        while self.injected < self.inject.len() {
            match Pin::new(&mut self.client).poll_write(cx, &self.inject[self.injected..]) {
                Poll::Ready(Ok(written @ 1..)) => self.injected += written,
                Poll::Ready(_) => {
                    self.finish(Ended::Client, None);
                    return true;
                }
                Poll::Pending => return false,
            }
        }
        self.inject = Vec::new();
        self.injected = 0;
        self.down.unflushed = true;
        if let Some((_, sent @ None)) = self.pings.front_mut() {
            *sent = Some(Instant::now());
        }
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
                Next::Pong(length, payload) => match self.answered(&payload) {
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
                    self.close(Ended::ClientViolation, &Closing { code: 1002, reason: Cow::Borrowed("protocol error") });
                    return;
                }
            }
        }
    }

    /// The round trip, if a pong answers one of our pings; each is answered once. Pongs keep their order, and clients may
    /// answer only the latest ping: older ones are answered with it.
    fn answered(&mut self, payload: &Payload) -> Option<Rtt> {
        let place = self.pings.iter().position(|(secret, sent)| sent.is_some() && secret[..] == payload[..])?;
        let sent = self.pings.drain(place..).next()?.1?;
        let micros = u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX);
        Some(Rtt::from_micros(micros.max(1)))
    }

    fn half_closed(&mut self, ended: Ended, code: Option<u16>) {
        self.end.get_or_insert((ended, code));
        self.deadline.get_or_insert_with(|| Instant::now() + ANSWER_TIMEOUT);
        self.next_ping = None;
        if self.phase == Phase::Open && self.injected == 0 {
            // A ping that has not gone out stays here.
            self.inject.clear();
        }
    }

    /// Waits for the client's close frame, so that closing does not reset ours away.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> bool {
        if self.down.poll_flush(cx, &mut self.client).is_err() {
            self.finish(Ended::Client, None);
            return true;
        }
        // Nothing of it goes upstream any more.
        self.up.buffer.drain(..self.up.ready);
        self.up.given = 0;
        self.up.ready = 0;
        loop {
            match self.up.frames.next(&self.up.buffer[self.up.ready..]) {
                Next::Data(length @ 1..) | Next::Ping(length) | Next::Pong(length, _) => self.up.ready += length,
                Next::Incomplete | Next::Data(_) => break,
                Next::Close(..) | Next::Violation => {
                    self.finish(Ended::Client, None);
                    return true;
                }
            }
        }
        match self.up.poll_read(cx, &mut self.client) {
            Poll::Pending => false,
            Poll::Ready(Ok(1..)) => true,
            Poll::Ready(_) => {
                self.finish(Ended::Client, None);
                true
            }
        }
    }

    /// Shuts both ends down, within the deadline.
    fn poll_finish(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Summary> {
        let (ended, code) = self.end.unwrap_or((Ended::Client, None));
        if std::mem::take(&mut self.farewell) {
            self.say_farewell(cx);
        }
        self.client_shut = self.client_shut || Pin::new(&mut self.client).poll_shutdown(cx).is_ready();
        self.upstream_shut = self.upstream_shut || Pin::new(&mut self.upstream).poll_shutdown(cx).is_ready();
        if !(self.client_shut && self.upstream_shut) {
            timer.as_mut().reset(self.deadline.unwrap_or_else(Instant::now).into());
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(Summary { from_client: self.up.traffic(), from_upstream: self.down.traffic(), ended, code })
    }

    /// Tells the upstream, if it can be told at once, that nobody is there any more.
    fn say_farewell(&mut self, cx: &mut Context<'_>) {
        let mut mask = [0; 4];
        // A fixed mask would do no harm: the gateway chose every byte.
        let _ = aws_lc_rs::rand::fill(&mut mask);
        let _ = Pin::new(&mut self.upstream).poll_write(cx, &frames::close(1001, "", Some(mask)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    const QUIET: RelaySettings = RelaySettings { ping_interval: None, idle_timeout: None };

    struct Rig {
        client: DuplexStream,
        upstream: DuplexStream,
        cut: oneshot::Sender<Closing>,
        round_trips: Arc<Mutex<Vec<Rtt>>>,
        relay: JoinHandle<Summary>,
    }

    fn rig(settings: RelaySettings) -> Rig {
        let (client, near) = tokio::io::duplex(4096);
        let (upstream, far) = tokio::io::duplex(4096);
        let (cut, when_cut) = oneshot::channel();
        let round_trips = Arc::<Mutex<Vec<Rtt>>>::default();
        let sink = Arc::clone(&round_trips);
        let cutting = async move {
            match when_cut.await {
                Ok(closing) => closing,
                Err(_) => std::future::pending().await,
            }
        };
        let relay = tokio::spawn(relay(near, far, settings, cutting, move |rtt, source| {
            assert_eq!(source, TlsSource::WebsocketPing);
            sink.lock().unwrap().push(rtt);
        }));
        Rig { client, upstream, cut, round_trips, relay }
    }

    /// An unmasked frame with a short payload.
    fn bare(first: u8, payload: &[u8]) -> Vec<u8> {
        [&[first, payload.len() as u8], payload].concat()
    }

    /// The same with the mask of all zeros.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
    }

    async fn expect(from: &mut DuplexStream, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        from.read_exact(&mut got).await.unwrap();
        assert_eq!(got, bytes);
    }

    async fn rest(mut from: DuplexStream) -> Vec<u8> {
        let mut got = Vec::new();
        let _ = from.read_to_end(&mut got).await;
        got
    }

    #[tokio::test]
    async fn both_ways_until_both_have_closed() {
        let mut rig = rig(QUIET);
        rig.client.write_all(&masked(0x81, b"hello")).await.unwrap();
        expect(&mut rig.upstream, &masked(0x81, b"hello")).await;
        rig.upstream.write_all(&bare(0x82, b"welcome")).await.unwrap();
        expect(&mut rig.client, &bare(0x82, b"welcome")).await;
        rig.client.write_all(&masked(0x88, &4000_u16.to_be_bytes())).await.unwrap();
        expect(&mut rig.upstream, &masked(0x88, &4000_u16.to_be_bytes())).await;
        rig.upstream.write_all(&bare(0x88, &4000_u16.to_be_bytes())).await.unwrap();
        assert_eq!(rest(rig.client).await, bare(0x88, &4000_u16.to_be_bytes()));
        let summary = rig.relay.await.unwrap();
        assert_eq!((summary.ended, summary.code), (Ended::Client, Some(4000)));
        assert_eq!(summary.from_client, Traffic { bytes: 19, messages: 1 });
        assert_eq!(summary.from_upstream, Traffic { bytes: 13, messages: 1 });
    }

    #[tokio::test]
    async fn our_pings_are_timed_and_stay_here() {
        let mut rig = rig(RelaySettings { ping_interval: Some(Duration::from_millis(5)), idle_timeout: None });
        let mut secrets = Vec::new();
        for _ in 0..3 {
            let mut ping = [0; 10];
            rig.client.read_exact(&mut ping).await.unwrap();
            assert_eq!(ping[..2], [0x89, 8]);
            secrets.push(ping[2..].to_vec());
            // A pong that answers nobody is the client's own business; the answer comes in two pieces.
            rig.client.write_all(&masked(0x8a, b"12345678")).await.unwrap();
            let pong = masked(0x8a, &ping[2..]);
            rig.client.write_all(&pong[..7]).await.unwrap();
            rig.client.write_all(&pong[7..]).await.unwrap();
            rig.client.write_all(&masked(0x81, b"x")).await.unwrap();
            expect(&mut rig.upstream, &[masked(0x8a, b"12345678"), masked(0x81, b"x")].concat()).await;
        }
        secrets.dedup();
        assert_eq!(secrets.len(), 3);
        assert_eq!(rig.round_trips.lock().unwrap().len(), 3);
        drop(rig.client);
        assert_eq!(rig.relay.await.unwrap().ended, Ended::Client);
    }

    #[tokio::test]
    async fn pings_and_close_frames_stand_between_frames_only() {
        let mut rig = rig(RelaySettings { ping_interval: Some(Duration::from_millis(1)), idle_timeout: None });
        let (mut upstream, mut client) = (rig.upstream, rig.client);
        let sending = tokio::spawn(async move {
            for length in (1_u16..400).cycle() {
                let frame = [&[0x82, 126][..], &(length + 200).to_be_bytes(), &vec![7; usize::from(length) + 200]].concat();
                if upstream.write_all(&frame).await.is_err() {
                    return;
                }
            }
        });
        let (mut pings, mut held, mut frames, mut cut) = (0, Vec::new(), Frames::from_upstream(), Some(rig.cut));
        let code = 'reading: loop {
            let mut piece = [0; 1000];
            let read = client.read(&mut piece).await.unwrap();
            assert!(read > 0, "closed without a close frame");
            held.extend_from_slice(&piece[..read]);
            loop {
                match frames.next(&held) {
                    Next::Data(length @ 1..) => drop(held.drain(..length)),
                    Next::Ping(length) => {
                        pings += 1;
                        held.drain(..length);
                    }
                    Next::Incomplete | Next::Data(_) => break,
                    Next::Close(_, code) => break 'reading code,
                    other => panic!("{other:?}"),
                }
            }
            if pings == 3
                && let Some(cut) = cut.take()
            {
                cut.send(Closing::policy("device revoked")).unwrap();
            }
        };
        assert_eq!(code, Some(1008));
        client.write_all(&masked(0x88, &1008_u16.to_be_bytes())).await.unwrap();
        let summary = (&mut rig.relay).await.unwrap();
        assert_eq!((summary.ended, summary.code), (Ended::Cut, Some(1008)));
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn a_cut_closes_both_ends_in_order() {
        let mut rig = rig(QUIET);
        rig.client.write_all(&masked(0x81, b"before")).await.unwrap();
        expect(&mut rig.upstream, &masked(0x81, b"before")).await;
        rig.cut.send(Closing::policy("device revoked")).unwrap();
        expect(&mut rig.client, &frames::close(1008, "device revoked", None)).await;
        rig.client.write_all(&[masked(0x81, b"after"), masked(0x88, &[])].concat()).await.unwrap();
        assert_eq!(rig.relay.await.unwrap().ended, Ended::Cut);
        let upstream = rest(rig.upstream).await;
        assert!(matches!(Frames::from_client().next(&upstream), Next::Close(8, Some(1001))), "{upstream:?}");
    }

    #[tokio::test]
    async fn a_client_that_neither_reads_nor_answers_is_cut_within_the_bound() {
        let mut rig = rig(QUIET);
        let began = Instant::now();
        // One huge frame, of which the client reads nothing.
        rig.upstream.write_all(&[&[0x82, 127, 0, 0, 0, 0, 1, 0, 0, 0][..], &[0; 2000]].concat()).await.unwrap();
        rig.cut.send(Closing::policy("device revoked")).unwrap();
        assert_eq!(rig.relay.await.unwrap().ended, Ended::Cut);
        assert!(began.elapsed() < 3 * CLOSE_TIMEOUT);
    }

    #[tokio::test]
    async fn violations_fail_the_connection() {
        let mut client_side = rig(QUIET);
        client_side.client.write_all(&bare(0x81, b"unmasked")).await.unwrap();
        expect(&mut client_side.client, &frames::close(1002, "protocol error", None)).await;
        drop(client_side.client);
        let summary = client_side.relay.await.unwrap();
        assert_eq!((summary.ended, summary.code), (Ended::ClientViolation, Some(1002)));
        assert_eq!(summary.from_client.bytes, 0);

        let mut upstream_side = rig(QUIET);
        upstream_side.upstream.write_all(&[bare(0x81, b"fine"), bare(0x8f, b"")].concat()).await.unwrap();
        expect(&mut upstream_side.client, &[bare(0x81, b"fine"), frames::close(1014, "bad gateway", None)].concat()).await;
        drop(upstream_side.client);
        assert_eq!(upstream_side.relay.await.unwrap().ended, Ended::UpstreamViolation);
    }

    #[tokio::test]
    async fn silence_ends_it() {
        let settings = RelaySettings { ping_interval: None, idle_timeout: Some(Duration::from_millis(20)) };
        let mut rig = rig(settings);
        expect(&mut rig.client, &frames::close(1001, "idle for too long", None)).await;
        drop(rig.client);
        assert_eq!(rig.relay.await.unwrap().ended, Ended::Idle);
    }

    #[tokio::test]
    async fn who_does_not_read_stops_who_sends() {
        let mut rig = rig(QUIET);
        let mut sent = 0;
        rig.client.write_all(&[0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
        // Until writing has been pending through many turns of everybody.
        while let Ok(written) = tokio::time::timeout(Duration::from_millis(50), rig.client.write(&[7; 1000])).await {
            sent += written.unwrap();
            assert!(sent < 64 * 1024, "nothing holds the client back");
        }
        rig.upstream.write_all(&bare(0x81, b"still here")).await.unwrap();
        expect(&mut rig.client, &bare(0x81, b"still here")).await;
        drop(rig.upstream);
        assert_eq!(rig.relay.await.unwrap().ended, Ended::Upstream);
    }

    /// Real endpoints over TCP: every message comes back unchanged while pings are put in and taken out.
    #[tokio::test]
    async fn real_endpoints_notice_nothing() {
        use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocket};

        async fn pair() -> (tokio::net::TcpStream, std::net::TcpStream) {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let far = listener.accept().await.unwrap().0.into_std().unwrap();
            far.set_nonblocking(false).unwrap();
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            (near, far)
        }
        let ((near, client), (far, server)) = (pair().await, pair().await);
        let echo = std::thread::spawn(move || {
            let mut server = WebSocket::from_raw_socket(server, Role::Server, None);
            let mut pongs = 0;
            while let Ok(message) = server.read() {
                match message {
                    Message::Binary(_) => server.send(message).unwrap(),
                    Message::Pong(_) => pongs += 1,
                    _ => {}
                }
            }
            pongs
        });
        let talk = std::thread::spawn(move || {
            let mut client = WebSocket::from_raw_socket(client, Role::Client, None);
            for length in (0..60_usize).map(|n| n * n * 20) {
                client.send(Message::binary(vec![length as u8; length])).unwrap();
                let back = loop {
                    if let Message::Binary(back) = client.read().unwrap() {
                        break back;
                    }
                };
                assert!(back.len() == length && back.iter().all(|byte| *byte == length as u8));
            }
            client.close(None).unwrap();
            while client.read().is_ok() {}
        });
        let settings = RelaySettings { ping_interval: Some(Duration::from_millis(1)), idle_timeout: None };
        let mut round_trips = 0;
        let summary = relay(near, far, settings, std::future::pending(), |_, _| round_trips += 1).await;
        talk.join().unwrap();
        assert_eq!(echo.join().unwrap(), 0, "a pong of ours went upstream");
        assert_eq!(summary.ended, Ended::Client);
        assert_eq!((summary.from_client.messages, summary.from_upstream.messages), (60, 60));
        assert!(round_trips > 0);
    }
}
