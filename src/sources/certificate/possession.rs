//! What the TLS handshake asks of a client certificate.

use super::{Fingerprint, Trust};
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

/// Possession only. The chain is judged after the handshake, where a refusal can be answered and recorded.
#[derive(Debug)]
pub(super) struct Requested(Arc<Trust>);

/// Possession, and a chain that is good now.
#[derive(Debug)]
pub(super) struct Required(Arc<Trust>);

impl Requested {
    pub(super) fn new(trust: Arc<Trust>) -> Self {
        Self(trust)
    }
}

impl Required {
    pub(super) fn new(trust: Arc<Trust>) -> Self {
        Self(trust)
    }
}

/// What both leave to the library: the handshake's signature, the schemes for it, and the authorities' names, by
/// which browsers choose the certificate to show.
macro_rules! signature_by_webpki {
    () => {
        fn root_hint_subjects(&self) -> &[DistinguishedName] {
            self.0.webpki.root_hint_subjects()
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.0.webpki.verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.0.webpki.verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.webpki.supported_verify_schemes()
        }
    };
}

impl ClientCertVerifier for Requested {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    signature_by_webpki!();
}

impl ClientCertVerifier for Required {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let mut chain = Vec::with_capacity(1 + intermediates.len());
        chain.push(leaf.clone());
        chain.extend_from_slice(intermediates);
        match self.0.judge(&chain, moment(now)) {
            Fact::Known(_) => Ok(ClientCertVerified::assertion()),
            fact => {
                let refusal = Refusal { fact, fingerprint: Fingerprint::of(leaf) };
                Err(CertificateError::Other(OtherError(Arc::new(refusal))).into())
            }
        }
    }

    signature_by_webpki!();
}

fn moment(now: UnixTime) -> Moment {
    Moment(i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_mul(1000))
}
