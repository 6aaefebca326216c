//! What is open right now, over all cores: who is connected to what, from where, and why that is allowed.

use super::administrator::{About, Administrator, Who};
use super::fault::Fault;
use crate::evidence::{Evidence, Moment, Via};
use crate::policy::{Decided, Reason, Verdict};
use crate::sources::gather::Connected;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// One open exchange.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Open {
    /// The request's.
    pub id: String,
    #[serde(serialize_with = "super::moment::serialize")]
    pub since: Moment,
    /// The account, by its own name.
    pub user: Option<Arc<str>>,
    /// The name that was signed in by, where that is another.
    pub alias: Option<Arc<str>>,
    pub device: Option<Arc<str>>,
    pub address: Option<IpAddr>,
    pub country: Option<Arc<str>>,
    /// The least of the last round trips to its TLS endpoint, or else the least to its TCP peer, milliseconds.
    pub round_trip_ms: Option<f64>,
    pub resource: Option<Arc<str>>,
    pub method: String,
    pub host: String,
    pub path: String,
    pub upgrade: bool,
    pub outcome: &'static str,
    pub reason: &'static str,
    /// The requirements it met.
    pub met: Vec<Arc<str>>,
    /// The roles held when it began.
    pub grants: Vec<Arc<str>>,
}

/// What one person has open from one device.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Session {
    /// The account, by its own name.
    pub user: Option<Arc<str>>,
    /// Other names of it that were signed in by.
    pub aliases: Vec<Arc<str>>,
    pub device: Option<Arc<str>>,
    #[serde(serialize_with = "super::moment::serialize")]
    pub since: Moment,
    pub exchanges: usize,
    pub addresses: Vec<IpAddr>,
    pub resources: Vec<Arc<str>>,
}

impl Administrator {
    /// Everything open, the oldest first.
    pub fn open(&self) -> Vec<Open> {
        let mut open = Vec::new();
        for core in self.cores.all() {
            core.each(|decided, connected| open.push(told(decided, connected)));
        }
        open.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        open
    }

    /// What is open, by person and device. Nothing else is kept of sessions: a token is looked at anew with each request.
    pub fn sessions(&self) -> Vec<Session> {
        let mut sessions = BTreeMap::<_, Session>::new();
        for open in self.open() {
            let key = (open.user.clone(), open.device.clone());
            let session = sessions.entry(key).or_insert_with(|| Session {
                user: open.user.clone(),
                aliases: Vec::new(),
                device: open.device.clone(),
                since: open.since,
                exchanges: 0,
                addresses: Vec::new(),
                resources: Vec::new(),
            });
            session.exchanges += 1;
            session.aliases.extend(open.alias.filter(|alias| !session.aliases.contains(alias)));
            session.addresses.extend(open.address.filter(|address| !session.addresses.contains(address)));
            session.resources.extend(open.resource.filter(|resource| !session.resources.contains(resource)));
        }
        sessions.into_values().collect()
    }

    /// Ends one open exchange. Whoever it was may come again: to keep them out, suspend the device or the person.
    pub async fn cut(&self, who: &Who, id: &str, reason: Option<&str>) -> Result<(), Fault> {
        if !self.audit.writable() {
            return Err(Fault::Unrecorded);
        }
        let why = Reason::CutByAdministrator;
        if !self.cores.all().iter().any(|core| core.cut(id, why)) {
            return Err(Fault::NotFound("open exchange of this id"));
        }
        self.audit.cut(id, why.code(), (self.clock)());
        self.did(who, About { action: "live-cut", target: format!("request {id}") }, reason.map(str::to_owned)).await;
        Ok(())
    }
}

fn told(decided: &Decided, connected: &Connected) -> Open {
    let Decided { evidence, decision } = decided;
    let request = &evidence.request;
    let signed_in = evidence.subject.known().map(|subject| &subject.user);
    let user = signed_in.map(|name| evidence.identity.known().map_or(name, |identity| &identity.user));
    let met = decision.findings.iter().filter(|finding| finding.verdict == Verdict::Met);
    Open {
        id: request.id.clone(),
        since: evidence.at,
        user: user.cloned(),
        alias: signed_in.filter(|name| user != Some(name)).cloned(),
        device: evidence.device.known().map(|device| Arc::clone(&device.id)),
        address: evidence.network.address.known().copied(),
        country: evidence.network.place.country.known().cloned(),
        round_trip_ms: round_trip(evidence, connected),
        resource: decision.resource.as_ref().map(|resource| Arc::clone(&resource.id)),
        method: request.method.to_string(),
        host: request.host.clone(),
        path: request.path.clone(),
        upgrade: request.upgrade.is_some(),
        outcome: decision.outcome.code(),
        reason: decision.reason.code(),
        met: met.map(|finding| Arc::clone(&finding.requirement)).collect(),
        grants: evidence
            .grants
            .known()
            .into_iter()
            .flat_map(|grants| grants.iter().filter(|grant| grant.over.is_none()))
            .map(|grant| Arc::clone(&grant.role))
            .collect(),
    }
}

fn round_trip(evidence: &Evidence, connected: &Connected) -> Option<f64> {
    let (timing, samples) = (&evidence.timing, &connected.timing.tls);
    // A forwarder's acknowledgements are not the client's.
    let own = evidence.network.via != Via::Forwarder;
    let since = own.then(|| samples.recent().or(samples.read().known().map(|timing| timing.minimum))).flatten();
    let tls = timing.tls.known().map(|timing| timing.minimum);
    let tcp = timing.tcp.known().map(|timing| timing.minimum);
    since.or(tls).or(tcp).map(|rtt| f64::from(rtt.as_micros()) / 1000.0)
}
