//! `[[webhook]]`: who is told of what was done.

use super::distinct;
use super::files::{Files, Kind};
use crate::control::webhook::{EVENTS, Format, WebhookSettings, is_meant};
use crate::policy::diagnostic::{Diagnostic, Place, nearest, quoted};
use crate::policy::source::{Table, Value};
use crate::sources::endpoint::Endpoint;
use crate::store::private_file::Closed;
use std::time::Duration;

const FORMATS: &[(&str, Format)] = &[("json", Format::Json), ("chat", Format::Chat)];

pub fn webhooks(root: &mut Table<'_>, files: &mut Files) -> Vec<WebhookSettings> {
    let read: Vec<_> = root.tables("webhook").into_iter().filter_map(|table| webhook(table, files)).collect();
    distinct(root, "webhooks", read)
}

fn webhook(mut table: Table<'_>, files: &mut Files) -> Option<(WebhookSettings, String, Place)> {
    let place = table.place();
    let name = table.required("name", word);
    let private = table.or("private", false, Value::boolean);
    let url = table.required("url", |v| {
        let url = v.name()?;
        // The authority's file is looked at elsewhere; here only what the URL itself says.
        match Endpoint::new(url, None, private) {
            Err(why) if url.starts_with("http:") || !why.starts_with("the system") => {
                v.fault("`url` cannot be used", &why)
            }
            _ => Some(url.to_owned()),
        }
    });
    let authority = table.optional("ca", |v| files.path(v, Kind::Certificates("webhook's authority")));
    let secret = table.required("secret", |v| files.path(v, Kind::Secret("webhook's secret", Closed::Group)));
    let events = table.required("events", |v| v.nonempty(event));
    let format = table.or("format", Format::default(), |v| v.one_of(FORMATS));
    let acts = table.or("acts", false, Value::boolean);
    let retry_after = table.or("retry-after", Duration::from_secs(15), |v| match v.positive_duration()? {
        wait if wait >= Duration::from_secs(1) => Some(wait),
        _ => v.fault("`retry-after` is too short", "at least 1s"),
    });
    table.finish();
    let name = name?;
    let settings = WebhookSettings {
        name: name.clone(),
        url: url?,
        authority,
        private,
        secret: secret?,
        events: events?,
        format,
        acts,
        retry_after,
    };
    Some((settings, name, place))
}

/// A word of a path: `POST /v1/calls/{name}`.
fn word(value: Value<'_>) -> Option<String> {
    let name = value.name()?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.len() <= 64 && name.bytes().all(plain) {
        return Some(name.to_owned());
    }
    value.fault("a webhook's name is a plain word", "at most 64 of `a` to `z`, digits and `-`")
}

fn event(value: Value<'_>) -> Option<String> {
    let name = value.name()?;
    let stem = name.strip_suffix('*').unwrap_or(name);
    if !stem.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
        return value
            .fault(format!("`{name}` is not an event"), "such as `grant-ask`, `device-revoke`, `grant-*` or `*`");
    }
    if EVENTS.iter().any(|event| is_meant(name, event)) {
        return Some(name.to_owned());
    }
    let fault = Diagnostic::error(value.place(), format!("there is no event `{name}`"));
    let fault = fault.label("nobody would ever be told");
    let families = ["device-*", "grant-*", "identity-*", "invitation-*"];
    value.report(match nearest(name, EVENTS.iter().copied().chain(families)) {
        Some(near) => fault.suggest(value.place(), format!("\"{near}\"")),
        None => fault.help(format!("there are {}", quoted(EVENTS))),
    });
    None
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::control::webhook::Format;
    use std::path::Path;

    const REST: &str = "[[listener]]\naddress = '127.0.0.1:0'\nclient-certificates = 'off'\n\
        certificate = [{ chain = 'a.pem', key = 'a.key' }]\n[audit]\npath = 'audit.jsonl'\n";

    fn read(section: &str) -> Result<Config, String> {
        Config::parse(&format!("{REST}{section}"), Path::new("/etc/rangegate/rangegate.toml"))
            .map_err(|report| report.render(false))
    }

    #[test]
    fn a_webhook_reads_back() {
        let text = "[[webhook]]\nname = 'chat'\nurl = 'https://chat.example/hooks/7'\nsecret = 'chat.secret'\n\
            events = ['grant-*', 'break-glass']\nformat = 'chat'\nacts = true\n";
        let hooks = read(text).unwrap().settings.webhooks;
        let [hook] = hooks.as_slice() else { panic!("{hooks:?}") };
        assert_eq!((hook.name.as_str(), hook.format, hook.acts, hook.private), ("chat", Format::Chat, true, false));
        assert_eq!(hook.secret, Path::new("/etc/rangegate/chat.secret"));
    }

    #[test]
    fn mistakes_are_told() {
        let hook = |line: &str| {
            format!("[[webhook]]\nname = 'a'\nurl = 'https://a.example/'\nsecret = 's'\nevents = ['*']\n{line}\n")
        };
        for (text, told) in [
            (
                hook("").replace("https://a.example/", "http://a.example/"),
                "neither https nor http on a loopback address",
            ),
            (hook("").replace("'a'", "'A b'"), "a webhook's name is a plain word"),
            (hook("").replace("'*'", "'Grant ask'"), "`Grant ask` is not an event"),
            (hook("").replace("['*']", "[]"), "`events` is empty"),
            (hook("").replace("'*'", "'grant-aks'"), "did you mean `\"grant-ask\"`"),
            (hook("").replace("'*'", "'*', 'grnat-*'"), "did you mean `\"grant-*\"`"),
            (hook("").replace("'*'", "'grant-asks*'"), "there is no event `grant-asks*`"),
            (hook("").replace("'*'", "'weather'"), "there are `break-glass`, `delivery-give-up`"),
            (hook("format = 'xml'"), "`format` cannot be `xml`"),
            (hook("") + &hook(""), "two webhooks are called `a`"),
        ] {
            let report = read(&text).unwrap_err();
            assert!(report.contains(told), "{told}\nis missing in\n{report}");
        }
    }
}
