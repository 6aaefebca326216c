//! What Prometheus sees: a fold over the records on the writer thread, and a few gauges others set.
//!
//! The request path touches none of this. Labels are bounded: reasons, outcomes and ends are closed
//! vocabularies, resources are the policy's, and beyond `MOST_RESOURCES` they share one name.

mod fold;

pub(super) use fold::Fold;

use super::record::{Alert, Live, LiveEvent, Refused};
use crate::evidence::Moment;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Resources with labels of their own, over all policies since the start.
const MOST_RESOURCES: usize = 20_000;

type Seconds = Gauge<f64, AtomicU64>;
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Every metric of the gateway.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    ends: Family<EndLabels, Counter>,
    decision: Histogram,
    upstream: Histograms<ResourceLabel>,
    bytes: Family<BytesLabels, Counter>,
    rtt: Histograms<HeightLabel>,
    streams: Gauge,
    cuts: Family<ReasonLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    alerts: Family<AlertLabels, Counter>,
    queue: Gauge,
    queue_age: Seconds,
    write_failures: Counter,
    unrecorded: Counter,
    connections: Gauge,
    reloads: Family<ReloadLabels, Counter>,
    policy: Family<PolicyLabel, Gauge>,
    upstreams: Family<OriginLabel, Gauge>,
    database_loaded: Family<DatabaseLabel, Gauge>,
    database_age: Family<DatabaseLabel, Seconds>,
    databases: Mutex<BTreeMap<String, Moment>>,
    list_remaining: Family<ListenerLabel, Seconds>,
    resources: Mutex<HashSet<Arc<str>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    resource: Arc<str>,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabel {
    resource: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BytesLabels {
    resource: Arc<str>,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HeightLabel {
    height: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AlertLabels {
    kind: &'static str,
    resource: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabel {
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OriginLabel {
    origin: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DatabaseLabel {
    database: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("rangegate"),
            requests: Family::default(),
            ends: Family::default(),
            decision: Histogram::new(DECISION_SECONDS),
            upstream: Family::new_with_constructor(|| Histogram::new(UPSTREAM_SECONDS)),
            bytes: Family::default(),
            rtt: Family::new_with_constructor(|| Histogram::new(RTT_SECONDS)),
            streams: Gauge::default(),
            cuts: Family::default(),
            refused: Family::default(),
            alerts: Family::default(),
            queue: Gauge::default(),
            queue_age: Seconds::default(),
            write_failures: Counter::default(),
            unrecorded: Counter::default(),
            connections: Gauge::default(),
            reloads: Family::default(),
            policy: Family::default(),
            upstreams: Family::default(),
            database_loaded: Family::default(),
            database_age: Family::default(),
            databases: Mutex::default(),
            list_remaining: Family::default(),
            resources: Mutex::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("requests", "Requests by resource, outcome and reason", self.requests.clone());
        r.register("request_ends", "How requests ended", self.ends.clone());
        r.register("decision_seconds", "From opening the record to the decision", self.decision.clone());
        r.register("upstream_seconds", "From asking the upstream to the head of its answer", self.upstream.clone());
        r.register("body_bytes", "Body bytes from clients (in) and to them (out)", self.bytes.clone());
        r.register("client_rtt_seconds", "Client round trips at the height of TCP and of TLS", self.rtt.clone());
        r.register("live_streams", "Upgraded connections and long answers that flow now", self.streams.clone());
        r.register("cuts", "Exchanges the gateway ended, by reason", self.cuts.clone());
        r.register("refused_connections", "Connections refused before a request", self.refused.clone());
        r.register("alerts", "Alerts by kind and resource", self.alerts.clone());
        r.register("audit_queue_records", "Open records and those not yet in the log", self.queue.clone());
        r.register("audit_lag_seconds", "How long the oldest record has waited to be written", self.queue_age.clone());
        r.register("audit_write_failures", "Failed attempts to write the log", self.write_failures.clone());
        r.register("audit_unrecorded", "Records that found no place in the queue", self.unrecorded.clone());
        r.register("connections", "Open client connections", self.connections.clone());
        r.register("reloads", "Reloads by kind and result", self.reloads.clone());
        r.register("policy_info", "The policy that decides; always 1", self.policy.clone());
        r.register("upstream_healthy", "1: the upstream answers, 0: it is being avoided", self.upstreams.clone());
        r.register("geo_database_loaded", "1: a database answers, 0: it cannot be read", self.database_loaded.clone());
        r.register("geo_database_age_seconds", "Time since a database was built", self.database_age.clone());
        r.register(
            "revocation_list_remaining_seconds",
            "Time until the first of a listener's revocation lists runs out; below 0 since it has",
            self.list_remaining.clone(),
        );
    }

    /// All metrics as OpenMetrics text.
    pub fn encode(&self, now: Moment) -> String {
        for (database, built) in &*self.databases.lock().unwrap_or_else(PoisonError::into_inner) {
            let label = DatabaseLabel { database: database.clone() };
            self.database_age.get_or_create(&label).set(Duration::from_millis(now.since(*built)).as_secs_f64());
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("a string takes all, and labels are plain text");
        text
    }

    /// Open client connections, for the listener to raise and lower.
    pub const fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// Counts a reload; `kind` is a fixed word such as `policy`, `certificates`, `geo`.
    pub fn reloaded(&self, kind: &'static str, accepted: bool) {
        let result = if accepted { "accepted" } else { "rejected" };
        self.reloads.get_or_create(&ReloadLabels { kind, result }).inc();
    }

    /// Names the policy that decides from now on.
    pub fn policy(&self, version: &str) {
        self.policy.clear();
        self.policy.get_or_create(&PolicyLabel { version: version.to_owned() }).set(1);
    }

    /// Says which upstreams there are now and whether each answers. Origins come from policy files.
    pub fn upstreams(&self, origins: impl IntoIterator<Item = (String, bool)>) {
        self.upstreams.clear();
        for (origin, healthy) in origins {
            self.upstreams.get_or_create(&OriginLabel { origin }).set(i64::from(healthy));
        }
    }

    /// Says which databases there are now, by their files, and when each was built; its age is reckoned when the metrics
    /// are read. None: it has nothing to answer from.
    pub fn databases(&self, databases: impl IntoIterator<Item = (String, Option<Moment>)>) {
        let mut known = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        known.clear();
        self.database_loaded.clear();
        self.database_age.clear();
        for (database, built) in databases {
            let label = DatabaseLabel { database: database.clone() };
            self.database_loaded.get_or_create(&label).set(i64::from(built.is_some()));
            known.extend(built.map(|built| (database, built)));
        }
    }

    /// Says when the first revocation list of each listener runs out.
    pub fn revocation_lists<'l>(&self, lists: impl IntoIterator<Item = (&'l str, Moment)>, now: Moment) {
        self.list_remaining.clear();
        for (listener, at) in lists {
            let label = ListenerLabel { listener: listener.to_owned() };
            let millis = at.millis().saturating_sub(now.millis());
            self.list_remaining.get_or_create(&label).set(millis as f64 / 1000.0);
        }
    }

    pub(super) fn live(&self, live: &Live) {
        match &live.event {
            LiveEvent::Opened { .. } => {
                self.streams.inc();
            }
            // A cut is counted by its closing record, which follows.
            LiveEvent::Cut { .. } | LiveEvent::Redecided { .. } => {}
        }
    }

    pub(super) fn refused(&self, refused: &Refused) {
        self.refused.get_or_create(&ReasonLabel { reason: refused.reason.code() }).inc();
    }

    pub(super) fn alert(&self, alert: &Alert) {
        let resource = self.resource(alert.resource.as_ref());
        self.alerts.get_or_create(&AlertLabels { kind: alert.kind.code(), resource }).inc();
    }

    pub(super) fn lag(&self, places: usize, age: Duration) {
        self.queue.set(i64::try_from(places).unwrap_or(i64::MAX));
        self.queue_age.set(age.as_secs_f64());
    }

    pub(super) fn write_failed(&self) {
        self.write_failures.inc();
    }

    pub(super) fn unrecorded(&self, records: u64) {
        self.unrecorded.inc_by(records);
    }

    /// The resource's label: its id while there is room for new ones.
    fn resource(&self, id: Option<&Arc<str>>) -> Arc<str> {
        let Some(id) = id else { return Arc::from("none") };
        let mut known = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(id) {
            return Arc::clone(id);
        }
        if known.len() >= MOST_RESOURCES {
            return Arc::from("other");
        }
        known.insert(Arc::clone(id));
        Arc::clone(id)
    }
}

/// Decisions are microseconds; what is longer waited for a key set.
const DECISION_SECONDS: [f64; 11] = [5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2, 0.1, 1.0, 5.0];
const UPSTREAM_SECONDS: [f64; 12] = [5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 1.0, 5.0, 30.0];
/// Fine around the distances between a city, a country and a continent.
const RTT_SECONDS: [f64; 13] = [5e-4, 2e-3, 5e-3, 1e-2, 2e-2, 3e-2, 5e-2, 8e-2, 0.12, 0.18, 0.25, 0.5, 1.0];
