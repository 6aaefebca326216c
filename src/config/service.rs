//! The smaller sections: geography, lists, audit, assertion, upstream, headers, portal, operations.

use super::distinct;
use super::files::{Files, Kind};
use crate::audit::file::head;
use crate::audit::{AuditSettings, WhenUnwritable};
use crate::enforce::assertion::AssertionSettings;
use crate::enforce::upstream::UpstreamSettings;
use crate::gateway::settings::HeaderSettings;
use crate::policy::diagnostic::{Diagnostic, Place};
use crate::policy::source::{Table, Value};
use crate::policy::{Scheme, compile};
use crate::portal::PortalSettings;
use crate::sources::geo::GeoSettings;
use crate::sources::lists::ListSettings;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

const WHEN_UNWRITABLE: &[(&str, WhenUnwritable)] =
    &[("deny", WhenUnwritable::Deny), ("forward", WhenUnwritable::Forward)];

/// Headers that say how a message is carried, or where to; nothing of ours may go there.
const CARRYING: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub fn geo(root: &mut Table<'_>, files: &mut Files) -> GeoSettings {
    let Some(mut table) = root.table("geo") else { return GeoSettings::default() };
    let geo = GeoSettings {
        places: table.list("places", |v| files.path(v, Kind::Wanted("geography database"))),
        asns: table.list("asns", |v| files.path(v, Kind::Wanted("ASN database"))),
        max_age: table.optional("max-age", Value::positive_duration),
    };
    table.finish();
    geo
}

pub fn lists(root: &mut Table<'_>, files: &mut Files) -> Option<Vec<ListSettings>> {
    let read: Vec<_> = root
        .tables("list")
        .into_iter()
        .map(|mut table| {
            let place = table.place();
            let name = table.required("name", |v| v.name().map(str::to_owned));
            let path = table.required("path", |v| files.path(v, Kind::Wanted("network list")));
            table.finish();
            let name = name?;
            Some((ListSettings { name: name.clone(), path: path? }, name, place))
        })
        .collect();
    Some(distinct(root, "lists", read.into_iter().collect::<Option<_>>()?))
}

pub fn audit(root: &mut Table<'_>, files: &mut Files) -> Option<AuditSettings> {
    let mut table = root.required("audit", Value::table)?;
    let path = table.required("path", |v| {
        let path = files.path(v, Kind::Writable("audit log"))?;
        files.written(head::path(&path), v.place(), "audit log's head");
        Some(path)
    });
    let rotate_bytes = table.or("rotate-size", 256 << 20, |v| match v.bytes()? {
        bytes if bytes >= 64 << 10 => Some(bytes),
        _ => v.fault("`rotate-size` is out of range", "expected at least 64KiB"),
    });
    let rotate_after = table.or("rotate-after", DAY, Value::positive_duration);
    let keep = table.optional("keep", |v| v.integer_in(1..=1_000_000));
    let queue = table.or("queue", 16_384, |v| v.integer_in(16..=10_000_000));
    let when_unwritable = table.or("when-unwritable", WhenUnwritable::default(), |v| v.one_of(WHEN_UNWRITABLE));
    let sync_every = table.or("sync-every", Some(SECOND), |v| match v.duration()? {
        never if never.is_zero() => Some(None),
        every => Some(Some(every)),
    });
    table.finish();
    Some(AuditSettings { path: path?, rotate_bytes, rotate_after, keep, queue, when_unwritable, sync_every })
}

pub fn assertion(root: &mut Table<'_>, files: &mut Files) -> AssertionSettings {
    let mut assertion = AssertionSettings {
        header: "rangegate-assertion".to_owned(),
        issuer: "rangegate".to_owned(),
        lifetime: SECOND * 60,
        key: None,
    };
    if let Some(mut table) = root.table("assertion") {
        assertion.header = table.or("header", assertion.header, header_name);
        assertion.issuer = table.or("issuer", assertion.issuer, |v| v.name().map(str::to_owned));
        assertion.lifetime = table.or("lifetime", assertion.lifetime, |v| match v.duration()? {
            lifetime if (SECOND * 5..=SECOND * 600).contains(&lifetime) => Some(lifetime),
            _ => v.fault("`lifetime` is out of range", "expected 5s to 10m"),
        });
        assertion.key = table.optional("key", |v| files.path(v, Kind::Key("assertion key")));
        table.finish();
    }
    assertion
}

/// The settings for all upstreams, and those for single ones: by origin, as `Origin` shows it.
pub fn upstream(root: &mut Table<'_>, files: &mut Files) -> (UpstreamSettings, Vec<(String, UpstreamSettings)>) {
    let default = UpstreamSettings::default();
    let Some(mut table) = root.table("upstream") else { return (default, Vec::new()) };
    let settings = upstream_settings(&mut table, default, files);
    let mut exceptions = Vec::new();
    for mut exception in table.tables("exception") {
        let place = exception.place();
        let origin = exception.required("origin", |v| v.parsed("an upstream", "https://10.0.4.7:8443", origin));
        let own = upstream_settings(&mut exception, settings.clone(), files);
        exception.finish();
        exceptions.extend(origin.map(|origin| ((origin.clone(), own), origin, place)));
    }
    let exceptions = distinct(&table, "exceptions", exceptions);
    table.finish();
    (settings, exceptions)
}

fn upstream_settings(table: &mut Table<'_>, default: UpstreamSettings, files: &mut Files) -> UpstreamSettings {
    let ca = table.optional("ca", |v| files.path(v, Kind::Certificates("upstream authority")));
    let client_certificate = table.table("client-certificate").and_then(|table| chain_and_key(table, files));
    UpstreamSettings {
        ca: ca.or(default.ca),
        client_certificate: client_certificate.or(default.client_certificate),
        connect_timeout: table.or("connect-timeout", default.connect_timeout, Value::positive_duration),
        header_timeout: table.or("header-timeout", default.header_timeout, Value::positive_duration),
        idle_timeout: table.or("idle-timeout", default.idle_timeout, Value::positive_duration),
        total_timeout: table.optional("total-timeout", Value::positive_duration).or(default.total_timeout),
        pool: table.or("pool", default.pool, |v| v.integer_in(0..=100_000)),
    }
}

fn origin(text: &str) -> Result<String, String> {
    let origin = compile::upstream::parse(text)?;
    match origin.scheme {
        Scheme::Builtin => Err("the gateway itself needs no such settings".to_owned()),
        _ => Ok(origin.to_string()),
    }
}

fn chain_and_key(mut table: Table<'_>, files: &mut Files) -> Option<(PathBuf, PathBuf)> {
    let chain = table.required("chain", |v| files.path(v, Kind::Certificates("certificate for upstreams")));
    let key = table.required("key", |v| files.path(v, Kind::Key("key for upstreams")));
    table.finish();
    Some((chain?, key?))
}

pub fn headers(root: &mut Table<'_>) -> HeaderSettings {
    let Some(mut table) = root.table("headers") else { return HeaderSettings::default() };
    let headers = HeaderSettings {
        identity: table.list("identity", header_name),
        strip_authorization: table.or("strip-authorization", false, Value::boolean),
    };
    table.finish();
    headers
}

fn header_name(value: Value<'_>) -> Option<String> {
    let text = value.name()?;
    let Ok(name) = text.parse::<http::HeaderName>() else {
        return value.fault(format!("`{text}` is not a header name"), "letters, digits and hyphens");
    };
    if CARRYING.contains(&name.as_str()) {
        return value
            .fault(format!("`{text}` cannot be used for this"), "HTTP or the client needs it for something else");
    }
    Some(name.as_str().to_owned())
}

pub fn portal(root: &mut Table<'_>) -> PortalSettings {
    let mut portal = PortalSettings::default();
    if let Some(mut table) = root.table("portal") {
        portal.organisation = table.or("organisation", portal.organisation, |v| v.name().map(str::to_owned));
        portal.support = table.optional("support", |v| v.name().map(str::to_owned));
        table.finish();
    }
    portal
}

/// The address, and where it is named if it is.
pub fn operations(root: &mut Table<'_>) -> (SocketAddr, Option<Place>) {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9400));
    let Some(mut table) = root.table("operations") else { return (default, None) };
    let place = table.has("address").then(|| table.key_place("address"));
    let address = table.or("address", default, |v| {
        let address = v.socket_address()?;
        if !address.ip().is_loopback() {
            let fault = Diagnostic::warning(v.place(), "health and metrics are open to the network");
            v.report(fault.label("in clear text and without a login").help("keep a firewall before this address"));
        }
        Some(address)
    });
    table.finish();
    (address, place)
}
