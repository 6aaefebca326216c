//! Times the acknowledgements of HTTP/2 SETTINGS and PING as frames pass between TLS and h2.
//!
//! These are answered by whoever holds the TLS key, with no signature in the time: the round trip a relay that splits
//! TCP cannot shorten. h2 sends PING with a payload that everybody knows, and a client could acknowledge it before
//! it comes; so on its way out the payload is exchanged for a secret one, and back again on its way in. SETTINGS
//! carries no secret: its acknowledgement counts only if it was not there already when SETTINGS was sent, and a
//! client that waits a moment can still make it early. So the tap sends a PING of its own right behind SETTINGS, and
//! again now and then while the connection is busy, when `gateway/http2.rs`, which pings only the silent, sends none.
//!
//! The same eyes count the frames that cost work and bring none, as far as h2 (0.4.20) does not: it bounds
//! CONTINUATION, empty and small DATA, resets before a stream is accepted and resets it causes itself, but neither
//! PING, SETTINGS, PRIORITY, WINDOW_UPDATE and unknown frames nor resets of accepted streams.
//!
//! And they see the streams that h2 resets by itself, before anybody has heard of a request.

mod budget;
pub mod frames;
mod ping;

use crate::evidence::timing::TlsSource;
use crate::latency::Rtt;
use budget::Budget;
use frames::{ACK, DATA, END_STREAM, FrameHeader, Frames, HEADERS, RST_STREAM, SETTINGS};
use ping::{PING_HEADER, Passing, Ping, secret};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is worth knowing about the frames of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    RoundTrip(Rtt, TlsSource),
    /// The library reset a stream for what its client did: a malformed request, a broken rule.
    Refused {
        stream: u32,
        error: u32,
    },
}

/// A server's HTTP/2 connection, from the client's preface on, with its frames watched. `sink` gets what is noticed.
#[derive(Debug)]
pub struct FrameTap<S, F> {
    stream: S,
    sink: F,
    inbound: Frames,
    outbound: Frames,
    settings: SettingsProbe,
    /// The library's, then ours.
    pings: [Option<Ping>; 3],
    /// The PING of the library's whose payload is going out, and the one whose acknowledgement is coming in.
    leaving: Option<Passing>,
    /// A stream whose reset is going out, and its error code as far as it is out.
    reset: Option<(u32, [u8; 4], usize)>,
    returning: Option<Passing>,
    /// How much of our own PING is out.
    own: usize,
    own_due: Instant,
    control: Budget,
    resets: Budget,
}

#[derive(Clone, Copy, Debug)]
enum SettingsProbe {
    Unsent,
    Sent { at: Instant, drained: bool },
    Done,
}

/// Length of `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n` (RFC 9113 section 3.4).
const PREFACE: u32 = 24;
/// Where our own PING is kept.
const OWN: usize = 2;
/// How often a busy connection is pinged.
const OWN_EVERY: Duration = Duration::from_secs(10);

/// Why the gateway itself ends a stream (RFC 9113 section 7): NO_ERROR behind an early answer, INTERNAL_ERROR for one
/// that broke off, CANCEL for one that is cut. All others are the library's word on what the client did.
const OUR_OWN: [u32; 3] = [0, 2, 8];

/// Control frames beyond what requests, data and answers pay for, in one window.
const CONTROL_FRAMES: u32 = 1_000;
/// Streams reset by the client beyond those the gateway finished, in one window.
const RESETS: u32 = 200;

impl<S, F: FnMut(Noticed)> FrameTap<S, F> {
    pub fn new(stream: S, sink: F) -> Self {
        Self {
            stream,
            sink,
            inbound: Frames::new(PREFACE),
            outbound: Frames::new(0),
            settings: SettingsProbe::Unsent,
            pings: [None; 3],
            leaving: None,
            reset: None,
            returning: None,
            own: 0,
            own_due: Instant::now(),
            control: Budget::new(CONTROL_FRAMES),
            resets: Budget::new(RESETS),
        }
    }

    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    fn received(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Some(passing) = self.returning {
                let take = rest.len().min(8 - passing.at);
                let (payload, after) = rest.split_at_mut(take);
                self.restore(passing, payload);
                self.inbound.taken(take as u32);
                rest = after;
                continue;
            }
            let (taken, header) = self.inbound.advance(rest);
            rest = &mut rest[taken..];
            if let Some(header) = header {
                self.frame_in(header)?;
                if header.is_ping() && header.flags & ACK != 0 {
                    self.returning = Some(Passing { slot: 0, at: 0, genuine: true });
                }
            }
        }
        Ok(())
    }

    fn frame_in(&mut self, header: FrameHeader) -> io::Result<()> {
        match header.kind {
            DATA if header.length > 0 => self.control.refund(2),
            DATA | HEADERS => {}
            RST_STREAM => self.resets.spend()?,
            kind => {
                if kind == SETTINGS && header.flags & ACK != 0 {
                    if let SettingsProbe::Sent { at, drained: true } = self.settings {
                        (self.sink)(Noticed::RoundTrip(round_trip(at), TlsSource::Http2Settings));
                    }
                    self.settings = SettingsProbe::Done;
                }
                self.control.spend()?;
            }
        }
        Ok(())
    }

    /// Gives the library's payload back to an acknowledgement of ours, byte by byte, for it may come in pieces.
    fn restore(&mut self, mut passing: Passing, payload: &mut [u8]) {
        if let (0, Some(first)) = (passing.at, payload.first()) {
            passing.slot = usize::from(first & 3);
        }
        let ping = self.pings.get(passing.slot).copied().flatten().filter(|ping| ping.sent.is_some());
        for byte in payload {
            match ping {
                Some(ping) if passing.genuine && *byte == ping.secret[passing.at] => *byte = ping.original[passing.at],
                _ => passing.genuine = false,
            }
            passing.at += 1;
        }
        if passing.at < 8 {
            self.returning = Some(passing);
            return;
        }
        self.returning = None;
        if let (true, Some(Ping { sent: Some(sent), .. })) = (passing.genuine, ping) {
            self.pings[passing.slot] = None;
            (self.sink)(Noticed::RoundTrip(round_trip(sent), TlsSource::Http2Ping));
        }
    }

    /// How many bytes may be written before a PING's payload has to be exchanged.
    fn until_ping<'b>(&self, pieces: impl Iterator<Item = &'b [u8]>) -> usize {
        let mut frames = self.outbound;
        let free = self.pings[..OWN].iter().any(Option::is_none);
        let mut passed = 0;
        for mut piece in pieces {
            while !piece.is_empty() {
                let (taken, header) = frames.advance(piece);
                passed += taken;
                piece = &piece[taken..];
                if free && header.is_some_and(|header| header.is_ping() && header.flags & ACK == 0) {
                    return passed;
                }
            }
        }
        passed
    }

    /// Takes note of bytes that were accepted for sending. `began` is from before they were handed over: a thread that
    /// is held up after the bytes have gone must find the round trip longer, never shorter.
    fn sent<'b>(&mut self, pieces: impl Iterator<Item = &'b [u8]>, mut accepted: usize, began: Instant) {
        for piece in pieces {
            let mut piece = &piece[..piece.len().min(accepted)];
            accepted -= piece.len();
            while !piece.is_empty() {
                if self.reset.is_some() {
                    piece = self.reset_out(piece);
                    continue;
                }
                let (taken, header) = self.outbound.advance(piece);
                piece = &piece[taken..];
                if let Some(header) = header {
                    self.frame_out(header, began);
                }
            }
        }
    }

    fn frame_out(&mut self, header: FrameHeader, began: Instant) {
        match header.kind {
            DATA | HEADERS => {
                self.control.refund(4);
                if header.flags & END_STREAM != 0 {
                    self.resets.refund(1);
                }
            }
            SETTINGS if header.flags & ACK == 0 => {
                if let SettingsProbe::Unsent = self.settings {
                    self.settings = SettingsProbe::Sent { at: began, drained: false };
                }
            }
            _ if header.is_ping() && header.flags & ACK == 0 => self.begin_ping(),
            RST_STREAM if header.length == 4 => self.reset = Some((header.stream, [0; 4], 0)),
            _ => {}
        }
    }

    /// Reads the error code of a reset as it goes out; gives what is behind it.
    fn reset_out<'b>(&mut self, piece: &'b [u8]) -> &'b [u8] {
        let Some((stream, code, have)) = &mut self.reset else { return piece };
        let (now, rest) = piece.split_at(piece.len().min(code.len() - *have));
        code[*have..*have + now.len()].copy_from_slice(now);
        *have += now.len();
        self.outbound.taken(now.len() as u32);
        if *have == code.len() {
            let (stream, error) = (*stream, u32::from_be_bytes(*code));
            self.reset = None;
            if !OUR_OWN.contains(&error) {
                (self.sink)(Noticed::Refused { stream, error });
            }
        }
        rest
    }

    /// Without a free place or chance the payload goes out as it is, and times nothing.
    fn begin_ping(&mut self) {
        let Some(slot) = self.pings[..OWN].iter().position(Option::is_none) else { return };
        let Some(secret) = secret(slot) else { return };
        self.pings[slot] = Some(Ping { secret, original: [0; 8], sent: None });
        self.leaving = Some(Passing { slot, at: 0, genuine: true });
    }

    /// Whether a PING of ours may go out now: behind the server's SETTINGS, between two frames, one at a time.
    fn own_ping_begins(&self) -> bool {
        !matches!(self.settings, SettingsProbe::Unsent)
            && self.pings[OWN].is_none()
            && self.leaving.is_none()
            && self.outbound.between_frames()
            && self.own_due <= Instant::now()
    }
}

impl<S: AsyncWrite + Unpin, F: FnMut(Noticed) + Unpin> FrameTap<S, F> {
    /// Writes what is left of our own PING. Nothing of the library's may go out in the middle of it.
    fn poll_own_ping(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(Ping { secret, sent: None, .. }) = self.pings[OWN] else { return Poll::Ready(Ok(())) };
        let mut frame = [0; PING_HEADER.len() + 8];
        frame[..PING_HEADER.len()].copy_from_slice(&PING_HEADER);
        frame[PING_HEADER.len()..].copy_from_slice(&secret);
        let began = Instant::now();
        while self.own < frame.len() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &frame[self.own..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.own += written;
        }
        // Its acknowledgement reaches h2's parser as one that was never asked for, and is passed over there.
        self.pings[OWN] = Some(Ping { secret, original: secret, sent: Some(began) });
        self.own_due = began + OWN_EVERY;
        Poll::Ready(Ok(()))
    }
}

fn round_trip(sent: Instant) -> Rtt {
    Rtt::from_micros(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX).max(1))
}

impl<S: AsyncRead + Unpin, F: FnMut(Noticed) + Unpin> AsyncRead for FrameTap<S, F> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, out) {
            Poll::Ready(Ok(())) => Poll::Ready(this.received(&mut out.filled_mut()[before..])),
            Poll::Pending => {
                if let SettingsProbe::Sent { drained, .. } = &mut this.settings {
                    *drained = true;
                }
                Poll::Pending
            }
            failed => failed,
        }
    }
}

impl<S: AsyncWrite + Unpin, F: FnMut(Noticed) + Unpin> AsyncWrite for FrameTap<S, F> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_own_ping(cx))?;
        let began = Instant::now();
        if let Some(Passing { slot, at, .. }) = this.leaving
            && let Some(ping) = &mut this.pings[slot]
        {
            let secret = &ping.secret[at..];
            let secret = &secret[..secret.len().min(bytes.len())];
            let accepted = match Pin::new(&mut this.stream).poll_write(cx, secret) {
                Poll::Ready(Ok(accepted)) => accepted.min(secret.len()),
                other => return other,
            };
            ping.original[at..at + accepted].copy_from_slice(&bytes[..accepted]);
            this.outbound.taken(accepted as u32);
            if at + accepted == 8 {
                ping.sent = Some(began);
                this.leaving = None;
            } else {
                this.leaving = Some(Passing { slot, at: at + accepted, genuine: true });
            }
            return Poll::Ready(Ok(accepted));
        }
        let may = this.until_ping(std::iter::once(bytes));
        let polled = Pin::new(&mut this.stream).poll_write(cx, &bytes[..may]);
        if let Poll::Ready(Ok(accepted)) = polled {
            this.sent(std::iter::once(bytes), accepted, began);
        }
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_own_ping(cx))?;
        let all = || pieces.iter().map(|piece| &**piece);
        if this.leaving.is_none() {
            let began = Instant::now();
            let may = this.until_ping(all());
            if may == all().map(<[u8]>::len).sum::<usize>() {
                let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, pieces);
                if let Poll::Ready(Ok(accepted)) = polled {
                    this.sent(all(), accepted, began);
                }
                return polled;
            }
        }
        // A PING is near: piece by piece.
        let first = all().find(|piece| !piece.is_empty()).unwrap_or_default();
        Pin::new(this).poll_write(cx, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.own_ping_begins()
            && let Some(secret) = secret(OWN)
        {
            this.own = 0;
            this.pings[OWN] = Some(Ping { secret, original: secret, sent: None });
        }
        ready!(this.poll_own_ping(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Empty;
    use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
    use std::collections::VecDeque;
    use std::task::Waker;

    /// Gives the queued pieces, then nothing; takes so many bytes a write.
    struct Wire {
        incoming: VecDeque<Vec<u8>>,
        outgoing: Vec<u8>,
        at_once: usize,
    }

    impl AsyncRead for Wire {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            match self.incoming.pop_front() {
                Some(piece) => {
                    out.put_slice(&piece);
                    Poll::Ready(Ok(()))
                }
                None => Poll::Pending,
            }
        }
    }

    impl AsyncWrite for Wire {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let take = bytes.len().min(self.at_once);
            self.outgoing.extend_from_slice(&bytes[..take]);
            Poll::Ready(Ok(take))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all = pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<_>>();
            self.poll_write(cx, &all)
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    type Seen = std::rc::Rc<std::cell::RefCell<Vec<TlsSource>>>;

    fn source(noticed: Noticed) -> Option<TlsSource> {
        match noticed {
            Noticed::RoundTrip(_, source) => Some(source),
            Noticed::Refused { .. } => None,
        }
    }

    struct Side<F> {
        tap: FrameTap<Wire, F>,
        seen: Seen,
    }

    fn side(at_once: usize) -> Side<impl FnMut(Noticed)> {
        let seen = Seen::default();
        let sink = std::rc::Rc::clone(&seen);
        let wire = Wire { incoming: VecDeque::new(), outgoing: Vec::new(), at_once };
        let tap = FrameTap::new(wire, move |noticed| sink.borrow_mut().extend(source(noticed)));
        Side { tap, seen }
    }

    impl<F: FnMut(Noticed) + Unpin> Side<F> {
        fn write(&mut self, mut bytes: &[u8]) {
            let mut cx = Context::from_waker(Waker::noop());
            while !bytes.is_empty() {
                let (a, b) = bytes.split_at(bytes.len() / 3);
                let pieces = [IoSlice::new(a), IoSlice::new(&[]), IoSlice::new(b)];
                let Poll::Ready(Ok(taken)) = Pin::new(&mut self.tap).poll_write_vectored(&mut cx, &pieces) else {
                    panic!("the wire always takes");
                };
                bytes = &bytes[taken..];
            }
        }

        /// Everything read until the wire has no more.
        fn read(&mut self, bytes: &[u8], piece: usize) -> io::Result<Vec<u8>> {
            self.tap.stream.incoming.extend(bytes.chunks(piece).map(<[u8]>::to_vec));
            let mut read = Vec::new();
            loop {
                let mut space = [0; 4096];
                let mut space = ReadBuf::new(&mut space);
                match Pin::new(&mut self.tap).poll_read(&mut Context::from_waker(Waker::noop()), &mut space) {
                    Poll::Ready(polled) => polled?,
                    Poll::Pending => return Ok(read),
                }
                read.extend_from_slice(space.filled());
            }
        }
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    const PREFACE_BYTES: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const KNOWN: &[u8; 8] = b"everyone";

    #[test]
    fn frames_are_seen_however_they_are_cut() {
        for cut in [1, 2, 3, 5, 8, 9, 13, 1000] {
            let mut side = side(cut);
            side.write(&frame(SETTINGS, 0, &[0; 12]));
            assert!(side.read(&[], 1).unwrap().is_empty());
            let answers = [PREFACE_BYTES, &frame(SETTINGS, 0, &[0; 6]), &frame(SETTINGS, ACK, &[])].concat();
            assert_eq!(side.read(&answers, cut).unwrap(), answers);
            assert_eq!(*side.seen.borrow(), [TlsSource::Http2Settings]);

            let before = side.tap.stream.outgoing.len();
            let out = [frame(DATA, 0, &[7; 100]), frame(frames::PING, 0, KNOWN), frame(DATA, 1, &[8; 5])].concat();
            side.write(&out);
            let sent = side.tap.stream.outgoing[before..].to_vec();
            assert_eq!(sent.len(), out.len());
            let secret = &sent[118..126];
            assert_ne!(secret, KNOWN);
            assert_eq!([&sent[..118], KNOWN, &sent[126..]].concat(), out);

            let data = frame(DATA, 0, &[9; 40]);
            let answer = [&data[..], &frame(frames::PING, ACK, secret), &data].concat();
            let expected = [&data[..], &frame(frames::PING, ACK, KNOWN), &data].concat();
            assert_eq!(side.read(&answer, cut).unwrap(), expected, "{cut}");
            assert_eq!(*side.seen.borrow(), [TlsSource::Http2Settings, TlsSource::Http2Ping]);
            // The same answer again is nobody's.
            assert_eq!(side.read(&answer, cut).unwrap(), answer);
            assert_eq!(side.seen.borrow().len(), 2);
        }
    }

    #[test]
    fn an_early_or_forged_answer_times_nothing() {
        let mut side = side(1000);
        side.write(&frame(SETTINGS, 0, &[]));
        // Already there when SETTINGS went out: sent without having seen it.
        side.read(&[PREFACE_BYTES, &frame(SETTINGS, ACK, &[])].concat(), 1000).unwrap();
        side.write(&frame(frames::PING, 0, KNOWN));
        let forged = frame(frames::PING, ACK, KNOWN);
        assert_eq!(side.read(&forged, 4).unwrap(), forged);
        assert!(side.seen.borrow().is_empty());
    }

    #[test]
    fn resets_that_nobody_else_knows_of_are_noticed_however_they_are_cut() {
        let reset = |stream: u8, error: u8| [0, 0, 4, RST_STREAM, 0, 0, 0, 0, stream, 0, 0, 0, error];
        for at_once in 1..20 {
            let noticed = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
            let sink = std::rc::Rc::clone(&noticed);
            let wire = Wire { incoming: VecDeque::new(), outgoing: Vec::new(), at_once };
            let tap = FrameTap::new(wire, move |seen| sink.borrow_mut().push(seen));
            let mut side = Side { tap, seen: Seen::default() };
            let bytes = [reset(3, 1), reset(5, 8), reset(7, 0), reset(9, 7)].concat();
            side.write(&bytes);
            let expected = [(3, 1), (9, 7)].map(|(stream, error)| Noticed::Refused { stream, error });
            assert_eq!((&**noticed.borrow(), &side.tap.stream.outgoing), (&expected[..], &bytes), "{at_once}");
        }
    }

    #[test]
    fn two_pings_may_be_out_and_a_third_passes_as_it_is() {
        let mut side = side(1000);
        side.read(PREFACE_BYTES, 1000).unwrap();
        for payload in [b"11111111", b"22222222", b"33333333"] {
            side.write(&frame(frames::PING, 0, payload));
        }
        let sent = side.tap.stream.outgoing.clone();
        assert_eq!(&sent[43..51], b"33333333");
        let answers = [&frame(frames::PING, ACK, &sent[26..34])[..], &frame(frames::PING, ACK, &sent[9..17])].concat();
        let expected = [frame(frames::PING, ACK, b"22222222"), frame(frames::PING, ACK, b"11111111")].concat();
        assert_eq!(side.read(&answers, 5).unwrap(), expected);
        assert_eq!(side.seen.borrow().len(), 2);
    }

    #[test]
    fn floods_end_the_connection_and_work_pays_for_frames() {
        for (kind, limit) in [
            (frames::PING, CONTROL_FRAMES),
            (SETTINGS, CONTROL_FRAMES),
            (2, CONTROL_FRAMES),
            (99, CONTROL_FRAMES),
            (RST_STREAM, RESETS),
        ] {
            let mut side = side(1000);
            side.read(PREFACE_BYTES, 24).unwrap();
            let one = frame(kind, 0, &[0; 8]);
            side.read(&one.repeat(limit as usize), 4096).unwrap();
            assert!(side.read(&one, 4096).is_err(), "{kind}");
        }
        let mut side = side(1000);
        side.read(PREFACE_BYTES, 24).unwrap();
        for _ in 0..5 * RESETS {
            side.write(&frame(HEADERS, END_STREAM, &[0; 3]));
            side.read(&frame(RST_STREAM, 0, &[0; 4]), 4096).unwrap();
            side.read(&frame(8, 0, &[0; 4]).repeat(4), 4096).unwrap();
        }
    }

    #[tokio::test]
    async fn hyper_is_none_the_wiser() {
        let (client, server) = tokio::io::duplex(1 << 14);
        let (seen, mut sources) = tokio::sync::mpsc::unbounded_channel();
        let tap = FrameTap::new(server, move |noticed| {
            let _ = seen.send(source(noticed).expect("a round trip"));
        });
        let service =
            hyper::service::service_fn(|_| async { Ok::<_, hyper::Error>(http::Response::new(Empty::<Bytes>::new())) });
        let serving = tokio::spawn(async move {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(Duration::from_millis(5))
                .keep_alive_timeout(Duration::from_secs(5))
                .serve_connection(TokioIo::new(tap), service)
                .await
        });
        let (mut send, connection) = h2::client::handshake(client).await.unwrap();
        let driving = tokio::spawn(connection);
        let request = http::Request::get("https://a.example/").body(()).unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        // Hyper sends its next keep-alive only if it knew the answer to the one before.
        let mut pings = 0;
        while pings < 3 {
            match sources.recv().await.unwrap() {
                TlsSource::Http2Ping => pings += 1,
                source => assert_eq!(source, TlsSource::Http2Settings),
            }
        }
        assert!(!serving.is_finished());
        drop(send);
        let _ = driving.await;
    }

    /// Hyper is told to ping never: what is measured is our own, sent behind SETTINGS and not forgeable.
    #[tokio::test]
    async fn the_first_flush_carries_a_ping_of_our_own() {
        let (client, server) = tokio::io::duplex(1 << 14);
        let (seen, mut sources) = tokio::sync::mpsc::unbounded_channel();
        let tap = FrameTap::new(server, move |noticed| {
            let _ = seen.send(source(noticed).expect("a round trip"));
        });
        let service = hyper::service::service_fn(|_| {
            std::future::pending::<Result<http::Response<Empty<Bytes>>, hyper::Error>>()
        });
        let serving = tokio::spawn(async move {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(tap), service)
                .await
        });
        let (send, connection) = h2::client::handshake(client).await.unwrap();
        let driving = tokio::spawn(connection);
        while sources.recv().await.unwrap() != TlsSource::Http2Ping {}
        assert!(!serving.is_finished(), "hyper passes over the answer to a ping it did not send");
        drop((send, driving));
    }
}
