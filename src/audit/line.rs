//! Records as JSON lines: one reused buffer, no value in between, nothing that could break a line or a terminal.

use super::admin::Admin;
use super::chain::Chain;
use super::fragments::Fragments;
use super::record::{Alert, Connection, Control, End, Known, Live, LiveEvent, Record, Refused};
use crate::evidence::{
    Binding, Emergency, Evidence, Fact, Grant, Identity, Moment, Posture, Quota, QuotaName, Request, Timing,
};
use crate::policy::{Decision, Origin};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The version of the line's shape. It rises when a reader of the old shape would misread the new.
pub const SCHEMA: u8 = 1;

/// Appends the closing record of one request.
pub fn request(buffer: &mut Vec<u8>, chain: &mut Chain, fragments: &mut Fragments, record: &Record) {
    let (asked, evidence, decision) = match &record.known {
        Known::Asked(request) => (Some(request), None, None),
        Known::Decided(decided) => (None, Some(&decided.evidence), Some(&decided.decision)),
    };
    let Fragments { connections, certificates, devices, subjects, networks } = fragments;
    let evidence = evidence.map(|evidence| EvidencePart {
        at: evidence.at,
        emergency: evidence.emergency,
        request: &evidence.request,
        certificate: certificates.fact(&evidence.certificate),
        device: devices.fact(&evidence.device),
        subject: subjects.fact(&evidence.subject),
        binding: &evidence.binding,
        identity: &evidence.identity,
        network: networks.text(&evidence.network),
        timing: &evidence.timing,
        quotas: &evidence.quotas,
        grants: &evidence.grants,
        posture: &evidence.posture,
        memory_age: &evidence.memory_age,
    });
    let upstream = record.exchange.as_ref().map(|exchange| UpstreamPart {
        origin: exchange.origin.as_ref(),
        status: exchange.status,
        attempts: exchange.attempts,
        fault: exchange.fault,
    });
    let part = RequestPart {
        id: &record.known.request().id,
        live: record.live,
        connection: connections.text(&record.connection),
        request: asked,
        evidence,
        decision,
        upstream,
        response: record.status.map(|status| StatusPart { status }),
        micros: MicrosPart {
            decision: record.to_decision.map(micros),
            upstream: record.exchange.as_ref().map(|exchange| micros(exchange.head)),
            total: micros(record.total),
        },
        bytes: BytesPart { r#in: record.received, out: record.sent },
        end: record.end,
    };
    append(buffer, chain, "request", record.at, &part);
}

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
    let seq = chain.next();
    write!(buffer, r#"{{"schema":{SCHEMA},"kind":"{kind}","seq":{seq},"time":""#).expect("memory takes all");
    buffer.extend_from_slice(&rfc3339(at));
    buffer.push(b'"');
    let brace = buffer.len();
    let mut serializer = serde_json::Serializer::with_formatter(&mut *buffer, Visible);
    part.serialize(&mut serializer).expect("records are structs of plain values, and memory takes all");
    // The part's own braces go: its first becomes the comma, its last is what `seal` supplies.
    if let Some(brace) = buffer.get_mut(brace) {
        *brace = b',';
    }
    buffer.pop();
    chain.seal(buffer, start);
}

#[derive(Serialize)]
struct RequestPart<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    live: bool,
    connection: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a Request>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<EvidencePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'a Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<UpstreamPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<StatusPart>,
    micros: MicrosPart,
    bytes: BytesPart,
    end: End,
}

/// `Evidence` as it serializes itself, what is shared ready-made. A test holds the two together.
#[derive(Serialize)]
struct EvidencePart<'a> {
    at: Moment,
    emergency: Emergency,
    request: &'a Request,
    certificate: Fact<&'a RawValue>,
    device: Fact<&'a RawValue>,
    subject: Fact<&'a RawValue>,
    binding: &'a Fact<Binding>,
    identity: &'a Fact<Arc<Identity>>,
    network: &'a RawValue,
    timing: &'a Timing,
    quotas: &'a [(QuotaName, Fact<Quota>)],
    grants: &'a Fact<Arc<[Grant]>>,
    posture: &'a Fact<Posture>,
    memory_age: &'a Fact<u64>,
}

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
struct UpstreamPart<'a> {
    #[serde(serialize_with = "shown", skip_serializing_if = "Option::is_none")]
    origin: Option<&'a Origin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    attempts: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
}

#[derive(Serialize)]
struct StatusPart {
    status: u16,
}

/// Microseconds since the record opened; `upstream` since the upstream was asked.
#[derive(Serialize)]
struct MicrosPart {
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<u64>,
    total: u64,
}

/// Body bytes: from the client and to it.
#[derive(Serialize)]
struct BytesPart {
    r#in: u64,
    out: u64,
}

fn shown<S: Serializer>(origin: &Option<&Origin>, serializer: S) -> Result<S::Ok, S::Error> {
    match origin {
        Some(origin) => serializer.collect_str(origin),
        None => serializer.serialize_none(),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC with milliseconds: `2026-08-01T09:30:00.125Z`. Times outside the years 0 to 9999 are
/// held to them, so that the text always has this width.
pub fn rfc3339(at: Moment) -> [u8; 24] {
    const FIRST: i64 = -62_167_219_200_000;
    const LAST: i64 = 253_402_300_799_999;
    let millis = at.millis().clamp(FIRST, LAST);
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |at: usize, width: usize, mut value: i64| {
        for digit in text.iter_mut().skip(at).take(width).rev() {
            *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, of_day / 3_600_000);
    put(14, 2, of_day / 60_000 % 60);
    put(17, 2, of_day / 1000 % 60);
    put(20, 3, of_day % 1000);
    text
}

/// Days since 1970-01-01 as year, month and day of the proleptic Gregorian calendar. Years are counted
/// from March, so that the leap day is a year's last; 400 years have 146,097 days.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + (month <= 2) as i64, month, day)
}

/// Compact JSON in which every character can be seen: besides the C0 controls, which JSON escapes
/// anyway, DEL, C1, line separators, direction marks and what has no width are written as `\u` escapes.
pub struct Visible;

impl serde_json::ser::Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // One pass over bytes for what nearly every text is.
        if fragment.bytes().all(|byte| byte < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut plain = 0;
        for (at, hidden) in fragment.match_indices(unseen) {
            writer.write_all(fragment.get(plain..at).unwrap_or_default().as_bytes())?;
            for unit in hidden.encode_utf16() {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain = at + hidden.len();
        }
        writer.write_all(fragment.get(plain..).unwrap_or_default().as_bytes())
    }
}

/// The text with every character that could not be seen, or that a terminal would obey, as an escape.
pub fn printable(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| c.is_control() || unseen(c);
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

const fn unseen(c: char) -> bool {
    matches!(c,
        '\u{7f}'..='\u{9f}'             // DEL and C1
        | '\u{ad}' | '\u{34f}'          // soft hyphen, grapheme joiner
        | '\u{61c}' | '\u{180e}'        // direction mark, vowel separator
        | '\u{200b}'..='\u{200f}'       // no width, direction marks
        | '\u{2028}'..='\u{202e}'       // line and paragraph separators, direction overrides
        | '\u{2060}'..='\u{206f}'       // joiners, direction isolates
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}') // tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::ControlEvent;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn times_are_those_of_rfc_3339(millis in -62_135_596_800_000i64..253_402_207_200_000) {
            let text = String::from_utf8(rfc3339(Moment(millis)).to_vec()).expect("ASCII");
            let read: jiff::Timestamp = text.parse().expect("RFC 3339");
            prop_assert_eq!(read.as_millisecond(), millis);
        }

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

    #[test]
    fn times_no_calendar_holds_are_held_to_it() {
        assert_eq!(&rfc3339(Moment(i64::MAX)), b"9999-12-31T23:59:59.999Z");
        assert_eq!(&rfc3339(Moment(i64::MIN)), b"0000-01-01T00:00:00.000Z");
    }
}
