//! The certificate that opened the connection, and the device it belongs to.

use super::Moment;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A client certificate whose chain, purpose, validity and revocation were verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// SHA-256 of the DER certificate, lower-case hex. RFC 8705 `x5t#S256` is the same digest in base64url.
    pub sha256: Arc<str>,
    /// SHA-256 of the SubjectPublicKeyInfo, lower-case hex: the key's name, stable over renewals.
    pub spki_sha256: Arc<str>,
    /// Lower-case hex, no leading zeros.
    pub serial: Arc<str>,
    /// RFC 4514 text of the subject and issuer names. Never used to identify.
    pub subject: Arc<str>,
    pub issuer: Arc<str>,
    /// Subject alternative names, each `dns:…`, `uri:…`, `email:…` or `ip:…`.
    pub sans: Vec<Arc<str>>,
    pub not_before: Moment,
    pub not_after: Moment,
    /// The one class its authority may vouch for. None: the authority may vouch for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Arc<str>>,
}

impl Certificate {
    /// The first moment at which it is not valid any more: it is good to the end of its last second (RFC 5280 section
    /// 4.1.2.5).
    pub const fn end(&self) -> Moment {
        self.not_after.plus_millis(1000)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceStatus {
    Active,
    Watched,
    Suspended,
    Revoked,
}

/// What the registry remembers of the device whose key opened the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub id: Arc<str>,
    /// The user the device is bound to, as `Subject::user`. None: bound to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Arc<str>>,
    /// What the organisation calls this kind: `corporate`, `contractor`, `kiosk`.
    pub class: Arc<str>,
    pub status: DeviceStatus,
}

/// Whether certificate, device record and subject belong together (RFC 8705 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    /// The device is this subject's, and the token is bound to this certificate (`cnf.x5t#S256`).
    TokenAndDevice,
    /// The device is this subject's; the token is bound to no certificate.
    DeviceOnly,
    /// The device belongs to somebody else.
    AnotherOwner,
    /// The device belongs to nobody.
    NoOwner,
    /// The token was issued to another certificate.
    AnotherCertificate,
}
