//! The guard of one record: however the request ends, dropping it closes the record, once.

use super::body::{AuditedBody, Blame, CountedBody};
use super::record::{Alert, AlertKind, Connection, End, Exchange, Flow, Known, Live, LiveEvent, Record};
use super::sink::{Line, Sink};
use super::{findings, homes};
use crate::evidence::{Evidence, IdentityStatus, Moment, Request};
use crate::policy::{Decided, Decision, Outcome, Reason};
use bytes::Bytes;
use http::Response;
use http_body::Body;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An open record. Two words wide, so that it weighs nothing in the request's future.
pub struct Entry {
    /// None once closed.
    open: Option<Box<Record>>,
    sink: Arc<Sink>,
}

impl Entry {
    pub(super) fn open(sink: Arc<Sink>, connection: Arc<Connection>, request: Arc<Request>, now: Moment) -> Self {
        let slot = sink.reserve();
        let home = homes::here();
        sink.homes.fetch(home);
        let record = Record {
            at: now,
            connection,
            known: Known::Asked(request),
            exchange: None,
            status: None,
            to_decision: None,
            total: Duration::ZERO,
            received: 0,
            sent: 0,
            end: End::ClientGone,
            live: false,
            alert: None,
            started: Instant::now(),
            slot,
            flow: None,
            home,
        };
        Self { open: Some(Box::new(record)), sink }
    }

    /// Takes what was known and decided, and gives back what is to be enforced: the same decision, or
    /// a denial when the record could not be written and the settings say so.
    pub fn record(&mut self, evidence: Evidence, decision: Decision) -> Arc<Decided> {
        let Some(open) = &mut self.open else {
            return Arc::new(Decided { evidence, decision: decision.denied(Reason::AuditUnavailable) });
        };
        let decision = if self.sink.admits(open.slot) { decision } else { decision.denied(Reason::AuditUnavailable) };
        open.to_decision = Some(open.started.elapsed());
        let watched = evidence.identity.known().is_some_and(|identity| identity.status == IdentityStatus::Watched);
        if watched || decision.outcome == Outcome::Observe {
            let kind = if watched { AlertKind::Watched } else { AlertKind::Observed };
            let alert = Box::new(alert(kind, &evidence, &decision));
            open.alert = self.sink.try_send(Line::Alert(alert)).and_then(|unsent| match unsent {
                Line::Alert(alert) => Some(alert),
                _ => None,
            });
        }
        if let Some((fault, certificate)) = findings::finding(&evidence)
            && self.sink.findings.is_news(&certificate.spki_sha256, fault.code(), evidence.at)
        {
            let found = alert(AlertKind::DeviceFinding, &evidence, &decision);
            let reason = format!("{}: certificate {}", fault.code(), certificate.sha256).into();
            self.sink.insist(Line::Alert(Box::new(Alert { reason, ..found })));
        }
        let decided = Arc::new(Decided { evidence, decision });
        open.known = Known::Decided(Arc::clone(&decided));
        decided
    }

    /// What was recorded, for those who decide again later. None before `record`.
    pub fn evidence(&self) -> Option<&Evidence> {
        self.open.as_ref()?.known.evidence()
    }

    /// Counts the request's body as the upstream reads it.
    pub fn count<B: Body<Data = Bytes> + Unpin>(&mut self, body: B) -> CountedBody<B> {
        let flow = (!body.is_end_stream()).then(|| self.flow());
        CountedBody::new(body, flow)
    }

    /// Notes what became of the request at the upstream.
    pub fn upstream(&mut self, exchange: Exchange) {
        if let Some(open) = &mut self.open {
            open.exchange = Some(exchange);
        }
    }

    /// Follows the answer to its last byte. A body that fails is an upstream error.
    pub fn follow<B: Body<Data = Bytes> + Unpin>(self, response: Response<B>) -> Response<AuditedBody<B>> {
        self.follow_with(response, |_| None)
    }

    /// As `follow`; `blame` says what it means that a body fails or is dropped.
    pub fn follow_with<B: Body<Data = Bytes> + Unpin>(
        mut self,
        response: Response<B>,
        blame: Blame<B>,
    ) -> Response<AuditedBody<B>> {
        let status = response.status();
        let mut bodiless = status.is_informational() || status == 204 || status == 304;
        if let Some(open) = &mut self.open {
            open.status = Some(status.as_u16());
            bodiless |= open.known.request().method == "HEAD";
        }
        response.map(|body| AuditedBody::new(body, self, bodiless, blame))
    }

    /// Writes the `opened` line of an answer that may flow for long; `follow` it afterwards.
    pub fn opened(&mut self, status: Option<u16>, now: Moment) {
        let Some(open) = &mut self.open else { return };
        let Known::Decided(decided) = &open.known else { return };
        if open.live {
            return;
        }
        let event =
            LiveEvent::Opened { connection: Arc::clone(&open.connection), decided: Arc::clone(decided), status };
        let line = Line::Live(Box::new(Live { at: now, id: decided.evidence.request.id.clone(), event }));
        open.live = true;
        open.status = status;
        // The place goes to the line, so that those who stay for hours hold none; the closing record
        // makes its own. There are never more of those than connections.
        if std::mem::replace(&mut open.slot, false) {
            self.sink.send(line);
        } else {
            self.sink.insist(line);
        }
        self.sink.live_opened();
    }

    /// Hands the record on to an upgraded connection, and writes its `opened` line. What is left is closed.
    pub fn upgraded(&mut self, status: u16, now: Moment) -> LiveEntry {
        let mut entry = Self { open: self.open.take(), sink: Arc::clone(&self.sink) };
        entry.opened(Some(status), now);
        let flow = entry.flow();
        LiveEntry { entry, flow, end: None }
    }

    /// Notes that the gateway ended the exchange; the record will close so, however the last bytes fare.
    pub fn cut(&mut self, reason: &'static str) {
        if let Some(open) = &mut self.open {
            open.end = End::Cut(reason);
        }
    }

    /// Closes the record. Later calls, and the drop, do nothing. A cut stays a cut.
    pub fn close(&mut self, end: End) {
        self.close_after(end, 0);
    }

    pub(super) fn close_after(&mut self, end: End, sent: u64) {
        let Some(mut record) = self.open.take() else { return };
        if !matches!(record.end, End::Cut(_)) {
            record.end = end;
        }
        record.total = record.started.elapsed();
        record.sent = sent;
        if let Some(flow) = record.flow.take() {
            record.received = flow.received();
            record.sent += flow.sent();
        }
        let (slot, live) = (record.slot, record.live);
        let line = Line::Request(record);
        match (slot, live) {
            (true, _) => self.sink.send(line),
            (false, true) => self.sink.insist(line),
            (false, false) => self.sink.unrecorded(),
        }
        if live {
            self.sink.live_closed();
        }
    }

    /// Where bytes are counted that pass otherwise than in a response body.
    pub fn flow(&mut self) -> Arc<Flow> {
        self.open.as_mut().map(|open| Arc::clone(open.flow.get_or_insert_default())).unwrap_or_default()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.close(gone());
    }
}

/// What it means that the record's owner was dropped before the end.
pub(super) fn gone() -> End {
    if std::thread::panicking() { End::Panic } else { End::ClientGone }
}

/// The record of an upgraded connection. Its closing record is written by `finish` or on drop.
pub struct LiveEntry {
    entry: Entry,
    flow: Arc<Flow>,
    end: Option<End>,
}

impl LiveEntry {
    /// Where the tunnel counts its bytes.
    pub const fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    pub fn evidence(&self) -> Option<&Evidence> {
        self.entry.evidence()
    }

    /// Notes that the connection is being cut: its closing record will say so, however the goodbye fares.
    pub fn cutting(&mut self, reason: &'static str) {
        self.end = Some(End::Cut(reason));
    }

    /// Closes the record. A cut stays a cut.
    pub fn finish(mut self, end: End) {
        let end = self.end.unwrap_or(end);
        self.entry.close(end);
    }
}

impl Drop for LiveEntry {
    fn drop(&mut self) {
        let end = self.end.unwrap_or_else(gone);
        self.entry.close(end);
    }
}

fn alert(kind: AlertKind, evidence: &Evidence, decision: &Decision) -> Alert {
    Alert {
        at: evidence.at,
        kind,
        id: Some(evidence.request.id.clone()),
        resource: decision.resource.as_ref().map(|resource| Arc::clone(&resource.id)),
        user: evidence.subject.known().map(|subject| Arc::clone(&subject.user)),
        device: evidence.device.known().map(|device| Arc::clone(&device.id)),
        address: evidence.network.address.known().copied(),
        reason: decision.reason.code().into(),
    }
}
