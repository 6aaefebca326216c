//! What each closing record adds. The counters of a resource are kept at hand: to find one by its labels costs more
//! than to raise it.

use super::{BytesLabels, EndLabels, HeightLabel, Metrics, ReasonLabel, RequestLabels, ResourceLabel};
use crate::audit::record::{End, Record};
use crate::audit::slots::Slots;
use crate::latency::Rtt;
use crate::policy::{Outcome, Reason, Resource};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::Arc;

pub struct Fold {
    metrics: Arc<Metrics>,
    ends: Counters<&'static str>,
    tcp: Histogram,
    tls: Histogram,
    resources: Slots<Resource, Handles>,
    /// For requests that addressed no resource.
    nowhere: Handles,
}

/// What is counted for one resource.
struct Handles {
    label: Arc<str>,
    /// None: it ended undecided.
    requests: Counters<Option<(Outcome, Reason)>>,
    received: Counter,
    sent: Counter,
    /// None: nothing was asked of its upstream yet.
    upstream: Option<Histogram>,
}

/// A few counters, all of closed vocabularies.
type Counters<K> = Vec<(K, Counter)>;

impl Fold {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let rtt = |height| metrics.rtt.get_or_create_owned(&HeightLabel { height });
        let (tcp, tls) = (rtt("tcp"), rtt("tls"));
        let nowhere = Handles::new(&metrics, Arc::from("none"));
        Self { metrics, ends: Vec::new(), tcp, tls, resources: Slots::default(), nowhere }
    }

    pub fn request(&mut self, record: &Record) {
        if record.live {
            self.metrics.streams.dec();
        }
        let (end, ends) = (record.end.code(), &self.metrics.ends);
        raise(&mut self.ends, end, || ends.get_or_create_owned(&EndLabels { end }));
        if let End::Cut(reason) = record.end {
            self.metrics.cuts.get_or_create(&ReasonLabel { reason }).inc();
        }
        if let Some(to_decision) = record.to_decision {
            self.metrics.decision.observe(to_decision.as_secs_f64());
        }
        if let Some(evidence) = record.known.evidence() {
            let (tcp, tls) = (evidence.timing.tcp.known(), evidence.timing.tls.known());
            observe(&self.tcp, tcp.map(|tcp| tcp.minimum));
            observe(&self.tls, tls.map(|tls| tls.minimum));
        }
        let resource = record.known.decision().and_then(|decision| decision.resource.as_ref());
        let metrics = &*self.metrics;
        let handles = match resource {
            Some(resource) => {
                self.resources.of(resource, || Handles::new(metrics, metrics.resource(Some(&resource.id))))
            }
            None => &mut self.nowhere,
        };
        handles.request(record, metrics);
    }
}

impl Handles {
    fn new(metrics: &Metrics, label: Arc<str>) -> Self {
        let bytes = |direction| {
            let resource = Arc::clone(&label);
            metrics.bytes.get_or_create_owned(&BytesLabels { resource, direction })
        };
        let (received, sent) = (bytes("in"), bytes("out"));
        Self { label, requests: Vec::new(), received, sent, upstream: None }
    }

    fn request(&mut self, record: &Record, metrics: &Metrics) {
        let Self { label, requests, received, sent, upstream } = self;
        received.inc_by(record.received);
        sent.inc_by(record.sent);
        if let Some(exchange) = &record.exchange {
            let of_resource = || metrics.upstream.get_or_create_owned(&ResourceLabel { resource: Arc::clone(label) });
            upstream.get_or_insert_with(of_resource).observe(exchange.head.as_secs_f64());
        }
        let decided = record.known.decision().map(|decision| (decision.outcome, decision.reason));
        raise(requests, decided, || {
            let (outcome, reason) = decided.map_or(("none", "undecided"), |(it, why)| (it.code(), why.code()));
            let resource = Arc::clone(label);
            metrics.requests.get_or_create_owned(&RequestLabels { resource, outcome, reason })
        });
    }
}

fn raise<K: PartialEq>(counters: &mut Counters<K>, key: K, create: impl FnOnce() -> Counter) {
    if let Some((_, counter)) = counters.iter().find(|(known, _)| *known == key) {
        counter.inc();
        return;
    }
    let counter = create();
    counter.inc();
    counters.push((key, counter));
}

fn observe(histogram: &Histogram, rtt: Option<Rtt>) {
    if let Some(rtt) = rtt {
        histogram.observe(f64::from(rtt.as_micros()) / 1e6);
    }
}
