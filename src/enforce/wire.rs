//! One HTTP/1.1 connection to an upstream, kept going by whoever waits for its answer.
//!
//! Hyper makes a connection a future of its own. In a task of its own it would cost each request two more turns of the
//! scheduler; so it lies in the pool as a plain value, and the request that has taken it polls it. While both act for the
//! same task they need not wake each other: what passes between them is asked for with a waker that wakes nobody.
//!
//! A request with a body is the exception. Its two directions must not wait for each other: a client may send on without
//! taking the answer. Such a connection gets a task of its own, for the rest of its life.

use super::body::RequestBody;
use super::interim::Speaker;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::task::unconstrained;

/// A request until it is sent. It is large: it lies still, and whoever may send it is told where.
pub type Slot = Option<Errand>;

/// A request, and who hears what is said before its answer.
#[derive(Debug)]
pub struct Errand {
    pub request: Request<RequestBody>,
    pub interim: Option<Speaker>,
}

pub struct Wire {
    sender: SendRequest<RequestBody>,
    /// None: it has a task of its own, or it is over.
    connection: Option<Connection>,
}

/// Ends with the connection. Its errors reach whoever sent the request; an idle connection's end concerns nobody.
type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

type Piece = Option<hyper::Result<Frame<Bytes>>>;

impl Wire {
    pub fn new(
        sender: SendRequest<RequestBody>,
        connection: impl Future<Output = hyper::Result<()>> + Send + 'static,
    ) -> Self {
        Self { sender, connection: Some(Box::pin(connection)) }
    }

    /// Sends a request and waits for the head of its answer. A request that certainly never left is put back.
    pub async fn send(&mut self, slot: &mut Slot) -> hyper::Result<Response<Incoming>> {
        let Errand { mut request, interim } = slot.take().expect("a request is there until it is sent");
        if !request.body().is_end_stream() {
            self.detach();
        }
        if let Some(speaker) = interim.clone() {
            hyper::ext::on_informational(&mut request, move |said| speaker.say(said.status(), said.headers()));
        }
        let sending = self.sender.try_send_request(request);
        // Unconstrained: told to yield, it would wake nobody.
        let mut answer = pin!(unconstrained(sending));
        let answered = poll_fn(|cx| {
            proceed(&mut self.connection, cx);
            match self.connection {
                Some(_) => answer.as_mut().poll(&mut nobody()),
                None => answer.as_mut().poll(cx),
            }
        });
        answered.await.map_err(|mut error| {
            *slot = error.take_message().map(|request| Errand { request, interim });
            error.into_error()
        })
    }

    /// The next piece of the answer that came on this connection.
    pub fn poll_piece(&mut self, answer: &mut Incoming, cx: &mut Context<'_>) -> Poll<Piece> {
        if self.connection.is_some() {
            let waiting = Pin::new(&mut *answer).poll_frame(&mut nobody());
            if waiting.is_ready() {
                return waiting;
            }
            proceed(&mut self.connection, cx);
        }
        match self.connection {
            Some(_) => Pin::new(answer).poll_frame(&mut nobody()),
            None => Pin::new(answer).poll_frame(cx),
        }
    }

    /// Looks after a connection that nobody waits for. False: it is closed.
    pub fn rest(&mut self) -> bool {
        proceed(&mut self.connection, &mut nobody());
        !self.sender.is_closed()
    }

    /// Whether it could take a request now.
    pub fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Gives the connection a task of its own.
    pub fn detach(&mut self) {
        if let Some(connection) = self.connection.take() {
            tokio::spawn(connection);
        }
    }
}

fn proceed(connection: &mut Option<Connection>, cx: &mut Context<'_>) {
    // Once it has ended it is dropped, which gives back a request that it did not send.
    if connection.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
        *connection = None;
    }
}

const fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("sender", &self.sender).finish_non_exhaustive()
    }
}
