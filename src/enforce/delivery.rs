//! A request's body on its way up an HTTP/2 stream, in a task of its own: the answer must not wait for it, nor it for
//! the answer.

use super::body::RequestBody;
use super::fault::Fault;
use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::{Body as _, Frame};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot::{self, Receiver};
use tokio::task::AbortHandle;

/// Dropped, it breaks the body off.
#[derive(Debug)]
pub struct Delivery {
    task: Option<AbortHandle>,
    /// Why it was broken off. Gone without a word: it was not.
    told: Option<Receiver<Fault>>,
}

impl Delivery {
    pub const fn of_nothing() -> Self {
        Self { task: None, told: None }
    }

    pub fn begin(body: RequestBody, stream: SendStream<Bytes>) -> Self {
        let (telling, told) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut outflow = Outflow { body, stream, over: false };
            if let Err(fault) = outflow.run().await {
                // Before the stream shows it.
                let _ = telling.send(fault);
            }
        });
        Self { task: Some(task.abort_handle()), told: Some(told) }
    }

    /// Ready when the client's body broke off or stopped coming.
    pub fn poll_fault(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        let Some(told) = &mut self.told else { return Poll::Pending };
        let Poll::Ready(told) = Pin::new(told).poll(cx) else { return Poll::Pending };
        self.told = None;
        told.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct Outflow {
    body: RequestBody,
    stream: SendStream<Bytes>,
    /// It was sent whole, or the upstream wanted no more.
    over: bool,
}

impl Drop for Outflow {
    fn drop(&mut self) {
        if !self.over {
            // There are servers that take `CANCEL`, which the library would say by itself, for the body's end.
            self.stream.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

impl Outflow {
    /// Until all of it is sent, or the upstream wants no more.
    async fn run(&mut self) -> Result<(), Fault> {
        while !self.over {
            let taken = match self.piece().await {
                Some(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        let last = self.body.is_end_stream();
                        self.give(data, last).await.map(|()| last)
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        self.stream.send_trailers(trailers).ok().map(|()| true)
                    }
                },
                Some(None) => self.give(Bytes::new(), true).await.map(|()| true),
                Some(Some(Err(error))) if error.kind() == io::ErrorKind::TimedOut => return Err(Fault::RequestBody),
                Some(Some(Err(_))) => return Err(Fault::RequestBroken),
                None => None,
            };
            self.over = taken != Some(false);
        }
        Ok(())
    }

    /// The next piece of the body. None: the upstream wants no more.
    async fn piece(&mut self) -> Option<Option<io::Result<Frame<Bytes>>>> {
        poll_fn(|cx| match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(piece) => Poll::Ready(Some(piece)),
            Poll::Pending => self.stream.poll_reset(cx).map(|_| None),
        })
        .await
    }

    /// Sends it in as many parts as the upstream makes room for, one after the other. None: it wants no more.
    async fn give(&mut self, mut data: Bytes, last: bool) -> Option<()> {
        loop {
            self.stream.reserve_capacity(data.len());
            let room = self.stream.capacity().min(data.len());
            if room == 0 && !data.is_empty() {
                poll_fn(|cx| self.stream.poll_capacity(cx)).await?.ok()?;
                continue;
            }
            let part = data.split_to(room);
            self.stream.send_data(part, last && data.is_empty()).ok()?;
            if data.is_empty() {
                return Some(());
            }
        }
    }
}
