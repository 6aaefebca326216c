//! What hyper writes to an HTTP/2 connection in one turn leaves in one write, as in Rangegate.
//!
//! h2 flushes behind every answer's body: each would be a TLS record and a system call of its own, and the floor would lie
//! higher than it need.

use rangegate_benches::Result;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Let out when so much waits: one TLS record.
const FULL: usize = 16 * 1024;

/// Hyper has one, and whoever polls hyper another.
pub struct Gathered<S>(Arc<Mutex<Outbox<S>>>);

struct Outbox<S> {
    stream: S,
    waiting: Vec<u8>,
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    pub fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(Outbox { stream, waiting: Vec::with_capacity(FULL) })))
    }

    /// A second handle on the same stream.
    pub fn other(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Polls the connection until it ends, and after each turn lets out what it wrote.
    pub async fn drive(&self, connection: impl Future<Output = hyper::Result<()>>) -> Result<()> {
        let mut connection = pin!(connection);
        std::future::poll_fn(|cx| {
            let turn = connection.as_mut().poll(cx);
            match (turn, self.lock().poll_leave(cx)) {
                (Poll::Pending, Poll::Ready(Err(why))) => Poll::Ready(Err(why.into())),
                (turn, _) => turn.map_err(Into::into),
            }
        })
        .await
    }

    /// Never contended: both handles belong to one task.
    fn lock(&self) -> MutexGuard<'_, Outbox<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncWrite + Unpin> Outbox<S> {
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => drop(self.waiting.drain(..written)),
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut outbox = self.lock();
        if outbox.waiting.len() >= FULL {
            ready!(outbox.poll_leave(cx))?;
        }
        pieces.iter().for_each(|piece| outbox.waiting.extend_from_slice(piece));
        Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outbox = self.lock();
        ready!(outbox.poll_leave(cx))?;
        Pin::new(&mut outbox.stream).poll_shutdown(cx)
    }
}
