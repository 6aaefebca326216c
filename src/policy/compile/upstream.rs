//! `upstream` and `decoy`: where a request may be sent.

use super::Context;
use crate::policy::diagnostic::Diagnostic;
use crate::policy::hosts;
use crate::policy::resource::{Origin, Scheme};
use crate::policy::source::Value;
use std::sync::Arc;

/// One origin or several, none of them twice.
pub(super) fn lower(value: Value<'_>, context: &Context) -> Option<Arc<[Origin]>> {
    let mut origins: Vec<Origin> = Vec::new();
    value.one_or_more(|value| {
        let origin = value.parsed("an upstream", "https://10.0.4.7:8443", parse)?;
        if origins.contains(&origin) {
            return value.fault(format!("`{origin}` is named twice"), "already in this list");
        }
        origins.push(origin);
        Some(())
    })?;
    if origins.len() > 1 && origins.iter().any(|origin| origin.scheme == Scheme::Builtin) {
        return value.fault("a service of the gateway itself stands alone", "other upstreams beside it");
    }
    origins.into_iter().map(|origin| replaced(origin, value, context)).collect()
}

/// The services of the gateway itself, as they stand behind `rangegate:`.
const BUILTIN: [&str; 2] = ["api", "assertion-keys"];

/// `http://`, `https://` or `h2c://` with a host and perhaps a port; or a service of the gateway: `rangegate:api`.
pub(crate) fn parse(text: &str) -> Result<Origin, String> {
    if let Some(service) = text.strip_prefix("rangegate:") {
        return match BUILTIN.contains(&service) {
            true => Ok(Origin { scheme: Scheme::Builtin, host: service.into(), port: 0 }),
            false => Err("the gateway itself serves `rangegate:api` and `rangegate:assertion-keys`".to_owned()),
        };
    }
    let usage = || "expected `http://`, `https://` or `h2c://`, a host and a port".to_owned();
    let (scheme, rest) = text.split_once("://").ok_or_else(usage)?;
    let (scheme, default) = match scheme {
        "http" => (Scheme::Http, 80),
        "https" => (Scheme::Https, 443),
        "h2c" => (Scheme::H2c, 80),
        _ => return Err(usage()),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err("an upstream has no path: the request's own is sent".to_owned());
    }
    if authority.contains('@') {
        return Err("an upstream has no user name or password".to_owned());
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let number = port.parse::<u16>().ok().filter(|number| *number > 0);
            (host, number.ok_or_else(|| "expected a port from 1 to 65535".to_owned())?)
        }
        _ => (authority, default),
    };
    Ok(Origin { scheme, host: hosts::one(host)?.into(), port })
}

fn replaced(origin: Origin, value: Value<'_>, context: &Context) -> Option<Origin> {
    let Some(other) = context.upstreams.get(&origin.to_string()) else { return Some(origin) };
    match parse(other) {
        Ok(origin) => Some(origin),
        Err(why) => {
            let fault = Diagnostic::error(
                value.place(),
                format!("`{other}`, put in the place of `{origin}`, is not an upstream"),
            );
            value.report(fault.label(why));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_read_as_they_are_shown() {
        for (text, shown) in [
            ("https://10.0.4.7:8443", "https://10.0.4.7:8443"),
            ("http://app.corp.example/", "http://app.corp.example:80"),
            ("h2c://[::1]:50051", "h2c://[::1]:50051"),
            ("https://[::1]", "https://[::1]:443"),
            ("rangegate:assertion-keys", "rangegate:assertion-keys"),
            ("rangegate:api", "rangegate:api"),
        ] {
            assert_eq!(parse(text).map(|origin| origin.to_string()), Ok(shown.to_owned()));
        }
        for text in [
            "",
            "ftp://a",
            "http://",
            "http://a/b",
            "http://u@a",
            "http://a:0",
            "http://a:99999",
            "rangegate:x",
            "http://*.a",
            "a:80",
            "http://a b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
