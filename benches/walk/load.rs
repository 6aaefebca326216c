//! The load: hyper's own client over rustls, a fixed number of requests, every answer looked at.

use crate::fixture::{BODY, Fixture};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rangegate_benches::Result;
use rangegate_benches::certificates::Device;
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How requests arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// This many kept HTTP/1.1 connections, one request at a time on each.
    Http1 { connections: usize },
    /// This many kept HTTP/2 connections with this many streams at a time on each.
    Http2 { connections: usize, streams: usize },
    /// This many at a time: connect, full handshake, one request, close.
    Handshake { at_a_time: usize },
}

/// Who asks whom for what.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    host: &'static str,
    bearer: Option<String>,
    /// None: plain HTTP/1.1.
    tls: Option<Tls>,
}

#[derive(Clone)]
struct Tls {
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Client {
    /// Both sides of every comparison do the same cryptography: TLS 1.3, X25519, AES-256-GCM, P-256 certificates, and
    /// no handshake is resumed.
    pub fn new(
        fixture: &Fixture,
        device: Option<&Device>,
        address: SocketAddr,
        host: &'static str,
        bearer: Option<String>,
    ) -> Result<Self> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
        provider.cipher_suites = vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384];
        let config = fixture.authority.client(provider, device)?;
        let connector = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        let tls = Some(Tls { http1: connector(b"http/1.1"), http2: connector(b"h2") });
        Ok(Self { address, host, bearer, tls })
    }

    /// The same requests without TLS.
    pub fn plain(address: SocketAddr, host: &'static str) -> Self {
        Self { address, host, bearer: None, tls: None }
    }

    /// One request on a connection of its own: status and body.
    pub async fn get(&self, path: &str) -> Result<(u16, Bytes)> {
        let mut sender = self.http1().await?;
        let response = sender.send_request(self.request(path)).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    async fn http1(&self) -> Result<http1::SendRequest<Empty<Bytes>>> {
        match &self.tls {
            Some(tls) => begin(self.secure(&tls.http1).await?).await,
            None => begin(self.connect().await?).await,
        }
    }

    async fn http2(&self) -> Result<http2::SendRequest<Empty<Bytes>>> {
        let tls = self.tls.as_ref().ok_or("HTTP/2 is asked for over TLS only")?;
        let io = TokioIo::new(self.secure(&tls.http2).await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn secure(&self, connector: &TlsConnector) -> Result<TlsStream<TcpStream>> {
        let stream = connector.connect(ServerName::try_from(self.host)?, self.connect().await?).await?;
        match stream.get_ref().1.handshake_kind() {
            Some(HandshakeKind::Full) => Ok(stream),
            other => Err(format!("the handshake was not a full one: {other:?}").into()),
        }
    }

    /// In origin form for HTTP/1.1; hyper makes the pseudo-header fields of an HTTP/2 request out of it.
    fn request(&self, path: &str) -> Request<Empty<Bytes>> {
        let builder = Request::get(path).header(header::HOST, self.host);
        self.finish(builder)
    }

    fn request_http2(&self, path: &str) -> Request<Empty<Bytes>> {
        self.finish(Request::get(format!("https://{}{path}", self.host)))
    }

    fn finish(&self, mut builder: hyper::http::request::Builder) -> Request<Empty<Bytes>> {
        builder = builder
            .header(header::USER_AGENT, "rangegate-bench/1 (X11; Linux x86_64)")
            .header(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")
            .header(header::ACCEPT_LANGUAGE, "en-GB,en;q=0.5");
        if let Some(bearer) = &self.bearer {
            builder = builder.header(header::AUTHORIZATION, bearer.as_str());
        }
        builder.body(Empty::new()).expect("constant parts and a token of visible characters")
    }
}

async fn begin<S>(stream: S) -> Result<http1::SendRequest<Empty<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Connections that are open and warm, ready to be measured.
pub enum Ready {
    Http1(Vec<Kept>),
    Http2(Vec<(Client, http2::SendRequest<Empty<Bytes>>)>, usize),
    Handshake(Vec<Client>, usize),
}

/// A kept HTTP/1.1 connection.
type Kept = (Client, http1::SendRequest<Empty<Bytes>>);

impl Ready {
    /// Opens what is to be kept, the clients in turn, and sends one request on each.
    pub async fn open(clients: &[Client], shape: Shape) -> Result<Self> {
        let cycle = clients.iter().cycle().cloned();
        match shape {
            Shape::Http1 { connections } => {
                let mut kept = Vec::new();
                for client in cycle.take(connections) {
                    let mut sender = client.http1().await?;
                    expect_kib(sender.send_request(client.request("/kib")).await?).await?;
                    kept.push((client, sender));
                }
                Ok(Self::Http1(kept))
            }
            Shape::Http2 { connections, streams } => {
                let mut kept = Vec::new();
                for client in cycle.take(connections) {
                    let mut sender = client.http2().await?;
                    expect_kib(sender.send_request(client.request_http2("/kib")).await?).await?;
                    kept.push((client, sender));
                }
                Ok(Self::Http2(kept, streams))
            }
            Shape::Handshake { at_a_time } => {
                for client in clients {
                    expect(client.get("/kib").await?)?;
                }
                Ok(Self::Handshake(clients.to_vec(), at_a_time))
            }
        }
    }

    /// Asks `requests` times, or a few times fewer so that all connections ask equally often; gives the number.
    pub async fn ask(&mut self, requests: usize) -> Result<usize> {
        // A kept HTTP/1.1 connection comes back, so that closing it is not measured.
        let mut tasks = JoinSet::<Result<Option<Kept>>>::new();
        let share;
        match self {
            Self::Http1(kept) => {
                share = requests / kept.len();
                for (client, mut sender) in kept.drain(..) {
                    tasks.spawn(async move {
                        for _ in 0..share {
                            sender.ready().await?;
                            expect_kib(sender.send_request(client.request("/kib")).await?).await?;
                        }
                        Ok(Some((client, sender)))
                    });
                }
            }
            Self::Http2(kept, streams) => {
                share = requests / (kept.len() * *streams);
                for (client, sender) in kept.iter().flat_map(|one| std::iter::repeat_n(one, *streams)) {
                    let (client, mut sender) = (client.clone(), sender.clone());
                    tasks.spawn(async move {
                        for _ in 0..share {
                            expect_kib(sender.send_request(client.request_http2("/kib")).await?).await?;
                        }
                        Ok(None)
                    });
                }
            }
            Self::Handshake(clients, at_a_time) => {
                share = requests / *at_a_time;
                for turn in 0..*at_a_time {
                    let clients = clients.clone();
                    tasks.spawn(async move {
                        for client in clients.iter().cycle().skip(turn).step_by(7).take(share) {
                            expect(client.get("/kib").await?)?;
                        }
                        Ok(None)
                    });
                }
            }
        }
        let asked = share * tasks.len();
        while let Some(ended) = tasks.join_next().await {
            if let (Some(one), Self::Http1(kept)) = (ended??, &mut *self) {
                kept.push(one);
            }
        }
        Ok(asked)
    }
}

async fn expect_kib(response: Response<Incoming>) -> Result<()> {
    let status = response.status().as_u16();
    expect((status, response.into_body().collect().await?.to_bytes()))
}

fn expect((status, body): (u16, Bytes)) -> Result<()> {
    if status == 200 && body.len() == BODY {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
    Err(format!("an answer is not the upstream's: status {status}, {} bytes\n{text}", body.len()).into())
}
