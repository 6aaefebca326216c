//! Everything known about one request, as one plain value. A source's failure is itself a fact in it.
//!
//! `Evidence` serializes to the `evidence` object of an audit record and reads back from it, so that
//! a recorded request can be decided again under another policy.

pub mod device;
pub mod fact;
pub mod grant;
pub mod identity;
pub mod network;
pub mod quota;
pub mod request;
pub mod subject;
pub mod timing;

pub use device::{Binding, Certificate, Device, DeviceStatus};
pub use fact::{Fact, Fault};
pub use grant::{Grant, Posture};
pub use identity::{Employment, Home, Identity, IdentityStatus, Proofing};
pub use network::{Asn, Network, Place, Via};
pub use quota::{Quota, QuotaName};
pub use request::{Malformed, Protocol, Request, Upgrade};
pub use subject::Subject;
pub use timing::Timing;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
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

/// What is known about one request at one moment, and how well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// When the evidence was gathered; the only time a decision knows.
    pub at: Moment,
    pub emergency: Emergency,
    pub request: Request,
    pub certificate: Fact<Arc<Certificate>>,
    pub device: Fact<Arc<Device>>,
    pub subject: Fact<Arc<Subject>>,
    pub binding: Fact<Binding>,
    /// The organisation's own record of the subject.
    #[serde(default = "absent")]
    pub identity: Fact<Arc<Identity>>,
    pub network: Arc<Network>,
    pub timing: Timing,
    /// One entry per rate limit of the addressed resource.
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
    /// The fact about the limit called `name`; `Absent` when nobody counted it.
    pub fn quota(&self, name: &str) -> Fact<Quota> {
        self.quotas.iter().find(|(known, _)| &**known == name).map_or(Fact::Absent, |(_, fact)| fact.clone())
    }
}
