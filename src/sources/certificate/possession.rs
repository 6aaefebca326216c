//! What the TLS handshake asks of a client certificate.

use super::{Demand, Fingerprint, Trust};
use crate::evidence::{Certificate, Fact, Moment};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use std::io;
use std::sync::Arc;

/// Why a handshake that required a certificate failed.
#[derive(Debug, thiserror::Error)]
#[error("the client certificate was refused")]
pub struct Refusal {
    /// `Invalid` or `Unavailable`, never `Known`.
    pub fact: Fact<Arc<Certificate>>,
    /// Which certificate it was.
    pub fingerprint: Fingerprint,
}

impl Refusal {
    /// Finds the refusal in the error that accepting a TLS connection gave. None: the handshake failed otherwise,
    /// for instance because no certificate was shown.
    pub fn of(error: &io::Error) -> Option<&Self> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        let Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = error else { return None };
        inner.downcast_ref()
    }
}

/// The library checks the handshake's signature, which proves possession of the key. The chain is judged here when a
/// good one is demanded; otherwise after the handshake, where a refusal can be answered and recorded.
#[derive(Debug)]
pub(super) struct Possession {
    trust: Arc<Trust>,
    demand: Demand,
}

impl Possession {
    pub(super) fn new(trust: Arc<Trust>, demand: Demand) -> Self {
        Self { trust, demand }
    }
}

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        self.demand == Demand::Required
    }

    /// By these names browsers choose the certificate to show.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.trust.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.demand == Demand::Requested {
            return Ok(ClientCertVerified::assertion());
        }
        let mut chain = Vec::with_capacity(1 + intermediates.len());
        chain.push(leaf.clone());
        chain.extend_from_slice(intermediates);
        match self.trust.judge(&chain, moment(now)) {
            Fact::Known(_) => Ok(ClientCertVerified::assertion()),
            fact => {
                let refusal = Refusal { fact, fingerprint: Fingerprint::of(leaf) };
                Err(CertificateError::Other(OtherError(Arc::new(refusal))).into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.webpki.supported_verify_schemes()
    }
}

fn moment(now: UnixTime) -> Moment {
    Moment(i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_mul(1000))
}
