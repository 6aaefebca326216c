//! Just-in-time grants and device posture. The source of postures is not built yet: they are `Absent`.

use super::Moment;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A privilege held for a while, or until lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub role: Arc<str>,
    /// When it ends, or ended.
    pub expires: Moment,
    /// None: it is held. A grant that is over is there to say so, and grants nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Over>,
}

/// How what was held came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// By the passing of time.
    Expired,
    /// By somebody, before its time.
    Ended,
}

impl Grant {
    pub const fn held(role: Arc<str>, expires: Moment) -> Self {
        Self { role, expires, over: None }
    }

    /// Whether it grants anything at this moment.
    pub fn is_held(&self, at: Moment) -> bool {
        self.over.is_none() && self.expires > at
    }
}

/// What an agent on the device attests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posture {
    pub attested: bool,
}
