//! The decision, and the only maker of `Permit`.
//!
//! A `Permit` cannot be made elsewhere:
//!
//! ```compile_fail,E0451
//! let permit = rangegate::policy::Permit { origins: std::sync::Arc::new([]) };
//! ```

use super::outcome::Outcome;
use super::reason::Reason;
use super::resource::{Origin, Resource};
use super::seen::Seen;
use crate::evidence::Evidence;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use std::sync::Arc;

/// Three-valued: unknown is never pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Met,
    Unmet,
    Unknown,
}

impl Verdict {
    /// As written in audit records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Unmet => "unmet",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a requirement stands: a narrower scope can only tighten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// No policy asks for it, and every decision does: `policy/good_standing.rs`.
    BuiltIn,
    Baseline,
    Resource,
    Route,
}

impl Scope {
    /// As written in audit records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Baseline => "baseline",
            Self::Resource => "resource",
            Self::Route => "route",
        }
    }
}

/// What would satisfy an unmet requirement, for the page and the challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Sign in: with this assurance, no longer ago than this.
    Login {
        #[serde(skip_serializing_if = "Option::is_none")]
        with: Option<Arc<str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        within_seconds: Option<u64>,
    },
    /// Hold this role.
    Grant { role: Arc<str> },
    /// Wait.
    Retry { after_ms: u64 },
    /// Nothing the requester can do now.
    None,
}

/// What one requirement found.
///
/// In JSON the scope names the requirement and the verdict names its reason, and what a met requirement need not say is
/// left out: `{"baseline":"near","met":"rtt-below","seen":"38.4 ms"}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub scope: Scope,
    pub requirement: Arc<str>,
    pub verdict: Verdict,
    /// Of the criterion that decided the demand.
    pub reason: Reason,
    /// What the requirement demands: `Forward` when met.
    pub demand: Outcome,
    /// The value that criterion saw.
    pub seen: Seen,
    pub remedy: Remedy,
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(self.scope.code(), &self.requirement)?;
        map.serialize_entry(self.verdict.code(), &self.reason)?;
        if self.demand != Outcome::Forward {
            map.serialize_entry("demand", &self.demand)?;
        }
        if !self.seen.is_nothing() {
            map.serialize_entry("seen", &self.seen)?;
        }
        if !is_none(&self.remedy) {
            map.serialize_entry("remedy", &self.remedy)?;
        }
        map.end()
    }
}

fn is_none(remedy: &Remedy) -> bool {
    matches!(remedy, Remedy::None)
}

/// The answer of one policy to one evidence.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    /// The version of the policy that decided: the first 16 hex digits of the SHA-256 of its sources.
    pub policy: Arc<str>,
    #[serde(serialize_with = "resource_id", skip_serializing_if = "Option::is_none")]
    pub resource: Option<Arc<Resource>>,
    pub outcome: Outcome,
    /// What enforcement would have made of it; differs from `outcome` under `observe` and in an emergency.
    pub would: Outcome,
    /// Of the heaviest finding, or of what decided before any requirement was read.
    pub reason: Reason,
    pub findings: Vec<Finding>,
}

fn resource_id<S: serde::Serializer>(r: &Option<Arc<Resource>>, s: S) -> Result<S::Ok, S::Error> {
    r.as_ref().map(|r| &*r.id).serialize(s)
}

/// An evidence, and what was decided on it: what the audit records and what a permission relied on.
#[derive(Clone, Debug)]
pub struct Decided {
    pub evidence: Evidence,
    pub decision: Decision,
}

/// Proof that a policy let this request through, and to where.
#[derive(Debug)]
pub struct Permit {
    origins: Arc<[Origin]>,
}

impl Permit {
    /// Where the request may go; never empty.
    pub fn origins(&self) -> &Arc<[Origin]> {
        &self.origins
    }
}

/// A decision as the enforcer acts on it.
#[derive(Debug)]
pub enum Ruling {
    Forward(Permit),
    Observe(Permit),
    RequireGrant,
    StepUp,
    Decoy(Permit),
    Deny,
}

impl Decision {
    /// The decision made a denial, for a reason that lies outside the policy. Never loosens.
    #[must_use]
    pub fn denied(mut self, reason: Reason) -> Self {
        self.outcome = Outcome::Deny;
        self.would = Outcome::Deny;
        self.reason = reason;
        self
    }

    /// What is to be done. A `forward` without a resource, or a `decoy` without a decoy, is a denial.
    pub fn ruling(&self) -> Ruling {
        let Some(resource) = &self.resource else { return Ruling::Deny };
        let real = || Permit { origins: Arc::clone(&resource.upstreams) };
        match self.outcome {
            Outcome::Forward => Ruling::Forward(real()),
            Outcome::Observe => Ruling::Observe(real()),
            Outcome::RequireGrant => Ruling::RequireGrant,
            Outcome::StepUp => Ruling::StepUp,
            Outcome::Decoy => match &resource.decoy {
                Some(decoy) => Ruling::Decoy(Permit { origins: Arc::clone(decoy) }),
                None => Ruling::Deny,
            },
            Outcome::Deny => Ruling::Deny,
        }
    }

    /// Everything that stands between the requester and the resource, for pages and challenges.
    pub fn remedies(&self) -> impl Iterator<Item = &Remedy> {
        self.findings.iter().map(|finding| &finding.remedy).filter(|remedy| !is_none(remedy))
    }
}
