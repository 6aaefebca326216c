//! The only place that asks what time it is.

use crate::evidence::Moment;
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall-clock time. Durations are measured with `std::time::Instant`, never with this.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
