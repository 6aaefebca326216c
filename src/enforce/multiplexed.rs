//! One HTTP/2 connection to an upstream, shared by requests.
//!
//! It is driven on h2 itself, as the clients' side is (docs/decisions/0012-http2-by-h2.md): interim answers can be heard,
//! and an answer that was reset or whose connection went away is told from one that ended.

use super::answered::Answered;
use super::body::RequestBody;
use super::delivery::Delivery;
use super::fault::Fault;
use super::wire::{Errand, Slot};
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, RecvStream};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Request, Response, Uri, request};
use http_body::Body as _;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};

/// While it carries requests it is asked this often whether its other end is still there, and has so long to say so.
const ASKED_EVERY: Duration = Duration::from_secs(20);
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Exchanges on one connection at most, fewer where its upstream says so. One more goes on a connection more: none waits
/// for another's end.
const STREAMS: u32 = 64;
/// Bytes that one answer, and all of them, may be ahead of their clients. All have their own, so that clients who take
/// nothing keep nobody else's answer back. It is memory that such clients hold, each as much.
const ONE: u32 = 128 * 1024;
const ALL: u32 = STREAMS * ONE;

#[derive(Debug)]
pub struct Multiplexed {
    sender: SendRequest<Bytes>,
    /// What `:scheme` says (RFC 9113 section 8.3.1).
    scheme: Scheme,
    usage: Arc<Usage>,
}

/// What becomes of a connection that others hold on to.
#[derive(Debug, Default)]
struct Usage {
    /// Exchanges that are under way.
    exchanges: AtomicUsize,
    over: AtomicBool,
}

/// Of one exchange: while it lives, the connection is in use.
#[derive(Debug)]
pub struct InUse(Arc<Usage>);

/// A place for one exchange.
#[derive(Debug)]
pub struct Seat {
    sender: SendRequest<Bytes>,
    scheme: Scheme,
    in_use: InUse,
}

impl Multiplexed {
    /// Begins HTTP/2; the connection runs on this core from then on, until nobody holds it or its upstream ends it.
    pub async fn begin<S>(stream: S, scheme: Scheme) -> Result<Self, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = Builder::new()
            .enable_push(false)
            .max_header_list_size(64 * 1024)
            .initial_window_size(ONE)
            .initial_connection_window_size(ALL)
            // Until the upstream has said how many it takes.
            .initial_max_send_streams(1)
            .handshake(stream)
            .await
            .map_err(|_| Fault::Closed)?;
        let usage = Arc::<Usage>::default();
        tokio::spawn(keep(connection, Arc::clone(&usage)));
        Ok(Self { sender, scheme, usage })
    }

    pub fn is_over(&self) -> bool {
        self.usage.over.load(Ordering::Relaxed)
    }

    pub fn is_in_use(&self) -> bool {
        self.usage.exchanges.load(Ordering::Relaxed) > 0
    }

    /// None: there is no room for one more.
    pub fn seat(&self) -> Option<Seat> {
        let most = self.sender.current_max_send_streams().min(STREAMS as usize);
        (self.usage.exchanges.load(Ordering::Relaxed) < most).then(|| self.seat_anyway())
    }

    /// On a connection that was opened for it.
    pub fn seat_anyway(&self) -> Seat {
        Seat { sender: self.sender.clone(), scheme: self.scheme.clone(), in_use: InUse::of(&self.usage) }
    }
}

impl Seat {
    /// Sends a request and waits for the head of its answer. A request that certainly never left stays where it is.
    pub async fn send(self, slot: &mut Slot) -> Result<Response<Answered>, Fault> {
        let mut sender = self.sender.ready().await.map_err(|_| Fault::Closed)?;
        let Errand { request, interim } = slot.take().expect("a request is there until it is sent");
        let (mut head, body) = request.into_parts();
        fit(&mut head, &body, self.scheme);
        let ends = body.is_end_stream();
        let head = Request::from_parts(head, ());
        let (mut answer, sending) = sender.send_request(head, ends).map_err(|_| Fault::Closed)?;
        let mut delivery = if ends { Delivery::of_nothing() } else { Delivery::begin(body, sending) };
        let response = poll_fn(|cx| {
            while let Poll::Ready(Some(Ok(said))) = answer.poll_informational(cx) {
                if let Some(speaker) = &interim {
                    speaker.say(said.status(), said.headers());
                }
            }
            match Pin::new(&mut answer).poll(cx) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                // What was broken off on this side comes back as a broken stream.
                Poll::Ready(Err(_)) => match delivery.poll_fault(cx) {
                    Poll::Ready(fault) => Poll::Ready(Err(fault)),
                    Poll::Pending => Poll::Ready(Err(Fault::Closed)),
                },
                Poll::Pending => delivery.poll_fault(cx).map(Err),
            }
        });
        let response: Response<RecvStream> = response.await?;
        let (head, stream) = response.into_parts();
        let body = Answered::http2(stream, &head.headers, delivery, self.in_use);
        Ok(Response::from_parts(head, body))
    }
}

/// Makes a head for HTTP/1.1 one for HTTP/2: `:scheme` and `:authority` from the `Host` header (RFC 9113 section 8.3.1).
fn fit(head: &mut request::Parts, body: &RequestBody, scheme: Scheme) {
    head.headers.remove(TRANSFER_ENCODING);
    let expected = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
    if expected && body.is_end_stream() && !head.headers.contains_key(CONTENT_LENGTH) {
        // RFC 9110 section 8.6.
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let Some(host) = head.headers.remove(HOST) else { return };
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    parts.scheme = Some(scheme);
    parts.authority = Authority::try_from(host.as_bytes()).ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        head.uri = uri;
    }
}

/// Keeps the connection going, and lets go of one whose other end does not answer.
async fn keep<S>(mut connection: Connection<S, Bytes>, usage: Arc<Usage>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let _over = Over(Arc::clone(&usage));
    let mut pings = connection.ping_pong();
    let mut asked = false;
    let mut bell = pin!(sleep(ASKED_EVERY));
    poll_fn(|cx| {
        loop {
            if Pin::new(&mut connection).poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let Some(pings) = &mut pings else { return Poll::Pending };
            if pings.poll_pong(cx).is_ready() && asked {
                asked = false;
                bell.as_mut().reset(Instant::now() + ASKED_EVERY);
            }
            ready!(bell.as_mut().poll(cx));
            if asked {
                return Poll::Ready(());
            }
            asked = usage.exchanges.load(Ordering::Relaxed) > 0 && pings.send_ping(Ping::opaque()).is_ok();
            bell.as_mut().reset(Instant::now() + if asked { ANSWERED_WITHIN } else { ASKED_EVERY });
        }
    })
    .await;
}

/// However the connection ends, whoever holds it is told.
struct Over(Arc<Usage>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

impl InUse {
    fn of(usage: &Arc<Usage>) -> Self {
        usage.exchanges.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(usage))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.exchanges.fetch_sub(1, Ordering::Relaxed);
    }
}
