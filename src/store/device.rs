//! One device as the store keeps it, and the handles it is recognised by.

use super::Digest;
use super::document::{Handle, space};
use crate::evidence::{Device, DeviceStatus, Moment};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What the index of devices needs to know of one. Each handle alone identifies it; a handle that two devices share
/// identifies neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognition {
    pub device: Arc<Device>,
    /// SHA-256 of each SubjectPublicKeyInfo: survives renewals that keep the key.
    pub keys: Vec<Digest>,
    /// SHA-256 of each certificate.
    pub certificates: Vec<Digest>,
    /// Subject alternative names as `Certificate::sans` has them: as good as the authority that signs them.
    pub sans: Vec<Arc<str>>,
}

/// A registered device: the body of a `Kind::Device` document. When and where it was seen stands apart, in
/// `Store::sightings`: it changes all the time and nothing is decided on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DeviceRecord {
    pub id: Arc<str>,
    /// The user the device is bound to, as `Subject::user`. None: bound to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Arc<str>>,
    pub class: Arc<str>,
    pub status: DeviceStatus,
    /// The organisation's inventory number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_tag: Option<Arc<str>>,
    /// When it enrolled by itself. None: somebody registered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled: Option<Moment>,
    /// SHA-256 of each public key it is recognised by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Digest>,
    /// SHA-256 of each certificate it is recognised by whatever the key: for external authorities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Digest>,
    /// Subject alternative names it is recognised by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sans: Vec<Arc<str>>,
    /// Every certificate it was given, oldest first. Recognises nothing by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<IssuedCertificate>,
}

/// One certificate of a device's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct IssuedCertificate {
    pub sha256: Digest,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki: Digest,
    /// Lower-case hex, no leading zeros.
    pub serial: Arc<str>,
    pub issued: Moment,
    pub not_after: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Moment>,
}

impl DeviceRecord {
    /// What evidence says of it.
    pub fn device(&self) -> Device {
        Device {
            id: Arc::clone(&self.id),
            owner: self.owner.clone(),
            class: Arc::clone(&self.class),
            status: self.status,
        }
    }

    /// The handles its document has to hold, so that no other device can have one of them.
    pub fn handles(&self) -> Vec<Handle> {
        let keys = self.keys.iter().map(|key| Handle::new(space::KEY, key.hex()));
        let certificates = self.certificates.iter().map(|digest| Handle::new(space::CERTIFICATE, digest.hex()));
        let sans = self.sans.iter().map(|san| Handle::new(space::SAN, Arc::clone(san)));
        keys.chain(certificates).chain(sans).collect()
    }
}
