//! HTTP/2 answers that their clients do not take: each stream is ended by itself, so that none holds an upstream,
//! or a page, for as long as its client likes. (On HTTP/1 the socket tells; here a stream's window may stay shut while
//! the others flow, and hyper then waits without asking the body for more.)
//!
//! Large pieces are handed to hyper in parts: what a client has taken shows only when hyper asks for the next.

use super::connection::Busy;
use crate::enforce::rate::{Allowance, MinRate};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// The largest part of an answer that is handed to hyper at once: a frame's default size (RFC 9113 section 4.2).
const PART: usize = 16 * 1024;

/// Whose turn it is on one stream: odd while hyper has a frame that the client has not taken. Counts up.
#[derive(Debug, Default)]
struct Turns {
    turn: AtomicU64,
    /// Bytes of the answer that hyper has had, and those it has now.
    given: AtomicU64,
    held: AtomicU64,
}

impl Turns {
    fn clients(&self, bytes: u64) {
        let turn = self.turn.load(Ordering::Relaxed);
        self.held.store(bytes, Ordering::Relaxed);
        self.given.store(self.given.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
        self.turn.store((turn + 1) | 1, Ordering::Relaxed);
    }

    fn ours(&self) {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn + (turn & 1), Ordering::Relaxed);
    }

    fn waiting(&self) -> Option<u64> {
        let turn = self.turn.load(Ordering::Relaxed);
        (turn & 1 == 1).then_some(turn)
    }
}

/// Runs the streams of one connection, each bounded in how long its client may take nothing.
#[derive(Clone, Debug)]
pub struct Streams {
    patience: Duration,
    rate: MinRate,
    next: Arc<Mutex<Option<Arc<Turns>>>>,
}

/// What a stream's answer is to be wrapped in.
#[derive(Debug)]
pub struct Pacer(Arc<Turns>);

impl Streams {
    pub fn new(patience: Duration, rate: MinRate) -> Self {
        Self { patience, rate, next: Arc::default() }
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
        Paced { body: Box::new(Parts { body, rest: Bytes::new() }), turns: self.0, _busy: busy }
    }
}

impl<F: Future<Output = ()> + Unpin + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let turns = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        match turns {
            Some(turns) => {
                let allowance = Allowance::new(self.rate, self.patience);
                let watch = Watch { turns, patience: self.patience, allowance, accounted: 0, alarm: None };
                tokio::spawn(Bounded { stream, watch })
            }
            // The bytes of a tunnel, which watches itself.
            None => tokio::spawn(stream),
        };
    }
}

/// A stream that is dropped, and thereby reset, when its client has taken nothing, or too little, for too long.
struct Bounded<F> {
    stream: F,
    watch: Watch,
}

struct Watch {
    turns: Arc<Turns>,
    patience: Duration,
    allowance: Allowance,
    /// Bytes of the answer whose taking was accounted for.
    accounted: u64,
    alarm: Option<Alarm>,
}

/// One turn of the client's.
struct Alarm {
    turn: u64,
    since: Instant,
    ring: Pin<Box<Sleep>>,
}

impl<F: Future<Output = ()> + Unpin> Future for Bounded<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if Pin::new(&mut this.stream).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        this.watch.poll(cx)
    }
}

impl Watch {
    /// Ready when the client's time is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let turn = self.turns.waiting();
        if let Some(alarm) = self.alarm.take_if(|alarm| turn != Some(alarm.turn)) {
            self.account(alarm.since.elapsed(), turn.is_some());
        }
        let Some(turn) = turn else { return Poll::Pending };
        let alarm = self.alarm.get_or_insert_with(|| {
            let left = self.allowance.left(self.turns.held.load(Ordering::Relaxed));
            let patience = left.map_or(self.patience, |left| left.min(self.patience));
            Alarm { turn, since: Instant::now(), ring: Box::pin(tokio::time::sleep(patience)) }
        });
        alarm.ring.as_mut().poll(cx)
    }

    /// A turn is over: all that hyper has had is taken, but for what it holds in this one.
    fn account(&mut self, waited: Duration, holds: bool) {
        let held = if holds { self.turns.held.load(Ordering::Relaxed) } else { 0 };
        let taken = self.turns.given.load(Ordering::Relaxed).saturating_sub(held);
        self.allowance.account(waited, taken.saturating_sub(self.accounted));
        self.accounted = taken;
    }
}

/// An answer on its way; while there is any of it, the connection is not idle.
pub struct Paced<B> {
    /// Hyper moves a stream several times before it lies in its task, with room for the answer's body.
    body: Box<Parts<B>>,
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
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        this.turns.clients(data.map_or(0, Bytes::len) as u64);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body in parts of a bounded size.
struct Parts<B> {
    body: B,
    /// Of a large piece.
    rest: Bytes,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Parts<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let mut frame = if this.rest.is_empty() {
            ready!(Pin::new(&mut this.body).poll_frame(cx))
        } else {
            Some(Ok(Frame::data(std::mem::take(&mut this.rest))))
        };
        let data = frame.as_mut().and_then(|frame| frame.as_mut().ok()?.data_mut());
        if let Some(data) = data.filter(|data| data.len() > PART) {
            this.rest = data.split_off(PART);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        // The upper bound first: the lower may not be above it.
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(body.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use std::task::Waker;

    fn next(body: &mut (impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin)) -> Option<usize> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref().map(Bytes::len),
            _ => None,
        }
    }

    #[tokio::test]
    async fn what_was_taken_earns_time_and_what_is_held_gives_it() {
        let rate = MinRate { bytes_per_second: 1000, grace: Duration::from_secs(2) };
        let turns = Arc::<Turns>::default();
        let patience = Duration::from_secs(60);
        let allowance = Allowance::new(rate, patience);
        let mut watch = Watch { turns: Arc::clone(&turns), patience, allowance, accounted: 0, alarm: None };
        let mut cx = Context::from_waker(Waker::noop());
        let seconds = |watch: &Watch, held| watch.allowance.left(held).unwrap().as_secs_f64().round() as u64;
        turns.clients(3000);
        assert!(watch.poll(&mut cx).is_pending());
        let ring = watch.alarm.as_ref().unwrap().ring.deadline();
        assert_eq!((ring - watch.alarm.as_ref().unwrap().since).as_secs_f64().round() as u64, 2 + 3);
        // Five seconds later, to the watch, the piece is taken and another is there.
        watch.alarm.as_mut().unwrap().since -= Duration::from_secs(4);
        turns.ours();
        turns.clients(500);
        assert!(watch.poll(&mut cx).is_pending());
        assert_eq!(seconds(&watch, 0), 2 + 3 - 4);
        // Taken, and nothing follows: the upstream's turn, for as long as it likes.
        turns.ours();
        assert!(watch.poll(&mut cx).is_pending());
        assert!(watch.alarm.is_none() && watch.accounted == 3500);
        assert_eq!(seconds(&watch, 0), 1);
    }

    #[test]
    fn a_large_piece_goes_in_parts_and_stays_whole() {
        let whole = Full::new(Bytes::from(vec![7; 2 * PART + 1]));
        let mut body = Parts { body: whole, rest: Bytes::new() };
        assert_eq!(body.size_hint().exact(), Some(2 * PART as u64 + 1));
        assert_eq!(next(&mut body), Some(PART));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(PART as u64 + 1), false));
        assert_eq!((next(&mut body), next(&mut body), next(&mut body)), (Some(PART), Some(1), None));
        assert!(body.is_end_stream());
    }
}
