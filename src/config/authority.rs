//! `[authority]`: the built-in device authority, and the authorities of others.

use super::distinct;
use super::files::{Files, Kind, REVOCATION_LIST};
use crate::authority::AuthoritySettings;
use crate::policy::diagnostic::{Diagnostic, Place};
use crate::policy::source::{Table, Value};
use crate::sources::certificate::ExternalAuthority;
use crate::store::private_file::Closed;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// What the section says.
#[derive(Debug, Default)]
pub struct Authorities {
    /// None: nobody enrols here.
    pub built_in: Option<AuthoritySettings>,
    /// For every listener that asks for certificates.
    pub external: Vec<ExternalAuthority>,
}

pub fn authorities(root: &mut Table<'_>, files: &mut Files) -> Authorities {
    let Some(mut table) = root.table("authority") else { return Authorities::default() };
    let read: Vec<_> = table.tables("external").into_iter().map(|table| external(table, files)).collect();
    let read: Option<Vec<_>> = read.into_iter().collect();
    let external = read.map(|read| distinct(&table, "external authorities", read)).unwrap_or_default();
    // Somebody who only trusts others' authorities needs none built in.
    let only_external = table.has("external") && !table.has("certificate") && !table.has("key");
    let built_in = if only_external { None } else { built_in(&mut table, files) };
    table.finish();
    Authorities { built_in, external }
}

fn built_in(table: &mut Table<'_>, files: &mut Files) -> Option<AuthoritySettings> {
    let certificate = table.required("certificate", |v| files.path(v, Kind::Certificates("authority's certificate")));
    // Encrypted, so no parser of keys can look into it: `serve` opens it.
    let key = table.required("key", |v| files.path(v, Kind::Secret("authority's key", Closed::Owner)));
    let passphrase =
        table.optional("passphrase", |v| files.path(v, Kind::Secret("authority's passphrase", Closed::Group)));
    let revocation_list = table.required("revocation-list", |v| files.path(v, Kind::Writable(REVOCATION_LIST)));
    let lifetime = table.or("certificate-lifetime", DAY * 7, |v| within(v, HOUR, DAY * 90, "1h to 90d"));
    let list_lifetime = table.or("list-lifetime", DAY * 7, |v| within(v, HOUR, DAY * 30, "1h to 30d"));
    Some(AuthoritySettings {
        certificate: certificate?,
        key: key?,
        passphrase,
        revocation_list: revocation_list?,
        lifetime,
        list_lifetime,
    })
}

fn external(mut table: Table<'_>, files: &mut Files) -> Option<(ExternalAuthority, String, Place)> {
    let place = table.place();
    let name = table.required("name", |v| v.name().map(str::to_owned));
    let certificates =
        table.required("certificates", |v| v.nonempty(|v| files.path(v, Kind::Certificates("external authority"))));
    let class = table.required("class", Value::name);
    table.finish();
    let name = name?;
    Some((ExternalAuthority { name: name.clone(), certificates: certificates?, class: class?.into() }, name, place))
}

fn within(value: Value<'_>, least: Duration, most: Duration, expected: &str) -> Option<Duration> {
    let duration = value.duration()?;
    if (least..=most).contains(&duration) {
        return Some(duration);
    }
    let fault = Diagnostic::error(value.place(), format!("`{}` is out of range", value.key()));
    value.report(fault.label(format!("expected {expected}")));
    None
}
