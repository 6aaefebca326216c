//! One invitation: by its code a device may enrol, once.

use super::Digest;
use crate::evidence::Moment;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The body of a `Kind::Invitation` document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct InvitationRecord {
    pub id: Arc<str>,
    /// The code itself is shown once and kept nowhere.
    pub code_hash: Digest,
    /// Whose device it will be.
    pub user: Arc<str>,
    pub class: Arc<str>,
    pub expires: Moment,
    /// When it was used up, and by which device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Arc<str>>,
    /// Who invited.
    pub by: Arc<str>,
    pub made: Moment,
}
