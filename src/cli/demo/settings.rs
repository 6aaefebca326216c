//! What the demo's gateway is told: two listeners and a socket, one issuer, a store, the policies and the databases
//! beside them.

use super::files::Scratch;
use super::issuer::Issuer;
use crate::audit::{AuditSettings, WhenUnwritable};
use crate::authority::AuthoritySettings;
use crate::enforce::assertion::AssertionSettings;
use crate::enforce::upstream::UpstreamSettings;
use crate::gateway::Settings;
use crate::gateway::settings::{
    ClientCertificates, HeaderSettings, Limits, ListenerSettings, LocalSettings, ServerCertificate,
};
use crate::latency::Coordinates;
use crate::portal::PortalSettings;
use crate::sources::certificate::{CrlPolicy, TrustSettings};
use crate::sources::geo::GeoSettings;
use crate::sources::lists::ListSettings;
use crate::sources::timing::{GatewayPlace, TimingSettings};
use crate::store::{Database, StoreSettings};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

/// Files in the scratch directory that others look for too.
pub const AUDIT: &str = "audit.jsonl";
pub const DEVICES: &str = "devices.toml";
pub const ASSERTION_KEY: &str = "assertion.key";
pub const SOCKET: &str = "rangegate.sock";

pub fn assertion(scratch: &Scratch) -> AssertionSettings {
    AssertionSettings {
        header: "rangegate-assertion".to_owned(),
        issuer: "rangegate".to_owned(),
        lifetime: Duration::from_secs(60),
        key: Some(scratch.at(ASSERTION_KEY)),
    }
}

/// `direct` listens on `port`; `balanced`, on a free one, believes whoever connects from this machine.
pub fn settings(
    scratch: &Scratch,
    policies: &Path,
    issuer: &Issuer,
    authority: AuthoritySettings,
    origins: BTreeMap<String, String>,
    port: u16,
) -> Settings {
    let listener = |name: &str, port, proxy_protocol_from| ListenerSettings {
        name: name.to_owned(),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        certificates: vec![ServerCertificate { chain: scratch.at("server.pem"), key: scratch.at("server.key") }],
        client_certificates: ClientCertificates::Requested,
        trust: TrustSettings {
            authorities: vec![scratch.at("ca.pem"), authority.certificate.clone()],
            external: Vec::new(),
            crls: vec![scratch.at("ca.crl"), authority.revocation_list.clone()],
            crl_missing: CrlPolicy::Deny,
            crl_expired: CrlPolicy::Deny,
        },
        proxy_protocol_from,
        forwarders: Vec::new(),
    };
    let list = |name: &str, file: &str| ListSettings { name: name.to_owned(), path: policies.join("lists").join(file) };
    let phoenix = Coordinates { latitude: 33.4484, longitude: -112.0740 };
    Settings {
        listeners: vec![
            listener("direct", port, Vec::new()),
            listener("balanced", 0, vec![IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST))]),
        ],
        limits: Limits { drain_timeout: Duration::from_millis(500), ..Limits::default() },
        issuers: vec![issuer.settings()],
        geo: GeoSettings {
            places: vec![policies.join("geo/places.mmdb")],
            asns: vec![policies.join("geo/asns.mmdb")],
            max_age: None,
        },
        lists: vec![list("hosting", "hosting.txt"), list("anonymous", "anonymizers.txt")],
        timing: TimingSettings {
            place: Some(GatewayPlace { coordinates: phoenix, country: Some("US".into()) }),
            ..TimingSettings::default()
        },
        audit: AuditSettings {
            path: scratch.at(AUDIT),
            rotate_bytes: 256 << 20,
            rotate_after: Duration::from_secs(30 * 86_400),
            keep: None,
            queue: 16_384,
            when_unwritable: WhenUnwritable::Deny,
            sync_every: None,
        },
        assertion: assertion(scratch),
        upstream: UpstreamSettings::default(),
        upstream_exceptions: Vec::new(),
        headers: HeaderSettings { strip_authorization: true, ..HeaderSettings::default() },
        portal: PortalSettings {
            organisation: "Example Corp".to_owned(),
            support: Some("help@corp.example".to_owned()),
        },
        operations: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        policies: policies.to_owned(),
        origins,
        devices: Some(scratch.at(DEVICES)),
        store: Some(StoreSettings::of(Database::Sqlite(scratch.at("store.db")))),
        authority: Some(authority),
        emergency: scratch.at("emergency"),
        local: Some(LocalSettings { path: scratch.at(SOCKET), mode: 0o600, people: Vec::new() }),
        webhooks: Vec::new(),
        workers: NonZeroUsize::MIN.saturating_add(1),
    }
}
