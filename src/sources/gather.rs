//! All sources asked about one request: the only maker of live `Evidence`.

use super::binding;
use super::certificate::{self, Presented, Trust};
use super::place::{Located, Networks};
use super::quota::{Asker, Quotas};
use super::recall::{Recalled, Regrouped, Tide, recall};
use super::sighted;
use super::timing::{self, ConnectionTiming, Measured, TimingSettings};
use super::token::{LastToken, TokenCache, Tokens};
use crate::evidence::{
    Certificate, Device, DeviceStatus, Evidence, Fact, Fault, IdentityStatus, Moment, Network, Request, Subject,
    Timing, Via,
};
use crate::policy::{Addressed, Policy};
use crate::state::devices::Devices;
use crate::state::emergency::EmergencySwitch;
use crate::state::memory::Memory;
use crate::state::timings::Timings;
use arc_swap::ArcSwapOption;
use http::HeaderMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// What all cores ask. Every view is swapped whole and read without a lock. Those behind an `Arc` may outlive one
/// configuration and serve the next.
#[derive(Clone)]
pub struct Sources {
    pub devices: Arc<Devices>,
    /// What the store keeps.
    pub memory: Arc<Memory>,
    /// The time by which grants end: it does not step back.
    pub tide: Arc<Tide>,
    pub tokens: Arc<Tokens>,
    pub networks: Networks,
    pub quotas: Arc<Quotas>,
    pub timings: Arc<Timings>,
    pub timing: TimingSettings,
    pub emergency: Arc<EmergencySwitch>,
    /// How long the first request of a connection may wait for a TLS round trip, where a rule reads it.
    pub first_round_trip: Duration,
}

/// What the sources know of one connection and remember between its requests.
pub struct Connected {
    /// Whom the kernel vouches for: the other end of a Unix socket. Tokens are not looked at then.
    pub local: Option<Arc<Subject>>,
    pub presented: Presented,
    /// The listener's current trust, swapped at reload; none where certificates are not asked for.
    pub trust: Arc<ArcSwapOption<Trust>>,
    pub located: Located,
    pub timing: ConnectionTiming,
    /// Whether TLS round trips will be measured: HTTP/2 acknowledges its settings at once.
    pub pings: bool,
    /// The first TLS round trip was waited for, whether it came or not.
    pub awaited: AtomicBool,
    /// Its device was noted as seen.
    pub sighted: AtomicBool,
    /// Gone when the connection is.
    pub socket: Weak<TcpStream>,
    /// Told of each exchange on it that is cut.
    pub cut: Notify,
    /// The device, as it was found last.
    pub recognised: Recognised,
    pub token: LastToken,
    pub regrouped: Regrouped,
}

/// What a connection remembers of its certificate's device: the lookup is by several digests and names.
#[derive(Default)]
pub struct Recognised(Mutex<Option<Found>>);

struct Found {
    /// The registry's.
    generation: u64,
    certificate: Arc<Certificate>,
    device: Fact<Arc<Device>>,
}

impl Recognised {
    /// The device of `certificate`, looked up again when the registry has changed, or the certificate's facts.
    fn get(&self, devices: &Devices, certificate: &Arc<Certificate>) -> Fact<Arc<Device>> {
        // Read before the lookup: a change in between makes this out of date, not the next one.
        let generation = devices.generation();
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &*remembered
            && found.generation == generation
            && Arc::ptr_eq(&found.certificate, certificate)
        {
            return found.device.clone();
        }
        let device = devices.find(certificate).and_then(|device| match certificate::belongs(certificate, &device) {
            Ok(()) => Fact::Known(device),
            Err(fault) => Fact::Invalid(fault),
        });
        *remembered = Some(Found { generation, certificate: Arc::clone(certificate), device: device.clone() });
        device
    }
}

impl Connected {
    /// The subject with the groups that the kernel vouches for: what a process owns stands beside what the
    /// organisation's records say of the person.
    fn vouched(&self, subject: Fact<Arc<Subject>>) -> Fact<Arc<Subject>> {
        let Some(local) = &self.local else { return subject };
        subject.map(|mut subject| {
            let lost = local.groups.iter().filter(|group| !subject.groups.contains(group)).cloned().collect::<Vec<_>>();
            if !lost.is_empty() {
                Arc::make_mut(&mut subject).groups.extend(lost);
            }
            subject
        })
    }

    /// The client's certificate as it stands at `now`.
    pub fn certificate(&self, now: Moment) -> Fact<Arc<Certificate>> {
        self.trust.load().as_ref().map_or(Fact::Absent, |trust| self.presented.judge(trust, now))
    }
}

/// The parts of a request that sources read.
pub struct Asked<'a> {
    pub request: &'a Arc<Request>,
    pub headers: &'a HeaderMap,
    /// The client's address, as forwarders name it at this request.
    pub client: &'a Fact<IpAddr>,
    pub via: Via,
}

impl Sources {
    /// Asks every source once.
    pub async fn gather(
        &self,
        cache: &TokenCache,
        connected: &Connected,
        asked: Asked<'_>,
        addressed: &Addressed<'_>,
        now: Moment,
    ) -> Evidence {
        let certificate = connected.certificate(now);
        let device = self.device(connected, &certificate);
        let claimed = match &connected.local {
            Some(subject) => Fact::Known(Arc::clone(subject)),
            None => self.tokens.subject(cache, &connected.token, asked.headers, now).await,
        };
        // The binding is of what was claimed, so that a stolen token shows as one.
        let binding = binding::binding(&certificate, &device, &claimed);
        let subject = binding::confirmed(claimed, &certificate);
        let Recalled { subject, identity, owner, grants } = recall(
            &self.memory,
            subject,
            &device,
            |role| addressed.role(role),
            &connected.regrouped,
            self.tide.reach(now),
        );
        let subject = connected.vouched(subject);
        let network = connected.located.get(&self.networks, asked.client.known().copied(), now);
        let needs = addressed.needs();
        if needs.tls_round_trip {
            self.await_round_trip(connected, asked.via).await;
        }
        let timing = self.time(connected, asked.via, &device, &network, now);
        let asker = Asker {
            subject: subject.known().map(Arc::as_ref),
            device: device.known().map(Arc::as_ref),
            address: network.address.known().copied(),
        };
        let quotas = needs.limits.iter().map(|spec| (Arc::clone(&spec.name), self.quotas.count(spec, asker))).collect();
        let evidence = Evidence {
            at: now,
            emergency: self.emergency.position(),
            request: Arc::clone(asked.request),
            certificate,
            device,
            subject,
            binding,
            network,
            timing,
            quotas,
            identity,
            owner,
            grants,
            posture: Fact::Absent,
            memory_age: self.memory.age(now),
        };
        sighted::note(&self.memory, connected, &evidence);
        evidence
    }

    /// The same request, as things stand now: what long-lived exchanges are decided on again.
    ///
    /// Counted quotas stay as they were; what others changed is looked up anew, and the connection is measured again:
    /// here it counts how far away the client is lately, not how near it once was.
    pub fn refresh(&self, evidence: &Evidence, connected: &Connected, policy: &Policy, now: Moment) -> Evidence {
        let mut fresh = evidence.clone();
        fresh.at = now;
        fresh.emergency = self.emergency.position();
        fresh.network = connected.located.get(&self.networks, evidence.network.address.known().copied(), now);
        fresh.certificate = connected.certificate(now);
        fresh.device = self.device(connected, &fresh.certificate);
        if let Some(subject) = evidence.subject.known() {
            if subject.expires <= now {
                fresh.subject = Fact::Invalid(Fault::TokenExpired);
            } else if connected.local.is_none() && !self.tokens.believes(&subject.issuer) {
                fresh.subject = Fact::Invalid(Fault::TokenIssuer);
            }
        }
        fresh.binding = binding::binding(&fresh.certificate, &fresh.device, &fresh.subject);
        // A certificate takes the tokens with it that are bound to it.
        let subject = binding::confirmed(fresh.subject, &fresh.certificate);
        let recalled = recall(
            &self.memory,
            subject,
            &fresh.device,
            |role| policy.role(role),
            &connected.regrouped,
            self.tide.reach(now),
        );
        fresh.subject = connected.vouched(recalled.subject_after(&evidence.identity));
        fresh.identity = recalled.identity;
        fresh.owner = recalled.owner;
        fresh.grants = recalled.grants;
        fresh.memory_age = self.memory.age(now);
        if let Some(socket) = connected.socket.upgrade() {
            let via = evidence.network.via;
            fresh.timing = self.time(connected, via, &fresh.device, &fresh.network, now);
            timing::lately(&mut fresh.timing, &connected.timing.recent(&*socket, via));
        }
        fresh
    }

    /// Whether a good certificate was shown here, of a device that is known and neither suspended nor revoked; nor is
    /// its owner, as far as there is a record: that one cannot be read is no reason to stay.
    pub fn stands(&self, connected: &Connected, now: Moment) -> bool {
        let device = self.device(connected, &connected.certificate(now));
        device.known().is_some_and(|device| {
            let usable = matches!(device.status, DeviceStatus::Active | DeviceStatus::Watched);
            usable
                && device.owner.as_deref().is_none_or(|owner| match self.memory.identity(owner) {
                    Fact::Known(identity) => identity.status != IdentityStatus::Suspended,
                    Fact::Absent => true,
                    Fact::Invalid(_) | Fact::Unavailable(_) => false,
                })
        })
    }

    /// What a connection has timed since its last request, for the record of its device: a WebSocket's pings.
    pub fn learn(&self, evidence: &Evidence, connected: &Connected, now: Moment) {
        let known = evidence.device.known().zip(evidence.network.address.known());
        if let Some((device, address)) = known
            && let Some(minima) = connected.timing.improvement(&connected.timing.measured_since(evidence.network.via))
        {
            self.timings.record(&device.id, *address, connected.timing.number, minima, now);
        }
    }

    /// The registered device, if this certificate may stand for it.
    fn device(&self, connected: &Connected, certificate: &Fact<Arc<Certificate>>) -> Fact<Arc<Device>> {
        certificate.as_ref().and_then(|certificate| connected.recognised.get(&self.devices, certificate))
    }

    /// Once per connection: a client that answered no ping in time will not answer the next request's either.
    async fn await_round_trip(&self, connected: &Connected, via: Via) {
        if via != Via::Forwarder && connected.pings && !connected.awaited.load(Ordering::Relaxed) {
            connected.timing.tls.first(self.first_round_trip).await;
            connected.awaited.store(true, Ordering::Relaxed);
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
