//! One grant from the asking to the end.

use crate::evidence::Moment;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A grant as the store keeps it: everything that was asked and answered, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GrantRecord {
    pub id: Arc<str>,
    pub role: Arc<str>,
    /// Who is to hold it: the account, and the person behind it.
    pub user: Arc<str>,
    pub person: Arc<str>,
    /// The device it was asked from. A break-glass grant counts on this device only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Arc<str>>,
    pub reason: Arc<str>,
    pub asked: Moment,
    /// How long it is to last once it begins, milliseconds.
    pub duration: u64,
    pub state: GrantState,
    pub approvals: Vec<Approval>,
    pub break_glass: bool,
    /// Whoever looked at a break-glass use afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Approval>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum GrantState {
    /// Waits for approvals; after `until` it can no longer be approved.
    Asked {
        until: Moment,
    },
    Active {
        since: Moment,
        until: Moment,
    },
    Refused {
        at: Moment,
        by: Arc<str>,
        why: Arc<str>,
    },
    Withdrawn {
        at: Moment,
    },
    /// Ended before its time.
    Ended {
        at: Moment,
        by: Arc<str>,
        why: Arc<str>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Approval {
    pub user: Arc<str>,
    pub person: Arc<str>,
    pub at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<str>>,
}
