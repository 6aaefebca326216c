//! Bodies on their way through: counted, watched for silence, never buffered.

use super::alarm::Alarm;
use super::answered::Answered;
use super::headers::{self, Owned};
use super::live::{Halt, Registration};
use super::rate::{Allowance, MinRate};
use super::received::Received;
use super::upstream::Lease;
use crate::audit::{End, Ending, Flow};
use crate::policy::Reason;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// How far a request body has come; read by the header deadline.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    /// Milliseconds after `began` at which a piece last passed.
    moved: AtomicU64,
    /// The body ended in an error that is not its silence.
    broken: AtomicBool,
    /// The upstream's answer has begun.
    answered: AtomicBool,
    /// The audit record's count.
    flow: Arc<Flow>,
    halt: Arc<Halt>,
}

impl Progress {
    /// Nothing passes once `open` is cut or over.
    pub fn new(flow: Arc<Flow>, open: &Registration) -> Arc<Self> {
        let halt = Arc::default();
        open.halts(&halt);
        Arc::new(Self {
            began: Instant::now(),
            moved: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            flow,
            halt,
        })
    }

    /// When a piece last passed.
    pub fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.moved.load(Ordering::Relaxed))
    }

    /// The upstream's answer has begun: a body without a declared length may be one half of a conversation now.
    pub fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether the client broke the body off.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    fn passed(&self, bytes: usize) {
        self.flow.add_received(bytes as u64);
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(elapsed, Ordering::Relaxed);
    }
}

/// Ends a body that delivers nothing, or too little, for too long. Costs nothing while pieces are ready.
#[derive(Debug)]
pub struct Silence {
    limit: Duration,
    /// When the whole exchange must be over, moving or not.
    end: Option<Instant>,
    /// For a client's body: how slowly it may come.
    allowance: Option<Allowance>,
    /// Since when a piece is awaited, and until when it is.
    waiting: Option<(Instant, Instant)>,
    alarm: Alarm,
}

impl Silence {
    /// `limit` bounds the wait for each piece; `end` the whole.
    pub fn new(limit: Duration, end: Option<Instant>, alarm: Alarm) -> Self {
        Self { limit, end, allowance: None, waiting: None, alarm }
    }

    /// For a client's body.
    pub fn of_client(limit: Duration, rate: MinRate, alarm: Alarm) -> Self {
        Self { allowance: Some(Allowance::new(rate, limit)), ..Self::new(limit, None, alarm) }
    }

    /// From now on only silence ends it.
    fn converse(&mut self) {
        if self.allowance.take().is_some() {
            self.waiting = None;
        }
    }

    fn broken(&mut self, bytes: usize) {
        let waited = self.waiting.take().map_or(Duration::ZERO, |(since, _)| since.elapsed());
        if let Some(allowance) = &mut self.allowance {
            allowance.account(waited, bytes as u64);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = match self.allowance.as_ref().and_then(|allowance| allowance.left(0)) {
            Some(left) => self.limit.min(left),
            None => self.limit,
        };
        let end = self.end;
        let (_, deadline) = *self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            let quiet = now + limit;
            (now, end.map_or(quiet, |end| end.min(quiet)))
        });
        self.alarm.poll(deadline, cx)
    }
}

/// A frame as it may pass, in either direction.
fn cleaned(mut frame: Frame<Bytes>, owned: &Owned) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        headers::trailers(trailers, owned);
    }
    frame
}

/// The client's body on its way to the upstream.
#[derive(Debug)]
pub struct RequestBody(Option<Box<Streaming>>);

#[derive(Debug)]
struct Streaming {
    body: Received,
    progress: Arc<Progress>,
    silence: Silence,
    owned: Arc<Owned>,
    /// Its length was declared: it is no half of a conversation.
    declared: bool,
}

impl RequestBody {
    pub const fn empty() -> Self {
        Self(None)
    }

    pub fn streaming(body: Received, progress: Arc<Progress>, silence: Silence, owned: Arc<Owned>) -> Self {
        let declared = body.size_hint().exact().is_some();
        Self(Some(Box::new(Streaming { body, progress, silence, owned, declared })))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(streaming) = &mut self.0 else { return Poll::Ready(None) };
        if streaming.progress.halt.poll(cx).is_ready() {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        match Pin::new(&mut streaming.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                streaming.silence.broken(bytes);
                streaming.progress.passed(bytes);
                Poll::Ready(Some(Ok(cleaned(frame, &streaming.owned))))
            }
            Poll::Ready(Some(Err(error))) => {
                streaming.progress.broken.store(true, Ordering::Relaxed);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                if !streaming.declared && streaming.progress.answered.load(Ordering::Relaxed) {
                    streaming.silence.converse();
                }
                streaming.silence.poll(cx).map(|()| Some(Err(io::ErrorKind::TimedOut.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|streaming| streaming.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |streaming| streaming.body.size_hint())
    }
}

/// What the client gets: our own page, or the upstream's body as it comes.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every answer is an upstream's: a box would be one more allocation"
)]
pub enum ResponseBody {
    Own(Full<Bytes>),
    Upstream(UpstreamBody),
}

impl ResponseBody {
    pub fn empty() -> Self {
        Self::Own(Full::default())
    }
}

/// A body from the upstream. Its connection goes back to the pool when the last byte has been read.
#[derive(Debug)]
pub struct UpstreamBody {
    body: Answered,
    silence: Silence,
    lease: Option<Lease>,
    owned: Arc<Owned>,
    /// While it flows it may be cut.
    open: Option<Registration>,
    /// Told at the next turn.
    broken: Option<io::Error>,
}

/// The gateway ended the body; the client sees it broken off.
#[derive(Debug, thiserror::Error)]
#[error("cut: {}", .0.code())]
struct CutShort(Reason);

/// How a record ends whose body failed, or was dropped before its end. None: as usual.
pub fn blame(ending: Ending<'_, ResponseBody>) -> Option<End> {
    match ending {
        Ending::Failed(error) => {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<CutShort>());
            let timed_out = || (error.kind() == io::ErrorKind::TimedOut).then_some(End::Timeout);
            inner.map(|CutShort(reason)| End::Cut(reason.code())).or_else(timed_out)
        }
        // Its client took nothing, so that it could not be told.
        Ending::Dropped(ResponseBody::Upstream(upstream)) => {
            upstream.open.as_ref()?.reason().map(|reason| End::Cut(reason.code()))
        }
        Ending::Dropped(ResponseBody::Own(_)) => None,
    }
}

impl UpstreamBody {
    /// The lease is given back at the last byte.
    pub fn new(body: Answered, silence: Silence, lease: Option<Lease>, owned: Arc<Owned>) -> Self {
        let mut this = Self { body, silence, lease, owned, open: None, broken: None };
        if this.body.is_end_stream() {
            this.finished();
        }
        this
    }

    fn finished(&mut self) {
        self.open = None;
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    /// Ready when the exchange is to be cut.
    fn poll_cut(&self, cx: &Context<'_>) -> Poll<io::Error> {
        let Some(open) = &self.open else { return Poll::Pending };
        open.poll_cut(cx).map(|reason| io::Error::other(CutShort(reason)))
    }

    /// An error is kept back for one turn: to hyper it ends the client's connection at once, and what came before it,
    /// perhaps in the same turn, is to be on its way by then.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let piece = match (&mut self.body, &mut self.lease) {
            (Answered::Http1(body), Some(lease)) => lease.wire.poll_piece(body, cx).map_err(io::Error::other),
            (body, _) => Pin::new(body).poll_frame(cx),
        };
        match piece {
            Poll::Ready(Some(Err(error))) => {
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            piece => piece,
        }
    }
}

impl ResponseBody {
    /// Keeps the exchange in the registry of what is open until the body has ended.
    pub fn watch(&mut self, registration: Registration) {
        if let Self::Upstream(upstream) = self
            && !upstream.body.is_end_stream()
        {
            upstream.open = Some(registration);
        }
    }

    /// Ready when the exchange is to be cut: its next frame says so. For whoever waits for its client meanwhile.
    pub fn poll_cut(&mut self, cx: &Context<'_>) -> Poll<()> {
        match self {
            Self::Own(_) => Poll::Pending,
            Self::Upstream(upstream) => upstream.poll_cut(cx).map(drop),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let upstream = match self.get_mut() {
            Self::Own(full) => return Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Upstream(upstream) => upstream,
        };
        if let Poll::Ready(cut) = upstream.poll_cut(cx) {
            upstream.open = None;
            return Poll::Ready(Some(Err(cut)));
        }
        match upstream.poll_piece(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                upstream.silence.broken(0);
                let frame = cleaned(frame, &upstream.owned);
                if upstream.body.is_end_stream() {
                    upstream.finished();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => {
                upstream.finished();
                Poll::Ready(None)
            }
            Poll::Pending => upstream.silence.poll(cx).map(|()| Some(Err(io::ErrorKind::TimedOut.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(full) => full.is_end_stream(),
            Self::Upstream(upstream) => upstream.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(full) => full.size_hint(),
            Self::Upstream(upstream) => upstream.body.size_hint(),
        }
    }
}
