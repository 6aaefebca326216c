//! Stands between TLS and hyper on HTTP/1 connections and refuses what hyper is lenient about.
//!
//! Hyper prefers `Transfer-Encoding` to a `Content-Length` beside it, takes repeated lengths and bare line feeds, and
//! answers what it cannot parse by itself, unseen by audit. So no head reaches it that is not whole and strict. For a
//! broken head it gets a harmless one, which the walk finds here by its number and denies; for a broken body it gets
//! an error. After either, not a byte of the connection is read as HTTP again. Bodies are not copied.

pub mod framing;
mod grammar;
mod linger;
mod state;

use framing::{Framing, Violation};
use linger::Linger;
pub use state::GuardState;
use state::{HTTP, TRANSPARENT, UNDECIDED};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What a request's head may have and take.
#[derive(Clone, Copy, Debug)]
pub struct HeadBounds {
    pub bytes: usize,
    pub fields: usize,
    pub time: Duration,
}

/// A connection whose reading side is strict HTTP/1. Writing passes through; interim answers go between.
#[derive(Debug)]
pub struct Guard<S> {
    stream: S,
    state: Arc<GuardState>,
    framing: Framing,
    phase: Phase,
    /// Bytes that hyper has not seen: `given..cleared` may go to it, the rest is a unit not yet whole.
    held: Vec<u8>,
    given: usize,
    cleared: usize,
    /// How long a head may take from its first byte, the connection's first one from the beginning.
    head_timeout: Duration,
    /// Armed while a head is awaited in that sense.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Interim answers on their way out, and how much of them has been written.
    saying: Vec<u8>,
    said: usize,
    /// Set when our side is closed in the middle of a body that still comes.
    linger: Option<Linger>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Http,
    /// Behind a WebSocket handshake, until the walk has decided.
    Undecided,
    Transparent,
    /// Behind a broken head, whose substitute is the last that hyper sees. So many bytes are still read and dropped.
    Deaf(usize),
    /// Behind a broken body.
    Failed,
}

/// How much is read at a time when a unit came in part, and kept behind an undecided handshake.
const PIECE: usize = 4096;
/// How much of a broken client's further sending is read, so that closing does not reset the answer away.
const DRAIN: usize = 64 * 1024;

impl<S> Guard<S> {
    /// `bounds` are on a head; hyper's own on size and count must be no smaller.
    pub fn new(stream: S, state: Arc<GuardState>, bounds: HeadBounds) -> Self {
        Self {
            stream,
            state,
            framing: Framing::new(bounds.bytes, bounds.fields),
            phase: Phase::Http,
            held: Vec::new(),
            given: 0,
            cleared: 0,
            head_timeout: bounds.time,
            alarm: None,
            saying: Vec::new(),
            said: 0,
            linger: None,
        }
    }

    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Hands held bytes over. False when there are none to hand.
    fn give(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let ready = &self.held[self.given..self.cleared];
        if ready.is_empty() {
            return false;
        }
        let take = ready.len().min(out.remaining());
        out.put_slice(&ready[..take]);
        self.given += take;
        if self.given == self.cleared {
            self.held.drain(..self.given);
            self.given = 0;
            self.cleared = 0;
            if self.held.is_empty() {
                // Idle connections keep no buffer.
                self.held = Vec::new();
            }
        }
        true
    }

    /// Lets the framing judge what is held.
    fn judge_held(&mut self) {
        match self.framing.advance(&self.held) {
            Ok(passed) => {
                self.cleared = passed;
                self.look_for_upgrade();
            }
            Err(violation) => {
                self.held.truncate(violation.passed);
                self.refuse(violation);
            }
        }
    }

    fn look_for_upgrade(&mut self) {
        if self.framing.undecided() {
            self.state.hold(self.framing.heads());
            self.phase = Phase::Undecided;
        }
    }

    /// `held` must hold nothing but what may still pass.
    fn refuse(&mut self, violation: Violation) {
        self.state.break_with(&violation);
        self.phase = match violation.head {
            Some((_, substitute)) => {
                self.held.extend_from_slice(&substitute);
                Phase::Deaf(DRAIN)
            }
            None => Phase::Failed,
        };
        self.cleared = self.held.len();
    }
}

impl<S: AsyncRead + Unpin> Guard<S> {
    /// Reads in place; what is not a whole unit yet is taken back out of `out`.
    fn read_in_place(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let before = out.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, out) {
            Poll::Ready(Ok(())) => {}
            other => return other.map_ok(|()| 0),
        }
        let new = &out.filled()[before..];
        let length = new.len();
        match self.framing.advance(new) {
            Ok(passed) => {
                if passed < length {
                    self.held.extend_from_slice(&new[passed..]);
                    out.set_filled(before + passed);
                }
                self.look_for_upgrade();
            }
            Err(violation) => {
                out.set_filled(before + violation.passed);
                self.refuse(violation);
            }
        }
        Poll::Ready(Ok(length))
    }

    /// Reads behind what is held.
    fn read_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let had = self.held.len();
        self.held.resize(had + PIECE, 0);
        let mut piece = ReadBuf::new(&mut self.held[had..]);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut piece);
        let read = piece.filled().len();
        self.held.truncate(had + read);
        polled.map_ok(|()| read)
    }

    /// Reads and drops, up to a bound; never says that the stream ended, so that the answer is still written.
    fn drain(&mut self, cx: &mut Context<'_>, mut left: usize) -> Poll<io::Result<()>> {
        let mut scrap = [0; 1024];
        while left > 0 {
            let mut scrap = ReadBuf::new(&mut scrap);
            match Pin::new(&mut self.stream).poll_read(cx, &mut scrap) {
                Poll::Ready(Ok(())) if !scrap.filled().is_empty() => left = left.saturating_sub(scrap.filled().len()),
                Poll::Ready(_) => left = 0,
                Poll::Pending => break,
            }
        }
        self.phase = Phase::Deaf(left);
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let read = this.poll_strict(cx, out);
        if read.is_pending() && this.awaits_head() {
            let limit = this.head_timeout;
            let alarm = this.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            ready!(alarm.as_mut().poll(cx));
            this.state.came_late();
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        // Heads pass whole: whatever passed, the clock starts anew.
        this.alarm = None;
        read
    }
}

impl<S: AsyncRead + Unpin> Guard<S> {
    /// A head has begun and is not whole, or none has come yet at all.
    fn awaits_head(&self) -> bool {
        self.phase == Phase::Http && self.framing.in_head() && (!self.held.is_empty() || self.framing.heads() == 0)
    }

    fn poll_strict(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self;
        let before = out.filled().len();
        loop {
            if this.give(out) {
                return Poll::Ready(Ok(()));
            }
            let read = match this.phase {
                Phase::Http if this.held.is_empty() => {
                    let read = this.read_in_place(cx, out);
                    if out.filled().len() > before {
                        return Poll::Ready(Ok(()));
                    }
                    read
                }
                Phase::Http => {
                    let read = this.read_held(cx);
                    if let Poll::Ready(Ok(1..)) = read {
                        this.judge_held();
                    }
                    read
                }
                Phase::Undecided => match this.state.verdict() {
                    TRANSPARENT => {
                        this.phase = Phase::Transparent;
                        this.cleared = this.held.len();
                        continue;
                    }
                    HTTP => {
                        this.framing.resume();
                        this.phase = Phase::Http;
                        this.judge_held();
                        continue;
                    }
                    _ => {
                        this.state.wait(cx);
                        if this.state.verdict() != UNDECIDED {
                            continue;
                        }
                        if this.held.len() >= PIECE {
                            return Poll::Pending;
                        }
                        // Reading on tells whether the client is still there.
                        this.read_held(cx)
                    }
                },
                Phase::Transparent => return Pin::new(&mut this.stream).poll_read(cx, out),
                Phase::Deaf(left) => return this.drain(cx, left),
                Phase::Failed => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the request's body is not HTTP",
                    )));
                }
            };
            match read {
                Poll::Ready(Ok(1..)) => {}
                other => return other.map_ok(drop),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Guard<S> {
    /// Writes interim answers to their end; nothing of hyper's may go out in the middle of one.
    fn poll_say(&mut self, cx: &mut Context<'_>, more: Option<Vec<u8>>) -> Poll<io::Result<()>> {
        if let Some(more) = more {
            self.saying.extend_from_slice(&more);
        }
        while self.said < self.saying.len() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.saying[self.said..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.said += written;
        }
        if self.said > 0 {
            self.saying = Vec::new();
            self.said = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let interim = this.state.interim().before_write();
        ready!(this.poll_say(cx, interim))?;
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let interim = this.state.interim().before_write();
        ready!(this.poll_say(cx, interim))?;
        Pin::new(&mut this.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Hyper flushes when its own buffer is empty: between an exchange's beginning and its answer there is room.
        let interim = this.state.interim().after_flush(cx);
        ready!(this.poll_say(cx, interim))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if this.phase != Phase::Http || this.framing.in_head() {
                return Poll::Ready(Ok(()));
            }
        }
        this.linger.get_or_insert_with(Linger::new).poll(&mut this.stream, cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Malformed;
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::Incoming;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    type Answer = http::Response<Full<Bytes>>;

    const BOUNDS: HeadBounds = HeadBounds { bytes: 16 * 1024, fields: 100, time: Duration::from_secs(10) };

    /// A connection to hyper behind a guard. The answer tells method, path, body length and what the guard found.
    fn serve() -> (DuplexStream, Arc<GuardState>) {
        let (client, server) = tokio::io::duplex(1 << 16);
        let state = Arc::new(GuardState::default());
        let (guard, shared) = (Guard::new(server, Arc::clone(&state), BOUNDS), Arc::clone(&state));
        let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let (found, shared) = (shared.next_head(), Arc::clone(&shared));
            async move {
                let upgrade = request.headers().contains_key("upgrade");
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let length = request.into_body().collect().await?.to_bytes().len();
                if upgrade {
                    shared.upgrade_refused();
                }
                let found = found.map_or("-", Malformed::code);
                Ok::<Answer, hyper::Error>(Answer::new(Full::from(format!("[{method} {path} {length} {found}]"))))
            }
        });
        tokio::spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            let _ = http.half_close(true).serve_connection(TokioIo::new(guard), service).await;
        });
        (client, state)
    }

    /// Sends everything in pieces of `size`, and returns the bracketed answers in order.
    async fn answers(stream: &str, size: usize) -> (Vec<String>, Option<Malformed>) {
        let (client, state) = serve();
        let (mut from, mut to) = tokio::io::split(client);
        let bytes = stream.as_bytes().to_vec();
        let sending = tokio::spawn(async move {
            for piece in bytes.chunks(size) {
                if to.write_all(piece).await.is_err() {
                    break;
                }
            }
            to
        });
        let mut said = String::new();
        let mut piece = [0; 1024];
        // The last request of each stream asks to close, or is refused.
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            said.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        drop(sending.await);
        let bracketed = said.split('[').skip(1).filter_map(|s| s.split(']').next()).map(str::to_owned).collect();
        (bracketed, state.violation())
    }

    #[tokio::test]
    async fn strict_requests_pass_however_they_are_cut() {
        let stream = "POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello\
            POST /2 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4;x\r\n\r\n\r\n\r\n0\r\na: b\r\n\r\n\
            GET /3 HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\
            GET /4 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        for size in [1, 5, 17, 64, stream.len()] {
            let (answers, violation) = answers(stream, size).await;
            assert_eq!(answers, ["POST /1 5 -", "POST /2 7 -", "GET /3 0 -", "GET /4 0 -"], "{size}");
            assert_eq!(violation, None);
        }
    }

    #[tokio::test]
    async fn a_broken_head_is_served_as_malformed_and_nothing_behind_it() {
        let stream = "GET /1 HTTP/1.1\r\nhost: a\r\n\r\n\
            POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
            GET /smuggled HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        for size in [1, 7, stream.len()] {
            let (answers, violation) = answers(stream, size).await;
            assert_eq!(answers, ["GET /1 0 -", "POST /2 0 ambiguous-framing"], "{size}");
            assert_eq!(violation, Some(Malformed::AmbiguousFraming));
        }
        let (answers, _) = answers("\x16\x03\x01\x02", 4).await;
        assert_eq!(answers, ["GET / 0 control-byte"]);
    }

    #[tokio::test]
    async fn a_broken_body_is_cut_visibly() {
        let stream = "POST /1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\nGET /2 HTTP/1.1\r\n\r\n";
        for size in [1, stream.len()] {
            let (answers, violation) = answers(stream, size).await;
            assert!(answers.is_empty(), "{answers:?}");
            assert_eq!(violation, Some(Malformed::AmbiguousFraming));
        }
    }

    /// What passes the guard, hyper serves: it never finds fault by itself, which audit would not see, and never finds
    /// a request where the guard found none.
    #[tokio::test]
    async fn hyper_and_the_guard_count_the_same_requests() {
        let pieces = [
            "GET / HTTP/1.1\r\n\r\n",
            "GET /a|b{c}?d^\"[e]\\ HTTP/1.1\r\n\r\n",
            "GET https://a.example/x HTTP/1.1\r\nhost: a.example\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc",
            "M!#$%&'*+-.^_`|~ / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            "3\r\nabc\r\n",
            "003;a=\"b;c\"\r\nabc\r\n",
            "0\r\n\r\n",
            "0\r\nx:\r\n\r\n",
            "GET / HTTP/1.1\r\nx!#$%&'*+-.^_`|~: \t\u{e9} \t\r\ny:\r\n\r\n",
            "GET / HTTP/1.1\r\n",
            "a: b\r\n",
            "\r\n",
            "\n",
            "x",
            " ",
            "GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\n",
            "content-length: 0\r\n",
            "transfer-encoding: chunked\r\n",
            "POST / HTTP/1.1\r\n",
        ];
        let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..1500 {
            let mut stream = String::new();
            for _ in 0..1 + round % 6 {
                chance ^= chance << 13;
                chance ^= chance >> 7;
                chance ^= chance << 17;
                stream.push_str(pieces[(chance >> 33) as usize % pieces.len()]);
            }
            let mut framing = Framing::new(16 * 1024, 100);
            let (mut passed, mut broken) = (0, 0);
            loop {
                match framing.advance(&stream.as_bytes()[passed..]) {
                    Ok(more) => passed += more,
                    Err(violation) => broken = u32::from(violation.head.is_some()),
                }
                if !framing.undecided() {
                    break;
                }
                framing.resume();
            }
            let (mut client, state) = serve();
            client.write_all(stream.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            let _ = client.read_to_end(&mut Vec::new()).await;
            assert_eq!(state.served(), framing.heads() + broken, "{stream:?}");
        }
    }

    #[tokio::test]
    async fn after_an_upgrade_bytes_pass_as_they_are() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let state = Arc::new(GuardState::default());
        let mut guard = Guard::new(server, Arc::clone(&state), BOUNDS);
        let head = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
        client.write_all(&[&head[..], b"early\0\n"].concat()).await.unwrap();
        let mut seen = vec![0; 1024];
        assert_eq!(guard.read(&mut seen).await.unwrap(), head.len());
        let mut waiting = Box::pin(guard.read(&mut seen));
        assert!(std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
        state.next_head();
        state.transparent();
        assert_eq!(waiting.await.unwrap(), 7);
        client.write_all(b"late\0").await.unwrap();
        assert_eq!(guard.read(&mut seen).await.unwrap(), 5);
        drop(client);
        assert_eq!(guard.read(&mut seen).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_client_that_leaves_during_the_handshake_is_noticed() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut guard = Guard::new(server, Arc::default(), BOUNDS);
        client.write_all(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\nx").await.unwrap();
        drop(client);
        let mut seen = vec![0; 1024];
        assert!(guard.read(&mut seen).await.unwrap() > 1);
        assert_eq!(guard.read(&mut seen).await.unwrap(), 0);
    }

    /// Whether reading fails, and for lateness, while the pieces drip in and then nothing more comes.
    async fn is_late(sent: &[&str]) -> bool {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let state = Arc::new(GuardState::default());
        let mut guard =
            Guard::new(server, Arc::clone(&state), HeadBounds { time: Duration::from_millis(60), ..BOUNDS });
        let reading = async {
            let mut seen = vec![0; 1024];
            while let Ok(1..) = guard.read(&mut seen).await {}
        };
        let writing = async {
            for piece in sent {
                client.write_all(piece.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            tokio::time::sleep(Duration::from_millis(240)).await;
        };
        tokio::select! {
            () = reading => state.late(),
            () = writing => false,
        }
    }

    #[tokio::test]
    async fn a_head_has_its_time_however_slowly_its_bytes_come() {
        let drip = "GET / HTTP/1.1\r\nhost: a".split("").collect::<Vec<_>>();
        assert!(is_late(&[]).await, "the first head is awaited from the beginning");
        assert!(is_late(&drip).await);
        assert!(is_late(&[&["GET / HTTP/1.1\r\n\r\nG"], &drip[2..]].concat()).await);
        // Silence between requests and in bodies is for others to bound.
        assert!(!is_late(&["GET / HTTP/1.1\r\n\r\n"]).await);
        assert!(!is_late(&["PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\n", "x"]).await);
    }

    #[tokio::test]
    async fn what_only_looked_like_a_handshake_does_not_stop_the_connection() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let state = Arc::new(GuardState::default());
        let mut guard = Guard::new(server, Arc::clone(&state), BOUNDS);
        let head = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
        client.write_all(&head.repeat(2)).await.unwrap();
        let mut seen = vec![0; 1024];
        for _ in 0..2 {
            // Of the head before: it says nothing about this one.
            state.upgrade_refused();
            assert_eq!(guard.read(&mut seen).await.unwrap(), head.len());
            state.next_head();
            state.upgrade_refused();
        }
    }
}
