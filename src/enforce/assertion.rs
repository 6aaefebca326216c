//! The signed word of the gateway to the upstream: who asked, with what, and that it was allowed.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct AssertionSettings {
    /// The header that carries the assertion. Default: `rangegate-assertion`.
    pub header: String,
    /// The `iss` claim.
    pub issuer: String,
    /// How long an assertion is valid.
    pub lifetime: Duration,
    /// PKCS#8 PEM of an ECDSA P-256 key. None: a key made at start, gone at stop.
    pub key: Option<PathBuf>,
}
