//! What each cause is called, what happened and what to do next: one voice for pages, problem details and gRPC.

use super::cause::{Breakage, Cause, Token};
use crate::evidence::{Malformed, Moment};
use std::borrow::Cow;
use std::sync::Arc;

/// The words for one cause. Plain text: whoever prints it escapes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    pub title: &'static str,
    /// What was decided.
    pub said: Cow<'static, str>,
    /// The one next step.
    pub next: Cow<'static, str>,
}

impl Words {
    pub fn of(cause: &Cause) -> Self {
        let words =
            |title, said: &'static str, next: &'static str| Self { title, said: said.into(), next: next.into() };
        match cause {
            Cause::Malformed(malformed) => of_malformed(*malformed),
            Cause::SignIn(Token::Missing) => words(
                "Please sign in",
                "This service is open to people who have signed in, and this request came without a sign-in.",
                "Sign in the way you usually do, then open this page again.",
            ),
            Cause::SignIn(Token::Expired) => words(
                "Please sign in again",
                "Your sign-in has run out.",
                "Sign in the way you usually do, then open this page again.",
            ),
            Cause::SignIn(Token::Rejected) => words(
                "Please sign in again",
                "The sign-in that came with this request is not valid here.",
                "Sign in the way you usually do, then open this page again.",
            ),
            Cause::SignInAgain { with, within_seconds } => Self {
                title: "Please confirm that it is you",
                said: "You are signed in, but this step asks for more. Nothing you sent has been carried out yet."
                    .into(),
                next: sign_in_again(with, *within_seconds).into(),
            },
            Cause::Account => words(
                "Not with this account",
                "The account you are signed in with may not open this.",
                "Sign in with an account that may. If this one should, ask support about the reference below.",
            ),
            Cause::Certificate => words(
                "This device is not recognised",
                "This service opens only on devices that identify themselves with a certificate, and this one has shown none that can be used.",
                "Use a device that was set up for your work. If this is one, close the browser, open it again and choose the device’s certificate when asked.",
            ),
            Cause::Device => words(
                "Not with this device",
                "This service cannot be opened with the device you are using.",
                "Use the device that was set up for you and for this service.",
            ),
            Cause::Grant { roles, until } => Self {
                title: "You need permission for this",
                said: match (&roles[..], until.and_then(moment)) {
                    ([], _) => "This step needs a permission that you do not hold at the moment.".into(),
                    ([role], Some(until)) => {
                        format!("This step needs the role “{role}”, which you held until {until}.").into()
                    }
                    ([role], None) => {
                        format!("This step needs the role “{role}”, which you do not hold at the moment.").into()
                    }
                    (roles, _) => {
                        format!("This step needs the roles {}, which you do not all hold at the moment.", list(roles))
                            .into()
                    }
                },
                next: ask_for(roles).into(),
            },
            Cause::TooMany { retry_after_seconds } => Self {
                title: "A short pause, please",
                said: "More requests arrived than this service takes at a time.".into(),
                next: format!("Wait {}, then try again.", duration(*retry_after_seconds)).into(),
            },
            Cause::Connection => words(
                "Not available from where you are",
                "This service is open to certain places and connections only, and the one you are using now does not fit.",
                "Try again over the connection you usually work from.",
            ),
            Cause::Hours => words(
                "Not available at this time",
                "This service is open at certain times only.",
                "Come back during its opening hours.",
            ),
            Cause::Unchecked => words(
                "We cannot check this right now",
                "Something we need in order to let you in is not answering. To be safe, nobody passes unchecked.",
                "Try again in a few minutes.",
            ),
            Cause::Closed => words(
                "Closed for the moment",
                "Access to this service has been stopped for everybody.",
                "There is nothing wrong on your side. Try again later.",
            ),
            Cause::Refused => words(
                "You cannot open this",
                "The rules that protect this service do not let this request through.",
                "If you need it for your work, tell support the reference below: they can see why.",
            ),
            Cause::Broken(breakage) => of_breakage(*breakage),
        }
    }
}

fn of_malformed(malformed: Malformed) -> Words {
    let (title, said, next) = match malformed {
        Malformed::Misdirected => (
            "This address leads elsewhere",
            "The connection was opened for one address and used for another, so the request was not passed on.",
            "Close this tab and open the address again in a new one.",
        ),
        Malformed::HeadersTooLarge => (
            "This request is too large",
            "The request’s header fields, often its cookies, are larger than what is accepted here.",
            "Delete the cookies of this address and try again.",
        ),
        _ => (
            "This request cannot be read",
            "The request breaks the rules of HTTP or could be read in two ways, so it was not passed on.",
            "Check the address for stray characters and open it again.",
        ),
    };
    Words { title, said: said.into(), next: next.into() }
}

fn of_breakage(breakage: Breakage) -> Words {
    let (title, said, next) = match breakage {
        Breakage::BadAnswer => (
            "The service gave no proper answer",
            "You were let in, but the service behind this gate broke off or answered with something that makes no sense.",
            "Try again in a moment. If you were changing something, check first whether it was done.",
        ),
        Breakage::Unreachable => (
            "The service is not running",
            "You were let in, but the service behind this gate cannot be reached.",
            "Try again in a few minutes. Nothing you sent has been lost: it was not passed on.",
        ),
        Breakage::TimedOut => (
            "The service took too long",
            "You were let in, but the service behind this gate did not answer in time.",
            "Try again in a moment. If you were changing something, check first whether it was done.",
        ),
        Breakage::SlowRequest => (
            "Your request did not arrive whole",
            "What you were sending stopped coming before its end.",
            "Check your connection, then send it again.",
        ),
        Breakage::BrokenRequest => (
            "Your request did not arrive whole",
            "What you were sending broke off, or its end could not be told.",
            "Check your connection, then send it again.",
        ),
        Breakage::Internal => (
            "Something went wrong here",
            "The fault is ours, not yours.",
            "Try again in a moment. If it happens again, tell support the reference below.",
        ),
    };
    Words { title, said: said.into(), next: next.into() }
}

/// `2027-01-15 08:00:00 UTC`.
fn moment(moment: Moment) -> Option<String> {
    let timestamp = jiff::Timestamp::from_millisecond(moment.millis()).ok()?;
    Some(timestamp.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// What can be asked for, and how: by command, or by the API.
fn ask_for(roles: &[Arc<str>]) -> String {
    let role = roles.first().map_or("ROLE", |role| &**role);
    format!(
        "Ask for it: “rangegate grant ask {role} --reason …”, or POST /v1/grants of the gateway’s API. Once it is \
         approved, open this page again."
    )
}

/// `Sign in again with “passkey”, then repeat the step within 10 minutes.`, as far as it is asked for.
fn sign_in_again(with: &[Arc<str>], within_seconds: Option<u64>) -> String {
    let with = if with.is_empty() { String::new() } else { format!(" with {}", list(with)) };
    let within = within_seconds.map_or(String::new(), |seconds| format!(" within {}", duration(seconds)));
    format!("Sign in again{with}, then repeat the step{within}.")
}

/// `“a”`, `“a” and “b”`, `“a”, “b” and “c”`.
fn list(names: &[Arc<str>]) -> String {
    let mut text = String::new();
    for (i, name) in names.iter().enumerate() {
        text.push_str(match i {
            0 => "",
            i if i + 1 == names.len() => " and ",
            _ => ", ",
        });
        text.push('“');
        text.push_str(name);
        text.push('”');
    }
    text
}

/// `1 second`, `45 seconds`, `10 minutes`, `2 hours`: rounded up, so that whoever waits that long has waited enough.
pub fn duration(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..=119 => (seconds, "second"),
        120..=7_199 => (seconds.div_ceil(60), "minute"),
        _ => (seconds.div_ceil(3_600), "hour"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
