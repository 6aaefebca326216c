//! Whether a rate limit still has room.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Names one limit across policy versions: resource, requirement and limit in one text.
pub type QuotaName = Arc<str>;

/// One rate limit of a policy: each key has room for `limit` requests at once, refilled evenly over `period`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaSpec {
    pub name: QuotaName,
    pub limit: u32,
    pub period: Duration,
    pub by: QuotaKey,
}

/// What a rate limit counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuotaKey {
    Subject,
    Device,
    /// The client's IPv4 address, or its IPv6 /64: one line of one household.
    Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quota {
    Within,
    /// Exceeded; there is room again after this many milliseconds.
    Exceeded { retry_after_ms: u64 },
}
