//! `[[issuer]]`: whose tokens are believed, and how they are read.

use super::distinct;
use super::files::{Files, Kind};
use crate::policy::diagnostic::{Diagnostic, Place, nearest, quoted};
use crate::policy::source::{Table, Value};
use crate::sources::token::{Assurance, IssuerSettings};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Signatures that only the issuer can make.
const ALGORITHMS: &[&str] = &["ES256", "ES384", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

pub fn issuers(root: &mut Table<'_>, files: &mut Files) -> Option<Vec<IssuerSettings>> {
    let tables = root.tables("issuer");
    let read: Vec<_> = tables.into_iter().map(|table| issuer(table, files)).collect();
    Some(distinct(root, "issuers", read.into_iter().collect::<Option<_>>()?))
}

fn issuer(mut table: Table<'_>, files: &mut Files) -> Option<(IssuerSettings, String, Place)> {
    let place = table.place();
    let issuer = table.required("issuer", Value::name);
    let audiences = table.required("audiences", |v| v.nonempty(owned));
    let jwks = table.required("jwks", key_set_address);
    let jwks_ca = table.optional("jwks-ca", |v| files.path(v, Kind::Certificates("authority of the key set's server")));
    let jwks_private = table.or("jwks-private", false, Value::boolean);
    let algorithms = table.optional("algorithms", |v| v.nonempty(algorithm));
    let types = table.optional("types", |v| v.nonempty(owned));
    let skew = table.or("skew", SECOND * 30, |v| {
        let skew = v.duration()?;
        if skew > SECOND * 60 { v.fault("`skew` is out of range", "expected at most 60s") } else { Some(skew) }
    });
    let user_claim = table.or("user-claim", "sub".to_owned(), owned);
    let groups_claim = table.or("groups-claim", "groups".to_owned(), owned);
    let assurance = table.table("assurance").map(assurances).unwrap_or_default();
    let stale_for = table.or("stale-for", SECOND * 3600 * 24, Value::positive_duration);
    let refresh = table.or("refresh", SECOND * 600, Value::positive_duration);
    let cooldown = table.or("cooldown", SECOND * 60, Value::positive_duration);
    if refresh > stale_for {
        let fault = Diagnostic::error(table.key_place("refresh"), "`refresh` is longer than `stale-for`");
        table.report(fault.label("every key set would be given up before it is fetched anew"));
    }
    table.finish();
    let issuer = issuer?.to_owned();
    let settings = IssuerSettings {
        issuer: issuer.clone(),
        audiences: audiences?,
        jwks: jwks?,
        jwks_ca,
        jwks_private,
        algorithms: algorithms.unwrap_or_else(|| vec!["ES256".to_owned(), "RS256".to_owned()]),
        types: types.unwrap_or_else(|| vec!["at+jwt".to_owned(), "jwt".to_owned()]),
        skew,
        user_claim,
        groups_claim,
        assurance,
        stale_for,
        refresh,
        cooldown,
    };
    Some((settings, issuer, place))
}

/// `[issuer.assurance]`: each key is a name the operator chooses.
fn assurances(table: Table<'_>) -> BTreeMap<String, Assurance> {
    let mut all = BTreeMap::new();
    for (key, value) in table.entries() {
        let Some(mut table) = value.table() else { continue };
        let assurance = Assurance { acr: table.list("acr", owned), amr: table.list("amr", owned) };
        if !table.has("acr") && !table.has("amr") {
            let fault = Diagnostic::error(key.place, format!("nothing proves `{}`", key.name));
            table.report(fault.label("expected `acr` or `amr` values"));
        }
        table.finish();
        all.insert(key.name.to_owned(), assurance);
    }
    all
}

fn owned(value: Value<'_>) -> Option<String> {
    value.name().map(str::to_owned)
}

fn algorithm(value: Value<'_>) -> Option<String> {
    let text = value.text()?;
    if ALGORITHMS.contains(&text) {
        return Some(text.to_owned());
    }
    let fault = Diagnostic::error(value.place(), format!("`{text}` cannot be an algorithm here"));
    let upper = text.to_ascii_uppercase();
    value.report(match upper.as_str() {
        "NONE" => fault.label("signs nothing: anybody could write such a token"),
        _ if upper.starts_with("HS") => {
            fault.label("a shared secret: whoever can verify such a token could have written it")
        }
        _ => match nearest(text, ALGORITHMS.iter().copied()) {
            Some(near) => fault.suggest(value.place(), format!("\"{near}\"")),
            None => fault.help(format!("known: {}", quoted(ALGORITHMS))),
        },
    });
    None
}

/// https, or http to this machine.
fn key_set_address(value: Value<'_>) -> Option<String> {
    let text = value.name()?;
    let Ok(uri) = text.parse::<http::Uri>() else {
        return value.fault("`jwks` is not an address", "expected one such as `https://login.example/keys`");
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return value.fault("`jwks` is not a whole address", "expected one such as `https://login.example/keys`");
    };
    if authority.as_str().contains('@') {
        // A fault that shows its line would show the password.
        let place = Place::file(value.place().file);
        value.report(
            Diagnostic::error(place, "a `jwks` address holds a user or password")
                .help("a key set is public: leave them out"),
        );
        return None;
    }
    match scheme {
        "https" => Some(text.to_owned()),
        "http" if is_loopback(authority.host()) => Some(text.to_owned()),
        "http" => value.fault(
            "a key set may not come over plain http",
            "whoever sits on the way could put in a key of theirs; https, or http to this machine",
        ),
        _ => value.fault(format!("`{scheme}` is no way to fetch a key set"), "expected https, or http to this machine"),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
