//! HTTP/2 answers that their clients do not take: each stream is ended by itself, so that none holds an upstream,
//! or a page, for as long as its client likes. (On HTTP/1 the socket tells; here a stream's window may stay shut while
//! the others flow, and hyper then waits without asking the body for more.)

use super::connection::Busy;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// Whose turn it is on one stream: odd while hyper has a frame that the client has not taken. Counts up.
#[derive(Debug, Default)]
struct Turns(AtomicU64);

impl Turns {
    fn clients(&self) {
        let turn = self.0.load(Ordering::Relaxed);
        self.0.store((turn + 1) | 1, Ordering::Relaxed);
    }

    fn ours(&self) {
        let turn = self.0.load(Ordering::Relaxed);
        self.0.store(turn + (turn & 1), Ordering::Relaxed);
    }

    fn waiting(&self) -> Option<u64> {
        let turn = self.0.load(Ordering::Relaxed);
        (turn & 1 == 1).then_some(turn)
    }
}

/// Runs the streams of one connection, each bounded in how long its client may take nothing.
#[derive(Clone, Debug)]
pub struct Streams {
    patience: Duration,
    next: Arc<Mutex<Option<Arc<Turns>>>>,
}

/// What a stream's answer is to be wrapped in.
#[derive(Debug)]
pub struct Pacer(Arc<Turns>);

impl Streams {
    pub fn new(patience: Duration) -> Self {
        Self { patience, next: Arc::default() }
    }

    /// To be called where hyper calls the service: right after that it hands the stream to the executor.
    pub fn begin(&self) -> Pacer {
        let turns = Arc::<Turns>::default();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&turns));
        Pacer(turns)
    }
}

impl Pacer {
    pub fn pace<B>(self, body: B, busy: Busy) -> Paced<B> {
        Paced { body: Box::new(body), turns: self.0, _busy: busy }
    }
}

impl<F: Future<Output = ()> + Unpin + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let turns = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        match turns {
            Some(turns) => tokio::spawn(Bounded { stream, turns, patience: self.patience, alarm: None }),
            // The bytes of a tunnel, which watches itself.
            None => tokio::spawn(stream),
        };
    }
}

/// A stream that is dropped, and thereby reset, when its client has taken nothing for too long.
struct Bounded<F> {
    stream: F,
    turns: Arc<Turns>,
    patience: Duration,
    alarm: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<F: Future<Output = ()> + Unpin> Future for Bounded<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if Pin::new(&mut this.stream).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(turn) = this.turns.waiting() else {
            this.alarm = None;
            return Poll::Pending;
        };
        if this.alarm.as_ref().is_none_or(|(since, _)| *since != turn) {
            this.alarm = Some((turn, Box::pin(tokio::time::sleep(this.patience))));
        }
        let Some((_, alarm)) = &mut this.alarm else { return Poll::Pending };
        alarm.as_mut().poll(cx)
    }
}

/// An answer on its way; while there is any of it, the connection is not idle.
pub struct Paced<B> {
    /// Hyper moves a stream several times before it lies in its task, with room for the answer's body.
    body: Box<B>,
    turns: Arc<Turns>,
    _busy: Busy,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        this.turns.ours();
        let frame = ready!(Pin::new(&mut *this.body).poll_frame(cx));
        this.turns.clients();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
