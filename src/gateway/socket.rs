//! A TCP stream whose kernel measurements stay within reach while TLS and HTTP own its bytes.
//!
//! It also knows when its peer has stopped reading, whatever is spoken on it: HTTP/1, HTTP/2, WebSocket.

use super::admission::Slot;
use super::patience::Patience;
use crate::sources::transport;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// The only strong owner of the stream: when the connection is over, the descriptor is closed and measurements end.
/// So does its place in the count, whoever has the stream by then: HTTP or a WebSocket.
#[derive(Debug)]
pub struct Socket {
    stream: Arc<TcpStream>,
    /// Counted for as long as there is a descriptor, upgraded or not.
    _slot: Slot,
    patience: Patience,
    /// The first bytes the peer sent, and how many of them came.
    opening: [u8; OPENING],
    came: usize,
}

/// Enough to tell what a peer speaks.
const OPENING: usize = 12;

impl Socket {
    pub fn new(stream: TcpStream, slot: Slot, patience: Patience) -> Self {
        Self { stream: Arc::new(stream), _slot: slot, patience, opening: [0; OPENING], came: 0 }
    }

    /// Without delay a small answer need not wait 40 ms for an acknowledgement.
    pub fn send_at_once(&self) {
        let _ = self.stream.set_nodelay(true);
    }

    /// What the peer began with, at most twelve bytes of it.
    pub fn opening(&self) -> &[u8] {
        self.opening.get(..self.came).unwrap_or_default()
    }

    /// For reading `TCP_INFO` at each request.
    pub fn watch(&self) -> Weak<TcpStream> {
        Arc::downgrade(&self.stream)
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    if buf.remaining() > 0 {
                        // The kernel gave all it had: ask it again only when it says so.
                        let drained = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                        let _ = self.stream.try_io(Interest::READABLE, drained);
                    }
                    if self.came < OPENING {
                        self.get_mut().remember(&buf.filled()[before..]);
                    }
                    return Poll::Ready(read.map(drop));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_io(cx, |stream| stream.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match bufs {
            // Usually a record or two in one piece, which the plain call sends for less.
            [one] => self.poll_write(cx, one),
            several => self.get_mut().poll_io(cx, |stream| stream.try_write_vectored(several)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&*self.stream).shutdown(Shutdown::Write))
    }
}

impl Socket {
    fn remember(&mut self, read: &[u8]) {
        for (place, byte) in self.opening[self.came..].iter_mut().zip(read) {
            *place = *byte;
            self.came += 1;
        }
    }

    fn poll_io(
        &mut self,
        cx: &mut Context<'_>,
        mut io: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.stream.poll_write_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    ready!(self.patience.poll(cx, || transport::acknowledged(&*self.stream)));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
            match io(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    self.patience.broken();
                    return Poll::Ready(written);
                }
            }
        }
    }
}
