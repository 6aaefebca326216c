//! Why something cannot be done, in words for whoever wanted to do it.

use crate::evidence::Moment;
use crate::policy::seen::Seen;
use std::fmt;
use std::sync::Arc;

macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $name:ident $({ $($field:ident: $kind:ty),+ })? = $code:literal,)+) => {
        /// Why not. A closed vocabulary: `code` stands in answers, records and tests; `Display` says it to a person,
        /// with what they can do about it.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Refusal {
            $($(#[doc = $doc])+ $name $({ $($field: $kind),+ })?,)+
        }

        impl Refusal {
            /// Every code there is.
            pub const CODES: &'static [&'static str] = &[$($code,)+];

            pub const fn code(&self) -> &'static str {
                match self { $(Self::$name { .. } => $code,)+ }
            }

            /// One sentence: what is wrong, and what to do.
            const fn sentence(&self) -> &'static str {
                match self { $(Self::$name { .. } => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

refusals! {
    // who
    /// Your account is suspended: speak to whoever administers the gateway.
    Suspended = "suspended",
    /// The account that is to hold this is suspended: it has to be reinstated before anybody can approve.
    HolderSuspended = "holder-suspended",
    /// You are not among those who may ask for this role: ask to be put into one of its groups.
    MayNotAsk = "may-not-ask",
    /// Whoever asked for this may no longer ask for it: refuse it, or have them put back into one of its groups.
    HolderMayNotAsk = "holder-may-not-ask",
    /// You are not among those who may break this glass: ask for the role in the ordinary way.
    MayNotBreakGlass = "may-not-break-glass",
    /// You cannot approve or refuse what you asked for yourself, from whatever account: somebody else has to; to take it back, withdraw it.
    SelfApproval = "self-approval",
    /// You approved this already from another account: a different person has to.
    SamePerson = "same-person",
    /// You are not among those who may approve this role: an approver has to.
    NotAnApprover = "not-an-approver",
    /// This is not yours: only whoever asked for it, or for a grant an approver, can do that.
    NotYours = "not-yours",
    /// You cannot review what you did yourself: somebody else has to.
    SelfReview = "self-review",
    /// You are not among those who review this role: a reviewer has to.
    NotAReviewer = "not-a-reviewer",
    // the role
    /// There is no such role: list the roles that can be asked for.
    NoSuchRole = "no-such-role",
    /// The role was taken out of the policy after this was asked: there is nothing left to approve, refuse or hold.
    RoleGone = "role-gone",
    /// This role has no approvers: it can only be had by breaking the glass.
    OnlyBreakGlass = "only-break-glass",
    /// This role has no break-glass: ask for it in the ordinary way.
    NoBreakGlass = "no-break-glass",
    // what was asked
    /// Say why you need it: this role requires a reason.
    ReasonMissing = "reason-missing",
    /// The reason does not look as this role requires (`#` is a digit, `?` any character, `*` anything): write it as
    ReasonUnlike { pattern: Arc<str> } = "reason-unlike",
    /// The reason is longer than 1000 characters or has control characters in it: write it in one short line.
    ReasonUnreadable = "reason-unreadable",
    /// Nobody can hold this role so long, or for no time at all: ask for no more than
    TooLong { longest_ms: u64 } = "too-long",
    /// This submission's key was used for something else: send it under a new key.
    KeyReused = "key-reused",
    /// You asked for this role already and it is not answered: wait, or withdraw that request first. It is
    AlreadyAsked { id: Arc<str> } = "already-asked",
    /// You hold this role already: use it, or end it before you ask again. It ends at
    AlreadyHeld { id: Arc<str>, until: Moment } = "already-held",
    /// You have too many requests and grants open: withdraw or end some first.
    TooManyOpen = "too-many-open",
    /// You have asked too often within a day: ask again after
    TooMany { until: Moment } = "too-many",
    /// Break the glass from a device that is registered to you: no device certificate came with this connection.
    DeviceNeeded = "device-needed",
    /// Break the glass from a device that is registered to you and neither suspended nor revoked: this one will not do.
    DeviceNotYours = "device-not-yours",
    // when
    /// This role cannot be asked for, approved or held at this hour: come back within its hours.
    OutsideHours = "outside-hours",
    /// You held this role a short while ago: ask again after
    CoolingDown { until: Moment } = "cooling-down",
    /// Nobody approved this in time: it has to be asked again.
    Lapsed = "lapsed",
    /// By the gateway's clock this was asked in the future: set the clock right, or have it asked again.
    ClockBehind = "clock-behind",
    // where it stands
    /// This is approved already: to take it back, end it.
    AlreadyBegun = "already-begun",
    /// This is not approved yet: withdraw it or refuse it instead.
    NotBegun = "not-begun",
    /// This is over: nothing more can be done to it.
    Over = "over",
    /// Nobody broke a glass for this: there is nothing to review.
    NothingToReview = "nothing-to-review",
    /// Somebody else reviewed this already: there is nothing left to do.
    AlreadyReviewed = "already-reviewed",
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())?;
        match self {
            Self::ReasonUnlike { pattern } => write!(f, " `{pattern}`."),
            Self::TooLong { longest_ms } => write!(f, " {}.", Seen::Age(*longest_ms)),
            Self::AlreadyAsked { id } => write!(f, " `{id}`."),
            Self::AlreadyHeld { until, .. } | Self::CoolingDown { until } | Self::TooMany { until } => {
                write!(f, " {}.", Seen::Moment(*until))
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_sentences_whole() {
        let unique: BTreeSet<&str> = Refusal::CODES.iter().copied().collect();
        assert_eq!(unique.len(), Refusal::CODES.len());
        let told = [
            (Refusal::NoSuchRole, "There is no such role: list the roles that can be asked for."),
            (
                Refusal::ReasonUnlike { pattern: "INC-#".into() },
                "The reason does not look as this role requires (`#` is a digit, `?` any character, `*` anything): write it as `INC-#`.",
            ),
            (
                Refusal::TooLong { longest_ms: 7_200_000 },
                "Nobody can hold this role so long, or for no time at all: ask for no more than 2h 0m.",
            ),
            (
                Refusal::CoolingDown { until: Moment(0) },
                "You held this role a short while ago: ask again after 1970-01-01T00:00:00Z.",
            ),
        ];
        for (refusal, sentence) in told {
            assert_eq!(refusal.to_string(), sentence);
        }
    }
}
