//! What may become of a request, from light to heavy.

use serde::{Deserialize, Serialize};

/// The order is the order of demand: `join` takes the heavier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Let through.
    Forward,
    /// Let through, watched, an alert raised.
    Observe,
    /// A named, expiring grant must be held.
    RequireGrant,
    /// A stronger or fresher login (RFC 9470).
    StepUp,
    /// Answered by a harmless upstream.
    Decoy,
    /// Refused.
    Deny,
}

impl Outcome {
    pub const ALL: [Self; 6] =
        [Self::Forward, Self::Observe, Self::RequireGrant, Self::StepUp, Self::Decoy, Self::Deny];

    /// The heavier of two: associative, commutative, idempotent; `Forward` is its identity.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        self.max(other)
    }

    /// As written in policies, audit records and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Observe => "observe",
            Self::RequireGrant => "require-grant",
            Self::StepUp => "step-up",
            Self::Decoy => "decoy",
            Self::Deny => "deny",
        }
    }
}
