//! One invitation: by its code a device may enrol, once. `authority/invitation.rs` says when it counts.

use crate::evidence::Moment;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The body of a `Kind::Invitation` document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Invitation {
    pub id: Arc<str>,
    /// SHA-256 of the code, lower-case hex: the code itself is shown once and kept nowhere.
    pub code_sha256: Arc<str>,
    /// Whose device it will be, as `Subject::user`.
    pub user: Arc<str>,
    pub class: Arc<str>,
    /// The device that enrols again under its old id. None: it is a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Arc<str>>,
    pub made: Moment,
    pub by: Arc<str>,
    /// The first moment at which it no longer counts.
    pub expires: Moment,
    pub state: InvitationState,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum InvitationState {
    #[default]
    Open,
    Used {
        at: Moment,
        device: Arc<str>,
    },
    Withdrawn {
        at: Moment,
        by: Arc<str>,
    },
}
