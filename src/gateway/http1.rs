//! HTTP/1 on one accepted connection, until it ends, idles out or the gateway drains.

use super::connection::Connection;
use super::core::Core;
use super::drain::{FAREWELL, Phase, Signal, farewell, unless};
use super::guard::{Guard, GuardState, HeadBounds};
use super::request;
use super::timer::Lazy;
use crate::audit::ConnectionFault;
use crate::enforce::interim::Turn;
use crate::enforce::received::Received;
use crate::evidence::Malformed;
use futures_util::FutureExt;
use hyper::server::conn;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Hyper's own bound on a head's fields, with a table on the stack. For any other it allocates one for each head; the
/// guard has counted the fields by then.
const OWN_MAX_HEADERS: usize = 100;

/// `stream` is what is left when TLS is taken off; on the Unix socket there was none.
pub async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
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
                    // May be spoken in until the answer is handed over.
                    let turn = connection.interim(incoming.version());
                    let speaker = turn.as_ref().map(Turn::speaker);
                    let walk = request::walk(worker, connection, incoming.map(Received::Http1), speaker, as_of);
                    walk.map(|answer| {
                        drop(turn);
                        Ok::<_, Infallible>(answer)
                    })
                }),
            )
            .with_upgrades()
    };
    let mut served = pin!(served);
    let mut stuck = pin!(cut_in_vain(&core, &connection));
    let goes_on = tokio::select! {
        biased;
        ended = unless(served.as_mut(), &mut signal, Phase::Draining) => ended,
        () = connection.dismissed() => None,
        () = stuck.as_mut() => return,
    };
    let ended = match goes_on {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = served.as_mut() => ended,
                () = farewell(signal) => Ok(()),
                () = stuck => return,
            }
        }
    };
    if let Some(fault) = connection.guard().and_then(|guard| fault(guard, ended.err().as_ref())) {
        core.worker().drop_connection(&connection, fault);
    }
}

/// Resolves when an exchange that was cut does not end: its client takes nothing, and until it does hyper asks nobody.
async fn cut_in_vain(core: &Core, connection: &Connection) {
    loop {
        connection.connected.cut.notified().await;
        // Boxed: rare, and each connection has room for what it awaits.
        Box::pin(tokio::time::sleep(FAREWELL)).await;
        if core.worker().live.lingers(&connection.connected) {
            return;
        }
    }
}

/// What is to be recorded of how the connection ended: before its first request, or by breaking HTTP.
fn fault(guard: &GuardState, error: Option<&hyper::Error>) -> Option<ConnectionFault> {
    if guard.late() {
        return Some(ConnectionFault::HeaderTimeout);
    }
    match guard.violation() {
        // A broken head is denied and recorded as a request; only a broken body is news here.
        Some(malformed) => (!guard.broke_a_head()).then_some(ConnectionFault::Malformed(malformed)),
        None if error.is_some_and(hyper::Error::is_parse) => Some(ConnectionFault::Malformed(Malformed::Syntax)),
        // Gone, or silent for too long between two requests.
        None => None,
    }
}
