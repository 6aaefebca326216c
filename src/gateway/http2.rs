//! HTTP/2 on one accepted connection, until it ends, idles out or the gateway drains.

mod outbox;
mod pace;
mod stream;

use super::connection::Connection;
use super::core::Core;
use super::drain::{Phase, Signal, farewell, reached};
use super::settings::Limits;
use super::socket::Socket;
use crate::audit::ConnectionFault;
use crate::sources::handshake::{FrameTap, Noticed};
use bytes::Bytes;
use h2::server::{Handshake, SendResponse};
use h2::{Ping, PingPong, RecvStream};
use http::Request;
use pace::Pace;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

pub async fn serve(core: Arc<Core>, connection: Arc<Connection>, tls: TlsStream<Socket>, mut signal: Signal) {
    // The connection's own: a new configuration's hold for new connections.
    let limits = core.shared().limits.clone();
    let samples = Arc::clone(&connection.connected.timing.tls);
    let tap = FrameTap::new(tls, {
        let (core, connection) = (Arc::clone(&core), Arc::clone(&connection));
        move |noticed| match noticed {
            Noticed::RoundTrip(rtt, source) => samples.record(rtt, source),
            Noticed::Refused { stream, error } => {
                core.worker().drop_connection(&connection, ConnectionFault::StreamRefused { stream, error });
            }
        }
    });
    // Around the tap: it sees what is written when it leaves, and times it from then on.
    let (bytes, outlet) = outbox::gather(tap);
    let mut served = Served::new(bytes, &limits, {
        let (core, connection) = (Arc::clone(&core), Arc::clone(&connection));
        let (patience, rate) = (limits.idle_timeout, limits.min_rate);
        move |request, respond| {
            let pace = Pace::new(patience, rate);
            tokio::spawn(stream::exchange(&core, &connection, request, respond, pace));
        }
    });
    let mut life = Life::new(&limits);
    let (mut draining, mut dismissed, mut idled) = (false, false, false);
    // The library waits for ever for the client's preface, and keeps a connection without streams for ever.
    let mut check = pin!(tokio::time::sleep(limits.header_timeout));
    let mut listen = pin!(tokio::time::sleep(limits.ping_interval));
    let mut cut_off = pin!(farewell(signal.clone()));
    let mut dismissal = pin!(connection.dismissed());
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|cx| outlet.poll_turn(Pin::new(&mut served), cx)) => break ended,
            () = reached(&mut signal, Phase::Draining), if !draining => {
                draining = true;
                served.finish();
            }
            () = dismissal.as_mut(), if !dismissed => {
                (dismissed, idled) = (true, true);
                served.finish();
                check.as_mut().reset(Instant::now() + limits.header_timeout);
            }
            () = cut_off.as_mut() => break Ok(()),
            () = listen.as_mut() => match life.listen(outlet.heard(), || served.ping()) {
                Some(next) => listen.as_mut().reset(Instant::now() + next),
                None => break Ok(()),
            },
            () = check.as_mut() => {
                let next = match connection.idle_for() {
                    Some(_) if connection.served() == 0 => {
                        core.worker().drop_connection(&connection, ConnectionFault::HeaderTimeout);
                        break Ok(());
                    }
                    // Its goodbye was not answered in time either.
                    Some(_) if idled => break Ok(()),
                    Some(idle) if idle >= limits.idle_timeout => {
                        idled = true;
                        served.finish();
                        limits.header_timeout
                    }
                    idle => limits.idle_timeout.saturating_sub(idle.unwrap_or_default()),
                };
                check.as_mut().reset(Instant::now() + next);
            }
        }
    };
    if ended.is_err_and(|error| is_abuse(&error)) {
        core.worker().drop_connection(&connection, ConnectionFault::Http2Abuse);
    }
}

/// Whether the client broke HTTP/2, or asked for too much of it: not if it only went away.
fn is_abuse(error: &h2::Error) -> bool {
    match error.get_io() {
        // How the frame tap ends a flood.
        Some(io) => io.kind() == ErrorKind::InvalidData,
        None => !error.is_remote(),
    }
}

/// A connection from its preface on; resolves when it is over.
struct Served<S, F> {
    state: State<S>,
    /// What is done with each request, and with the stream that its answer goes on.
    take: F,
    pings: Option<PingPong>,
}

enum State<S> {
    Greeting(Box<Handshake<S, Bytes>>),
    Open(Box<h2::server::Connection<S, Bytes>>),
    Over,
}

impl<S: AsyncRead + AsyncWrite + Unpin, F> Served<S, F> {
    fn new(bytes: S, limits: &Limits, take: F) -> Self {
        let greeting = h2::server::Builder::new()
            .max_concurrent_streams(limits.http2_streams)
            .initial_window_size(64 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_header_list_size(limits.header_bytes)
            .max_send_buffer_size(64 * 1024)
            .enable_connect_protocol()
            .handshake(bytes);
        Self { state: State::Greeting(Box::new(greeting)), take, pings: None }
    }

    /// Takes no more requests, and says so; ends when those under way are answered.
    fn finish(&mut self) {
        match &mut self.state {
            State::Open(connection) => connection.graceful_shutdown(),
            State::Greeting(_) | State::Over => self.state = State::Over,
        }
    }

    /// False: one is under way already, or there is nobody yet.
    fn ping(&mut self) -> bool {
        let Some(pings) = &mut self.pings else { return false };
        // What was answered makes room; nobody waits for the answer itself.
        let _ = pings.poll_pong(&mut Context::from_waker(Waker::noop()));
        pings.send_ping(Ping::opaque()).is_ok()
    }
}

impl<S, F> Future for Served<S, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: FnMut(Request<RecvStream>, SendResponse<Bytes>) + Unpin,
{
    type Output = Result<(), h2::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Greeting(greeting) => {
                    let mut connection = ready!(Pin::new(&mut **greeting).poll(cx))?;
                    this.pings = connection.ping_pong();
                    this.state = State::Open(Box::new(connection));
                }
                State::Open(connection) => match ready!(connection.poll_accept(cx)) {
                    Some(accepted) => {
                        let (request, respond) = accepted?;
                        (this.take)(request, respond);
                    }
                    None => this.state = State::Over,
                },
                State::Over => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Whether the client is still there: one that is silent is pinged, and has to say something.
struct Life {
    interval: Duration,
    timeout: Duration,
    /// How often it had been heard when that was last looked at.
    heard: u64,
    asked: bool,
}

impl Life {
    fn new(limits: &Limits) -> Self {
        Self { interval: limits.ping_interval, timeout: limits.header_timeout, heard: 0, asked: false }
    }

    /// When to listen again; none when it is gone.
    fn listen(&mut self, heard: u64, ping: impl FnOnce() -> bool) -> Option<Duration> {
        let silent = std::mem::replace(&mut self.heard, heard) == heard;
        match (silent, self.asked) {
            (true, true) => None,
            (true, false) => {
                self.asked = ping();
                Some(if self.asked { self.timeout } else { self.interval })
            }
            (false, _) => {
                self.asked = false;
                Some(self.interval)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(20);
    const TIMEOUT: Duration = Duration::from_secs(5);

    #[test]
    fn who_is_heard_stays_and_who_does_not_answer_a_ping_is_gone() {
        let mut life = Life { interval: INTERVAL, timeout: TIMEOUT, heard: 0, asked: false };
        let never = || panic!("nobody asks whoever talks");
        assert_eq!(life.listen(3, never), Some(INTERVAL));
        assert_eq!(life.listen(4, never), Some(INTERVAL));
        assert_eq!(life.listen(4, || true), Some(TIMEOUT), "silent, and asked");
        assert_eq!(life.listen(5, never), Some(INTERVAL), "whatever it said: it is there");
        assert_eq!(life.listen(5, || false), Some(INTERVAL), "an earlier one is still under way");
        assert_eq!(life.listen(5, || true), Some(TIMEOUT));
        assert_eq!(life.listen(5, never), None);
    }
}
