//! What a requester may know of a refusal: a small closed set, far coarser than the reasons behind it.
//!
//! Many reasons share one cause on purpose. Somebody who probes the gate learns that their connection does not do,
//! but not whether country, network, round trip or a missing database said so; the audit record has all of it,
//! under the request id. Only what the gateway itself cannot check of what was *presented* (keys, registry,
//! revocation lists, audit) is 503. A place or a round trip that cannot be told is answered like one that is
//! wrong: a client can bring that about, and would otherwise see which sources it has blinded.

use crate::evidence::{Fault, Malformed, Moment};
use crate::policy::{Decision, Finding, Outcome, Reason, Remedy, Seen, Verdict};
use http::StatusCode;
use std::sync::Arc;

/// Why there is no answer from the resource, as told to the requester.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The request has no single reading.
    Malformed(Malformed),
    /// Who is asking is not known.
    SignIn(Token),
    /// Who is asking must prove it anew or better.
    SignInAgain { with: Vec<Arc<str>>, within_seconds: Option<u64> },
    /// Who is asking is known, and it would have to be somebody else.
    Account,
    /// No usable device certificate was presented.
    Certificate,
    /// The device may not be used here, or not by this person.
    Device,
    /// A grant is needed; one of the roles each time it is asked for. `until`: when the only one was held last.
    Grant { roles: Vec<Arc<str>>, until: Option<Moment> },
    /// Too many requests.
    TooMany { retry_after_seconds: u64 },
    /// Not from this place or over this connection.
    Connection,
    /// Not at this time.
    Hours,
    /// What was presented cannot be checked, or the decision cannot be recorded, for the moment.
    Unchecked,
    /// The emergency switch refuses everything.
    Closed,
    /// The rules say no, and nothing more is told.
    Refused,
    /// Allowed, and then something broke.
    Broken(Breakage),
}

/// What is wrong with the sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Missing,
    Expired,
    Rejected,
}

/// What broke after the request was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Breakage {
    /// The upstream's answer is not HTTP, or it hung up: 502.
    BadAnswer,
    /// No upstream takes the connection: 503.
    Unreachable,
    /// The upstream did not answer in time: 504.
    TimedOut,
    /// The client's own body stopped coming: 408.
    SlowRequest,
    /// The client's own body broke off, or its end cannot be told: 400.
    BrokenRequest,
    /// The gateway's own fault: 500.
    Internal,
}

/// Seconds after which trying again makes sense when nobody knows better.
pub const RETRY_AFTER_SECONDS: u64 = 10;

impl Cause {
    /// What to tell of a decision that forwards nothing.
    pub fn of(decision: &Decision) -> Self {
        match decision.outcome {
            Outcome::StepUp => step_up(decision),
            Outcome::RequireGrant => Self::Grant { roles: roles(decision), until: held_until(decision) },
            // A decoy that cannot be served must look like any refusal, and so must a permit that leads nowhere.
            Outcome::Forward | Outcome::Observe | Outcome::Decoy | Outcome::Deny => match of_reason(decision.reason) {
                Self::TooMany { .. } => Self::TooMany { retry_after_seconds: wait(decision) },
                // Device and login cannot be compared: what is wrong with the login says the login's own finding.
                Self::SignIn(Token::Missing) => sign_in(decision).unwrap_or(Self::SignIn(Token::Missing)),
                cause => cause,
            },
        }
    }

    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(Malformed::Misdirected) => StatusCode::MISDIRECTED_REQUEST,
            Self::Malformed(Malformed::HeadersTooLarge) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Malformed(_) | Self::Broken(Breakage::BrokenRequest) => StatusCode::BAD_REQUEST,
            Self::SignIn(_) | Self::SignInAgain { .. } => StatusCode::UNAUTHORIZED,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unchecked | Self::Broken(Breakage::Unreachable) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(Breakage::BadAnswer) => StatusCode::BAD_GATEWAY,
            Self::Broken(Breakage::TimedOut) => StatusCode::GATEWAY_TIMEOUT,
            Self::Broken(Breakage::SlowRequest) => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(Breakage::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Certificate
            | Self::Account
            | Self::Device
            | Self::Grant { .. }
            | Self::Connection
            | Self::Hours
            | Self::Closed
            | Self::Refused => StatusCode::FORBIDDEN,
        }
    }

    /// The cause's name in problem types; a closed vocabulary that clients may match.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(Malformed::Misdirected) => "misdirected",
            Self::Malformed(_) => "malformed",
            Self::SignIn(_) => "sign-in",
            Self::SignInAgain { .. } => "sign-in-again",
            Self::Account => "account",
            Self::Certificate => "device-certificate",
            Self::Device => "device",
            Self::Grant { .. } => "grant",
            Self::TooMany { .. } => "too-many",
            Self::Connection => "connection",
            Self::Hours => "hours",
            Self::Unchecked => "unchecked",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Broken(Breakage::BadAnswer) => "bad-answer",
            Self::Broken(Breakage::Unreachable) => "unreachable",
            Self::Broken(Breakage::TimedOut) => "timed-out",
            Self::Broken(Breakage::SlowRequest) => "slow-request",
            Self::Broken(Breakage::BrokenRequest) => "broken-request",
            Self::Broken(Breakage::Internal) => "internal",
        }
    }

    /// Seconds until trying again makes sense. None: there is no telling.
    pub const fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after_seconds } => Some(*retry_after_seconds),
            Self::Unchecked | Self::Broken(Breakage::Unreachable) => Some(RETRY_AFTER_SECONDS),
            _ => None,
        }
    }
}

/// Signing in is asked for: the first time, or better; unless that would be no help.
fn step_up(decision: &Decision) -> Cause {
    if let Some(cause) = sign_in(decision) {
        return cause;
    }
    let mut causes = unmet(decision).filter(|finding| finding.demand == Outcome::StepUp).map(|f| of_reason(f.reason));
    if let Some(cause) = causes.find(|cause| matches!(cause, Cause::Unchecked | Cause::Account)) {
        return cause;
    }
    let mut with: Vec<Arc<str>> = Vec::new();
    let mut within_seconds: Option<u64> = None;
    for remedy in decision.remedies() {
        let Remedy::Login { with: assurance, within_seconds: within } = remedy else { continue };
        if let Some(name) = assurance
            && !with.contains(name)
        {
            with.push(Arc::clone(name));
        }
        within_seconds = within_seconds.into_iter().chain(*within).min();
    }
    Cause::SignInAgain { with, within_seconds }
}

/// What is wrong with the sign-in, by the findings: one that was presented tells more than its absence.
fn sign_in(decision: &Decision) -> Option<Cause> {
    let causes = unmet(decision).map(|finding| of_reason(finding.reason));
    causes.filter(|cause| matches!(cause, Cause::SignIn(_))).max_by_key(|cause| *cause != Cause::SignIn(Token::Missing))
}

fn unmet(decision: &Decision) -> impl Iterator<Item = &Finding> {
    decision.findings.iter().filter(|finding| finding.verdict != Verdict::Met)
}

fn roles(decision: &Decision) -> Vec<Arc<str>> {
    let mut roles = Vec::new();
    for remedy in decision.remedies() {
        if let Remedy::Grant { role } = remedy
            && !roles.contains(role)
        {
            roles.push(Arc::clone(role));
        }
    }
    roles
}

/// When it ended what the decision asks for, where that is one thing.
fn held_until(decision: &Decision) -> Option<Moment> {
    let mut asked = unmet(decision).filter(|finding| matches!(finding.remedy, Remedy::Grant { .. }));
    match (asked.next()?, asked.next()) {
        (Finding { reason: Reason::GrantExpired | Reason::GrantEnded, seen: Seen::Moment(end), .. }, None) => {
            Some(*end)
        }
        _ => None,
    }
}

/// The longest wait that is asked for, in whole seconds, at least one.
fn wait(decision: &Decision) -> u64 {
    let waits = decision.remedies().filter_map(|remedy| match remedy {
        Remedy::Retry { after_ms } => Some(after_ms.div_ceil(1000)),
        _ => None,
    });
    waits.max().unwrap_or(RETRY_AFTER_SECONDS).max(1)
}

/// Exhaustive: a new reason is a decision about what may be told. Reasons that pass stand beside those that do not,
/// because under `not` they are what refuses.
fn of_reason(reason: Reason) -> Cause {
    match reason {
        Reason::Malformed(malformed) => Cause::Malformed(malformed),
        Reason::Fault(fault) => of_fault(fault),
        Reason::EmergencyDeny => Cause::Closed,
        Reason::AuditUnavailable | Reason::Draining | Reason::CutByAdministrator | Reason::MemoryStale => {
            Cause::Unchecked
        }
        // A device that is known and cannot be held against a login lacks the login.
        Reason::LoginAbsent | Reason::BindingAbsent => Cause::SignIn(Token::Missing),
        // RFC 8705 section 3: a token presented with another certificate than its own is an invalid token.
        Reason::TokenUnbound | Reason::TokenElsewhere => Cause::SignIn(Token::Rejected),
        Reason::IssuerOther
        | Reason::UserOther
        | Reason::GroupMissing
        | Reason::IdentitySuspended
        | Reason::IdentityPresent
        | Reason::IdentityAbsent
        | Reason::IdentityStatusOther
        | Reason::EmploymentOther
        | Reason::EmploymentUnknown
        | Reason::VendorOther
        | Reason::VendorUnknown
        | Reason::ProofingTooOld
        | Reason::ProofingUnknown => Cause::Account,
        Reason::CertificateAbsent => Cause::Certificate,
        Reason::DevicePresent
        | Reason::DeviceAbsent
        | Reason::DeviceAnotherOwner
        | Reason::DeviceNoOwner
        | Reason::DeviceClassOther
        | Reason::DeviceStatusOther
        | Reason::DeviceSuspended
        | Reason::OwnerSuspended
        | Reason::DeviceRevoked
        | Reason::SanMissing
        | Reason::PostureAttested
        | Reason::PostureUnattested
        | Reason::PostureAbsent => Cause::Device,
        Reason::CountryInside
        | Reason::CountryOutside
        | Reason::CountryAbsent
        | Reason::RegionInside
        | Reason::RegionOutside
        | Reason::RegionAbsent
        | Reason::AsnInside
        | Reason::AsnOutside
        | Reason::AsnAbsent
        | Reason::AddressInside
        | Reason::AddressOutside
        | Reason::AddressAbsent
        | Reason::SetInside
        | Reason::SetOutside
        | Reason::SetUnknown
        | Reason::ListOn
        | Reason::ListOff
        | Reason::ListAbsent
        | Reason::DistanceBelow
        | Reason::DistanceAbove
        | Reason::DistanceAbsent
        | Reason::RttBelow
        | Reason::RttAbove
        | Reason::RttAbsent
        | Reason::TlsRttBelow
        | Reason::TlsRttAbove
        | Reason::TlsRttAbsent
        | Reason::ExcessBelow
        | Reason::ExcessAbove
        | Reason::ExcessAbsent
        | Reason::RelayGapBelow
        | Reason::RelayGapAbove
        | Reason::RelayGapAbsent
        | Reason::AwayFromHome
        | Reason::HomeUnknown
        | Reason::PlacePossible
        | Reason::TooNear
        | Reason::PlaceUntested => Cause::Connection,
        Reason::ScheduleInside | Reason::ScheduleOutside | Reason::ScheduleUnknown => Cause::Hours,
        Reason::RateExceeded => Cause::TooMany { retry_after_seconds: RETRY_AFTER_SECONDS },
        // Whether a name or a path exists is nobody's business before they are let in: no 404, no 405.
        Reason::AllMet
        | Reason::NothingAddressed
        | Reason::NothingRequired
        | Reason::LoginPresent
        | Reason::AssuranceMissing
        | Reason::LoginTooOld
        | Reason::LoginTimeUnknown
        | Reason::RateWithin
        | Reason::RateAbsent
        | Reason::MethodNamed
        | Reason::MethodOther
        | Reason::PathNamed
        | Reason::PathOther
        // Whoever is watched must not learn it: the plainest denial there is.
        | Reason::Watched
        | Reason::MemoryFresh
        | Reason::MemoryAbsent
        | Reason::GrantHeld
        | Reason::GrantMissing
        | Reason::GrantExpired
        | Reason::GrantEnded
        | Reason::GrantsAbsent => Cause::Refused,
    }
}

fn of_fault(fault: Fault) -> Cause {
    match fault {
        Fault::CertificateExpired
        | Fault::CertificateNotYetValid
        | Fault::CertificateRevoked
        | Fault::CertificateUnknownIssuer
        | Fault::CertificateWrongPurpose
        | Fault::CertificateMalformed => Cause::Certificate,
        Fault::DeviceAmbiguous | Fault::CertificateOtherDevice | Fault::AuthorityOtherClass => Cause::Device,
        Fault::TokenExpired => Cause::SignIn(Token::Expired),
        Fault::TokenMalformed
        | Fault::TokenTooLarge
        | Fault::TokenRepeated
        | Fault::TokenForged
        | Fault::TokenAlgorithm
        | Fault::TokenType
        | Fault::TokenCritical
        | Fault::TokenAnotherCertificate
        | Fault::TokenConfirmation
        | Fault::TokenIssuer
        | Fault::TokenAudience
        | Fault::TokenNotYetValid
        | Fault::TokenClaims
        | Fault::TokenUnknownKey => Cause::SignIn(Token::Rejected),
        Fault::CrlExpired
        | Fault::CrlMissing
        | Fault::RegistryUnavailable
        | Fault::KeysUnavailable
        | Fault::QuotaTableFull => Cause::Unchecked,
        Fault::AddressUnknown
        | Fault::DatabaseMissing
        | Fault::DatabaseCorrupt
        | Fault::DatabaseStale
        | Fault::ListUnavailable
        | Fault::BehindForwarder
        | Fault::NoMeasurement
        | Fault::Insufficient
        | Fault::GatewayUnplaced => Cause::Connection,
        // Nobody to count for: what is missing (a login, a device) is another requirement's to say.
        Fault::QuotaKeyUnknown => Cause::Refused,
    }
}
