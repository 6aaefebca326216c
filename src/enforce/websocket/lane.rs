//! One direction of a relay: a buffer between a reader and a writer.

use super::Traffic;
use super::frames::Frames;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const BUFFER: usize = 16 * 1024;

/// One direction: `given..ready` is being written, what is behind it was not looked at or is not whole.
pub(super) struct Lane {
    pub(super) frames: Frames,
    pub(super) buffer: Vec<u8>,
    pub(super) given: usize,
    pub(super) ready: usize,
    bytes: u64,
    /// A close frame went by: nothing may follow.
    pub(super) closed: bool,
    pub(super) unflushed: bool,
}

impl Lane {
    pub(super) fn new(frames: Frames) -> Self {
        Self { frames, buffer: Vec::new(), given: 0, ready: 0, bytes: 0, closed: false, unflushed: false }
    }

    /// Whether what was written ends with a frame's end.
    pub(super) fn at_boundary(&self) -> bool {
        self.given == self.ready && self.frames.at_boundary()
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while self.given < self.ready {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer[self.given..self.ready]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.given += written;
            self.bytes += written as u64;
            self.unflushed = true;
        }
        self.buffer.drain(..self.given);
        self.given = 0;
        self.ready = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads behind what is held; zero bytes at the stream's end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<usize>> {
        let held = self.buffer.len();
        self.buffer.resize(BUFFER.max(held + 1024), 0);
        let mut space = ReadBuf::new(&mut self.buffer[held..]);
        let polled = Pin::new(from).poll_read(cx, &mut space);
        let read = space.filled().len();
        self.buffer.truncate(held + read);
        if self.buffer.is_empty() {
            // A quiet socket keeps no buffer.
            self.buffer = Vec::new();
        }
        polled.map_ok(|()| read)
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if self.unflushed && Pin::new(to).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }

    pub(super) const fn traffic(&self) -> Traffic {
        Traffic { bytes: self.bytes, messages: self.frames.messages() }
    }
}
