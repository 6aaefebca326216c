//! An answer's body as it comes from the upstream, whichever HTTP it speaks.

use super::delivery::Delivery;
use super::multiplexed::InUse;
use super::streamed::Streamed;
use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

#[derive(Debug)]
pub enum Answered {
    Http1(Incoming),
    /// Boxed: most answers come over HTTP/1.1.
    Http2(Box<Stream>),
}

/// What comes on an upstream's stream.
#[derive(Debug)]
pub struct Stream {
    streamed: Streamed,
    /// The request's body, which goes no further than the answer.
    _delivery: Delivery,
    _in_use: InUse,
}

impl Answered {
    pub fn http2(stream: RecvStream, head: &HeaderMap, delivery: Delivery, in_use: InUse) -> Self {
        let streamed = Streamed::new(stream, head);
        Self::Http2(Box::new(Stream { streamed, _delivery: delivery, _in_use: in_use }))
    }
}

impl Body for Answered {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(io::Error::other),
            Self::Http2(stream) => stream.streamed.poll_frame(cx).map_err(io::Error::other),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(stream) => stream.streamed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(stream) => stream.streamed.size_hint(),
        }
    }
}
