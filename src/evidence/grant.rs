//! Just-in-time grants and device posture. The source of postures is not built yet: they are `Absent`.

use super::Moment;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A privilege held for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub role: Arc<str>,
    pub expires: Moment,
}

/// What an agent on the device attests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posture {
    pub attested: bool,
}
