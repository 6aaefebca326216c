//! One client connection: what does not change between its requests, and what its requests share.

use super::guard::GuardState;
use super::listener::Listener;
use super::proxy_protocol::Proxied;
use super::sanitize::host::Authority;
use super::sanitize::{Arrival, client};
use super::settings::{Limits, ListenerSettings};
use super::socket::Socket;
use crate::audit;
use crate::enforce::builtin::API;
use crate::enforce::headers::ClientValues;
use crate::enforce::interim::Turn;
use crate::evidence::{Moment, Subject, Via};
use crate::policy::Policy;
use crate::sources::certificate::Presented;
use crate::sources::gather::{Connected, Recognised, Sources};
use crate::sources::place::Located;
use crate::sources::recall::Regrouped;
use crate::sources::timing::ConnectionTiming;
use crate::sources::token::LastToken;
use crate::sources::transport::TcpSamples;
use http::{HeaderMap, Version};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

pub struct Connection {
    /// None: the Unix socket.
    listener: Option<Arc<Listener>>,
    pub facts: Arc<audit::Connection>,
    pub connected: Arc<Connected>,
    /// The listener's when the connection came. None: the Unix socket.
    settings: Option<Arc<ListenerSettings>>,
    peer: IpAddr,
    proxied: Option<Proxied>,
    sni: Option<Arc<str>>,
    sni_is_canonical: bool,
    /// The client's address in header form, where the connection alone tells it.
    client_values: Option<ClientValues>,
    guard: Option<Arc<GuardState>>,
    began: Instant,
    served: AtomicU32,
    busy: AtomicU32,
    /// Milliseconds after `began` at which the last request ended.
    quiet_since: AtomicU64,
    /// Whether its device was in good standing when it was last looked at.
    standing: AtomicBool,
    dismissed: Notify,
}

/// What the handshake and the bytes before it told.
pub struct Greeting {
    pub peer: SocketAddr,
    pub proxied: Option<Proxied>,
    pub tcp: TcpSamples,
    pub socket: Weak<TcpStream>,
}

impl Connection {
    pub fn new(
        listener: &Arc<Listener>,
        sources: &Sources,
        greeting: Greeting,
        tls: &TlsStream<Socket>,
        guard: Option<Arc<GuardState>>,
        now: Moment,
    ) -> Self {
        let Greeting { peer, proxied, tcp, socket } = greeting;
        let (_, session) = tls.get_ref();
        let sni: Option<Arc<str>> = session.server_name().map(|name| name.to_ascii_lowercase().into());
        let http2 = session.alpn_protocol() == Some(b"h2");
        let settings = listener.settings.load_full();
        let client = client::client_address(peer.ip(), proxied.as_ref(), &settings.forwarders, &HeaderMap::new());
        let address = client.address.known().copied();
        let facts = Arc::new(audit::Connection {
            listener: Arc::clone(&listener.name),
            peer,
            tls: Some(audit::Tls {
                version: version(session.protocol_version()).into(),
                cipher: cipher(session.negotiated_cipher_suite()).into(),
                sni: sni.clone(),
            }),
            protocol: if http2 { "h2" } else { "http/1.1" }.into(),
        });
        Self {
            facts,
            connected: Arc::new(Connected {
                local: None,
                presented: Presented::new(session.peer_certificates()),
                located: Located::new(&sources.networks, peer.ip(), address, client.via, now),
                timing: ConnectionTiming::new(sources.timings.connection(), tcp),
                trust: Arc::clone(&listener.trust),
                pings: http2,
                awaited: AtomicBool::new(false),
                sighted: AtomicBool::new(false),
                socket,
                cut: Notify::new(),
                recognised: Recognised::default(),
                token: LastToken::default(),
                regrouped: Regrouped::default(),
            }),
            client_values: match client.via {
                Via::Forwarder => None,
                Via::Direct | Via::ProxyProtocol => address.map(ClientValues::new),
            },
            listener: Some(Arc::clone(listener)),
            settings: Some(settings),
            peer: peer.ip(),
            proxied,
            sni_is_canonical: sni.as_deref().is_some_and(Authority::is_canonical),
            sni,
            guard,
            began: Instant::now(),
            served: AtomicU32::new(0),
            busy: AtomicU32::new(0),
            quiet_since: AtomicU64::new(0),
            standing: AtomicBool::new(false),
            dismissed: Notify::new(),
        }
    }

    /// A connection over the Unix socket: no TLS, no address, no device, nothing timed; the kernel names the subject.
    pub fn local(
        name: &Arc<str>,
        sources: &Sources,
        subject: Arc<Subject>,
        guard: Arc<GuardState>,
        now: Moment,
    ) -> Self {
        let nowhere = Ipv4Addr::UNSPECIFIED.into();
        Self {
            facts: Arc::new(audit::Connection {
                listener: Arc::clone(name),
                peer: SocketAddr::new(nowhere, 0),
                tls: None,
                protocol: "http/1.1".into(),
            }),
            connected: Arc::new(Connected {
                local: Some(subject),
                presented: Presented::default(),
                located: Located::here(&sources.networks, now),
                timing: ConnectionTiming::new(sources.timings.connection(), TcpSamples::forwarded()),
                trust: Arc::default(),
                pings: false,
                awaited: AtomicBool::new(true),
                sighted: AtomicBool::new(false),
                socket: Weak::new(),
                cut: Notify::new(),
                recognised: Recognised::default(),
                token: LastToken::default(),
                regrouped: Regrouped::default(),
            }),
            client_values: None,
            listener: None,
            settings: None,
            peer: nowhere,
            proxied: None,
            sni: None,
            sni_is_canonical: false,
            guard: Some(guard),
            began: Instant::now(),
            served: AtomicU32::new(0),
            busy: AtomicU32::new(0),
            quiet_since: AtomicU64::new(0),
            standing: AtomicBool::new(false),
            dismissed: Notify::new(),
        }
    }

    /// What is known before a head is read. Call it once per head: the guard counts along.
    pub fn arrival<'a>(&'a self, limits: &Limits, policy: &'a Policy) -> Arrival<'a> {
        let local = self.listener.is_none();
        Arrival {
            // The Unix socket leads to one resource, and was opened for its name whatever that is now.
            sni: if local { policy.host_of(API) } else { self.sni.as_deref() },
            sni_is_canonical: self.sni_is_canonical,
            local,
            peer: self.peer,
            proxied: self.proxied.as_ref(),
            forwarders: self.settings.as_ref().map_or(&[], |settings| &settings.forwarders),
            violation: self.guard.as_ref().and_then(|guard| guard.next_head()),
            header_count: limits.header_count,
            header_bytes: limits.header_bytes as usize,
        }
    }

    /// The client's address for the upstream's headers.
    pub fn client_values(&self, client: &client::Client) -> Option<ClientValues> {
        match client.via {
            Via::Forwarder => client.address.known().copied().map(ClientValues::new),
            Via::Direct | Via::ProxyProtocol => self.client_values.clone(),
        }
    }

    /// What follows a request: the new protocol, or the next request. A malformed WebSocket handshake is to the guard
    /// one too, so this is told of every request.
    pub fn upgraded(&self, switched: bool) {
        match &self.guard {
            Some(guard) if switched => guard.transparent(),
            Some(guard) => guard.upgrade_refused(),
            None => {}
        }
    }

    /// Lets one request's upstream speak before it answers, on HTTP/1.1.
    pub fn interim(&self, version: Version) -> Option<Turn> {
        let guard = self.guard.as_ref().filter(|_| version == Version::HTTP_11)?;
        Some(guard.interim().begin())
    }

    pub fn guard(&self) -> Option<&GuardState> {
        self.guard.as_deref()
    }

    /// Requests begun.
    pub fn served(&self) -> u32 {
        self.served.load(Ordering::Relaxed)
    }

    /// How long nothing has been under way; none while something is.
    pub fn idle_for(&self) -> Option<Duration> {
        // Tunnels outlive their request's answer; what is open keeps hold of what it relied on.
        if self.busy.load(Ordering::Relaxed) > 0 || Arc::strong_count(&self.connected) > 1 {
            return None;
        }
        let since = Duration::from_millis(self.quiet_since.load(Ordering::Relaxed));
        Some(self.began.elapsed().saturating_sub(since))
    }

    /// Whether its device was in good standing when this was last asked, and is not any more. Who came without any
    /// may stay, to be told why nothing opens.
    pub fn fell(&self, sources: &Sources, now: Moment) -> bool {
        let standing = sources.stands(&self.connected, now);
        self.standing.swap(standing, Ordering::Relaxed) && !standing
    }

    /// Tells it to end, when what is under way on it is over.
    pub fn dismiss(&self) {
        self.dismissed.notify_one();
    }

    /// Resolves once, when it is told to end.
    pub async fn dismissed(&self) {
        self.dismissed.notified().await;
    }

    /// Counts a request as under way until its answer has been taken.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }
}

pub struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
        let elapsed = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.quiet_since.store(elapsed, Ordering::Relaxed);
    }
}

fn version(version: Option<rustls::ProtocolVersion>) -> &'static str {
    match version {
        Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "1.2",
        _ => "unknown",
    }
}

fn cipher(suite: Option<rustls::SupportedCipherSuite>) -> &'static str {
    suite.and_then(|suite| suite.suite().as_str()).unwrap_or("unknown")
}
