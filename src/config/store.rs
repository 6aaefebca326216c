//! The section `[store]`: a file, or a server that several gateways share.

use super::files::{Files, Kind};
use crate::policy::diagnostic::Diagnostic;
use crate::policy::source::{Table, Value};
use crate::store::private_file::Closed;
use crate::store::{Database, PostgresSettings, StoreSettings};
use std::time::Duration;

/// `Some(None)`: there is no such section. None: a fault was reported.
pub fn store(root: &mut Table<'_>, files: &mut Files) -> Option<Option<StoreSettings>> {
    let named = root.has("store");
    let Some(mut table) = root.table("store") else { return (!named).then_some(None) };
    table.exactly_one(&["path", "url"]);
    table.at_most_one(&["path", "password-file"]);
    table.at_most_one(&["path", "authority"]);
    let path = table.optional("path", |v| {
        let path = files.path(v, Kind::Writable("store"))?;
        for end in ["-wal", "-shm", "-journal"] {
            let mut beside = path.clone().into_os_string();
            beside.push(end);
            files.written(beside.into(), v.place(), "store's own file");
        }
        Some(path)
    });
    let url = table.optional("url", Value::name).and_then(|url| match PostgresSettings::url(url) {
        Ok(url) => Some(url),
        Err(why) => {
            // At the section: the line of the URL might show a password.
            let fault = Diagnostic::error(table.place(), "the store's `url` cannot be used").label(why);
            table.report(
                fault.help("such as `postgres://gate@db.example:5432/gate`, the password in a file of its own"),
            );
            None
        }
    });
    let password_file =
        table.optional("password-file", |v| files.path(v, Kind::Secret("store's password file", Closed::Group)));
    let authority = table.optional("authority", |v| files.path(v, Kind::Certificates("store's authority")));
    let mut settings = StoreSettings::of(match (path, url) {
        (Some(path), _) => Database::Sqlite(path),
        (None, Some(url)) => Database::Postgres(PostgresSettings { url, password_file, authority }),
        (None, None) => {
            table.finish();
            return None;
        }
    });
    settings.poll = table.or("poll", settings.poll, |v| within(v, 100, 60_000));
    settings.timeout = table.or("timeout", settings.timeout, |v| within(v, 1_000, 600_000));
    table.finish();
    Some(Some(settings))
}

/// Bounds in milliseconds.
fn within(value: Value<'_>, least: u64, most: u64) -> Option<Duration> {
    let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
    match value.duration()? {
        duration if (least..=most).contains(&duration) => Some(duration),
        _ => value.fault(format!("`{}` is out of range", value.key()), &format!("expected {least:?} to {most:?}")),
    }
}
