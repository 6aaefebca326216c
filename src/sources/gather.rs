//! All sources asked about one request: the only maker of live `Evidence`.

use super::binding;
use super::certificate::{Presented, Trust};
use super::place::{Located, Networks};
use super::quota::{Asker, Quotas};
use super::timing::{self, ConnectionTiming, Measured, TimingSettings};
use super::token::{TokenCache, Tokens};
use crate::evidence::{Device, Evidence, Fact, Fault, Moment, Network, Request, Subject, Timing, Via};
use crate::policy::Policy;
use crate::state::devices::Devices;
use crate::state::emergency::EmergencySwitch;
use crate::state::timings::Timings;
use http::HeaderMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::TcpStream;

/// What all cores ask. Every view is swapped whole and read without a lock.
pub struct Sources {
    pub devices: Devices,
    pub tokens: Arc<Tokens>,
    pub networks: Networks,
    pub quotas: Quotas,
    pub timings: Timings,
    pub timing: TimingSettings,
    pub emergency: EmergencySwitch,
    /// How long the first request of a connection may wait for a TLS round trip, where a rule reads it.
    pub first_round_trip: Duration,
}

/// What the sources know of one connection and remember between its requests.
pub struct Connected {
    pub presented: Presented,
    pub located: Located,
    pub timing: ConnectionTiming,
    /// Gone when the connection is.
    pub socket: Weak<TcpStream>,
}

/// The parts of a request that sources read.
pub struct Asked<'a> {
    pub request: Arc<Request>,
    pub headers: &'a HeaderMap,
    /// The client's address, as forwarders name it at this request.
    pub client: &'a Fact<IpAddr>,
    pub via: Via,
}

impl Sources {
    /// Asks every source once. `trust` is none where certificates are not asked for.
    pub async fn gather(
        &self,
        cache: &TokenCache,
        connected: &Connected,
        trust: Option<&Trust>,
        asked: Asked<'_>,
        policy: &Policy,
        now: Moment,
    ) -> Evidence {
        let certificate = match trust {
            Some(trust) => connected.presented.judge(trust, now),
            None => Fact::Absent,
        };
        let device = certificate.as_ref().and_then(|certificate| self.devices.find(certificate));
        let subject = self.tokens.subject(cache, asked.headers, now).await;
        let subject = binding::confirmed(subject, &certificate);
        let binding = binding::binding(&certificate, &device, &subject);
        let network = connected.located.get(&self.networks, asked.client.known().copied(), now);
        let needs = policy.needs(&asked.request);
        if needs.tls_round_trip {
            self.await_round_trip(connected, asked.via, &device).await;
        }
        let timing = self.time(connected, asked.via, &device, &network, now);
        let asker = Asker {
            subject: subject.known().map(Arc::as_ref),
            device: device.known().map(Arc::as_ref),
            address: network.address.known().copied(),
        };
        let quotas =
            needs.quotas.iter().map(|spec| (Arc::clone(&spec.name), self.quotas.count(spec, asker))).collect();
        Evidence {
            at: now,
            emergency: self.emergency.position(),
            request: asked.request,
            certificate,
            device,
            subject,
            binding,
            network,
            timing,
            quotas,
            grants: Fact::Absent,
            posture: Fact::Absent,
        }
    }

    /// The same request, as things stand now: what long-lived exchanges are decided on again.
    ///
    /// Measurements of its connection and counted quotas stay as they were; what others changed is looked up anew.
    pub fn refresh(&self, evidence: &Evidence, trust: Option<&Trust>, presented: &Presented, now: Moment) -> Evidence {
        let mut fresh = evidence.clone();
        fresh.at = now;
        fresh.emergency = self.emergency.position();
        fresh.certificate = match trust {
            Some(trust) => presented.judge(trust, now),
            None => Fact::Absent,
        };
        fresh.device = fresh.certificate.as_ref().and_then(|certificate| self.devices.find(certificate));
        if evidence.subject.known().is_some_and(|subject| subject.expires <= now) {
            fresh.subject = Fact::Invalid(Fault::TokenExpired);
        }
        fresh.binding = binding::binding(&fresh.certificate, &fresh.device, &fresh.subject);
        fresh
    }

    async fn await_round_trip(&self, connected: &Connected, via: Via, device: &Fact<Arc<Device>>) {
        let _ = device;
        if via != Via::Forwarder && connected.timing.expects_tls {
            connected.timing.tls.first(self.first_round_trip).await;
        }
    }

    fn time(
        &self,
        connected: &Connected,
        via: Via,
        device: &Fact<Arc<Device>>,
        network: &Network,
        now: Moment,
    ) -> Timing {
        let measured = match connected.socket.upgrade() {
            Some(socket) => connected.timing.measure(&*socket, via),
            None => Measured::NOTHING,
        };
        let known = device.known().zip(network.address.known());
        let recent = known.map(|(device, address)| {
            if let Some(minima) = connected.timing.improvement(&measured) {
                self.timings.record(&device.id, *address, connected.timing.number, minima, now);
            }
            self.timings.minima(&device.id, *address, now)
        });
        timing::assemble(measured, recent, network, &self.timing)
    }
}
