//! From which authority a good chain comes, where not every authority may vouch for every class of device.

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::sync::Arc;

/// The verifier that judges a chain does not say at which root it ended. So each authority's roots are asked again,
/// apart; revocation has been judged by then.
#[derive(Debug)]
pub(super) struct Origins {
    own: Arc<dyn ClientCertVerifier>,
    external: Vec<(Arc<str>, Arc<dyn ClientCertVerifier>)>,
}

impl Origins {
    /// # Errors
    /// The verifier's words: there are no roots.
    pub(super) fn new(own: &Arc<RootCertStore>, external: &[(Arc<str>, Arc<RootCertStore>)]) -> Result<Self, String> {
        let external = external.iter().map(|(class, roots)| Ok((Arc::clone(class), verifier(roots)?)));
        Ok(Self { own: verifier(own)?, external: external.collect::<Result<_, String>>()? })
    }

    /// The one class that the chain's authority may vouch for, or none for all classes. A chain that also ends at an
    /// authority for all classes is that one's. `None`: it ends nowhere.
    pub(super) fn class(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<Option<Arc<str>>> {
        let ends_at = |roots: &Arc<dyn ClientCertVerifier>| roots.verify_client_cert(leaf, intermediates, now).is_ok();
        if self.external.is_empty() || ends_at(&self.own) {
            return Some(None);
        }
        self.external.iter().find(|(_, roots)| ends_at(roots)).map(|(class, _)| Some(Arc::clone(class)))
    }
}

fn verifier(roots: &Arc<RootCertStore>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::new(default_provider()))
        .build()
        .map_err(|error| error.to_string())
}
