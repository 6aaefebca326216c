//! `[[listener]]` and `[limits]`.

use super::distinct;
use super::files::{Files, Kind, REVOCATION_LIST};
use crate::enforce::rate::MinRate;
use crate::gateway::settings::{ClientCertificates, Limits, ListenerSettings, ServerCertificate};
use crate::policy::diagnostic::{Diagnostic, Place};
use crate::policy::source::{Table, Value};
use crate::sources::certificate::{CrlPolicy, ExternalAuthority, TrustSettings};
use ipnet::IpNet;
use std::net::SocketAddr;

const CLIENT_CERTIFICATES: &[(&str, ClientCertificates)] = &[
    ("requested", ClientCertificates::Requested),
    ("required", ClientCertificates::Required),
    ("off", ClientCertificates::Off),
];

const CRL_POLICY: &[(&str, CrlPolicy)] = &[("deny", CrlPolicy::Deny), ("ignore", CrlPolicy::Ignore)];

pub fn listeners(
    root: &mut Table<'_>,
    external: &[ExternalAuthority],
    operations: &(SocketAddr, Option<Place>),
    files: &mut Files,
) -> Option<Vec<ListenerSettings>> {
    let tables = root.required("listener", Value::tables)?;
    let read: Vec<_> = tables.into_iter().map(|table| listener(table, files)).collect();
    let mut read: Vec<_> = read.into_iter().collect::<Option<_>>()?;
    for (listener, ..) in &mut read {
        if listener.client_certificates != ClientCertificates::Off {
            listener.trust.external = external.to_vec();
        }
    }
    if read.is_empty() {
        let fault = Diagnostic::error(root.key_place("listener"), "`listener` is empty");
        root.report(fault.label("expected at least one"));
    }
    let mut addresses: Vec<(SocketAddr, Place)> = Vec::new();
    for (listener, _, place) in &read {
        let address = listener.address;
        if let Some((first, related)) = addresses.iter().find(|(known, _)| overlap(*known, address)) {
            let message = if *first == address {
                format!("two listeners stand at `{address}`")
            } else {
                format!("two listeners stand at one address: `{first}` and `{address}`")
            };
            let fault = Diagnostic::error(place.clone(), message).label("again here");
            root.report(fault.related(related.clone(), "first here"));
        }
        if overlap(operations.0, address) {
            let message = format!("a listener and `[operations]` stand at one address: `{}`", operations.0);
            let fault = Diagnostic::error(operations.1.clone().unwrap_or_else(|| place.clone()), message);
            let fault = fault.related(place.clone(), "the listener");
            root.report(fault.help("give `[operations]` an `address` of its own, away from users"));
        }
        addresses.push((address, place.clone()));
    }
    Some(distinct(root, "listeners", read))
}

/// Whether the kernel would refuse the second of the two: one address, or one that stands for all of its family.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let all = a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified());
    // Port 0 is a new port every time.
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || all)
}

fn listener(mut table: Table<'_>, files: &mut Files) -> Option<(ListenerSettings, String, Place)> {
    let place = table.place();
    let address = table.required("address", Value::socket_address);
    let name = table.optional("name", Value::name);
    let certificates = table
        .required("certificate", Value::tables)
        .map(|tables| tables.into_iter().map(|table| server_certificate(table, files)).collect::<Vec<_>>());
    if certificates.as_ref().is_some_and(Vec::is_empty) {
        let fault = Diagnostic::error(table.key_place("certificate"), "`certificate` is empty");
        table.report(fault.label("a listener needs at least one"));
    }
    let client_certificates =
        table.or("client-certificates", ClientCertificates::default(), |v| v.one_of(CLIENT_CERTIFICATES));
    let trust = trust(&mut table, client_certificates, files);
    let proxy_protocol_from = peers(&mut table, "proxy-protocol-from", "can claim any address with a PROXY header");
    let forwarders = peers(&mut table, "forwarders", "can claim any address with `X-Forwarded-For`");
    table.finish();
    let address = address?;
    let name = name.map_or_else(|| address.to_string(), str::to_owned);
    let settings = ListenerSettings {
        name: name.clone(),
        address,
        certificates: certificates?.into_iter().collect::<Option<_>>()?,
        client_certificates,
        trust,
        proxy_protocol_from,
        forwarders,
    };
    Some((settings, name, place))
}

fn server_certificate(mut table: Table<'_>, files: &mut Files) -> Option<ServerCertificate> {
    let chain = table.required("chain", |v| files.path(v, Kind::Certificates("certificate chain")));
    let key = table.required("key", |v| files.path(v, Kind::Key("private key")));
    table.finish();
    Some(ServerCertificate { chain: chain?, key: key? })
}

fn trust(listener: &mut Table<'_>, client_certificates: ClientCertificates, files: &mut Files) -> TrustSettings {
    let place = listener.place();
    let mut trust = TrustSettings {
        authorities: Vec::new(),
        external: Vec::new(),
        crls: Vec::new(),
        crl_missing: CrlPolicy::default(),
        crl_expired: CrlPolicy::default(),
    };
    let Some(mut table) = listener.table("trust") else {
        if client_certificates != ClientCertificates::Off && !listener.has("trust") {
            let fault = Diagnostic::error(place, "nobody may vouch for this listener's clients");
            let fault = fault
                .label("`trust` is missing")
                .help("name the certificate authorities of your devices: `trust = { authorities = [\"ca.pem\"], … }`");
            listener.report(fault.help("or write `client-certificates = \"off\"`: then no device is ever known here"));
        }
        return trust;
    };
    let place = table.place();
    let authorities =
        table.required("authorities", |v| v.nonempty(|v| files.path(v, Kind::Certificates("client authority"))));
    trust.authorities = authorities.unwrap_or_default();
    trust.crls = table.list("revocation-lists", |v| files.path(v, Kind::Needed(REVOCATION_LIST)));
    trust.crl_missing = table.or("when-list-missing", trust.crl_missing, |v| v.one_of(CRL_POLICY));
    trust.crl_expired = table.or("when-list-expired", trust.crl_expired, |v| v.one_of(CRL_POLICY));
    if trust.crls.is_empty() && !table.has("revocation-lists") && trust.crl_missing == CrlPolicy::Deny {
        let fault = Diagnostic::warning(place, "without a revocation list no client certificate is accepted here");
        let fault = fault.label("`revocation-lists` is missing").help("publish a list, even an empty one, and name it");
        table.report(
            fault.help(
                "or write `when-list-missing = \"ignore\"`: then a lost device can only be stopped in the registry",
            ),
        );
    }
    table.finish();
    trust
}

/// Networks whose word is taken for a client's address.
fn peers<'a>(table: &mut Table<'a>, key: &'a str, danger: &str) -> Vec<IpNet> {
    table.list(key, |value| {
        let network = value.network()?;
        if network.prefix_len() == 0 {
            let fault = Diagnostic::warning(value.place(), format!("`{key}` lists the whole Internet"));
            value.report(fault.label(format!("anybody {danger}")).help("list the addresses of your balancers"));
        }
        Some(network)
    })
}

pub fn limits(root: &mut Table<'_>) -> Limits {
    let default = Limits::default();
    let Some(mut table) = root.table("limits") else { return default };
    let limits = Limits {
        connections: table.or("connections", default.connections, |v| v.integer_in(1..=10_000_000)),
        connections_per_address: table
            .or("connections-per-address", default.connections_per_address, |v| v.integer_in(1..=10_000_000)),
        handshake_timeout: table.or("handshake-timeout", default.handshake_timeout, Value::positive_duration),
        header_timeout: table.or("header-timeout", default.header_timeout, Value::positive_duration),
        idle_timeout: table.or("idle-timeout", default.idle_timeout, Value::positive_duration),
        ping_interval: table.or("ping-interval", default.ping_interval, Value::positive_duration),
        first_round_trip: table.or("first-round-trip", default.first_round_trip, Value::duration),
        body_timeout: table.or("body-timeout", default.body_timeout, Value::positive_duration),
        min_rate: MinRate {
            bytes_per_second: table
                .or("min-rate", default.min_rate.bytes_per_second, |v| v.integer_in(0..=1_000_000_000)),
            grace: table.or("min-rate-grace", default.min_rate.grace, Value::positive_duration),
        },
        header_bytes: table.or("header-size", default.header_bytes, |v| {
            let bytes = v.bytes()?;
            match u32::try_from(bytes) {
                Ok(bytes) if (1024..=1 << 20).contains(&bytes) => Some(bytes),
                _ => v.fault("`header-size` is out of range", "expected 1KiB to 1MiB"),
            }
        }),
        header_count: table.or("header-count", default.header_count, |v| v.integer_in(8..=1000)),
        http2_streams: table.or("http2-streams", default.http2_streams, |v| v.integer_in(1..=10_000)),
        drain_timeout: table.or("drain-timeout", default.drain_timeout, Value::duration),
    };
    table.finish();
    limits
}
