//! HTTP on one accepted connection, until it ends, idles out or the gateway drains.

use super::connection::Connection;
use super::core::Core;
use super::drain::{FAREWELL, Phase, Signal, reached, unless};
use super::guard::{Guard, GuardState, HeadBounds};
use super::outbox;
use super::pace::Streams;
use super::request;
use super::socket::Socket;
use super::timer::Lazy;
use crate::audit::ConnectionFault;
use crate::enforce::headers::RANGEGATE_REQUEST_ID;
use crate::sources::handshake::{FrameTap, Noticed};
use hyper::server::conn;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;

/// Hyper's own bound on a head's fields, with a table on the stack. For any other it allocates one for each head; the
/// guard has counted the fields by then.
const OWN_MAX_HEADERS: usize = 100;

/// `stream` is what is left when TLS is taken off; on the Unix socket there was none.
pub async fn http1<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    core: Arc<Core>,
    connection: Arc<Connection>,
    state: Arc<GuardState>,
    stream: S,
    mut signal: Signal,
) {
    // The connection's own: a new configuration's hold for new connections.
    let limits = core.shared().limits.clone();
    let bounds =
        HeadBounds { bytes: limits.header_bytes as usize, fields: limits.header_count, time: limits.header_timeout };
    let guard = Guard::new(stream, state, bounds);
    let served = {
        let (core, connection) = (Arc::clone(&core), Arc::clone(&connection));
        let mut http = conn::http1::Builder::new();
        if limits.header_count > OWN_MAX_HEADERS {
            http.max_headers(limits.header_count);
        }
        http.timer(Lazy::new(&core.worker().enforcer.pool))
            // Bounds the silence between two requests; the guard bounds a head once its first byte came, and the
            // time before the first.
            .header_read_timeout(limits.idle_timeout)
            .max_buf_size(64 * 1024)
            .serve_connection(
                TokioIo::new(guard),
                service_fn(move |incoming| {
                    let (worker, connection) = (core.worker(), Arc::clone(&connection));
                    let as_of = worker.live.generation();
                    async move { Ok::<_, Infallible>(request::walk(&worker, &connection, incoming, as_of).await) }
                }),
            )
            .with_upgrades()
    };
    let mut served = pin!(served);
    let goes_on = tokio::select! {
        biased;
        ended = unless(served.as_mut(), &mut signal, Phase::Draining) => ended,
        () = connection.dismissed() => None,
    };
    let ended = match goes_on {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = served.as_mut() => ended,
                () = farewell(signal) => Ok(()),
            }
        }
    };
    core.worker().connection_ended(&connection, ended);
}

/// When the gateway stops waiting for a connection whose exchanges it has cut.
async fn farewell(mut signal: Signal) {
    reached(&mut signal, Phase::Cutting).await;
    tokio::time::sleep(FAREWELL).await;
}

pub async fn http2(core: Arc<Core>, connection: Arc<Connection>, tls: TlsStream<Socket>, mut signal: Signal) {
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
    let (stream, outlet) = outbox::gather(tap);
    let served = {
        let (core, connection) = (Arc::clone(&core), Arc::clone(&connection));
        let streams = Streams::new(limits.idle_timeout, limits.min_rate);
        conn::http2::Builder::new(streams.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_streams)
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_header_list_size(limits.header_bytes)
            .max_send_buf_size(64 * 1024)
            .enable_connect_protocol()
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.header_timeout)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |incoming| {
                    let (worker, connection) = (core.worker(), Arc::clone(&connection));
                    let as_of = worker.live.generation();
                    let (pacer, busy) = (streams.begin(), connection.busy());
                    // Boxed: it is large, is moved several times on its way into its task, and is freed when the
                    // answer's head is known, however long the body flows.
                    Box::pin(async move {
                        let mut answer = request::walk(&worker, &connection, incoming, as_of).await;
                        // Never the same twice: in HPACK's table it would only drive out what is.
                        if let Some(id) = answer.headers_mut().get_mut(RANGEGATE_REQUEST_ID) {
                            id.set_sensitive(true);
                        }
                        Ok::<_, Infallible>(answer.map(|body| pacer.pace(body, busy)))
                    })
                }),
            )
    };
    let mut served = pin!(served);
    let (mut draining, mut dismissed, mut idled) = (false, false, false);
    // Hyper waits for ever for the client's preface, and keeps a connection without streams for ever.
    let mut check = pin!(tokio::time::sleep(limits.header_timeout));
    let mut cut_off = pin!(farewell(signal.clone()));
    let mut dismissal = pin!(connection.dismissed());
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|cx| outlet.poll_turn(served.as_mut(), cx)) => break ended,
            () = reached(&mut signal, Phase::Draining), if !draining => {
                draining = true;
                served.as_mut().graceful_shutdown();
            }
            () = dismissal.as_mut(), if !dismissed => {
                (dismissed, idled) = (true, true);
                served.as_mut().graceful_shutdown();
                check.as_mut().reset(tokio::time::Instant::now() + limits.header_timeout);
            }
            () = cut_off.as_mut() => break Ok(()),
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
                        served.as_mut().graceful_shutdown();
                        limits.header_timeout
                    }
                    idle => limits.idle_timeout.saturating_sub(idle.unwrap_or_default()),
                };
                check.as_mut().reset(tokio::time::Instant::now() + next);
            }
        }
    };
    core.worker().connection_ended(&connection, ended);
}
