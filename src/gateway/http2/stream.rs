//! One request on its stream: the walk, the answer's head, and the body at its client's pace.

use super::pace::Pace;
use crate::enforce::body::ResponseBody;
use crate::enforce::headers::RANGEGATE_REQUEST_ID;
use crate::enforce::interim::Reply;
use crate::enforce::rate::MinRate;
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
use http_body::Body;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

/// The body of an answer, with the record that follows it.
type Audited = crate::audit::AuditedBody<ResponseBody>;

/// Until the answer's last byte is the library's. Dropped before, it resets the stream.
pub async fn exchange(
    core: Arc<Core>,
    connection: Arc<Connection>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    (patience, rate): (Duration, MinRate),
) {
    let _busy = connection.busy();
    let reply = Reply::new(respond);
    let (request, tunnel) = receive(request, &reply);
    let speaker = Some(reply.speaker());
    let worker = core.worker();
    let as_of = worker.live.generation();
    // Boxed: it is large, and is freed when the answer's head is known, however long the body flows.
    let mut walk = Box::pin(request::walk(&worker, &connection, request, speaker, as_of));
    let answer = poll_fn(|cx| match walk.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => reply.poll_gone(cx).map(|()| None),
    });
    let answer = answer.await;
    drop(walk);
    // Whatever a body still flows for, its configuration is not kept for it.
    drop((worker, core));
    let (Some(answer), Some(respond)) = (answer, reply.begin()) else { return };
    drop(reply);
    send(answer, respond, tunnel, Pace::new(patience, rate)).await;
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

async fn send(answer: Answer, mut respond: SendResponse<Bytes>, tunnel: Option<Tunnel>, pace: Pace) {
    let (mut head, body) = answer.into_parts();
    complete(&mut head.headers, &body);
    let accepted = tunnel.filter(|_| head.status.is_success());
    let ends = accepted.is_none() && body.is_end_stream();
    // It fails when the client is gone; the record that the body carries says so when it is dropped.
    let Ok(sending) = respond.send_response(Response::from_parts(head, ()), ends) else { return };
    match accepted {
        Some(Tunnel { opening, receiving }) => {
            let _ = opening.send(StreamBytes::new(receiving, sending));
        }
        None if ends => {}
        None => pour(body, sending, pace).await,
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

/// Sends a body as fast as its client takes it.
async fn pour(mut body: Audited, mut sending: SendStream<Bytes>, mut pace: Pace) {
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            Poll::Pending => sending.poll_reset(cx).map(|_| None),
        });
        match frame.await {
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    let last = body.is_end_stream();
                    match give(data, last, &mut body, &mut sending, &mut pace).await {
                        Given::All if last => return,
                        Given::All => {}
                        Given::Cut => continue,
                        Given::Gone => return,
                        Given::TooSlow => return sending.send_reset(Reason::CANCEL),
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let _ = sending.send_trailers(trailers);
                        return;
                    }
                }
            },
            Some(Some(Err(_))) => return sending.send_reset(Reason::INTERNAL_ERROR),
            Some(None) => {
                let _ = sending.send_data(Bytes::new(), true);
                return;
            }
            None => return,
        }
    }
}

/// What became of a piece.
enum Given {
    All,
    /// The exchange is to be cut; its body says so.
    Cut,
    /// The client does not want it.
    Gone,
    /// The client did not take it in its time.
    TooSlow,
}

/// Sends a piece in as many parts as the client has room for one after the other.
async fn give(
    mut data: Bytes,
    last: bool,
    body: &mut Audited,
    sending: &mut SendStream<Bytes>,
    pace: &mut Pace,
) -> Given {
    loop {
        sending.reserve_capacity(data.len());
        let room = match sending.capacity() {
            _ if data.is_empty() => 0,
            0 => {
                let waiting = poll_fn(|cx| match sending.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => Poll::Ready(Given::All),
                    Poll::Ready(Some(Err(_)) | None) => Poll::Ready(Given::Gone),
                    Poll::Pending if body.get_mut().poll_cut(cx).is_ready() => Poll::Ready(Given::Cut),
                    Poll::Pending => pace.poll(data.len() as u64, cx).map(|()| Given::TooSlow),
                });
                match waiting.await {
                    Given::All => continue,
                    ended => return ended,
                }
            }
            room => room.min(data.len()),
        };
        let part = data.split_to(room);
        pace.took(room as u64);
        if sending.send_data(part, last && data.is_empty()).is_err() {
            return Given::Gone;
        }
        if data.is_empty() {
            return Given::All;
        }
    }
}
