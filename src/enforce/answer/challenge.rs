//! `WWW-Authenticate`: what a client must present, in the words of RFC 6750 and RFC 9470.

use super::AnswerContext;
use crate::evidence::Request;
use crate::portal::cause::{Cause, Token};
use http::HeaderValue;
use std::fmt::Write as _;
use std::sync::Arc;

/// The challenge that belongs to the cause: every 401 has one, and a 403 that another account would mend.
pub(super) fn of(cause: &Cause, request: &Request, context: &AnswerContext) -> Option<HeaderValue> {
    let text = match cause {
        // RFC 6750 section 3.1: a request without a token gets no error code.
        Cause::SignIn(Token::Missing) => format!("Bearer realm={}", quoted(&request.host)),
        Cause::SignIn(Token::Expired) => invalid("invalid_token", "The access token expired"),
        Cause::SignIn(Token::Rejected) => invalid("invalid_token", "The access token is not valid here"),
        Cause::SignInAgain { with, within_seconds } => step_up(with, *within_seconds, context),
        // RFC 6750 section 3.1, with 403.
        Cause::Account => invalid("insufficient_scope", "The access token does not grant access to this resource"),
        _ => return None,
    };
    // What cannot stand in a header was replaced by `quoted`: the fallback is never reached.
    Some(HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer")))
}

fn invalid(error: &str, description: &str) -> String {
    format!("Bearer error=\"{error}\", error_description=\"{description}\"")
}

/// RFC 9470 section 3.
fn step_up(with: &[Arc<str>], within_seconds: Option<u64>, context: &AnswerContext) -> String {
    let description = match (with.is_empty(), within_seconds) {
        (true, Some(_)) => "More recent authentication is required",
        _ => "A different authentication level is required",
    };
    let mut text = format!("Bearer error=\"insufficient_user_authentication\", error_description=\"{description}\"");
    let acr = acr_values(with, context);
    if !acr.is_empty() {
        let _ = write!(text, ", acr_values={}", quoted(&acr.join(" ")));
    }
    if let Some(seconds) = within_seconds {
        let _ = write!(text, ", max_age=\"{seconds}\"");
    }
    text
}

/// The `acr` values any one of which will do: those that prove every assurance asked for, or, when no value proves
/// all of them, each that proves one.
fn acr_values<'a>(with: &[Arc<str>], context: &'a AnswerContext) -> Vec<&'a str> {
    let proofs: Vec<&Vec<String>> = with.iter().filter_map(|name| context.acr.get(&**name)).collect();
    let Some((first, others)) = proofs.split_first() else { return Vec::new() };
    let common: Vec<&str> =
        first.iter().filter(|acr| others.iter().all(|other| other.contains(acr))).map(String::as_str).collect();
    if !common.is_empty() {
        return common;
    }
    let mut each = Vec::new();
    for acr in proofs.into_iter().flatten() {
        if !each.contains(&acr.as_str()) {
            each.push(acr.as_str());
        }
    }
    each
}

/// A quoted-string (RFC 9110 section 5.6.4); what may not stand in one becomes `?`.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}
