//! Whether a rate limit still has room.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Names one limit across policy versions: resource, requirement and limit in one text.
pub type QuotaName = Arc<str>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quota {
    Within,
    /// Exceeded; there is room again after this many milliseconds.
    Exceeded {
        retry_after_ms: u64,
    },
}
