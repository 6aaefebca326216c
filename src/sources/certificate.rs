//! The client's certificate as evidence: verified once per connection, judged again at every trust change.

use std::path::PathBuf;

/// What to make of a revocation list that is missing or past its next update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrlPolicy {
    /// The certificate's status is unknown: fail closed.
    #[default]
    Deny,
    /// Accept without revocation status, in so many words.
    Ignore,
}

/// Who may vouch for clients.
#[derive(Clone, Debug)]
pub struct TrustSettings {
    /// PEM bundles of client certificate authorities.
    pub authorities: Vec<PathBuf>,
    /// PEM or DER revocation lists.
    pub crls: Vec<PathBuf>,
    pub crl_missing: CrlPolicy,
    pub crl_expired: CrlPolicy,
}
