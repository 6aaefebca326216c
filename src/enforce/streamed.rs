//! What comes on one HTTP/2 stream, from a client or from an upstream.

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use std::task::{Context, Poll, ready};

#[derive(Debug)]
pub struct Streamed {
    stream: RecvStream,
    /// What is still to come of what the head announced; the library holds the sender to it (RFC 9113 section 8.1.1).
    announced: Option<u64>,
    data_ended: bool,
}

impl Streamed {
    pub fn new(stream: RecvStream, head: &HeaderMap) -> Self {
        let announced = head.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self { stream, announced, data_ended: false }
    }

    /// Whether data may still come: neither its end nor trailers have.
    pub const fn flows(&self) -> bool {
        !self.data_ended
    }

    /// A stream that is reset has not ended, whatever the reason: what came of it is not all.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.announced = self.announced.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_ended = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx)).transpose();
        Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)))
    }

    pub fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub fn size_hint(&self) -> SizeHint {
        match self.announced {
            Some(left) => SizeHint::with_exact(left),
            None if self.is_end_stream() => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}
