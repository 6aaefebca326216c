//! Bodies that count what passes through them.

use super::entry::{Entry, gone};
use super::record::{End, Flow};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// How a body did not come to its end.
pub enum Ending<'b, B: Body> {
    Failed(&'b B::Error),
    Dropped(&'b B),
}

/// What is to be recorded of it. None: an upstream's error, or a client that is gone.
pub type Blame<B> = fn(Ending<'_, B>) -> Option<End>;

/// A response body that closes its record at its end, when it fails, or when it is dropped.
pub struct AuditedBody<B: Body> {
    inner: B,
    entry: Entry,
    blame: Blame<B>,
    sent: u64,
    /// The length the head announced. HTTP/1 stops asking once it has been delivered.
    announced: Option<u64>,
    /// HEAD, 204 and 304: nobody will ask for the body.
    bodiless: bool,
}

impl<B: Body<Data = Bytes> + Unpin> AuditedBody<B> {
    pub(super) fn new(inner: B, entry: Entry, bodiless: bool, blame: Blame<B>) -> Self {
        let announced = inner.size_hint().exact();
        Self { inner, entry, blame, sent: 0, announced, bodiless }
    }

    pub const fn get_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for AuditedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                this.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                // The last piece is with the connection. A client that does not take it holds its own stream, not a
                // place in the log.
                if this.inner.is_end_stream() {
                    this.entry.close_after(End::Complete, this.sent);
                }
            }
            Some(Err(error)) => {
                let end = (this.blame)(Ending::Failed(error)).unwrap_or(End::UpstreamError);
                this.entry.close_after(end, this.sent);
            }
            None => this.entry.close_after(End::Complete, this.sent),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Body> Drop for AuditedBody<B> {
    fn drop(&mut self) {
        let all = self.bodiless || self.inner.is_end_stream() || self.announced == Some(self.sent);
        let end = match std::thread::panicking() {
            true => End::Panic,
            false if all => End::Complete,
            false => (self.blame)(Ending::Dropped(&self.inner)).unwrap_or_else(gone),
        };
        self.entry.close_after(end, self.sent);
    }
}

/// A request body whose bytes are counted as they are read.
pub struct CountedBody<B> {
    inner: B,
    flow: Option<Arc<Flow>>,
}

impl<B> CountedBody<B> {
    pub(super) const fn new(inner: B, flow: Option<Arc<Flow>>) -> Self {
        Self { inner, flow }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for CountedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        if let (Some(Ok(frame)), Some(flow)) = (&frame, &this.flow)
            && let Some(data) = frame.data_ref()
        {
            flow.add_received(data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
