//! One certificate of the built-in authority that ended before its time. `authority/revocation.rs` makes lists of them.

use crate::evidence::Moment;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The body of a `Kind::Revocation` document, whose id is the serial number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Revoked {
    /// Lower-case hex.
    pub serial: Arc<str>,
    pub at: Moment,
    /// When it would have ended: it stays listed until then, and for one list longer.
    pub expires: Moment,
    pub why: Why,
}

/// The reason as the list has it (RFC 5280 section 5.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    #[default]
    Unspecified,
    /// The device is lost or its key may be known.
    KeyCompromise,
    /// The device belongs to somebody else or to nobody now.
    CessationOfOperation,
    /// A renewal took its place.
    Superseded,
}
