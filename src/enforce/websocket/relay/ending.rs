//! How a relay ends: in good order where there is still somebody to tell, and within a bound in any case.

use super::super::frames::{self, Next};
use super::super::{Closing, Ended, Summary};
use super::{Phase, Relay};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

/// The bound on a close in good order.
pub(in super::super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the second close frame may take after the first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

impl<C: AsyncRead + AsyncWrite + Unpin, U: AsyncRead + AsyncWrite + Unpin> Relay<C, U> {
    /// Ends it in good order: a close frame at the next boundary, and nothing upstream any more.
    pub(super) fn close(&mut self, ended: Ended, closing: &Closing) {
        self.end.get_or_insert((ended, Some(closing.code)));
        if self.down.closed {
            // The client has its close frame already.
            return self.finish(ended, None);
        }
        self.farewell = !self.up.closed && self.up.at_boundary();
        self.deadline = Some(Instant::now() + CLOSE_TIMEOUT);
        self.phase = Phase::Closing;
        if self.injected == 0 {
            self.inject.clear();
        }
        self.inject.extend_from_slice(&frames::close(closing.code, &closing.reason, None));
    }

    pub(super) fn finish(&mut self, ended: Ended, code: Option<u16>) {
        self.end.get_or_insert((ended, code));
        if self.phase == Phase::Finished {
            return;
        }
        if self.phase == Phase::Open {
            self.farewell = !self.up.closed && self.up.at_boundary();
            self.deadline = Some(Instant::now() + CLOSE_TIMEOUT);
        }
        self.phase = Phase::Finished;
    }

    /// One side has sent its close frame.
    pub(super) fn half_closed(&mut self, ended: Ended, code: Option<u16>) {
        self.end.get_or_insert((ended, code));
        self.deadline.get_or_insert_with(|| Instant::now() + ANSWER_TIMEOUT);
        self.pings.stop();
        if self.phase == Phase::Open && self.injected == 0 {
            // A ping that has not gone out stays here.
            self.inject.clear();
        }
    }

    /// Waits for the client's close frame, so that closing does not reset ours away.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> bool {
        if self.down.poll_flush(cx, &mut self.client).is_err() {
            self.finish(Ended::Client, None);
            return true;
        }
        // Nothing of it goes upstream any more.
        self.up.buffer.drain(..self.up.ready);
        self.up.given = 0;
        self.up.ready = 0;
        loop {
            match self.up.frames.next(&self.up.buffer[self.up.ready..]) {
                Next::Data(length @ 1..) | Next::Ping(length) | Next::Pong(length, _) => self.up.ready += length,
                Next::Incomplete | Next::Data(_) => break,
                Next::Close(..) | Next::Violation => {
                    self.finish(Ended::Client, None);
                    return true;
                }
            }
        }
        match self.up.poll_read(cx, &mut self.client) {
            Poll::Pending => false,
            Poll::Ready(Ok(1..)) => true,
            Poll::Ready(_) => {
                self.finish(Ended::Client, None);
                true
            }
        }
    }

    /// Shuts both ends down, within the deadline.
    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Summary> {
        let (ended, code) = self.end.unwrap_or((Ended::Client, None));
        if std::mem::take(&mut self.farewell) {
            self.say_farewell(cx);
        }
        self.client_shut = self.client_shut || Pin::new(&mut self.client).poll_shutdown(cx).is_ready();
        self.upstream_shut = self.upstream_shut || Pin::new(&mut self.upstream).poll_shutdown(cx).is_ready();
        if !(self.client_shut && self.upstream_shut) {
            timer.as_mut().reset(self.deadline.unwrap_or_else(Instant::now).into());
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(Summary { from_client: self.up.traffic(), from_upstream: self.down.traffic(), ended, code })
    }

    /// Tells the upstream, if it can be told at once, that nobody is there any more.
    fn say_farewell(&mut self, cx: &mut Context<'_>) {
        let mut mask = [0; 4];
        // A fixed mask would do no harm: the gateway chose every byte.
        let _ = aws_lc_rs::rand::fill(&mut mask);
        let _ = Pin::new(&mut self.upstream).poll_write(cx, &frames::close(1001, "", Some(mask)));
    }
}
