//! One notification on its way to a webhook. `control/webhook/` says when it is sent.

use crate::evidence::Moment;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The body of a `Kind::Delivery` document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Delivery {
    pub hook: Arc<str>,
    pub event: Arc<str>,
    pub at: Moment,
    /// Begun, whatever became of them.
    pub attempts: u32,
    /// Not tried before this. Moved on before each attempt, so that of several gateways one makes it.
    pub next: Moment,
    /// The document that is sent.
    pub body: String,
}
