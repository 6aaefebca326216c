//! The four answers a source can give. They are never folded into fewer.

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What one source says of one thing.
///
/// In JSON a known fact is its value, an absent one is `null`, and the others say why: `{"invalid":"token-expired"}`,
/// `{"unavailable":"database-stale"}`. No value that is known serializes to one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    /// Measured or verified.
    Known(T),
    /// The source answered: there is none (no token was sent, the address is in no database).
    Absent,
    /// Something was presented and it is not good (forged, expired, revoked).
    Invalid(Fault),
    /// The source could not answer (file missing, service down, too few samples).
    Unavailable(Fault),
}

impl<T> Fact<T> {
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            _ => None,
        }
    }

    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Self::Known(value) => Fact::Known(f(value)),
            Self::Absent => Fact::Absent,
            Self::Invalid(fault) => Fact::Invalid(fault),
            Self::Unavailable(fault) => Fact::Unavailable(fault),
        }
    }

    pub fn and_then<U>(self, f: impl FnOnce(T) -> Fact<U>) -> Fact<U> {
        match self {
            Self::Known(value) => f(value),
            Self::Absent => Fact::Absent,
            Self::Invalid(fault) => Fact::Invalid(fault),
            Self::Unavailable(fault) => Fact::Unavailable(fault),
        }
    }

    pub const fn as_ref(&self) -> Fact<&T> {
        match self {
            Self::Known(value) => Fact::Known(value),
            Self::Absent => Fact::Absent,
            Self::Invalid(fault) => Fact::Invalid(*fault),
            Self::Unavailable(fault) => Fact::Unavailable(*fault),
        }
    }
}

impl<T: Serialize> Serialize for Fact<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (what, fault) = match self {
            Self::Known(value) => return value.serialize(serializer),
            Self::Absent => return serializer.serialize_none(),
            Self::Invalid(fault) => ("invalid", fault),
            Self::Unavailable(fault) => ("unavailable", fault),
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(what, fault)?;
        map.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Fact<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a value, null, or why there is none")]
        enum Written<T> {
            Invalid { invalid: Fault },
            Unavailable { unavailable: Fault },
            Known(T),
        }
        Ok(match Option::deserialize(deserializer)? {
            None => Self::Absent,
            Some(Written::Invalid { invalid }) => Self::Invalid(invalid),
            Some(Written::Unavailable { unavailable }) => Self::Unavailable(unavailable),
            Some(Written::Known(value)) => Self::Known(value),
        })
    }
}

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal,)+) => {
        /// Why a fact is `Invalid` or `Unavailable`. A closed vocabulary: audit, metrics, pages and tests use these codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Fault {
            $($(#[doc = $doc])+ #[serde(rename = $code)] $name,)+
        }

        impl Fault {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as it stands in audit records and metrics.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// One plain sentence for whoever reads a record.
            pub const fn explain(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

faults! {
    // certificates
    /// The certificate's validity is over.
    CertificateExpired = "certificate-expired",
    /// The certificate's validity has not begun.
    CertificateNotYetValid = "certificate-not-yet-valid",
    /// The certificate stands on a revocation list.
    CertificateRevoked = "certificate-revoked",
    /// The certificate's issuer is none of the listener's roots.
    CertificateUnknownIssuer = "certificate-unknown-issuer",
    /// The certificate may not be used to authenticate a client.
    CertificateWrongPurpose = "certificate-wrong-purpose",
    /// The certificate cannot be read or its signature does not hold.
    CertificateMalformed = "certificate-malformed",
    /// The revocation list is past its next update.
    CrlExpired = "crl-expired",
    /// No revocation list covers the certificate's issuer.
    CrlMissing = "crl-missing",
    // devices
    /// The registry of devices, identities and grants could not be read, or not this record of it.
    RegistryUnavailable = "registry-unavailable",
    /// The certificate's handles are registered for different devices.
    DeviceAmbiguous = "device-ambiguous",
    /// The certificate names another device than the one its key is registered for.
    CertificateOtherDevice = "certificate-other-device",
    /// The certificate's authority may vouch for devices of another class only.
    AuthorityOtherClass = "authority-other-class",
    // tokens
    /// The token is not a well-formed JWT.
    TokenMalformed = "token-malformed",
    /// The token is longer than the limit.
    TokenTooLarge = "token-too-large",
    /// More than one token was sent.
    TokenRepeated = "token-repeated",
    /// The token's signature does not hold.
    TokenForged = "token-forged",
    /// The token's algorithm is not allowed for its issuer or its key.
    TokenAlgorithm = "token-algorithm",
    /// The token's `typ` is not one the issuer uses for access tokens.
    TokenType = "token-type",
    /// The token's issuer is not configured.
    TokenIssuer = "token-issuer",
    /// The token demands the understanding of a header extension (`crit`).
    TokenCritical = "token-critical",
    /// The token is for somebody else.
    TokenAudience = "token-audience",
    /// The token's `exp` is past.
    TokenExpired = "token-expired",
    /// The token's `nbf` or `iat` is in the future.
    TokenNotYetValid = "token-not-yet-valid",
    /// The token lacks a claim it must have, or has it in the wrong type.
    TokenClaims = "token-claims",
    /// The issuer's key set has no such key.
    TokenUnknownKey = "token-unknown-key",
    /// The token is bound to a certificate that this connection has not shown (RFC 8705).
    TokenAnotherCertificate = "token-another-certificate",
    /// The token is bound to its holder in a way that cannot be checked here.
    TokenConfirmation = "token-confirmation",
    /// The issuer's key set could not be fetched.
    KeysUnavailable = "keys-unavailable",
    // network
    /// The client's address is not known (a forwarder named none).
    AddressUnknown = "address-unknown",
    /// No database of this kind is configured.
    DatabaseMissing = "database-missing",
    /// The database cannot be read.
    DatabaseCorrupt = "database-corrupt",
    /// The database is older than the configuration allows.
    DatabaseStale = "database-stale",
    /// The network list cannot be read.
    ListUnavailable = "list-unavailable",
    // timing
    /// The TCP peer is a forwarder: its round trip is not the client's.
    BehindForwarder = "behind-forwarder",
    /// The kernel gave no measurement.
    NoMeasurement = "no-measurement",
    /// Too few samples to say.
    Insufficient = "insufficient",
    /// The gateway's own coordinates are not configured.
    GatewayUnplaced = "gateway-unplaced",
    // quotas
    /// The key the limit counts by is not known.
    QuotaKeyUnknown = "quota-key-unknown",
    /// The limit's table is full.
    QuotaTableFull = "quota-table-full",
}
