//! A request's body as it comes from the client, whichever HTTP it speaks.

use super::interim::Reply;
use super::stream::StreamBytes;
use super::streamed::Streamed;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

#[derive(Debug)]
pub enum Received {
    Nothing,
    Http1(Incoming),
    /// Boxed: most requests have no body, and all are handed on with room for one.
    Http2(Box<Upload>),
    /// An extended CONNECT has no body but, once it is accepted, the bytes of a tunnel (RFC 8441).
    Tunnel(oneshot::Receiver<StreamBytes>),
}

/// What comes on a client's stream.
#[derive(Debug)]
pub struct Upload {
    streamed: Streamed,
    /// The client waits to be asked for it (RFC 9110 section 10.1.1).
    awaits: Option<Arc<Reply>>,
}

impl Received {
    pub fn http2(stream: h2::RecvStream, headers: &HeaderMap, reply: &Arc<Reply>) -> Self {
        if stream.is_end_stream() {
            return Self::Nothing;
        }
        let awaits = headers.contains_key(header::EXPECT).then(|| Arc::clone(reply));
        Self::Http2(Box::new(Upload { streamed: Streamed::new(stream, headers), awaits }))
    }

    /// Whether its client sends nothing of it before it is asked to.
    pub fn awaits_go_ahead(&self) -> bool {
        matches!(self, Self::Http2(upload) if upload.awaits.is_some())
    }
}

impl Upload {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = self.streamed.poll_frame(cx);
        // Taken in any case: what is there was not waited with.
        if let Some(reply) = self.awaits.take()
            && polled.is_pending()
            && self.streamed.flows()
        {
            reply.go_ahead();
        }
        polled.map_err(io::Error::other)
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Nothing | Self::Tunnel(_) => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(io::Error::other),
            Self::Http2(upload) => upload.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing | Self::Tunnel(_) => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(upload) => upload.streamed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing | Self::Tunnel(_) => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(upload) => upload.streamed.size_hint(),
        }
    }
}
