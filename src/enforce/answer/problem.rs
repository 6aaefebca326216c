//! `application/problem+json` (RFC 9457): the refusal for programs.

use super::public_outcome;
use crate::policy::{Decision, Outcome, Reason, Remedy};
use crate::portal::cause::{Cause, Token};
use crate::portal::words::Words;
use bytes::Bytes;
use serde::Serialize;

/// What the document says beyond the words.
pub(super) struct Problem {
    outcome: Option<&'static str>,
    reason: Option<&'static str>,
    remedies: Vec<Remedy>,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: String,
    instance: String,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    remedies: &'a [Remedy],
}

/// The problem of a decision, or of a fault after it.
pub(super) fn of(cause: &Cause, decision: Option<&Decision>) -> Problem {
    Problem {
        outcome: decision.map(public_outcome),
        reason: decision.and_then(|decision| public_reason(cause, decision.reason)),
        remedies: decision.map(|decision| public_remedies(cause, decision)).unwrap_or_default(),
    }
}

impl Problem {
    pub fn document(&self, cause: &Cause, words: &Words, id: &str) -> Bytes {
        let document = Document {
            // Tag URIs (RFC 4151): they name, they are not fetched.
            kind: format!("tag:rangegate,2026:{}", cause.code()),
            title: words.title,
            status: cause.status().as_u16(),
            detail: format!("{} {}", words.said, words.next),
            instance: format!("tag:rangegate,2026:request/{}", uri_safe(id)),
            request_id: id,
            outcome: self.outcome,
            reason: self.reason,
            remedies: &self.remedies,
        };
        serde_json::to_vec(&document).expect("text and numbers always serialize").into()
    }
}

/// The reason's code, where it speaks of what the client itself sent and could see.
fn public_reason(cause: &Cause, reason: Reason) -> Option<&'static str> {
    match cause {
        Cause::Malformed(malformed) => Some(malformed.code()),
        Cause::SignIn(Token::Expired) | Cause::TooMany { .. } => Some(reason.code()),
        _ => None,
    }
}

/// The remedies that would help. A refusal that no sign-in mends does not send people to sign in.
fn public_remedies(cause: &Cause, decision: &Decision) -> Vec<Remedy> {
    let mut remedies: Vec<Remedy> = Vec::new();
    for remedy in decision.remedies() {
        let helps = match remedy {
            Remedy::Login { .. } => matches!(cause, Cause::SignIn(_)) || decision.outcome == Outcome::StepUp,
            Remedy::Grant { .. } => matches!(decision.outcome, Outcome::StepUp | Outcome::RequireGrant),
            Remedy::Retry { .. } => matches!(cause, Cause::TooMany { .. }),
            Remedy::None => false,
        };
        if helps && !remedies.contains(remedy) {
            remedies.push(remedy.clone());
        }
    }
    remedies
}

/// An id that is not ours does not get to write a URI.
fn uri_safe(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
}
