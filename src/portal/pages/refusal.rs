//! The page for a request that got no answer from its resource.

use crate::portal::PortalSettings;
use crate::portal::cause::{Breakage, Cause};
use crate::portal::words::Words;
use askama::Template;

/// What stays the same is in `layout.html`; the words come from `portal/words.rs`.
#[derive(Template)]
#[template(path = "refusal.html")]
struct Refusal<'a> {
    style: &'static str,
    title: &'a str,
    said: &'a str,
    next: &'a str,
    organisation: &'a str,
    host: &'a str,
    status: u16,
    /// The request id in groups that can be read out.
    id: Vec<&'a str>,
    support: Option<Support<'a>>,
    /// Whether opening the same address again is the next step.
    again: bool,
    tone: &'static str,
}

struct Support<'a> {
    text: &'a str,
    href: Option<String>,
}

/// The page, self-contained. `id` and `host` are escaped; `retry` says whether the request can be made again by
/// following a link (a `GET`).
pub fn refusal(cause: &Cause, words: &Words, id: &str, host: &str, retry: bool, settings: &PortalSettings) -> String {
    let page = Refusal {
        style: super::STYLE,
        title: words.title,
        said: &words.said,
        next: &words.next,
        organisation: &settings.organisation,
        host,
        status: cause.status().as_u16(),
        id: groups(id),
        support: settings.support.as_deref().map(|text| Support { text, href: link(text, id) }),
        again: retry && worth_retrying(cause),
        tone: tone(cause),
    };
    page.render().expect("writing to a string does not fail")
}

/// The colour of the matter: something to do, a refusal, or a fault of ours.
const fn tone(cause: &Cause) -> &'static str {
    match cause {
        Cause::SignIn(_) | Cause::SignInAgain { .. } | Cause::Grant { .. } | Cause::TooMany { .. } => "todo",
        Cause::Unchecked | Cause::Closed | Cause::Broken(_) => "fault",
        Cause::Malformed(_)
        | Cause::Account
        | Cause::Certificate
        | Cause::Device
        | Cause::Connection
        | Cause::Hours
        | Cause::Refused => "stop",
    }
}

const fn worth_retrying(cause: &Cause) -> bool {
    !matches!(cause, Cause::Malformed(_) | Cause::Refused | Cause::Device | Cause::Hours)
        && !matches!(cause, Cause::Broken(Breakage::Internal))
}

/// Pieces of at most five characters and nearly equal, so that nobody loses their place while reading aloud.
fn groups(id: &str) -> Vec<&str> {
    let mut characters = id.chars().count();
    let mut rest = id;
    let mut groups = Vec::new();
    for left in (1..=characters.div_ceil(5)).rev() {
        let size = characters.div_ceil(left);
        let (group, tail) = rest.split_at(rest.char_indices().nth(size).map_or(rest.len(), |(at, _)| at));
        groups.push(group);
        (rest, characters) = (tail, characters - size);
    }
    groups
}

/// Where the support text leads, when it is something that can be followed. Nothing else becomes a link.
fn link(support: &str, id: &str) -> Option<String> {
    if support.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let number: String = support.chars().filter(|c| !" ()-/".contains(*c)).collect();
        return is_number(&number).then(|| format!("tel:{number}"));
    }
    if support.starts_with("https://") {
        return Some(support.to_owned());
    }
    if is_number(support) {
        return Some(format!("tel:{support}"));
    }
    let (name, domain) = support.split_once('@')?;
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_+".contains(c));
    // The subject saves a person from copying the reference; an id that is not ours is left out.
    let subject = if id.chars().all(|c| c.is_ascii_alphanumeric()) { id } else { "" };
    (plain(name) && plain(domain)).then(|| format!("mailto:{support}?subject=Reference%20{subject}"))
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    digits.len() >= 3 && digits.chars().all(|c| c.is_ascii_digit())
}
