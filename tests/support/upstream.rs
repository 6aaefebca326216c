//! Upstreams on loopback: HTTP/1.1, cleartext HTTP/2 and HTTPS with a handler, or raw TCP for those that misbehave.
//!
//! They live on the test's runtime and stop when dropped.

#![allow(dead_code, reason = "each test crate uses a part")]

use crate::gateway::PKI;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Any body, from either side.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;

pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that is written while it is read. Dropping the sender ends it; sending an error breaks it off.
pub fn channel() -> (mpsc::Sender<io::Result<Frame<Bytes>>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Channel(receiver).boxed_unsync())
}

struct Channel(mpsc::Receiver<io::Result<Frame<Bytes>>>);

impl http_body::Body for Channel {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx)
    }
}

pub fn data(bytes: impl Into<Bytes>) -> io::Result<Frame<Bytes>> {
    Ok(Frame::data(bytes.into()))
}

pub fn trailers(fields: &[(&'static str, &'static str)]) -> io::Result<Frame<Bytes>> {
    Ok(Frame::trailers(
        fields.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect(),
    ))
}

pub fn ok(body: impl Into<Bytes>) -> Response<Body> {
    Response::new(full(body))
}

pub fn status(code: u16, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = ok(body);
    *response.status_mut() = code.try_into().expect("a status");
    response
}

/// Reads a body to its end: how many bytes, and its trailers.
pub async fn drain<B>(mut body: B) -> Result<(u64, Option<HeaderMap>), B::Error>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let (mut bytes, mut trailers) = (0, None);
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => bytes += data.len() as u64,
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((bytes, trailers))
}

/// A request's head as an upstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    /// Whether it came with a body.
    pub body: bool,
}

impl Seen {
    /// The first value of a field; empty without one.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ascii"))
    }
}

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Handler = Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>;

pub struct Upstream {
    pub address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

#[derive(Clone, Copy)]
enum Protocol {
    Http1,
    H2c,
    Https,
}

impl Upstream {
    pub async fn http1<F, A>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::serve("http", Protocol::Http1, boxed(handler)).await
    }

    pub async fn h2c<F, A>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::serve("h2c", Protocol::H2c, boxed(handler)).await
    }

    /// HTTP/2 or HTTP/1.1, as the client likes, with a certificate for 127.0.0.1 from the servers' authority.
    pub async fn https<F, A>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::serve("https", Protocol::Https, boxed(handler)).await
    }

    /// Answers everything with 200 and a word.
    pub async fn plain() -> Self {
        Self::http1(|_| async { ok("hello") }).await
    }

    /// HTTP/1.1 whose connections a test handles by the byte.
    pub async fn raw<F, A>(handler: F) -> Self
    where
        F: Fn(TcpStream) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        Self::listen("http", move |stream, _| Box::pin(handler(stream))).await
    }

    /// HTTP/2 in clear text whose connections a test handles by the frame.
    pub async fn raw_h2c<F, A>(handler: F) -> Self
    where
        F: Fn(h2::server::Connection<TcpStream, Bytes>) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        Self::raw_h2c_with(h2::server::Builder::new(), handler).await
    }

    pub async fn raw_h2c_with<F, A>(builder: h2::server::Builder, handler: F) -> Self
    where
        F: Fn(h2::server::Connection<TcpStream, Bytes>) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let handler = Arc::new(handler);
        Self::listen("h2c", move |stream, _| {
            let (handler, builder) = (Arc::clone(&handler), builder.clone());
            Box::pin(async move {
                if let Ok(connection) = builder.handshake(stream).await {
                    handler(connection).await;
                }
            })
        })
        .await
    }

    /// A place where nobody listens, and nobody will while this lives.
    pub async fn dead() -> Self {
        let upstream = Self::raw(|_| async {}).await;
        upstream.stop();
        upstream
    }

    async fn serve(scheme: &'static str, protocol: Protocol, handler: Handler) -> Self {
        let acceptor = TlsAcceptor::from(PKI.upstream_config());
        Self::listen(scheme, move |stream, seen| {
            let (handler, acceptor) = (Arc::clone(&handler), acceptor.clone());
            Box::pin(async move {
                match protocol {
                    Protocol::Http1 => speak(stream, false, handler, seen).await,
                    Protocol::H2c => speak(stream, true, handler, seen).await,
                    Protocol::Https => {
                        if let Ok(tls) = acceptor.accept(stream).await {
                            let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                            speak(tls, h2, handler, seen).await;
                        }
                    }
                }
            })
        })
        .await
    }

    async fn listen<F>(scheme: &'static str, handle: F) -> Self
    where
        F: Fn(TcpStream, Arc<Mutex<Vec<Seen>>>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (seen, connections, tasks) =
            (Arc::default(), Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let accepting = tokio::spawn({
            let (seen, connections, tasks) = (Arc::clone(&seen), Arc::clone(&connections), Arc::clone(&tasks));
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    stream.set_nodelay(true).expect("an open socket");
                    tasks.lock().expect("not poisoned").push(tokio::spawn(handle(stream, Arc::clone(&seen))));
                }
            }
        });
        tasks.lock().expect("not poisoned").push(accepting);
        Self { address, scheme, seen, connections, tasks }
    }

    /// As policies write it.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// The heads of all requests so far. Raw upstreams see none.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }

    /// The head of the last request.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request reached the upstream")
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Closes the listener and every connection at once, as a crash does.
    pub fn stop(&self) {
        for task in self.tasks.lock().expect("not poisoned").drain(..) {
            task.abort();
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop();
    }
}

fn boxed<F, A>(handler: F) -> Handler
where
    F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    Arc::new(move |request| Box::pin(handler(request)))
}

async fn speak<S>(stream: S, h2: bool, handler: Handler, seen: Arc<Mutex<Vec<Seen>>>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        seen.lock().expect("not poisoned").push(Seen {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            body: !request.body().is_end_stream(),
        });
        let answering = handler(request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    // How a connection ends is up to the test.
    if h2 {
        let builder = http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    } else {
        let mut builder = http1::Builder::new();
        let _ = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    }
}
