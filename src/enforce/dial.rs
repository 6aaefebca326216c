//! Opening one connection to an upstream: name, TCP, TLS, HTTP version.

use super::fault::Fault;
use super::multiplexed::Multiplexed;
use super::plain::Plain;
use super::upstream::UpstreamSettings;
use super::wire::Wire;
use crate::policy::{Origin, Scheme};
use crate::store::private_file::{Closed, read_closed};
use http::uri;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Settings with their certificates read: what is needed to open connections.
pub struct Client {
    pub settings: UpstreamSettings,
    /// Offers h2 and http/1.1.
    any: Arc<rustls::ClientConfig>,
    /// Offers http/1.1 only, for upgrades.
    http1: Arc<rustls::ClientConfig>,
    /// When the log last had a cause.
    told: Mutex<Option<Instant>>,
}

/// How often the log is told why upstreams cannot be reached: requests may ask for it at will.
const TELL_EVERY: Duration = Duration::from_secs(1);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Why upstream TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientFault {
    #[error("cannot read `{}`: {cause}", path.display())]
    Pem { path: PathBuf, cause: rustls::pki_types::pem::Error },
    #[error("the key for upstreams `{}`: {why}", path.display())]
    Key { path: PathBuf, why: String },
    #[error("no certificate in `{}`", .0.display())]
    Empty(PathBuf),
    #[error("the client certificate in `{}` does not fit its key: {cause}", path.display())]
    Pair { path: PathBuf, cause: rustls::Error },
    #[error("TLS to upstreams cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Which HTTP versions may be spoken on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    Any,
    Http1,
}

#[derive(Debug)]
pub enum Dialled {
    Http1(Wire),
    Http2(Multiplexed),
}

impl Client {
    pub fn load(settings: &UpstreamSettings) -> Result<Self, ClientFault> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(settings.ca.as_ref())?);
        let mut config = match &settings.client_certificate {
            None => builder.with_no_client_auth(),
            Some((chain_path, key_path)) => {
                let chain = certificates(chain_path)?;
                let key = read_closed(key_path, Closed::Group)
                    .map_err(|why| ClientFault::Key { path: key_path.clone(), why })?;
                let key = PrivateKeyDer::from_pem_slice(&key)
                    .map_err(|cause| ClientFault::Pem { path: key_path.clone(), cause })?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|cause| ClientFault::Pair { path: chain_path.clone(), cause })?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = Arc::new(config.clone());
        config.alpn_protocols.insert(0, b"h2".to_vec());
        Ok(Self { settings: settings.clone(), any: Arc::new(config), http1, told: Mutex::default() })
    }

    /// Why an upstream could not be reached goes to the log: the record has the kind of fault, and no client is told.
    fn tell(&self, origin: &Origin, cause: &io::Error, fault: Fault) -> Fault {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(%origin, %cause, "{}", fault.code());
        }
        fault
    }
}

fn roots(ca: Option<&PathBuf>) -> Result<RootCertStore, ClientFault> {
    let mut store = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                store.add(certificate)?;
            }
        }
        // Unreadable system certificates leave the store short: https upstreams then fail, loudly and closed.
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(store)
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, ClientFault> {
    let pem = |cause| ClientFault::Pem { path: path.clone(), cause };
    let found: Vec<_> = CertificateDer::pem_file_iter(path).map_err(pem)?.collect::<Result<_, _>>().map_err(pem)?;
    if found.is_empty() { Err(ClientFault::Empty(path.clone())) } else { Ok(found) }
}

/// Opens a connection within the connect timeout. HTTP/2 runs on this core from then on.
pub async fn dial(origin: &Origin, client: &Client, offer: Offer) -> Result<Dialled, Fault> {
    tokio::time::timeout(client.settings.connect_timeout, connect(origin, client, offer))
        .await
        .unwrap_or(Err(Fault::ConnectTimeout))
}

async fn connect(origin: &Origin, client: &Client, offer: Offer) -> Result<Dialled, Fault> {
    let tcp = TcpStream::connect((&*origin.host, origin.port)).await;
    let tcp = tcp.map_err(|cause| client.tell(origin, &cause, Fault::Connect))?;
    tcp.set_nodelay(true).map_err(|_| Fault::Connect)?;
    let tcp = Plain(tcp);
    match origin.scheme {
        Scheme::Http => handshake_http1(tcp).await,
        Scheme::H2c => Multiplexed::begin(tcp, uri::Scheme::HTTP).await.map(Dialled::Http2),
        Scheme::Https => {
            let config = if offer == Offer::Any { &client.any } else { &client.http1 };
            let name = ServerName::try_from(origin.host.to_string()).map_err(|_| Fault::Tls)?;
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
            let tls = connector.connect(name, tcp).await;
            let tls = tls.map_err(|cause| client.tell(origin, &cause, Fault::Tls))?;
            if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                Multiplexed::begin(tls, uri::Scheme::HTTPS).await.map(Dialled::Http2)
            } else {
                handshake_http1(tls).await
            }
        }
        // Served by the gateway itself: nothing to connect to.
        Scheme::Builtin => Err(Fault::Connect),
    }
}

async fn handshake_http1<IO>(io: IO) -> Result<Dialled, Fault>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // At most a hundred fields: hyper's own bound, whose table it keeps on the stack.
    let (sender, connection) = http1::Builder::new()
        .max_header_size(64 * 1024)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| Fault::of(&error))?;
    Ok(Dialled::Http1(Wire::new(sender, connection.with_upgrades())))
}
