//! The closed vocabulary of reasons: for what passes and for what does not.

use crate::evidence::{Fault, Malformed};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal,)+) => {
        /// Why a finding is as it is, or why the whole decision is. Pages, audit, metrics and tests use `code()`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
            /// The request has no single reading.
            Malformed(Malformed),
            /// A fact is invalid or unavailable, and this is why.
            Fault(Fault),
        }

        impl Reason {
            /// The reasons that are neither a malformed request nor a fault of a source.
            pub const PLAIN: &'static [Self] = &[$(Self::$name,)+];

            /// The code as it stands in audit records, metrics, pages and tests.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                    Self::Malformed(malformed) => malformed.code(),
                    Self::Fault(fault) => fault.code(),
                }
            }

            /// One plain sentence for authors of policies. Never shown to whoever was refused.
            pub const fn explain(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                    Self::Malformed(malformed) => malformed.explain(),
                    Self::Fault(fault) => fault.explain(),
                }
            }
        }
    };
}

reasons! {
    // of the whole decision
    /// Every requirement is met.
    AllMet = "all-met",
    /// No resource has this host and path.
    NothingAddressed = "nothing-addressed",
    /// Nothing is required of this request, and nothing required is refused.
    NothingRequired = "nothing-required",
    /// The emergency switch refuses everything.
    EmergencyDeny = "emergency-deny",
    /// The audit record cannot be written.
    AuditUnavailable = "audit-unavailable",
    /// The gateway stops.
    Draining = "draining",
    /// An administrator ended what was open.
    CutByAdministrator = "cut-by-administrator",
    // good standing, which every decision asks for
    /// The person is suspended.
    IdentitySuspended = "identity-suspended",
    /// Nobody is signed in, and the device's owner is suspended.
    OwnerSuspended = "owner-suspended",
    /// The device is suspended.
    DeviceSuspended = "device-suspended",
    /// The device is revoked.
    DeviceRevoked = "device-revoked",
    /// The person is watched and not to know it: only what is not sensitive stays open.
    Watched = "watched",
    // login
    /// The login has everything asked of it.
    LoginPresent = "login-present",
    /// No login came with the request.
    LoginAbsent = "login-absent",
    /// The login comes from another issuer.
    IssuerOther = "issuer-other",
    /// Somebody else is asking.
    UserOther = "user-other",
    /// The user is in none of the groups asked for.
    GroupMissing = "group-missing",
    /// The login was not made with the assurance asked for.
    AssuranceMissing = "assurance-missing",
    /// The login is older than allowed.
    LoginTooOld = "login-too-old",
    /// The token does not say when the person signed in.
    LoginTimeUnknown = "login-time-unknown",
    /// The token is bound to no certificate.
    TokenUnbound = "token-unbound",
    /// The token was issued to another certificate.
    TokenElsewhere = "token-elsewhere",
    // device
    /// The device has everything asked of it.
    DevicePresent = "device-present",
    /// The certificate belongs to no registered device, or there is no certificate.
    DeviceAbsent = "device-absent",
    /// No client certificate was presented.
    CertificateAbsent = "certificate-absent",
    /// The device belongs to somebody else.
    DeviceAnotherOwner = "device-another-owner",
    /// The device belongs to nobody.
    DeviceNoOwner = "device-no-owner",
    /// Device and login cannot be held against each other, because one of them is missing.
    BindingAbsent = "binding-absent",
    /// The device is of another class.
    DeviceClassOther = "device-class-other",
    /// The device's status in the registry is not one of those asked for.
    DeviceStatusOther = "device-status-other",
    /// The certificate has none of the names asked for.
    SanMissing = "san-missing",
    // network
    /// The address is in one of the countries.
    CountryInside = "country-inside",
    /// The address is in another country.
    CountryOutside = "country-outside",
    /// The databases know no country for the address.
    CountryAbsent = "country-absent",
    /// The address is in one of the regions.
    RegionInside = "region-inside",
    /// The address is in another region.
    RegionOutside = "region-outside",
    /// The databases know no region for the address.
    RegionAbsent = "region-absent",
    /// The address is announced by one of the networks.
    AsnInside = "asn-inside",
    /// The address is announced by another network.
    AsnOutside = "asn-outside",
    /// The databases know no network for the address.
    AsnAbsent = "asn-absent",
    /// The address is in one of the prefixes.
    AddressInside = "address-inside",
    /// The address is in none of the prefixes.
    AddressOutside = "address-outside",
    /// The client's address is not known.
    AddressAbsent = "address-absent",
    /// The address belongs to a named set.
    SetInside = "set-inside",
    /// The address belongs to none of the named sets.
    SetOutside = "set-outside",
    /// Too little is known of the address to say whether it belongs to a named set.
    SetUnknown = "set-unknown",
    /// The address or its network is on a list.
    ListOn = "list-on",
    /// Neither the address nor its network is on a list.
    ListOff = "list-off",
    /// It is not known whether the address is on a list.
    ListAbsent = "list-absent",
    // distance and timing
    /// The claimed place is near enough.
    DistanceBelow = "distance-below",
    /// The claimed place is too far away.
    DistanceAbove = "distance-above",
    /// The distance to the client is not known.
    DistanceAbsent = "distance-absent",
    /// The round trip to the TCP peer is short enough.
    RttBelow = "rtt-below",
    /// The round trip to the TCP peer is too long.
    RttAbove = "rtt-above",
    /// There is no round trip to the TCP peer.
    RttAbsent = "rtt-absent",
    /// The round trip to the TLS endpoint is short enough.
    TlsRttBelow = "tls-rtt-below",
    /// The round trip to the TLS endpoint is too long.
    TlsRttAbove = "tls-rtt-above",
    /// There is no round trip to the TLS endpoint.
    TlsRttAbsent = "tls-rtt-absent",
    /// The round trip is about what the distance explains.
    ExcessBelow = "rtt-excess-below",
    /// The round trip is longer than the distance explains.
    ExcessAbove = "rtt-excess-above",
    /// It is not known what round trip the distance explains.
    ExcessAbsent = "rtt-excess-absent",
    /// TCP and TLS answer from the same distance.
    RelayGapBelow = "relay-gap-below",
    /// TLS answers from farther away than TCP: something in between splits the connection.
    RelayGapAbove = "relay-gap-above",
    /// The round trips to the TCP peer and to the TLS endpoint cannot be compared.
    RelayGapAbsent = "relay-gap-absent",
    /// The round trip does not contradict the claimed place.
    PlacePossible = "place-possible",
    /// The answer came faster than light allows from the claimed place: the place is false.
    TooNear = "too-near",
    /// The round trip cannot be held against a claimed place.
    PlaceUntested = "place-untested",
    // request
    /// The request falls within the schedule.
    ScheduleInside = "schedule-inside",
    /// The request falls outside the schedule.
    ScheduleOutside = "schedule-outside",
    /// The time of the request cannot be read in the schedule's zone.
    ScheduleUnknown = "schedule-unknown",
    /// The rate limit has room.
    RateWithin = "rate-within",
    /// The rate limit is used up.
    RateExceeded = "rate-exceeded",
    /// Nobody counted this request against the rate limit.
    RateAbsent = "rate-absent",
    /// The method is one of those named.
    MethodNamed = "method-named",
    /// The method is none of those named.
    MethodOther = "method-other",
    /// The path is one of those named.
    PathNamed = "path-named",
    /// The path is none of those named.
    PathOther = "path-other",
    // identity
    /// The organisation's record of the person has everything asked of it.
    IdentityPresent = "identity-present",
    /// The organisation has no record of the person.
    IdentityAbsent = "identity-absent",
    /// The person's status is not one of those asked for.
    IdentityStatusOther = "identity-status-other",
    /// The person is employed in another way.
    EmploymentOther = "employment-other",
    /// The record does not say how the person is employed.
    EmploymentUnknown = "employment-unknown",
    /// The person works for another vendor.
    VendorOther = "vendor-other",
    /// The record names no vendor.
    VendorUnknown = "vendor-unknown",
    /// Too long ago somebody made sure who the person is, or what they found is no longer valid.
    ProofingTooOld = "proofing-too-old",
    /// The record does not say when somebody made sure who the person is.
    ProofingUnknown = "proofing-unknown",
    /// The address is placed away from the person's home.
    AwayFromHome = "away-from-home",
    /// The person's home is not on record, or the databases do not place the address so exactly.
    HomeUnknown = "home-unknown",
    // memory
    /// What the gateway remembers is fresh enough.
    MemoryFresh = "memory-fresh",
    /// What the gateway remembers is older than allowed.
    MemoryStale = "memory-stale",
    /// Nothing is kept in a database.
    MemoryAbsent = "memory-absent",
    // privilege and posture
    /// The grant is held.
    GrantHeld = "grant-held",
    /// The grant is not held.
    GrantMissing = "grant-missing",
    /// The grant was held and has run out.
    GrantExpired = "grant-expired",
    /// The grant was held and somebody ended it before its time.
    GrantEnded = "grant-ended",
    /// No source of grants answers for this user.
    GrantsAbsent = "grants-absent",
    /// The device's posture is attested.
    PostureAttested = "posture-attested",
    /// The device's posture is reported and not attested.
    PostureUnattested = "posture-unattested",
    /// The device reports no posture.
    PostureAbsent = "posture-absent",
}

impl Reason {
    /// Every reason there is; no two share a code.
    pub fn all() -> impl Iterator<Item = Self> {
        let plain = Self::PLAIN.iter().copied();
        let malformed = Malformed::ALL.iter().copied().map(Self::Malformed);
        plain.chain(malformed).chain(Fault::ALL.iter().copied().map(Self::Fault))
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = Cow::<str>::deserialize(deserializer)?;
        Self::all().find(|reason| reason.code() == code).ok_or_else(|| D::Error::custom("no such reason code"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_read_back() {
        let mut seen = BTreeSet::new();
        for reason in Reason::all() {
            assert!(seen.insert(reason.code()), "`{}` stands for two reasons", reason.code());
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), reason);
        }
        assert!(serde_json::from_str::<Reason>("\"no-such-code\"").is_err());
    }

    #[test]
    fn every_reason_is_explained_in_one_sentence() {
        for reason in Reason::all() {
            let sentence = reason.explain();
            assert!(sentence.ends_with('.') && !sentence.starts_with(' '), "`{}`: {sentence}", reason.code());
        }
    }
}
