//! A listener's TLS: certificates by SNI, clients' certificates asked for, nothing resumed.
//!
//! Sessions are not resumed: rustls does not verify a client's certificate again on resumption, so a ticket
//! would outlive a revocation or carry a certificate to another name. A full handshake costs about 0.3 ms.

use super::settings::{ClientCertificates, ListenerSettings, ServerCertificate};
use crate::evidence::Moment;
use crate::sources::certificate::{Demand, Ending, Trust, TrustFault};
use crate::store::private_file::{Closed, read_closed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a listener's handshakes use until the next reload.
pub struct Tls {
    pub config: Arc<rustls::ServerConfig>,
    /// Who may vouch for clients; none when certificates are not asked for.
    pub trust: Option<Arc<Trust>>,
    /// When each certificate of the listener's own ends.
    pub ends: Vec<Ending>,
}

/// What came of trying.
#[derive(Default)]
pub struct Probed {
    pub faults: Vec<TlsFault>,
    pub trust: Option<Trust>,
    pub ends: Vec<Ending>,
}

/// Why a listener's TLS cannot be set up. At start the gateway does not start; at reload it keeps the last good.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    #[error("cannot read `{}`: {cause}", path.display())]
    Pem { path: PathBuf, cause: rustls::pki_types::pem::Error },
    #[error("the private key `{}`: {why}", path.display())]
    Key { path: PathBuf, why: String },
    #[error("no certificate in `{}`", .0.display())]
    Empty(PathBuf),
    #[error("the certificate in `{}` does not fit its key: {cause}", path.display())]
    Pair { path: PathBuf, cause: rustls::Error },
    #[error("the certificate in `{}` names no host: it needs a subject alternative name", .0.display())]
    Nameless(PathBuf),
    #[error("`{name}` is in two certificates of one listener: `{}` is the second", path.display())]
    Twice { name: String, path: PathBuf },
    #[error(transparent)]
    Trust(#[from] TrustFault),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Tls {
    /// `trusted` so far, which stays if its files still say the same.
    pub fn load(settings: &ListenerSettings, trusted: Option<&Arc<Trust>>) -> Result<Self, TlsFault> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut names = Names::load(&settings.certificates, &provider)?;
        let ends = std::mem::take(&mut names.ends);
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let (builder, trust) = match settings.client_certificates {
            ClientCertificates::Off => (builder.with_no_client_auth(), None),
            asked => {
                let trust = match trusted {
                    Some(trusted) => trusted.reload(&settings.trust)?,
                    None => Arc::new(Trust::load(&settings.trust)?),
                };
                let demand = match asked {
                    ClientCertificates::Required => Demand::Required,
                    _ => Demand::Requested,
                };
                (builder.with_client_cert_verifier(trust.verifier(demand)), Some(trust))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(names));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), trust, ends })
    }

    /// All that `load` would stop at the first fault of.
    pub fn probe(settings: &ListenerSettings) -> Probed {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let (mut names, mut probed) = (Names::default(), Probed::default());
        probed.faults.extend(settings.certificates.iter().filter_map(|pair| names.add(pair, &provider).err()));
        probed.ends = names.ends;
        if settings.client_certificates != ClientCertificates::Off {
            match Trust::load(&settings.trust) {
                Ok(trust) => probed.trust = Some(trust),
                Err(fault) => probed.faults.push(fault.into()),
            }
        }
        probed
    }
}

/// Certificates by the names in them. No name and an unknown name find nothing: the handshake fails.
#[derive(Debug, Default)]
struct Names {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// Keyed by what follows `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    ends: Vec<Ending>,
}

impl Names {
    fn load(certificates: &[ServerCertificate], provider: &rustls::crypto::CryptoProvider) -> Result<Self, TlsFault> {
        let mut names = Self::default();
        for certificate in certificates {
            names.add(certificate, provider)?;
        }
        Ok(names)
    }

    fn add(
        &mut self,
        certificate: &ServerCertificate,
        provider: &rustls::crypto::CryptoProvider,
    ) -> Result<(), TlsFault> {
        let path = &certificate.chain;
        let pem = |path: &Path, cause| TlsFault::Pem { path: path.to_owned(), cause };
        let chain: Vec<_> = CertificateDer::pem_file_iter(path)
            .map_err(|cause| pem(path, cause))?
            .collect::<Result<_, _>>()
            .map_err(|cause| pem(path, cause))?;
        let leaf = chain.first().ok_or_else(|| TlsFault::Empty(path.clone()))?;
        let (found, end) = names_and_end(leaf);
        if found.is_empty() {
            return Err(TlsFault::Nameless(path.clone()));
        }
        let key = read_closed(&certificate.key, Closed::Group)
            .map_err(|why| TlsFault::Key { path: certificate.key.clone(), why })?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|cause| pem(&certificate.key, cause))?;
        let certified = CertifiedKey::from_der(chain, key, provider)
            .map_err(|cause| TlsFault::Pair { path: path.clone(), cause })?;
        let certified = Arc::new(certified);
        self.ends.extend(end.map(|at| Ending { path: path.clone(), at }));
        for name in found {
            let (map, key) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent.to_owned()),
                None => (&mut self.exact, name.clone()),
            };
            if map.insert(key, Arc::clone(&certified)).is_some() {
                return Err(TlsFault::Twice { name, path: path.clone() });
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.exact.get(&name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        })
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name()?).cloned()
    }
}

fn names_and_end(leaf: &CertificateDer<'_>) -> (Vec<String>, Option<Moment>) {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return (Vec::new(), None) };
    let end = Moment(certificate.validity().not_after.timestamp().saturating_mul(1000));
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return (Vec::new(), Some(end)) };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(dns) => Some(dns.to_ascii_lowercase()),
        _ => None,
    };
    (names.value.general_names.iter().filter_map(dns).collect(), Some(end))
}
