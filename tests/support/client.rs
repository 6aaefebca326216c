//! Clients of a gateway under test: TLS with any name and certificate, HTTP/1.1 and HTTP/2 on it, and curl.

#![allow(dead_code, reason = "each test crate uses a part")]

use crate::gateway::PKI;
use crate::pki::Leaf;
use crate::upstream::{Body, empty, full};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use socket2::{SockRef, Socket};
use std::io;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection about to be made.
#[derive(Clone)]
pub struct Dial {
    to: SocketAddr,
    sni: String,
    send_sni: bool,
    certificate: Option<(Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>)>,
    prelude: Vec<u8>,
    alpn: Vec<Vec<u8>>,
    tls12: bool,
}

impl Dial {
    pub fn new(to: SocketAddr) -> Self {
        Self {
            to,
            sni: "app.corp.example".to_owned(),
            send_sni: true,
            certificate: None,
            prelude: Vec::new(),
            alpn: Vec::new(),
            tls12: false,
        }
    }

    /// The name asked for in the handshake; `app.corp.example` unless told otherwise.
    pub fn sni(mut self, name: &str) -> Self {
        name.clone_into(&mut self.sni);
        self
    }

    pub fn no_sni(mut self) -> Self {
        self.send_sni = false;
        self
    }

    pub fn certificate(mut self, leaf: &Leaf) -> Self {
        self.certificate = Some((leaf.chain.clone(), Arc::new(leaf.key_der())));
        self
    }

    /// Bytes before the handshake: a PROXY protocol header.
    pub fn prelude(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.prelude = bytes.into();
        self
    }

    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    pub fn tls12(mut self) -> Self {
        self.tls12 = true;
        self
    }

    /// A byte stream after the handshake. In TLS 1.3 a refused client certificate shows at the first read.
    pub async fn tls(&self) -> io::Result<TlsStream<TcpStream>> {
        let mut tcp = TcpStream::connect(self.to).await?;
        tcp.set_nodelay(true)?;
        tcp.write_all(&self.prelude).await?;
        self.tls_over(tcp).await
    }

    /// The handshake over a stream that is there already.
    pub async fn tls_over<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let versions: &[_] = if self.tls12 { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&PKI.provider))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(Arc::clone(&PKI.roots));
        let mut config = match &self.certificate {
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key()).expect("a pair"),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.enable_sni = self.send_sni;
        let name = ServerName::try_from(self.sni.clone()).expect("a server name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// # Panics
    /// When the handshake fails; `tls` tells how.
    pub async fn h1(self) -> Client {
        let tls = self.clone().alpn(&["http/1.1"]).tls().await.expect("a handshake");
        let socket = SockRef::from(tls.get_ref().0).try_clone().ok();
        Client { socket, ..Client::h1_over(tls, &self.sni).await }
    }

    /// # Panics
    /// When the handshake fails; `tls` tells how.
    pub async fn h2(self) -> Client {
        let tls = self.clone().alpn(&["h2"]).tls().await.expect("a handshake");
        let socket = SockRef::from(tls.get_ref().0).try_clone().ok();
        Client { socket, ..Client::h2_over(tls, &self.sni).await }
    }

    pub async fn http(self, version: Http) -> Client {
        match version {
            Http::One => self.h1().await,
            Http::Two => self.h2().await,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

pub const BOTH: [Http; 2] = [Http::One, Http::Two];

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

/// One HTTP connection to the gateway.
pub struct Client {
    sender: Sender,
    host: String,
    /// The connection's, to break it by. None: over a stream of the test's own, or shared with another client.
    socket: Option<Socket>,
}

impl Client {
    pub async fn h1_over<S>(stream: S, host: &str) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(async move { drop(connection.with_upgrades().await) });
        Self { sender: Sender::One(sender), host: host.to_owned(), socket: None }
    }

    pub async fn h2_over<S>(stream: S, host: &str) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let builder = builder.timer(TokioTimer::new());
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(async move { drop(connection.await) });
        Self { sender: Sender::Two(sender), host: host.to_owned(), socket: None }
    }

    /// Sends a request for a path, or for a whole address. In HTTP/1.1 the address becomes `Host` and path, unless
    /// there is a `Host` already: then the target goes as it is.
    pub async fn send(&mut self, mut request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        let authority = request.uri().authority().map_or(self.host.clone(), ToString::to_string);
        let target = request.uri().path_and_query().map_or("/".to_owned(), ToString::to_string);
        match &mut self.sender {
            Sender::One(sender) => {
                if !request.headers().contains_key(header::HOST) {
                    request.headers_mut().insert(header::HOST, authority.parse().expect("a host"));
                    *request.uri_mut() = target.parse().expect("a path");
                }
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Two(sender) => {
                let uri = format!("https://{authority}{target}");
                *request.uri_mut() = uri.parse::<Uri>().expect("an address");
                *request.version_mut() = http::Version::HTTP_2;
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Sends a request and reads the answer to its end.
    pub async fn ask(&mut self, request: Request<Body>) -> Answer {
        Answer::read(self.send(request).await.expect("an answer")).await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask(get(path)).await
    }

    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Answer {
        let request = Request::post(path).body(full(body)).expect("a request");
        self.ask(request).await
    }

    /// Another sender on the same HTTP/2 connection.
    pub fn again(&self) -> Self {
        match &self.sender {
            Sender::One(_) => panic!("HTTP/1.1 carries one request at a time"),
            Sender::Two(sender) => Self { sender: Sender::Two(sender.clone()), host: self.host.clone(), socket: None },
        }
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => sender.is_closed(),
            Sender::Two(sender) => sender.is_closed(),
        }
    }

    /// Breaks the connection as a crash would, without a goodbye of TLS or HTTP.
    pub fn abort(&self) {
        let socket = self.socket.as_ref().expect("a connection of its own");
        // It may be over already.
        let _ = socket.shutdown(std::net::Shutdown::Both);
    }

    /// What breaks the connection from elsewhere.
    pub fn breaker(&self) -> Socket {
        self.socket.as_ref().and_then(|socket| socket.try_clone().ok()).expect("a connection of its own")
    }
}

/// `GET` with nothing added; a program asks.
pub fn get(path: &str) -> Request<Body> {
    Request::get(path).body(empty()).expect("a request")
}

/// A request with these fields.
pub fn request(method: Method, path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(empty()).expect("a request")
}

/// What a browser says it can read.
pub const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub async fn read(response: Response<Incoming>) -> Self {
        Self::try_read(response).await.expect("a whole body")
    }

    pub async fn try_read(response: Response<Incoming>) -> hyper::Result<Self> {
        let (head, body) = response.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned();
        Ok(Self { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers })
    }

    /// The first value of a field; empty without one.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ascii"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("JSON, not `{}`", self.text()))
    }
}

/// A real curl, pointed at the gateway whatever host its address names.
pub struct Curl(Command);

impl Curl {
    pub fn new(to: SocketAddr, authorities: &std::path::Path) -> Self {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"]);
        command.arg("--connect-to").arg(format!("::{to}"));
        command.arg("--cacert").arg(authorities);
        Self(command)
    }

    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.0.args(args);
        self
    }

    /// Runs it beside the test's runtime.
    pub async fn run(mut self) -> Output {
        tokio::task::spawn_blocking(move || self.0.output().expect("curl is installed")).await.expect("curl ran")
    }
}
