//! The floor: a proxy made of the libraries Rangegate stands on, and of nothing else.
//!
//! Tokio, rustls with aws-lc, hyper on both sides, as their documentation uses them; a client's certificate is verified
//! and its fingerprint told to the upstream. It decides nothing, logs nothing, cleans no header and bounds nothing, so it
//! is no gateway; what Rangegate takes beyond it is Rangegate's own.
//!
//! Two things are as in Rangegate, or the floor would lie higher. A connection to the upstream lies in a pool as a plain
//! value and is polled by the request that has taken it, because a task of its own would cost each request two more turns
//! of the scheduler; and what HTTP/2 writes in one turn leaves together.

use crate::gathered::Gathered;
use crate::rung::round_trip;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper::header::{HOST, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rangegate_benches::Result;
use rangegate_benches::certificates::{hex, sha256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::cell::RefCell;
use std::error::Error;
use std::future::poll_fn;
use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::unconstrained;
use tokio_rustls::TlsAcceptor;

/// A client's certificate is required, verified and checked against the revocation list; nothing is resumed.
pub fn tls(directory: &Path) -> Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join("ca.pem"))?)?;
    let revocations = CertificateRevocationListDer::from_pem_file(directory.join("ca.crl"))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .with_crls([revocations])
        .build()?;
    let chain = CertificateDer::pem_file_iter(directory.join("server.pem"))?.collect::<std::result::Result<_, _>>()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(directory.join("server.key"))?)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

pub async fn serve(listener: TcpListener, tls: TlsAcceptor, upstream: SocketAddr) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let tls = tls.clone();
        tokio::spawn(async move {
            // A client that is refused or has gone is no fault.
            let _ = connection(stream, tls, upstream).await;
        });
    }
}

/// What does not change between a connection's requests.
struct Client {
    /// For the round trip, because the stream itself is hyper's.
    socket: OwnedFd,
    device: HeaderValue,
    upstream: SocketAddr,
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, upstream: SocketAddr) -> Result<()> {
    stream.set_nodelay(true)?;
    let socket = stream.as_fd().try_clone_to_owned()?;
    let stream = tls.accept(stream).await?;
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first).ok_or("no certificate")?;
    let device = HeaderValue::try_from(hex(&sha256(certificate)))?;
    let over_http2 = session.alpn_protocol() == Some(b"h2");
    let client = Arc::new(Client { socket, device, upstream });
    let service = service_fn(move |request| {
        let client = Arc::clone(&client);
        async move { forward(&client, request).await.map_err(told) }
    });
    if over_http2 {
        let gathered = Gathered::new(stream);
        let http = http2::Builder::new(TokioExecutor::new());
        gathered.drive(http.serve_connection(TokioIo::new(gathered.other()), service)).await
    } else {
        Ok(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?)
    }
}

fn told(why: Box<dyn Error + Send + Sync>) -> io::Error {
    eprintln!("{why}");
    io::Error::other(why)
}

async fn forward(client: &Client, mut request: Request<Incoming>) -> Result<Response<Answer>> {
    black_box(round_trip(&client.socket)?);
    if request.version() == Version::HTTP_2 {
        let host = HeaderValue::from_str(request.uri().authority().ok_or("no authority")?.as_str())?;
        let path = request.uri().path_and_query().cloned().ok_or("no path")?;
        *request.uri_mut() = Uri::from(path);
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().insert(HOST, host);
    }
    request.headers_mut().insert("x-device", client.device.clone());
    let mut wire = match idle() {
        Some(wire) => wire,
        None => dial(client.upstream).await?,
    };
    let response = wire.send(request).await?;
    Ok(response.map(|body| Answer::new(wire, body)))
}

/// A connection to the upstream, kept going by whoever waits for its answer.
struct Wire {
    sender: SendRequest<Incoming>,
    /// None: it is over.
    connection: Option<Box<Upstream>>,
}

type Upstream = Connection<TokioIo<TcpStream>, Incoming>;

thread_local! {
    /// Connections that nobody waits for.
    static IDLE: RefCell<Vec<Wire>> = const { RefCell::new(Vec::new()) };
}

/// The one used last, if it can take a request still.
fn idle() -> Option<Wire> {
    while let Some(mut wire) = IDLE.with_borrow_mut(Vec::pop) {
        proceed(&mut wire.connection, &mut nobody());
        if wire.sender.is_ready() {
            return Some(wire);
        }
    }
    None
}

async fn dial(upstream: SocketAddr) -> Result<Wire> {
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    Ok(Wire { sender, connection: Some(Box::new(connection)) })
}

impl Wire {
    async fn send(&mut self, request: Request<Incoming>) -> hyper::Result<Response<Incoming>> {
        // Unconstrained: told to yield, it would wake nobody.
        let mut answer = pin!(unconstrained(self.sender.send_request(request)));
        let connection = &mut self.connection;
        poll_fn(|cx| {
            proceed(connection, cx);
            answer.as_mut().poll(&mut nobody())
        })
        .await
    }
}

/// Once it has ended it is dropped, and whoever waits for it learns of that.
fn proceed(connection: &mut Option<Box<Upstream>>, cx: &mut Context<'_>) {
    if connection.as_mut().is_some_and(|connection| Pin::new(connection).poll(cx).is_ready()) {
        *connection = None;
    }
}

/// What passes between a connection and its request is one task's: they need not wake each other.
const fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// An answer's body, streamed; behind its end the connection is anybody's again.
struct Answer {
    wire: Option<Wire>,
    body: Incoming,
}

impl Answer {
    fn new(wire: Wire, body: Incoming) -> Self {
        let mut answer = Self { wire: Some(wire), body };
        answer.give_back_if(answer.body.is_end_stream());
        answer
    }

    fn give_back_if(&mut self, over: bool) {
        if let Some(wire) = self.wire.take_if(|_| over) {
            IDLE.with_borrow_mut(|idle| idle.push(wire));
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        // Asked first, so that the connection knows that somebody wants more.
        let mut piece = Pin::new(&mut this.body).poll_frame(&mut nobody());
        if let (Poll::Pending, Some(wire)) = (&piece, &mut this.wire) {
            proceed(&mut wire.connection, cx);
            piece = Pin::new(&mut this.body).poll_frame(&mut nobody());
        }
        this.give_back_if(matches!(piece, Poll::Ready(None)) || this.body.is_end_stream());
        piece
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
