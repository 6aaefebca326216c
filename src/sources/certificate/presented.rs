//! The chain one connection has shown, and what is thought of it now.

use super::{Trust, Verdict, facts};
use crate::evidence::{Certificate, Fact, Moment};
use crate::store::Digest;
use rustls::pki_types::CertificateDer;
use std::sync::{Arc, Mutex, PoisonError};

/// Kept beside the connection. Its lock is shared with nobody but the connection's own requests.
#[derive(Default)]
pub struct Presented {
    chain: Vec<CertificateDer<'static>>,
    verdict: Mutex<Option<(u64, Verdict)>>,
}

impl Presented {
    /// The chain as the finished handshake has it: `peer_certificates()`. None: the client showed none.
    pub fn new(chain: Option<&[CertificateDer<'static>]>) -> Self {
        Self { chain: chain.unwrap_or_default().to_vec(), verdict: Mutex::new(None) }
    }

    /// The certificate fact for a request at `now`. Costs a comparison unless the trust is another than last time or
    /// the verdict has run out; then the chain is verified again.
    pub fn judge(&self, trust: &Trust, now: Moment) -> Fact<Arc<Certificate>> {
        let mut last = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((generation, verdict)) = &*last
            && *generation == trust.generation()
            && verdict.holds.contains(now)
        {
            return verdict.fact.clone();
        }
        let verdict = trust.verdict(&self.chain, now);
        let fact = verdict.fact.clone();
        *last = Some((trust.generation(), verdict));
        fact
    }

    /// Which certificate was shown, good or not: for the record of a refusal. None: none was.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.chain.first().map(|leaf| Fingerprint::of(leaf))
    }
}

/// Names a certificate that may be anything but good. Evidence has `Certificate` only for verified ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// SHA-256 of the DER bytes, lower-case hex.
    pub sha256: String,
    /// Lower-case hex, no leading zeros. None: the certificate cannot be read.
    pub serial: Option<Arc<str>>,
}

impl Fingerprint {
    pub(super) fn of(leaf: &CertificateDer<'_>) -> Self {
        Self { sha256: Digest::of(leaf).hex(), serial: facts::read_serial(leaf) }
    }
}
