//! The closed vocabulary of reasons: for what passes and what does not.

use crate::evidence::{Fault, Malformed};
use serde::{Serialize, Serializer};

/// Why a finding is as it is, or why the whole decision is. Pages, audit, metrics and tests use `code()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Every requirement is met.
    AllMet,
    /// The request has no single reading.
    Malformed(Malformed),
    /// No resource has this host and path.
    NothingAddressed,
    /// The emergency switch refuses everything.
    EmergencyDeny,
    /// The audit record cannot be written.
    AuditUnavailable,
    /// A fact is invalid or unavailable, and this is why.
    Fault(Fault),
}

impl Reason {
    pub const fn code(self) -> &'static str {
        match self {
            Self::AllMet => "all-met",
            Self::Malformed(malformed) => malformed.code(),
            Self::NothingAddressed => "nothing-addressed",
            Self::EmergencyDeny => "emergency-deny",
            Self::AuditUnavailable => "audit-unavailable",
            Self::Fault(fault) => fault.code(),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}
