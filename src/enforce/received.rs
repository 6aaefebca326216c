//! A request's body as it comes from the client, whichever HTTP it speaks.

use super::interim::Reply;
use super::stream::StreamBytes;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;

#[derive(Debug)]
pub enum Received {
    Nothing,
    Http1(Incoming),
    /// Boxed: most requests have no body, and all are handed on with room for one.
    Http2(Box<Streamed>),
    /// An extended CONNECT has no body but, once it is accepted, the bytes of a tunnel (RFC 8441).
    Tunnel(oneshot::Receiver<StreamBytes>),
}

/// What comes on one HTTP/2 stream.
#[derive(Debug)]
pub struct Streamed {
    stream: h2::RecvStream,
    /// What is still to come of what the head announced; the library holds the client to it (RFC 9113 section 8.1.1).
    announced: Option<u64>,
    data_ended: bool,
    /// The client waits to be asked for it (RFC 9110 section 10.1.1).
    awaits: Option<Arc<Reply>>,
}

impl Received {
    pub fn http2(stream: h2::RecvStream, headers: &HeaderMap, reply: &Arc<Reply>) -> Self {
        if stream.is_end_stream() {
            return Self::Nothing;
        }
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let awaits = headers.contains_key(header::EXPECT).then(|| Arc::clone(reply));
        Self::Http2(Box::new(Streamed { stream, announced, data_ended: false, awaits }))
    }

    /// Whether its client sends nothing of it before it is asked to.
    pub fn awaits_go_ahead(&self) -> bool {
        matches!(self, Self::Http2(streamed) if streamed.awaits.is_some())
    }
}

impl Streamed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if !self.data_ended {
            let polled = self.stream.poll_data(cx);
            if polled.is_pending()
                && let Some(reply) = self.awaits.take()
            {
                reply.go_ahead();
            }
            match ready!(polled) {
                Some(Ok(data)) => {
                    // It did not wait.
                    self.awaits = None;
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.announced = self.announced.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                // Whatever its reason: a stream that is reset has not ended, and what came of it is not all.
                Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                None => self.data_ended = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx)).map_err(io::Error::other).transpose();
        Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)))
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Nothing | Self::Tunnel(_) => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(io::Error::other),
            Self::Http2(streamed) => streamed.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing | Self::Tunnel(_) => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(streamed) => streamed.stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing | Self::Tunnel(_) => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(streamed) => match streamed.announced {
                Some(left) => SizeHint::with_exact(left),
                None if streamed.stream.is_end_stream() => SizeHint::with_exact(0),
                None => SizeHint::default(),
            },
        }
    }
}
