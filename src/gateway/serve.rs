//! HTTP on one accepted connection, until it ends, idles out or the gateway drains.

use super::connection::Connection;
use super::drain::{FAREWELL, Phase, Signal, reached};
use super::guard::{Guard, GuardState, HeadBounds};
use super::pace::Streams;
use super::request;
use super::socket::Socket;
use super::worker::Worker;
use crate::audit::ConnectionFault;
use crate::sources::handshake::FrameTap;
use hyper::server::conn;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;

/// `stream` is what is left when TLS is taken off; on the Unix socket there was none.
pub async fn http1<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    worker: Arc<Worker>,
    connection: Arc<Connection>,
    state: Arc<GuardState>,
    stream: S,
    mut signal: Signal,
) {
    let limits = &worker.shared.limits;
    let bounds =
        HeadBounds { bytes: limits.header_bytes as usize, fields: limits.header_count, time: limits.header_timeout };
    let guard = Guard::new(stream, state, bounds);
    let served = {
        let (worker, connection) = (Arc::clone(&worker), Arc::clone(&connection));
        conn::http1::Builder::new()
            .timer(TokioTimer::new())
            // Bounds the silence between two requests; the guard bounds a head once its first byte came, and the
            // time before the first.
            .header_read_timeout(limits.idle_timeout)
            .max_headers(limits.header_count)
            .max_buf_size(64 * 1024)
            .serve_connection(
                TokioIo::new(guard),
                service_fn(move |incoming| {
                    let (worker, connection) = (Arc::clone(&worker), Arc::clone(&connection));
                    async move { Ok::<_, Infallible>(request::walk(&worker, &connection, incoming).await) }
                }),
            )
            .with_upgrades()
    };
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = reached(&mut signal, Phase::Draining) => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = served.as_mut() => ended,
                () = farewell(signal) => Ok(()),
            }
        }
    };
    worker.connection_ended(&connection, ended);
}

/// When the gateway stops waiting for a connection whose exchanges it has cut.
async fn farewell(mut signal: Signal) {
    reached(&mut signal, Phase::Cutting).await;
    tokio::time::sleep(FAREWELL).await;
}

pub async fn http2(worker: Arc<Worker>, connection: Arc<Connection>, tls: TlsStream<Socket>, mut signal: Signal) {
    let limits = &worker.shared.limits;
    let samples = Arc::clone(&connection.connected.timing.tls);
    let tap = FrameTap::new(tls, move |rtt, source| samples.record(rtt, source));
    let served = {
        let (worker, connection) = (Arc::clone(&worker), Arc::clone(&connection));
        let streams = Streams::new(limits.idle_timeout);
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
                TokioIo::new(tap),
                service_fn(move |incoming| {
                    let (worker, connection) = (Arc::clone(&worker), Arc::clone(&connection));
                    let (pacer, busy) = (streams.begin(), connection.busy());
                    async move {
                        let answer = request::walk(&worker, &connection, incoming).await;
                        Ok::<_, Infallible>(answer.map(|body| pacer.pace(body, busy)))
                    }
                }),
            )
    };
    let mut served = pin!(served);
    let (mut draining, mut idled) = (false, false);
    // Hyper waits for ever for the client's preface, and keeps a connection without streams for ever.
    let mut check = pin!(tokio::time::sleep(limits.header_timeout));
    let mut cut_off = pin!(farewell(signal.clone()));
    let ended = loop {
        tokio::select! {
            ended = served.as_mut() => break ended,
            () = reached(&mut signal, Phase::Draining), if !draining => {
                draining = true;
                served.as_mut().graceful_shutdown();
            }
            () = cut_off.as_mut() => break Ok(()),
            () = check.as_mut() => {
                let next = match connection.idle_for() {
                    Some(_) if connection.served() == 0 => {
                        worker.drop_connection(&connection, ConnectionFault::HeaderTimeout);
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
    worker.connection_ended(&connection, ended);
}
