//! One device as the store keeps it: what is known of it, and the handles it is recognised by.

use super::Digest;
use crate::evidence::Device;
use std::sync::Arc;

/// A registered device. Each handle alone identifies it; a handle that two devices share identifies neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRecord {
    pub device: Arc<Device>,
    /// SHA-256 of each SubjectPublicKeyInfo: survives renewals that keep the key.
    pub keys: Vec<Digest>,
    /// SHA-256 of each certificate.
    pub certificates: Vec<Digest>,
    /// Subject alternative names as `Certificate::sans` has them: as good as the authority that signs them.
    pub sans: Vec<Arc<str>>,
}
