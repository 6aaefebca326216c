//! What the audit log says: the records as plain values, before they become lines.

use crate::evidence::{Evidence, Fault, Malformed, Moment, Request};
use crate::policy::{Decided, Decision, Origin};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is the same for all requests of one connection. Made once, shared by `Arc`.
#[derive(Clone, Debug, Serialize)]
pub struct Connection {
    /// The listener's configured name.
    pub listener: Arc<str>,
    /// The TCP peer: the client, or a balancer in front of it.
    pub peer: SocketAddr,
    /// None: clear text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// What ALPN settled on: `h2`, `http/1.1`.
    pub protocol: Cow<'static, str>,
}

/// What the handshake settled on.
#[derive(Clone, Debug, Serialize)]
pub struct Tls {
    /// `1.2` or `1.3`.
    pub version: Cow<'static, str>,
    /// The IANA name of the cipher suite.
    pub cipher: Cow<'static, str>,
    /// The server name the client asked for (RFC 6066).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<Arc<str>>,
}

/// How a record ended. `code()` is the word in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The whole answer was handed to the client's connection.
    Complete,
    /// The client went away first.
    ClientGone,
    /// The upstream broke off in the middle of its answer.
    UpstreamError,
    /// The exchange took longer than the settings allow.
    Timeout,
    /// The gateway's own fault.
    Panic,
    /// The gateway ended it: a reason code of the policy, or `drain`.
    Cut(&'static str),
}

impl End {
    /// The class, for metrics: a cut's reason left out.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client-gone",
            Self::UpstreamError => "upstream-error",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::Cut(_) => "cut",
        }
    }
}

impl Serialize for End {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Cut(reason) => serializer.collect_str(&format_args!("cut:{reason}")),
            other => serializer.serialize_str(other.code()),
        }
    }
}

/// What became of the request at the upstream.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// None: no address of the resource was worth trying.
    pub origin: Option<Origin>,
    /// The status of the upstream's answer. None: it never answered.
    pub status: Option<u16>,
    /// From the request being handed to the upstream until the head of its answer, or until it failed.
    pub head: Duration,
    /// Upstream addresses tried; 1 when the first one answered.
    pub attempts: u8,
    /// Why there was no answer: a code of `enforce/`, such as `connect-timeout`.
    pub fault: Option<&'static str>,
}

/// Body bytes as they pass, counted where the bodies are read.
#[derive(Debug, Default)]
pub struct Flow {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Flow {
    /// Bytes from the client.
    pub fn add_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes to the client.
    pub fn add_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// One request from its opening to its end.
#[derive(Debug)]
pub struct Record {
    pub at: Moment,
    pub connection: Arc<Connection>,
    pub known: Known,
    pub exchange: Option<Exchange>,
    /// The status the client got. None: it got none.
    pub status: Option<u16>,
    pub to_decision: Option<Duration>,
    pub total: Duration,
    pub received: u64,
    pub sent: u64,
    pub end: End,
    /// An `opened` line was written for it.
    pub live: bool,
    /// An alert that found no place in the queue and travels with the record instead.
    pub alert: Option<Box<Alert>>,
    pub(super) started: Instant,
    /// Whether the queue holds a place for this record.
    pub(super) slot: bool,
    pub(super) flow: Option<Arc<Flow>>,
    /// Which thread opened it: `homes`.
    pub(super) home: usize,
}

impl Record {
    /// When it was closed.
    pub fn closed(&self) -> Instant {
        self.started + self.total
    }
}

/// How far the walk came.
#[derive(Debug)]
pub enum Known {
    /// The request ended while its evidence was still being gathered.
    Asked(Arc<Request>),
    Decided(Arc<Decided>),
}

impl Known {
    pub fn request(&self) -> &Request {
        match self {
            Self::Asked(request) => request,
            Self::Decided(decided) => &decided.evidence.request,
        }
    }

    pub fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::Asked(_) => None,
            Self::Decided(decided) => Some(&decided.evidence),
        }
    }

    pub fn decision(&self) -> Option<&Decision> {
        match self {
            Self::Asked(_) => None,
            Self::Decided(decided) => Some(&decided.decision),
        }
    }
}

/// Something that happened to a long-lived exchange between its opening and its end.
#[derive(Debug)]
pub struct Live {
    pub at: Moment,
    pub id: String,
    pub event: LiveEvent,
}

#[derive(Debug)]
pub enum LiveEvent {
    /// It flows from now on: an upgrade was accepted, or the head of a long answer was sent.
    Opened {
        connection: Arc<Connection>,
        decided: Arc<Decided>,
        status: Option<u16>,
    },
    Redecided {
        decided: Arc<Decided>,
    },
    Cut {
        reason: &'static str,
    },
}

/// A connection that ended before it carried a request, or a stream of one that did.
#[derive(Clone, Debug)]
pub struct Refused {
    pub at: Moment,
    pub listener: Arc<str>,
    /// The TCP peer, or the client a listed balancer named.
    pub address: IpAddr,
    /// SHA-256 of the certificate the client presented, lower-case hex, verified or not.
    pub certificate: Option<Arc<str>>,
    pub reason: ConnectionFault,
}

macro_rules! connection_faults {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal,)+) => {
        /// Why a connection was refused. A closed vocabulary.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ConnectionFault {
            $($(#[doc = $doc])+ $name,)+
            /// The client's certificate, by the fault the evidence would name.
            Certificate(Fault),
            /// Bytes that are no request, by the code a request would be refused with.
            Malformed(Malformed),
            /// An HTTP/2 stream that was reset for what the client did, with the error code of RFC 9113 section 7. The
            /// connection may go on, and a request on the stream may have its own record.
            StreamRefused { stream: u32, error: u32 },
        }

        impl ConnectionFault {
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                    Self::Certificate(fault) => fault.code(),
                    Self::Malformed(malformed) => malformed.code(),
                    Self::StreamRefused { .. } => "http2-stream-refused",
                }
            }
        }
    };
}

connection_faults! {
    /// The peers share no TLS version, cipher suite or protocol, or the peer does not speak TLS.
    Handshake = "handshake-refused",
    /// The handshake took too long.
    HandshakeTimeout = "handshake-timeout",
    /// The client named no server, or one the gateway has no certificate for.
    ServerName = "server-name-unknown",
    /// The listener requires a client certificate and none was sent.
    CertificateMissing = "certificate-missing",
    /// The head of the first request took too long.
    HeaderTimeout = "header-timeout",
    /// The gateway holds as many connections as it may.
    ConnectionLimit = "connection-limit",
    /// The address holds as many connections as it may.
    AddressLimit = "address-limit",
    /// A listed balancer sent no PROXY protocol header, or a broken one.
    ProxyHeader = "proxy-header-malformed",
    /// A PROXY protocol header from a peer that is not listed.
    ProxyForbidden = "proxy-header-forbidden",
    /// The peer broke HTTP/2, or used it to flood.
    Http2Abuse = "http2-abuse",
}

/// Something a person should look at.
#[derive(Clone, Debug)]
pub struct Alert {
    pub at: Moment,
    pub kind: AlertKind,
    /// The request it is about.
    pub id: Option<String>,
    pub resource: Option<Arc<str>>,
    pub user: Option<Arc<str>>,
    pub device: Option<Arc<str>>,
    pub address: Option<IpAddr>,
    /// A reason code, or a sentence for what has none.
    pub reason: Cow<'static, str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertKind {
    /// A request was let through and is watched.
    Observed,
    /// A person who is watched asked for something, whether they got it or not.
    Watched,
    /// The emergency switch was moved.
    Emergency,
    /// A new policy was refused; the last good one decides on.
    PolicyRejected,
    /// New certificates, revocation lists, keys or databases were refused; the last good ones stay.
    SourceRejected,
    /// A revocation list ran out.
    SourceExpired,
    /// A key at a second device, or a certificate under another subject.
    DeviceFinding,
    /// Somebody broke the glass: took a role without waiting for approval.
    BreakGlass,
    /// A webhook's target never took a notification.
    Undelivered,
}

impl AlertKind {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Watched => "watched",
            Self::Emergency => "emergency",
            Self::PolicyRejected => "policy-rejected",
            Self::SourceRejected => "source-rejected",
            Self::SourceExpired => "source-expired",
            Self::DeviceFinding => "device-finding",
            Self::BreakGlass => "break-glass",
            Self::Undelivered => "undelivered",
        }
    }
}

/// Something that happened to the gateway or its log.
#[derive(Clone, Debug)]
pub struct Control {
    pub at: Moment,
    pub event: ControlEvent,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// The first line of every file: what it continues.
    FileOpened,
    /// The last line of a rotated file.
    FileClosed,
    Start,
    Stop,
    Reload,
    Emergency,
    /// What the start-up repaired or found wrong in the log.
    Repaired,
    /// The log can be written again, and since when it could not.
    Recovered,
    /// Requests that were denied, or forwarded by setting, without a record.
    Unrecorded,
}

impl ControlEvent {
    pub const fn code(self) -> &'static str {
        match self {
            Self::FileOpened => "file-opened",
            Self::FileClosed => "file-closed",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reload => "reload",
            Self::Emergency => "emergency",
            Self::Repaired => "repaired",
            Self::Recovered => "recovered",
            Self::Unrecorded => "unrecorded",
        }
    }
}
