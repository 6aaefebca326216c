//! What an upstream says before its answer (RFC 9110 section 15.2: 102, 103), on its way to the client.
//!
//! On HTTP/2 it goes out on the request's own stream. Hyper's HTTP/1 server cannot send it, so there it goes around
//! hyper: the upstream's connection hands it in here, and the guard of the client's connection writes it between two of
//! hyper's messages. That is right only while every byte of the answer before has been written and none of the answer
//! itself, and only the guard knows when that is.
//!
//! A 100 is not passed on: whoever sent the body already needs none, and the gateway sends its own. Nor is a 101, which
//! is an answer. HTTP/1.0 knows no interim answers (RFC 9110 section 15.2).

use super::headers;
use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Response, StatusCode};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Of one HTTP/1.1 connection; one exchange at a time speaks.
#[derive(Debug, Default)]
pub struct Interim {
    state: Mutex<State>,
    /// Whether an exchange is open, and whether it has said something: so that the guard need not lock to find not.
    open: AtomicBool,
    said: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Which exchange may speak: a late word of one before is not heard.
    exchange: u64,
    heads: u32,
    bytes: Vec<u8>,
    /// All bytes of the answer before have been written.
    clear: bool,
    waker: Option<Waker>,
}

/// Heads that one exchange may send before its answer, and how many bytes of them may wait for the client.
const HEADS: u32 = 16;
const BYTES: usize = 32 * 1024;

/// While it lives, its exchange may speak. To be dropped before the answer is handed over.
#[derive(Debug)]
pub struct Turn {
    interim: Arc<Interim>,
    exchange: u64,
}

/// Where the answer of one HTTP/2 stream goes, and what comes before it.
#[derive(Debug)]
pub struct Reply(Mutex<Awaited>);

#[derive(Debug)]
struct Awaited {
    /// None: the answer has begun.
    stream: Option<SendResponse<Bytes>>,
    heads: u32,
    bytes: usize,
}

/// Says what an upstream says before its answer.
#[derive(Clone, Debug)]
pub struct Speaker(Way);

#[derive(Clone, Debug)]
enum Way {
    Between { interim: Arc<Interim>, exchange: u64 },
    Stream(Arc<Reply>),
}

impl Interim {
    /// A new exchange: whoever spoke before has spoken.
    pub fn begin(self: &Arc<Self>) -> Turn {
        let mut state = self.lock();
        state.exchange += 1;
        state.heads = 0;
        state.bytes.clear();
        state.clear = false;
        self.open.store(true, Ordering::Relaxed);
        self.said.store(false, Ordering::Relaxed);
        Turn { interim: Arc::clone(self), exchange: state.exchange }
    }

    /// What is to be written now. To be asked when all that hyper had to write has been: after a flush. The task of `cx`
    /// is woken when there is more.
    pub fn after_flush(&self, cx: &Context<'_>) -> Option<Vec<u8>> {
        if !self.open.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.lock();
        state.clear = true;
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        self.take(&mut state)
    }

    /// What is to be written before hyper's next bytes: said in the same breath as the answer.
    pub fn before_write(&self) -> Option<Vec<u8>> {
        if !self.said.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.lock();
        if state.clear { self.take(&mut state) } else { None }
    }

    fn say(&self, exchange: u64, status: StatusCode, fields: &HeaderMap) {
        let mut state = self.lock();
        if state.exchange != exchange || state.heads >= HEADS {
            return;
        }
        let head = head(status, fields);
        if state.bytes.len() + head.len() > BYTES {
            return;
        }
        state.heads += 1;
        state.bytes.extend_from_slice(&head);
        self.said.store(true, Ordering::Relaxed);
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    fn take(&self, state: &mut State) -> Option<Vec<u8>> {
        self.said.store(false, Ordering::Relaxed);
        (!state.bytes.is_empty()).then(|| std::mem::take(&mut state.bytes))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    pub fn speaker(&self) -> Speaker {
        Speaker(Way::Between { interim: Arc::clone(&self.interim), exchange: self.exchange })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let interim = &*self.interim;
        let mut state = interim.lock();
        interim.open.store(false, Ordering::Relaxed);
        if state.clear {
            // What was said with the answer still goes before it. Nothing more is heard.
            state.exchange += 1;
        } else {
            // Where the answer before ends is not known any more: it is left unsaid.
            state.bytes.clear();
            interim.said.store(false, Ordering::Relaxed);
        }
    }
}

impl Speaker {
    /// Makes the head fit for the client, as an answer's head is, and hands it in. What is too much is left out.
    pub fn say(&self, status: StatusCode, headers: &HeaderMap) {
        if !(102..=199).contains(&status.as_u16()) {
            return;
        }
        let mut fields = headers.clone();
        headers::interim(&mut fields);
        match &self.0 {
            Way::Between { interim, exchange } => interim.say(*exchange, status, &fields),
            Way::Stream(reply) => reply.say(status, fields),
        }
    }
}

impl Reply {
    pub fn new(stream: SendResponse<Bytes>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Awaited { stream: Some(stream), heads: 0, bytes: 0 })))
    }

    pub fn speaker(self: &Arc<Self>) -> Speaker {
        Speaker(Way::Stream(Arc::clone(self)))
    }

    /// Ready when the client, or its connection, has given the stream up.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.lock().stream.as_mut().map_or(Poll::Pending, |stream| stream.poll_reset(cx).map(drop))
    }

    /// Asks for the body that the client holds back (RFC 9110 section 10.1.1).
    pub fn go_ahead(&self) {
        if let Some(stream) = &mut self.lock().stream {
            interim(stream, StatusCode::CONTINUE, HeaderMap::new());
        }
    }

    /// The answer itself begins: nothing more comes before it.
    pub fn begin(&self) -> Option<SendResponse<Bytes>> {
        self.lock().stream.take()
    }

    fn say(&self, status: StatusCode, fields: HeaderMap) {
        let size = fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        let mut awaited = self.lock();
        let Awaited { stream: Some(stream), heads, bytes } = &mut *awaited else { return };
        if *heads < HEADS && *bytes + size <= BYTES {
            (*heads, *bytes) = (*heads + 1, *bytes + size);
            interim(stream, status, fields);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Awaited> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that is gone hears nothing; whoever waits for the answer finds out.
fn interim(stream: &mut SendResponse<Bytes>, status: StatusCode, fields: HeaderMap) {
    let mut head = Response::new(());
    *head.status_mut() = status;
    *head.headers_mut() = fields;
    let _ = stream.send_informational(head);
}

/// The head as it goes over the wire. `HeaderName` and `HeaderValue` hold no line breaks and no zero bytes.
fn head(status: StatusCode, fields: &HeaderMap) -> Vec<u8> {
    let mut start = String::with_capacity(64);
    let _ = write!(start, "HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default());
    let mut head = start.into_bytes();
    for (name, value) in fields {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::LINK;

    const HINT: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";

    fn link() -> HeaderMap {
        HeaderMap::from_iter([(LINK, HeaderValue::from_static("</a.css>"))])
    }

    fn after_flush(interim: &Interim) -> Option<Vec<u8>> {
        interim.after_flush(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn hints_go_out_between_two_answers_and_nowhere_else() {
        let interim = Arc::<Interim>::default();
        let turn = interim.begin();
        let speaker = turn.speaker();
        speaker.say(StatusCode::EARLY_HINTS, &link());
        assert_eq!(interim.before_write(), None, "the answer before may still be going out");
        assert_eq!(after_flush(&interim).as_deref(), Some(HINT));
        assert_eq!(after_flush(&interim), None);
        // Said together with the answer: before it.
        speaker.say(StatusCode::EARLY_HINTS, &link());
        drop(turn);
        assert_eq!(after_flush(&interim), None, "the answer may be on its way");
        assert_eq!(interim.before_write().as_deref(), Some(HINT));
        // Too late, in this exchange and in the next.
        speaker.say(StatusCode::EARLY_HINTS, &link());
        let turn = interim.begin();
        speaker.say(StatusCode::EARLY_HINTS, &link());
        assert_eq!(after_flush(&interim), None);
        drop(turn);
        assert_eq!(interim.before_write(), None);
        // Answered before the answer before was out.
        let turn = interim.begin();
        turn.speaker().say(StatusCode::EARLY_HINTS, &link());
        drop(turn);
        assert_eq!(interim.before_write(), None);
    }

    #[test]
    fn only_interim_answers_pass_and_not_without_end() {
        let interim = Arc::<Interim>::default();
        let turn = interim.begin();
        for status in [100, 101, 200] {
            turn.speaker().say(StatusCode::from_u16(status).unwrap(), &link());
            assert_eq!(after_flush(&interim), None, "{status}");
        }
        let mut fields = link();
        for (name, value) in [
            ("connection", "x-internal"),
            ("x-internal", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("rangegate-request-id", "forged"),
        ] {
            fields.insert(name, HeaderValue::from_static(value));
        }
        turn.speaker().say(StatusCode::EARLY_HINTS, &fields);
        assert_eq!(after_flush(&interim).as_deref(), Some(HINT));
        for _ in 0..100 {
            turn.speaker().say(StatusCode::EARLY_HINTS, &link());
        }
        assert_eq!(after_flush(&interim).map(|heads| heads.len()), Some(HINT.len() * (HEADS as usize - 1)));
        let turn = interim.begin();
        fields.insert("x-large", HeaderValue::from_bytes(&[b'x'; BYTES]).unwrap());
        turn.speaker().say(StatusCode::EARLY_HINTS, &fields);
        assert_eq!(after_flush(&interim), None);
    }
}
