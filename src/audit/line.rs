//! The lines that are rare enough for serde, and how every line begins. `closing` has the other.

use super::admin::Admin;
use super::calendar::rfc3339;
use super::chain::Chain;
use super::pen::Pen;
use super::record::{Alert, Connection, ConnectionFault, Control, Live, LiveEvent, Refused};
use crate::evidence::{Evidence, Moment};
use crate::policy::Decision;
use serde::Serialize;
use std::net::IpAddr;

/// The version of the line's shape. It rises when a reader of the old shape would misread the new.
pub const SCHEMA: u8 = 2;

/// Appends an event of a long-lived exchange.
pub fn live(buffer: &mut Vec<u8>, chain: &mut Chain, live: &Live) {
    let mut part = LivePart {
        id: &live.id,
        event: "opened",
        connection: None,
        evidence: None,
        decision: None,
        response: None,
        reason: None,
    };
    match &live.event {
        LiveEvent::Opened { connection, decided, status } => {
            part.connection = Some(connection);
            part.evidence = Some(&decided.evidence);
            part.decision = Some(&decided.decision);
            part.response = status.map(|status| StatusPart { status });
        }
        LiveEvent::Redecided { decided } => {
            part.event = "re-decided";
            part.evidence = Some(&decided.evidence);
            part.decision = Some(&decided.decision);
        }
        LiveEvent::Cut { reason } => {
            part.event = "cut";
            part.reason = Some(reason);
        }
    }
    append(buffer, chain, "live", live.at, &part);
}

/// Appends a connection that carried no request.
pub fn refused(buffer: &mut Vec<u8>, chain: &mut Chain, refused: &Refused) {
    let part = RefusedPart {
        event: "refused",
        listener: &refused.listener,
        address: refused.address,
        certificate: refused.certificate.as_deref(),
        reason: refused.reason.code(),
        stream: match refused.reason {
            ConnectionFault::StreamRefused { stream, error } => Some(StreamPart { id: stream, error }),
            _ => None,
        },
    };
    append(buffer, chain, "connection", refused.at, &part);
}

pub fn alert(buffer: &mut Vec<u8>, chain: &mut Chain, alert: &Alert) {
    let part = AlertPart {
        id: alert.id.as_deref(),
        event: alert.kind.code(),
        resource: alert.resource.as_deref(),
        user: alert.user.as_deref(),
        device: alert.device.as_deref(),
        address: alert.address,
        reason: &alert.reason,
    };
    append(buffer, chain, "alert", alert.at, &part);
}

pub fn control(buffer: &mut Vec<u8>, chain: &mut Chain, control: &Control) {
    let part = ControlPart { event: control.event.code(), detail: &control.detail };
    append(buffer, chain, "control", control.at, &part);
}

pub fn admin(buffer: &mut Vec<u8>, chain: &mut Chain, admin: &Admin) {
    append(buffer, chain, "admin", admin.at, admin);
}

fn append(buffer: &mut Vec<u8>, chain: &mut Chain, kind: &str, at: Moment, part: &impl Serialize) {
    let start = buffer.len();
    begin(&mut Pen(buffer), kind);
    let brace = buffer.len();
    Pen(buffer).value(part);
    // The part's own braces go: its first becomes the comma, its last is what `seal` supplies.
    if let Some(brace) = buffer.get_mut(brace) {
        *brace = b',';
    }
    buffer.pop();
    time(&mut Pen(buffer), at);
    chain.seal(buffer, start);
}

/// What all lines begin with.
pub(super) fn begin(pen: &mut Pen<'_>, kind: &str) {
    pen.raw(r#"{"schema":"#).number(SCHEMA).raw(r#","kind":""#).raw(kind).raw("\"");
}

/// The last before the seal.
pub(super) fn time(pen: &mut Pen<'_>, at: Moment) {
    pen.raw(TIME).raw(rfc3339(at)).raw("\"");
}

/// Before a line's time.
pub(super) const TIME: &str = r#","time":""#;

#[derive(Serialize)]
struct LivePart<'a> {
    id: &'a str,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<&'a Connection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<&'a Evidence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'a Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<StatusPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(Serialize)]
struct RefusedPart<'a> {
    event: &'static str,
    listener: &'a str,
    address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<&'a str>,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<StreamPart>,
}

/// An HTTP/2 stream, and the error code it was reset with.
#[derive(Serialize)]
struct StreamPart {
    id: u32,
    error: u32,
}

#[derive(Serialize)]
struct AlertPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    reason: &'a str,
}

#[derive(Serialize)]
struct ControlPart<'a> {
    event: &'static str,
    detail: &'a str,
}

#[derive(Serialize)]
struct StatusPart {
    status: u16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::ControlEvent;
    use crate::audit::visible::printable;
    use crate::policy::source::unseen::unseen;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_one_visible_line_that_reads_back(text in any::<String>()) {
            let mut buffer = Vec::new();
            let record = Control { at: Moment(0), event: ControlEvent::Reload, detail: text.clone() };
            control(&mut buffer, &mut Chain::EMPTY.clone(), &record);
            let line = std::str::from_utf8(&buffer).expect("UTF-8");
            let line = line.strip_suffix('\n').expect("ends in a newline");
            prop_assert!(!line.contains(|c: char| c.is_control() || unseen(c)), "{}", line);
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            prop_assert_eq!(value["detail"].as_str(), Some(text.as_str()));
            prop_assert!(!printable(&text).contains(|c: char| c.is_control() || unseen(c)));
        }
    }
}
