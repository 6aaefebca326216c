//! Why an action did not happen.

use crate::access::Refusal;
use crate::authority::{AdmitFault, IssueFault};
use crate::store::{CommitFault, StoreFault};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    /// The rules of just-in-time access.
    #[error("{0}")]
    Access(Refusal),
    /// Whoever asks may not know that it is there, or it is not.
    #[error("there is no {0}")]
    NotFound(&'static str),
    /// The version that was demanded is not the one there is.
    #[error("it was changed in the meantime")]
    Changed,
    /// What was asked for cannot be.
    #[error("{why}")]
    Unfit { code: &'static str, why: String },
    /// Somebody would change what is on record of themselves, or make themself somebody's manager.
    #[error(
        "{}{}: another administrator has to change it, or the machine's owner over the Unix socket",
        line.map(|line| format!("line {line}: ")).unwrap_or_default(),
        match manager {
            true => format!("it would make you the manager of `{user}`"),
            false => format!("it is your own record (`{user}`)"),
        }
    )]
    SelfChange {
        user: Arc<str>,
        /// It is another's record, and would have whoever acts for a manager.
        manager: bool,
        /// Of a file.
        line: Option<u64>,
    },
    /// Another document holds the name or key.
    #[error("{what} belongs to `{by}`")]
    Taken { what: String, by: Arc<str> },
    /// Others were first each time it was tried.
    #[error("others are changing the same thing at this moment")]
    Busy,
    #[error("{0}")]
    Away(String),
    /// Without a record nothing is changed.
    #[error("the audit log cannot be written")]
    Unrecorded,
    /// Whatever is wrong with an invitation, one thing is told; what it was is for the record alone.
    #[error("{}", crate::authority::invitation::RedeemFault::TOLD)]
    Invitation(&'static str),
    #[error("too many codes were tried")]
    Guesses(Duration),
    /// A device has as many certificates that have not ended as are kept of it. How long until one has.
    #[error("this device was renewed so often that no more of its certificates are kept")]
    Renewed(Duration),
    #[error(transparent)]
    Issue(IssueFault),
    #[error(transparent)]
    Admit(AdmitFault),
    /// Nobody who is on record, in good standing and in groups owns this device. Which it is is for the record alone.
    #[error("this device has no owner who may ask by it alone: sign in, or ask an operator")]
    Owner(&'static str),
    #[error("this gateway has no authority of its own")]
    NoAuthority,
}

impl Fault {
    pub fn unfit(code: &'static str, why: impl Into<String>) -> Self {
        Self::Unfit { code, why: why.into() }
    }

    /// The same, of a file that somebody brings.
    #[must_use]
    pub fn in_line(self, number: u64) -> Self {
        match self {
            Self::SelfChange { user, manager, line: None } => Self::SelfChange { user, manager, line: Some(number) },
            other => other,
        }
    }

    /// The word in audit records and answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Access(refusal) => refusal.code(),
            Self::NotFound(_) => "not-found",
            Self::Changed => "changed",
            Self::Unfit { code, .. } => code,
            Self::SelfChange { .. } => "self-change",
            Self::Taken { .. } => "taken",
            Self::Busy => "busy",
            Self::Away(_) => "store-away",
            Self::Unrecorded => "audit-unavailable",
            Self::Invitation(code) | Self::Owner(code) => code,
            Self::Guesses(_) => "too-many-guesses",
            Self::Renewed(_) => "too-many-certificates",
            Self::Issue(fault) => fault.code(),
            Self::Admit(fault) => fault.code(),
            Self::NoAuthority => "no-authority",
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Access(refusal)
    }
}

impl From<StoreFault> for Fault {
    fn from(fault: StoreFault) -> Self {
        Self::Away(fault.to_string())
    }
}

impl From<CommitFault> for Fault {
    fn from(fault: CommitFault) -> Self {
        match fault {
            CommitFault::Conflict { .. } => Self::Busy,
            CommitFault::Taken { handle, by } => Self::Taken { what: handle.to_string(), by },
            CommitFault::Away(why) => Self::Away(why),
        }
    }
}
