//! From a TCP connection to one that can carry requests: limits, PROXY protocol, TLS, the client's certificate.

use super::admission::Slot;
use super::clock;
use super::connection::Connection;
use super::drain::{Phase, Signal, reached};
use super::listener::Listener;
use super::proxy_protocol;
use super::serve;
use super::worker::Worker;
use crate::evidence::{Fact, Via};
use crate::sources::transport;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// When the system has no descriptors or memory left, accepting again at once would only spin.
const AFTER_EXHAUSTION: Duration = Duration::from_millis(50);

/// Accepts on this core until the gateway drains.
pub async fn accept(worker: Arc<Worker>, listener: Arc<Listener>, socket: TcpListener, mut signal: Signal) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = reached(&mut signal, Phase::Draining) => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => admit(&worker, &listener, stream, peer, &signal),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(listener = &*listener.name, %error, "cannot accept");
                tokio::time::sleep(AFTER_EXHAUSTION).await;
            }
        }
    }
}

fn is_about_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn admit(worker: &Arc<Worker>, listener: &Arc<Listener>, stream: TcpStream, peer: SocketAddr, signal: &Signal) {
    // A balancer's address stands for all its clients: only the total counts there.
    let counted = if listener.speaks_proxy_protocol(peer.ip()) { None } else { Some(peer.ip()) };
    match worker.shared.admission.admit(counted) {
        Ok(slot) => {
            let (worker, listener, signal) = (Arc::clone(worker), Arc::clone(listener), signal.clone());
            tokio::spawn(greet(worker, listener, stream, peer, slot, signal));
        }
        Err(full) => worker.refuse_connection(listener, peer, full.code(), None),
    }
}

/// The handshake, in a task of its own that is gone when the connection is served.
async fn greet(
    worker: Arc<Worker>,
    listener: Arc<Listener>,
    stream: TcpStream,
    peer: SocketAddr,
    slot: Slot,
    signal: Signal,
) {
    // The kernel timed the SYN-ACK: read it before anything else moves the estimate.
    let first = transport::read(&stream);
    let limit = worker.shared.limits.handshake_timeout;
    let greeted = tokio::time::timeout(limit, shake_hands(&worker, &listener, stream, peer)).await;
    let (tls, client) = match greeted {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(refusal)) => {
            return worker.refuse_connection(&listener, peer, refusal.code, refusal.detail);
        }
        Err(_) => return worker.refuse_connection(&listener, peer, "handshake-timeout", None),
    };
    let connection = Connection::new(&worker, &listener, peer, client, first, &tls);
    if listener.requires_certificate() && connection.certificate(&worker, clock::now()).known().is_none() {
        return worker.refuse_connection(&listener, peer, "certificate-required", None);
    }
    serve::spawn(worker, Arc::new(connection), tls, slot, signal);
}

/// Who is at the other end, as far as addresses go.
pub type Client = (Fact<IpAddr>, Via);

struct Refusal {
    code: &'static str,
    detail: Option<String>,
}

async fn shake_hands(
    worker: &Worker,
    listener: &Listener,
    mut stream: TcpStream,
    peer: SocketAddr,
) -> Result<(tokio_rustls::server::TlsStream<TcpStream>, Client), Refusal> {
    let _ = stream.set_nodelay(true);
    let client = if listener.speaks_proxy_protocol(peer.ip()) {
        match proxy_protocol::read(&mut stream).await {
            Ok(header) => (header.source(), Via::ProxyProtocol),
            Err(error) => return Err(Refusal { code: "proxy-header", detail: Some(error.to_string()) }),
        }
    } else {
        (Fact::Known(peer.ip().to_canonical()), Via::Direct)
    };
    let _ = worker;
    let config = Arc::clone(&listener.tls.load().config);
    match TlsAcceptor::from(config).accept(stream).await {
        Ok(tls) => Ok((tls, client)),
        Err(error) => Err(Refusal { code: "tls-refused", detail: Some(error.to_string()) }),
    }
}
