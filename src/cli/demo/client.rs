//! A small TLS client: one connection, HTTP/1.1 or HTTP/2, with a laptop's certificate or without.

use super::pki::Identity;
use super::websocket::WebSocket;
use bytes::Bytes;
use http::request::Builder;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub method: &'static str,
    pub path: &'a str,
    pub token: Option<&'a str>,
    /// JSON, to the API.
    pub body: Option<&'a str>,
}

/// An open connection to one host.
pub struct Client {
    sender: Sender,
    authority: String,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// Connects to `address` and asks there for `host`. A laptop shows its certificate and proves its key.
    ///
    /// # Errors
    /// TCP, TLS or HTTP do not come about.
    pub async fn connect(
        address: SocketAddr,
        host: &str,
        port: u16,
        http: Http,
        root: CertificateDer<'static>,
        laptop: Option<&Identity>,
    ) -> Result<Self, Box<dyn Error>> {
        let config = config(http, root, laptop)?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?);
        let sender = match http {
            Http::One => {
                let (sender, connection) = http1::handshake(stream).await?;
                tokio::spawn(connection.with_upgrades());
                Sender::One(sender)
            }
            Http::Two => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                tokio::spawn(connection);
                Sender::Two(sender)
            }
        };
        Ok(Self { sender, authority: format!("{host}:{port}") })
    }

    /// # Errors
    /// The connection breaks before the answer's head has come.
    pub async fn ask(&mut self, ask: Ask<'_>) -> Result<Response<Incoming>, Box<dyn Error>> {
        let mut request = begun(ask);
        if ask.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        self.send(request, ask).await
    }

    /// Opens a WebSocket (RFC 6455 section 4.1), over HTTP/1.1.
    ///
    /// # Errors
    /// The connection breaks, or is not upgraded.
    pub async fn open(&mut self, ask: Ask<'_>) -> Result<(Response<Incoming>, WebSocket), Box<dyn Error>> {
        let mut request = begun(ask);
        let fields = [
            (header::CONNECTION, "upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            // Any 16 bytes: nothing depends on them here.
            (header::SEC_WEBSOCKET_KEY, "cmFuZ2VnYXRlJ3MgZGVtbw=="),
        ];
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let mut response = self.send(request, ask).await?;
        let upgraded = hyper::upgrade::on(&mut response).await?;
        Ok((response, WebSocket::new(upgraded)))
    }

    async fn send(&mut self, request: Builder, ask: Ask<'_>) -> Result<Response<Incoming>, Box<dyn Error>> {
        let body = Full::new(Bytes::from(ask.body.unwrap_or_default().to_owned()));
        match &mut self.sender {
            Sender::One(sender) => {
                let request = request.uri(ask.path).header(header::HOST, &self.authority);
                sender.ready().await?;
                Ok(sender.send_request(request.body(body)?).await?)
            }
            Sender::Two(sender) => {
                let request = request.uri(format!("https://{}{}", self.authority, ask.path));
                sender.ready().await?;
                Ok(sender.send_request(request.body(body)?).await?)
            }
        }
    }
}

fn begun(ask: Ask<'_>) -> Builder {
    let request = Request::builder().method(ask.method);
    match ask.token {
        Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    }
}

fn config(http: Http, root: CertificateDer<'static>, laptop: Option<&Identity>) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(root)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match laptop {
        Some(laptop) => builder.with_client_auth_cert(vec![laptop.certificate.clone()], laptop.key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match http {
        Http::One => vec![b"http/1.1".to_vec()],
        Http::Two => vec![b"h2".to_vec()],
    };
    Ok(config)
}
