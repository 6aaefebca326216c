//! One signed call through a webhook. `control/webhook/call.rs` says what it is remembered for.

use crate::evidence::Moment;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The body of a `Kind::Call` document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Call {
    pub hook: Arc<str>,
    /// By the clock of whoever signed.
    pub at: Moment,
    /// What it was answered with. None: it was refused, or is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}
