//! The criteria by name. To add one: a file in `criteria/`, a line in each match below, its reasons in `reason.rs`.

use super::criteria::{
    asn::Asns, cidr::Cidr, country::Countries, device::Device, distance::Distance, grant::Grant, identity::OnRecord,
    list::Lists, login::Login, memory_age::MemoryAge, method::Methods, nearness::NotTooNear, path::Paths,
    posture::Attested, rate::Rate, region::Regions, round_trip::RoundTrip, schedule::Schedule, set::Sets,
};
use super::decision::{Remedy, Verdict};
use super::outcome::Outcome;
use super::reason::Reason;
use super::seen::Seen;
use crate::evidence::{Evidence, Fact};

/// One thing that can be asked of evidence.
#[derive(Debug)]
pub enum Criterion {
    Asn(Asns),
    Cidr(Cidr),
    Country(Countries),
    Device(Device),
    Distance(Distance),
    Grant(Grant),
    Identity(OnRecord),
    List(Lists),
    Login(Login),
    MemoryAge(MemoryAge),
    Method(Methods),
    NotTooNear(NotTooNear),
    Path(Paths),
    Posture(Attested),
    Rate(Rate),
    Region(Regions),
    RoundTrip(RoundTrip),
    Schedule(Schedule),
    Set(Sets),
}

/// A criterion's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub reason: Reason,
    pub seen: Seen,
}

impl Criterion {
    /// Known facts are judged; whatever is absent, invalid or unavailable is unknown, and unknown never passes.
    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        match self {
            Self::Asn(criterion) => criterion.judge(evidence),
            Self::Cidr(criterion) => criterion.judge(evidence),
            Self::Country(criterion) => criterion.judge(evidence),
            Self::Device(criterion) => criterion.judge(evidence),
            Self::Distance(criterion) => criterion.judge(evidence),
            Self::Grant(criterion) => criterion.judge(evidence),
            Self::Identity(criterion) => criterion.judge(evidence),
            Self::List(criterion) => criterion.judge(evidence),
            Self::Login(criterion) => criterion.judge(evidence),
            Self::MemoryAge(criterion) => criterion.judge(evidence),
            Self::Method(criterion) => criterion.judge(evidence),
            Self::NotTooNear(criterion) => criterion.judge(evidence),
            Self::Path(criterion) => criterion.judge(evidence),
            Self::Posture(criterion) => criterion.judge(evidence),
            Self::Rate(criterion) => criterion.judge(evidence),
            Self::Region(criterion) => criterion.judge(evidence),
            Self::RoundTrip(criterion) => criterion.judge(evidence),
            Self::Schedule(criterion) => criterion.judge(evidence),
            Self::Set(criterion) => criterion.judge(evidence),
        }
    }

    /// What is demanded when the criterion is not met. The same whatever the evidence:
    /// were it lighter for some facts, losing a fact could loosen.
    pub const fn demand(&self) -> Outcome {
        match self {
            Self::Login(_) => Outcome::StepUp,
            Self::Grant(_) => Outcome::RequireGrant,
            _ => Outcome::Deny,
        }
    }

    /// What the requester can do to meet it.
    pub fn remedy(&self, evidence: &Evidence) -> Remedy {
        match self {
            Self::Login(login) => login.remedy(),
            Self::Grant(grant) => grant.remedy(),
            Self::Rate(rate) => rate.remedy(evidence),
            _ => Remedy::None,
        }
    }

    /// Its name where all it asks is that something is known, so that it is met or unknown. A device or a person
    /// suspended would not meet it: those are refused whatever a policy says.
    pub fn only_known(&self) -> Option<&'static str> {
        match self {
            Self::Login(criterion) if criterion.only_known() => Some("login"),
            Self::Device(criterion) if criterion.only_known() => Some("device"),
            Self::Identity(criterion) if criterion.only_known() => Some("identity"),
            _ => None,
        }
    }

    /// Whether it reads the round trip to the TLS endpoint, which is measured later than the one to the TCP peer.
    pub const fn reads_tls_round_trip(&self) -> bool {
        match self {
            Self::RoundTrip(criterion) => criterion.reads_tls(),
            Self::NotTooNear(_) => true,
            _ => false,
        }
    }
}

impl Judgement {
    pub const fn met(reason: Reason, seen: Seen) -> Self {
        Self { verdict: Verdict::Met, reason, seen }
    }

    pub const fn unmet(reason: Reason, seen: Seen) -> Self {
        Self { verdict: Verdict::Unmet, reason, seen }
    }

    pub const fn unknown(reason: Reason) -> Self {
        Self { verdict: Verdict::Unknown, reason, seen: Seen::Nothing }
    }

    /// Judges a known fact by `judge`; any other is unknown, `absent` being the reason of an absent one.
    pub fn of<'a, T>(fact: &'a Fact<T>, absent: Reason, judge: impl FnOnce(&'a T) -> Self) -> Self {
        match fact {
            Fact::Known(value) => judge(value),
            Fact::Absent => Self::unknown(absent),
            Fact::Invalid(fault) | Fact::Unavailable(fault) => Self::unknown(Reason::Fault(*fault)),
        }
    }

    /// Both must hold: what is unmet speaks before what is unknown, and that before what is met.
    #[must_use]
    pub fn and(self, other: impl FnOnce() -> Self) -> Self {
        if self.verdict == Verdict::Unmet {
            return self;
        }
        let other = other();
        match (self.verdict, other.verdict) {
            (_, Verdict::Unmet) | (Verdict::Met, Verdict::Unknown) => other,
            _ => self,
        }
    }

    /// One must hold: what is met speaks before what is unknown, and that before what is unmet.
    #[must_use]
    pub fn or(self, other: impl FnOnce() -> Self) -> Self {
        if self.verdict == Verdict::Met {
            return self;
        }
        let other = other();
        match (self.verdict, other.verdict) {
            (_, Verdict::Met) | (Verdict::Unmet, Verdict::Unknown) => other,
            _ => self,
        }
    }
}
