//! One request on its stream: the walk, the answer's head, and the body at its client's pace.

use super::pace::Pace;
use crate::enforce::body::ResponseBody;
use crate::enforce::headers::RANGEGATE_REQUEST_ID;
use crate::enforce::interim::Reply;
use crate::enforce::received::Received;
use crate::enforce::stream::StreamBytes;
use crate::gateway::clock;
use crate::gateway::connection::Connection;
use crate::gateway::core::Core;
use crate::gateway::request::{self, Answer};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::{Body, Frame};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

/// The body of an answer, with the record that follows it.
type Audited = crate::audit::AuditedBody<ResponseBody>;

/// Resolves when the answer's last byte is the library's. Dropped before, it resets the stream.
pub fn exchange(
    core: &Core,
    connection: &Arc<Connection>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    pace: Pace,
) -> impl Future<Output = ()> + Send + use<> {
    let busy = connection.busy();
    let reply = Reply::new(respond);
    let (request, tunnel) = receive(request, &reply);
    let worker = core.worker();
    let as_of = worker.live.generation();
    // Boxed: it is large, and is freed when the answer's head is known, however long the body flows.
    let mut walk = Box::pin(request::walk(worker, Arc::clone(connection), request, Some(reply.speaker()), as_of));
    async move {
        let answer = poll_fn(|cx| match walk.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => reply.poll_gone(cx).map(|()| None),
        });
        let answer = answer.await;
        drop(walk);
        let (Some(answer), Some(respond)) = (answer, reply.begin()) else { return };
        drop(reply);
        if let Some(mut outflow) = begin(answer, respond, tunnel, pace) {
            poll_fn(|cx| outflow.poll(cx)).await;
        }
        drop(busy);
    }
}

/// Where the stream goes that an accepted extended CONNECT opens, and what comes on it.
struct Tunnel {
    opening: oneshot::Sender<StreamBytes>,
    receiving: RecvStream,
}

fn receive(request: Request<RecvStream>, reply: &Arc<Reply>) -> (Request<Received>, Option<Tunnel>) {
    let (head, receiving) = request.into_parts();
    if head.method == Method::CONNECT {
        let (opening, opened) = oneshot::channel();
        return (Request::from_parts(head, Received::Tunnel(opened)), Some(Tunnel { opening, receiving }));
    }
    let body = Received::http2(receiving, &head.headers, reply);
    (Request::from_parts(head, body), None)
}

/// Sends the head. None: nothing comes behind it, or the bytes of a tunnel.
fn begin(answer: Answer, mut respond: SendResponse<Bytes>, tunnel: Option<Tunnel>, pace: Pace) -> Option<Outflow> {
    let (mut head, body) = answer.into_parts();
    complete(&mut head.headers, &body);
    let accepted = tunnel.filter(|_| head.status.is_success());
    let ends = accepted.is_none() && body.is_end_stream();
    // It fails when the client is gone; the record that the body carries says so when it is dropped.
    let sending = respond.send_response(Response::from_parts(head, ()), ends).ok()?;
    match accepted {
        Some(Tunnel { opening, receiving }) => {
            let _ = opening.send(StreamBytes::new(receiving, sending));
            None
        }
        None if ends => None,
        None => Some(Outflow { body, sending, pace, held: Bytes::new(), last: false }),
    }
}

/// What an answer's head has to have, whoever made it (RFC 9110 sections 6.6.1 and 8.6).
fn complete(headers: &mut HeaderMap, body: &Audited) {
    if let Some(id) = headers.get_mut(RANGEGATE_REQUEST_ID) {
        // Never the same twice: in HPACK's table it would only drive out what is.
        id.set_sensitive(true);
    }
    if !headers.contains_key(DATE) {
        let now = Duration::from_millis(clock::now().0.max(0).unsigned_abs());
        let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + now);
        headers.insert(DATE, HeaderValue::try_from(date).expect("a date is visible ASCII"));
    }
    if !body.is_end_stream()
        && let Some(length) = body.size_hint().exact()
        && !headers.contains_key(CONTENT_LENGTH)
    {
        headers.insert(CONTENT_LENGTH, length.into());
    }
}

/// A body on its way, as fast as its client takes it.
struct Outflow {
    body: Audited,
    sending: SendStream<Bytes>,
    pace: Pace,
    /// Of the body, and not yet taken; whether it is the last of it.
    held: Bytes,
    last: bool,
}

/// A frame of the body, or its end.
type Piece = Option<io::Result<Frame<Bytes>>>;

/// What became of what was held.
enum Given {
    All,
    /// The exchange is to be cut; its body says so.
    Cut,
    /// The client does not want it.
    Gone,
    /// The client did not take it in its time.
    TooSlow,
}

impl Outflow {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.held.is_empty() {
                let piece = ready!(self.poll_piece(cx));
                if !self.take(piece) {
                    return Poll::Ready(());
                }
            }
            match ready!(self.poll_give(cx)) {
                Given::All if !self.last => {}
                Given::All | Given::Gone => return Poll::Ready(()),
                Given::Cut => (self.held, self.last) = (Bytes::new(), false),
                Given::TooSlow => {
                    self.sending.send_reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
            }
        }
    }

    /// The next piece of the body. None: the client does not want it.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(piece) => Poll::Ready(Some(piece)),
            Poll::Pending => self.sending.poll_reset(cx).map(|_| None),
        }
    }

    /// False: nothing is left to be given.
    fn take(&mut self, piece: Option<Piece>) -> bool {
        match piece.map(|piece| piece.map(|frame| frame.map(Frame::into_data))) {
            Some(Some(Ok(Ok(data)))) => {
                (self.held, self.last) = (data, self.body.is_end_stream());
                true
            }
            Some(Some(Ok(Err(frame)))) => {
                let _ = frame.into_trailers().map(|trailers| self.sending.send_trailers(trailers));
                false
            }
            Some(Some(Err(_))) => {
                self.sending.send_reset(Reason::INTERNAL_ERROR);
                false
            }
            Some(None) => {
                self.last = true;
                true
            }
            None => false,
        }
    }

    /// Sends what is held, in as many parts as the client makes room for one after the other.
    fn poll_give(&mut self, cx: &mut Context<'_>) -> Poll<Given> {
        loop {
            self.sending.reserve_capacity(self.held.len());
            let room = self.sending.capacity().min(self.held.len());
            if room == 0 && !self.held.is_empty() {
                match self.sending.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Given::Gone),
                    Poll::Pending if self.body.get_mut().poll_cut(cx).is_ready() => return Poll::Ready(Given::Cut),
                    Poll::Pending => return self.pace.poll(self.held.len() as u64, cx).map(|()| Given::TooSlow),
                }
            }
            let part = self.held.split_to(room);
            self.pace.took(room as u64);
            if self.sending.send_data(part, self.last && self.held.is_empty()).is_err() {
                return Poll::Ready(Given::Gone);
            }
            if self.held.is_empty() {
                return Poll::Ready(Given::All);
            }
        }
    }
}
