//! What an operator sets about listeners and limits.

use crate::audit::AuditSettings;
use crate::authority::AuthoritySettings;
use crate::control::webhook::WebhookSettings;
use crate::enforce::assertion::AssertionSettings;
use crate::enforce::rate::MinRate;
use crate::enforce::upstream::UpstreamSettings;
use crate::portal::PortalSettings;
use crate::sources::certificate::TrustSettings;
use crate::sources::geo::GeoSettings;
use crate::sources::lists::ListSettings;
use crate::sources::timing::TimingSettings;
use crate::sources::token::IssuerSettings;
use crate::store::StoreSettings;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Asked for; without a good one the request is still decided, and the refusal gets a page and a record.
    #[default]
    Requested,
    /// The handshake fails without a good one.
    Required,
    /// Not asked for.
    Off,
}

/// A server certificate: chosen by SNI from the names in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCertificate {
    pub chain: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    pub name: String,
    pub address: SocketAddr,
    pub certificates: Vec<ServerCertificate>,
    pub client_certificates: ClientCertificates,
    pub trust: TrustSettings,
    /// Peers that must begin with a PROXY protocol header. All others must not.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Peers whose `X-Forwarded-For` is believed, from the right.
    pub forwarders: Vec<IpNet>,
}

impl ListenerSettings {
    /// Every file that its TLS is made of.
    pub fn files(&self) -> Vec<PathBuf> {
        let pairs = self.certificates.iter().flat_map(|pair| [&pair.chain, &pair.key]);
        let external = self.trust.external.iter().flat_map(|authority| &authority.certificates);
        pairs.chain(&self.trust.authorities).chain(external).chain(&self.trust.crls).cloned().collect()
    }
}

/// The Unix socket for administration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalSettings {
    pub path: PathBuf,
    /// The file's permissions: whoever may write to it may connect.
    pub mode: u32,
    /// Users of this machine, and whom policies know them as.
    pub people: Vec<(u32, Arc<str>)>,
}

/// Bounds on what one client can make the gateway hold or wait for.
#[derive(Clone, Debug)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_address: usize,
    pub handshake_timeout: Duration,
    pub header_timeout: Duration,
    /// Idle keep-alive and idle HTTP/2 connections, and WebSockets without a byte, are closed after this.
    pub idle_timeout: Duration,
    /// How often a quiet HTTP/2 connection and a WebSocket are pinged, which times the TLS endpoint.
    pub ping_interval: Duration,
    /// How long the first request of a connection waits for a TLS round trip, where a rule reads it.
    pub first_round_trip: Duration,
    /// A request body that delivers nothing for this long is cut.
    pub body_timeout: Duration,
    /// The least that a client must take of what waits for it, and give of a body, while it is waited for.
    pub min_rate: MinRate,
    pub header_bytes: u32,
    pub header_count: usize,
    pub http2_streams: u32,
    /// From SIGTERM to the last connection being cut.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            connections_per_address: 4_096,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            ping_interval: Duration::from_secs(10),
            first_round_trip: Duration::from_secs(1),
            body_timeout: Duration::from_secs(30),
            min_rate: MinRate::default(),
            header_bytes: 16 * 1024,
            header_count: 100,
            http2_streams: 100,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Everything the gateway is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// At least one; names and addresses are distinct.
    pub listeners: Vec<ListenerSettings>,
    pub limits: Limits,
    pub issuers: Vec<IssuerSettings>,
    pub geo: GeoSettings,
    /// Names are distinct.
    pub lists: Vec<ListSettings>,
    /// Where the gateway stands.
    pub timing: TimingSettings,
    pub audit: AuditSettings,
    pub assertion: AssertionSettings,
    pub upstream: UpstreamSettings,
    /// Settings for single upstreams, by origin as `policy::Origin` shows it.
    pub upstream_exceptions: Vec<(String, UpstreamSettings)>,
    pub headers: HeaderSettings,
    pub portal: PortalSettings,
    /// Where `/healthz`, `/readyz` and `/metrics` are served, in clear text.
    pub operations: SocketAddr,
    /// The directory of policy files.
    pub policies: PathBuf,
    /// Origins to put in the place of those the policies name; the demo's free ports.
    pub origins: BTreeMap<String, String>,
    /// The device registry. None: every device is unknown.
    pub devices: Option<PathBuf>,
    /// Where identities, devices and grants are kept. None: there are the devices of the registry, and no others.
    pub store: Option<StoreSettings>,
    /// Who is told of what was done. Names are distinct.
    pub webhooks: Vec<WebhookSettings>,
    /// The built-in device authority. None: nobody enrols here.
    pub authority: Option<AuthoritySettings>,
    /// Holds `observe` or `deny` while the emergency switch is thrown; need not exist.
    pub emergency: PathBuf,
    /// Where this machine's administrators come in. None: only over the listeners.
    pub local: Option<LocalSettings>,
    /// Threads that serve requests, each with its own share of connections.
    pub workers: NonZeroUsize,
}

impl Settings {
    /// The first setting in which `new` differs and that holds for as long as the gateway runs, as it is called in
    /// `rangegate.toml`. None: `new` can be put in force at once.
    pub fn takes_a_restart(&self, new: &Self) -> Option<&'static str> {
        let place = |listener: &ListenerSettings| (listener.name.clone(), listener.address);
        let mut places = [self, new].map(|settings| settings.listeners.iter().map(place).collect::<Vec<_>>());
        places.iter_mut().for_each(|places| places.sort());
        let names = places.each_ref().map(|places| places.iter().map(|(name, _)| name).collect::<Vec<_>>());
        let (old, new_audit) = (&self.audit, &new.audit);
        let differs = [
            ("listener", names[0] != names[1]),
            ("listener.address", places[0] != places[1]),
            ("operations.address", self.operations != new.operations),
            ("workers", self.workers != new.workers),
            ("store", self.store != new.store),
            ("authority", self.authority != new.authority),
            ("control", self.local != new.local),
            ("audit.path", old.path != new_audit.path),
            ("audit.rotate-size", old.rotate_bytes != new_audit.rotate_bytes),
            ("audit.rotate-after", old.rotate_after != new_audit.rotate_after),
            ("audit.keep", old.keep != new_audit.keep),
            ("audit.queue", old.queue != new_audit.queue),
            ("audit.when-unwritable", old.when_unwritable != new_audit.when_unwritable),
            ("audit.sync-every", old.sync_every != new_audit.sync_every),
        ];
        differs.into_iter().find_map(|(key, differs)| differs.then_some(key))
    }
}

/// What the gateway takes off requests before it adds its own.
#[derive(Clone, Debug, Default)]
pub struct HeaderSettings {
    /// Headers by which upstreams know people, beside those always removed. Lower case.
    pub identity: Vec<String>,
    /// Whether the `Authorization` header stays behind.
    pub strip_authorization: bool,
}
