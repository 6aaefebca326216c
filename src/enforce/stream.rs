//! The client's bytes behind a handshake: of a whole HTTP/1.1 connection, or of one HTTP/2 stream.

use bytes::{Buf as _, Bytes};
use h2::{Reason, RecvStream, SendStream};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// What resolves to them once our answer is sent.
#[derive(Debug)]
pub enum Opening {
    Http1(OnUpgrade),
    Http2(oneshot::Receiver<StreamBytes>),
}

/// The open ones.
#[derive(Debug)]
pub enum ClientBytes {
    Http1(TokioIo<Upgraded>),
    Http2(StreamBytes),
}

/// The client was gone before our answer reached it.
#[derive(Clone, Copy, Debug)]
pub struct Gone;

impl Opening {
    /// # Errors
    /// When the client is gone.
    pub async fn open(self) -> Result<ClientBytes, Gone> {
        match self {
            Self::Http1(upgrade) => Ok(ClientBytes::Http1(TokioIo::new(upgrade.await.map_err(|_| Gone)?))),
            Self::Http2(opening) => Ok(ClientBytes::Http2(opening.await.map_err(|_| Gone)?)),
        }
    }
}

/// One HTTP/2 stream, read and written as bytes (RFC 9113 section 8.5). Dropped before it was shut down, it is reset.
#[derive(Debug)]
pub struct StreamBytes {
    receiving: RecvStream,
    sending: SendStream<Bytes>,
    /// Come, and not yet read.
    held: Bytes,
}

impl StreamBytes {
    pub const fn new(receiving: RecvStream, sending: SendStream<Bytes>) -> Self {
        Self { receiving, sending, held: Bytes::new() }
    }

    /// How much may be sent now of what is to be.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        self.sending.reserve_capacity(wanted);
        loop {
            match self.sending.capacity() {
                0 => match ready!(self.sending.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                    None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
                },
                room => return Poll::Ready(Ok(room.min(wanted))),
            }
        }
    }
}

fn broken(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| ErrorKind::BrokenPipe.into())
    } else {
        io::Error::other(error)
    }
}

impl AsyncRead for StreamBytes {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.held.is_empty() {
            match ready!(this.receiving.poll_data(cx)) {
                Some(Ok(data)) => this.held = data,
                None => return Poll::Ready(Ok(())),
                // A client that gives the stream up as a matter of course.
                Some(Err(error)) if matches!(error.reason(), Some(Reason::NO_ERROR | Reason::CANCEL)) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let take = this.held.len().min(out.remaining());
        out.put_slice(&this.held[..take]);
        this.held.advance(take);
        let _ = this.receiving.flow_control().release_capacity(take);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamBytes {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(this.poll_room(cx, bytes.len()))?;
        let sent = this.sending.send_data(Bytes::copy_from_slice(&bytes[..room]), false);
        Poll::Ready(sent.map(|()| room).map_err(broken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.sending.reserve_capacity(0);
        Poll::Ready(this.sending.send_data(Bytes::new(), true).map_err(broken))
    }
}

impl AsyncRead for ClientBytes {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Http1(io) => Pin::new(io).poll_read(cx, out),
            Self::Http2(io) => Pin::new(io).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for ClientBytes {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Http1(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Http2(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Http1(io) => Pin::new(io).poll_flush(cx),
            Self::Http2(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Http1(io) => Pin::new(io).poll_shutdown(cx),
            Self::Http2(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
