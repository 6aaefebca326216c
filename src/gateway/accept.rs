//! From a TCP connection to one that can carry requests: limits, PROXY protocol, TLS, the client's certificate.

use super::admission::Full;
use super::clock;
use super::connection::{Connection, Greeting};
use super::core::Core;
use super::drain::{Phase, Signal, reached};
use super::guard::GuardState;
use super::listener::Listener;
use super::patience::Patience;
use super::proxy_protocol::{self, Proxied, ProxyHeaderError};
use super::socket::Socket;
use super::{http1, http2};
use crate::audit::ConnectionFault;
use crate::evidence::Fact;
use crate::sources::certificate::Refusal;
use crate::sources::transport::TcpSamples;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// When the system has no descriptors or memory left, accepting again at once would only spin.
const AFTER_EXHAUSTION: Duration = Duration::from_millis(50);

/// Accepts on this core until the gateway drains.
pub async fn accept(core: Arc<Core>, listener: Arc<Listener>, socket: TcpListener, mut signal: Signal) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = reached(&mut signal, Phase::Draining) => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => admit(&core, &listener, stream, peer, &signal),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(listener = &*listener.name, %error, "cannot accept");
                tokio::time::sleep(AFTER_EXHAUSTION).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn admit(core: &Arc<Core>, listener: &Arc<Listener>, stream: TcpStream, peer: SocketAddr, signal: &Signal) {
    let worker = core.worker();
    let balancer = listener.speaks_proxy_protocol(peer.ip());
    // The kernel timed the SYN-ACK: read it before anything else moves the estimate.
    let tcp = if balancer { TcpSamples::forwarded() } else { TcpSamples::accepted(&stream, false) };
    // A balancer's address stands for all its clients: only the total counts there.
    let counted = (!balancer).then_some(peer.ip());
    match worker.shared.admission.admit(counted) {
        Ok(slot) => {
            let limits = &worker.shared.limits;
            let socket = Socket::new(stream, slot, Patience::new(limits.idle_timeout, limits.min_rate));
            socket.send_at_once();
            let arrived = Arrived { peer, tcp, socket, signal: signal.clone() };
            tokio::spawn(greet(Arc::clone(core), Arc::clone(listener), arrived));
        }
        Err(full) => {
            let fault = match full {
                Full::Total => ConnectionFault::ConnectionLimit,
                Full::Address => ConnectionFault::AddressLimit,
            };
            worker.refuse(&listener.name, peer.ip(), None, fault);
        }
    }
}

struct Arrived {
    peer: SocketAddr,
    tcp: TcpSamples,
    socket: Socket,
    signal: Signal,
}

/// The handshake, in a task of its own that is gone when the connection is served.
async fn greet(core: Arc<Core>, listener: Arc<Listener>, arrived: Arrived) {
    let Arrived { peer, tcp, socket, signal } = arrived;
    let limit = core.shared().limits.handshake_timeout;
    let greeted = tokio::time::timeout(limit, shake_hands(&listener, socket, peer)).await;
    let worker = core.worker();
    let (tls, proxied) = match greeted {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(None)) => return,
        Ok(Err(Some((fault, certificate)))) => return worker.refuse(&listener.name, peer.ip(), certificate, fault),
        Err(_) => return worker.refuse(&listener.name, peer.ip(), None, ConnectionFault::HandshakeTimeout),
    };
    let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let guard = (!is_http2).then(Arc::<GuardState>::default);
    let greeting = Greeting { peer, proxied, tcp, socket: tls.get_ref().0.watch() };
    let sources = &worker.shared.sources;
    let connection = Arc::new(Connection::new(&listener, sources, greeting, &tls, guard.clone(), clock::now()));
    core.greet(&connection);
    match guard {
        Some(guard) => tokio::spawn(http1::serve(core, connection, guard, tls, signal)),
        None => tokio::spawn(http2::serve(core, connection, tls, signal)),
    };
}

/// None: the peer went away before it said anything.
type Refused = Option<(ConnectionFault, Option<Arc<str>>)>;

async fn shake_hands(
    listener: &Listener,
    mut socket: Socket,
    peer: SocketAddr,
) -> Result<(TlsStream<Socket>, Option<Proxied>), Refused> {
    let proxied = if listener.speaks_proxy_protocol(peer.ip()) {
        Some(proxy_protocol::read(&mut socket).await.map_err(|fault| match fault {
            ProxyHeaderError::Silent => None,
            _ => Some((ConnectionFault::ProxyHeader, None)),
        })?)
    } else {
        None
    };
    let acceptor = TlsAcceptor::from(listener.config.load_full());
    let tls = acceptor.accept(socket).into_fallible().await.map_err(|(error, socket)| {
        // A stranger who says whom it speaks for: nobody asked, and nobody believes it.
        let forbidden = proxied.is_none() && proxy_protocol::begins(socket.opening());
        if forbidden { Some((ConnectionFault::ProxyForbidden, None)) } else { refusal(&error) }
    })?;
    Ok((tls, proxied))
}

fn refusal(error: &io::Error) -> Refused {
    if let Some(refusal) = Refusal::of(error) {
        let fault = match refusal.fact {
            Fact::Invalid(fault) | Fact::Unavailable(fault) => ConnectionFault::Certificate(fault),
            Fact::Known(_) | Fact::Absent => ConnectionFault::CertificateMissing,
        };
        return Some((fault, Some(refusal.fingerprint.sha256.as_str().into())));
    }
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::NoCertificatesPresented) => Some((ConnectionFault::CertificateMissing, None)),
        Some(rustls::Error::General(said))
            if said.contains("certificate resolver") || said.contains("server certificate") =>
        {
            Some((ConnectionFault::ServerName, None))
        }
        Some(_) => Some((ConnectionFault::Handshake, None)),
        // A port scan, a health check, a client that changed its mind.
        None => None,
    }
}
