//! Everything known about one request, as one plain value. A source's failure is itself a fact in it.
//!
//! `Evidence` serializes to the `evidence` object of an audit record and reads back from it, so that
//! a recorded request can be decided again under another policy.

pub mod device;
pub mod fact;
pub mod grant;
pub mod identity;
mod named;
pub mod network;
pub mod quota;
pub mod request;
pub mod subject;
pub mod timing;

pub use device::{Binding, Certificate, Device, DeviceStatus};
pub use fact::{Fact, Fault};
pub use grant::{Grant, Over, Posture};
pub use identity::{Employment, Home, Identity, IdentityStatus, Proofing};
pub use network::{Asn, Network, Place, Via};
pub use quota::{Quota, QuotaName};
pub use request::{Malformed, Protocol, Request, Upgrade};
pub use subject::Subject;
pub use timing::Timing;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, as `gateway/clock.rs` read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub i64);

impl Moment {
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Milliseconds from `earlier` to `self`; zero when the clock stepped back.
    pub const fn since(self, earlier: Self) -> u64 {
        let elapsed = self.0.saturating_sub(earlier.0);
        if elapsed > 0 { elapsed as u64 } else { 0 }
    }

    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// The global switch, for the hour when the policy itself is the fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Emergency {
    /// Policy decides.
    #[default]
    Off,
    /// What policy would refuse is forwarded, watched and recorded.
    Observe,
    /// Everything is refused.
    Deny,
}

impl Emergency {
    /// Whether the policy decides.
    pub const fn is_off(&self) -> bool {
        matches!(self, Self::Off)
    }
}

/// What is known about one request at one moment, and how well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// When the evidence was gathered; the only time a decision knows.
    pub at: Moment,
    #[serde(default, skip_serializing_if = "Emergency::is_off")]
    pub emergency: Emergency,
    /// Shared with the audit's record, which has it before anything is looked up.
    pub request: Arc<Request>,
    pub certificate: Fact<Arc<Certificate>>,
    pub device: Fact<Arc<Device>>,
    pub subject: Fact<Arc<Subject>>,
    pub binding: Fact<Binding>,
    /// The organisation's own record of the subject.
    #[serde(default = "absent")]
    pub identity: Fact<Arc<Identity>>,
    /// What the organisation's record says of the device's owner. Only where nobody is signed in, and it does not say
    /// who asks: only whose device it is.
    #[serde(default = "absent", skip_serializing_if = "Fact::is_absent")]
    pub owner: Fact<IdentityStatus>,
    pub network: Arc<Network>,
    pub timing: Timing,
    /// One entry per rate limit of the addressed resource.
    #[serde(with = "named")]
    pub quotas: SmallVec<[(QuotaName, Fact<Quota>); 2]>,
    pub grants: Fact<Arc<[Grant]>>,
    pub posture: Fact<Posture>,
    /// How long ago what is remembered (devices, identities, grants) was last known to be current, milliseconds.
    /// `Absent`: nothing is kept in a database.
    #[serde(default = "absent")]
    pub memory_age: Fact<u64>,
}

/// Records that were written before a fact was known of do not have it.
const fn absent<T>() -> Fact<T> {
    Fact::Absent
}

impl Evidence {
    /// What is known of a request before anything is: every source says `Absent`, at the beginning of time.
    pub fn absent(request: Request) -> Self {
        let place = Place {
            country: Fact::Absent,
            region: Fact::Absent,
            city: Fact::Absent,
            coordinates: Fact::Absent,
            built: Fact::Absent,
        };
        Self {
            at: Moment(0),
            emergency: Emergency::Off,
            request: Arc::new(request),
            certificate: Fact::Absent,
            device: Fact::Absent,
            subject: Fact::Absent,
            binding: Fact::Absent,
            network: Arc::new(Network {
                address: Fact::Absent,
                peer: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                via: Via::Direct,
                place,
                asn: Fact::Absent,
                lists: Vec::new(),
            }),
            timing: Timing {
                tcp: Fact::Absent,
                tls: Fact::Absent,
                device_tcp: Fact::Absent,
                device_tls: Fact::Absent,
                relay_gap: Fact::Absent,
                distance: Fact::Absent,
                excess: Fact::Absent,
                nearness: Fact::Absent,
            },
            quotas: SmallVec::new(),
            grants: Fact::Absent,
            posture: Fact::Absent,
            memory_age: Fact::Absent,
            identity: Fact::Absent,
            owner: Fact::Absent,
        }
    }

    /// The fact about the limit called `name`; `Absent` when nobody counted it.
    pub fn quota(&self, name: &str) -> Fact<Quota> {
        self.quotas.iter().find(|(known, _)| &**known == name).map_or(Fact::Absent, |(_, fact)| fact.clone())
    }
}
