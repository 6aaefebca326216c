//! What an HTTP/2 connection writes in one turn of the runtime leaves in one write.
//!
//! h2 (0.4.20) keeps the payload of one DATA frame at a time and flushes behind each: ten answers that are ready
//! together would be ten TLS records and ten system calls. Here a flush is only noted, and carried out when h2 has
//! had its turn, before the task is left: nothing waits for another event, for a timer or for more to come.

use smallvec::SmallVec;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The library's side of a stream.
#[derive(Debug)]
pub struct Gathered<S>(Arc<Mutex<Outbox<S>>>);

/// What lets out what has been gathered.
#[derive(Debug)]
pub struct Outlet<S>(Arc<Mutex<Outbox<S>>>);

/// Never contended: both sides belong to one task.
#[derive(Debug)]
struct Outbox<S> {
    stream: S,
    waiting: Vec<u8>,
    /// A flush was asked for, or the stream was written to.
    unflushed: bool,
    /// The first flush has happened. Until then everything passes at once: the round trip of SETTINGS is timed, and
    /// its acknowledgement counts only if the client's side was found silent after it had left.
    begun: bool,
    /// The stream had nothing to read in this turn. The library asks again behind each request it takes, and only the runtime
    /// could tell of more.
    dry: bool,
    /// How often something was read.
    heard: u64,
    failed: Option<io::ErrorKind>,
}

/// The most that is gathered: one TLS record.
const FULL: usize = 16 * 1024;

pub fn gather<S>(stream: S) -> (Gathered<S>, Outlet<S>) {
    let outbox =
        Outbox { stream, waiting: Vec::new(), unflushed: false, begun: false, dry: false, heard: 0, failed: None };
    let outbox = Arc::new(Mutex::new(outbox));
    (Gathered(Arc::clone(&outbox)), Outlet(outbox))
}

impl<S> Outlet<S> {
    /// Counts up while the peer sends anything at all.
    pub fn heard(&self) -> u64 {
        lock(&self.0).heard
    }
}

impl<S: AsyncWrite + Unpin> Outlet<S> {
    /// Polls the connection that has the other side, then lets out what it wrote.
    pub fn poll_turn<F: Future>(&self, mut connection: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        lock(&self.0).dry = false;
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            // A failure is the connection's to report: it finds it when it is polled again.
            if !lock(&self.0).fails_to_leave(cx) {
                return Poll::Pending;
            }
        }
    }
}

fn lock<S>(outbox: &Mutex<Outbox<S>>) -> MutexGuard<'_, Outbox<S>> {
    outbox.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S> Outbox<S> {
    fn sound(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl<S: AsyncWrite + Unpin> Outbox<S> {
    /// Lets out what it can. True: the connection has to learn of a failure.
    fn fails_to_leave(&mut self, cx: &mut Context<'_>) -> bool {
        if self.failed.is_some() {
            return false;
        }
        match self.poll_leave(cx) {
            Poll::Ready(Err(error)) => {
                self.failed = Some(error.kind());
                self.dry = false;
                true
            }
            Poll::Ready(Ok(())) | Poll::Pending => false,
        }
    }

    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting))?;
            self.left(written)?;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what was written out of what waits; gives how much more it was.
    fn left(&mut self, written: usize) -> io::Result<usize> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if written < self.waiting.len() {
            self.waiting.drain(..written);
            return Ok(0);
        }
        // A connection that is quiet keeps no room for what it might say.
        Ok(written - std::mem::take(&mut self.waiting).len())
    }

    fn poll_put(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.sound()?;
        if !self.begun {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        }
        self.unflushed = true;
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        if self.waiting.len() + length <= FULL {
            if self.waiting.capacity() == 0 {
                self.waiting.reserve_exact(FULL);
            }
            pieces.iter().for_each(|piece| self.waiting.extend_from_slice(piece));
            return Poll::Ready(Ok(length));
        }
        while !self.waiting.is_empty() {
            let written = {
                let all = std::iter::once(IoSlice::new(&self.waiting)).chain(pieces.iter().copied());
                let all = all.collect::<SmallVec<[_; 8]>>();
                ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &all))?
            };
            let more = self.left(written)?;
            if more > 0 {
                return Poll::Ready(Ok(more));
            }
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut outbox = lock(&self.0);
        outbox.sound()?;
        if outbox.dry {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut outbox.stream).poll_read(cx, out);
        outbox.dry = polled.is_pending();
        outbox.heard += u64::from(polled.is_ready());
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_put(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_put(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outbox = lock(&self.0);
        outbox.sound()?;
        outbox.unflushed = true;
        if !outbox.begun {
            ready!(outbox.poll_leave(cx))?;
            outbox.begun = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outbox = lock(&self.0);
        outbox.sound()?;
        ready!(outbox.poll_leave(cx))?;
        Pin::new(&mut outbox.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::timing::TlsSource;
    use crate::sources::handshake::{FrameTap, Noticed};
    use bytes::Bytes;
    use http_body_util::Full;
    use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;
    use std::time::Duration;
    use tokio::io::DuplexStream;
    use tokio::sync::Semaphore;

    struct Counted(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for Counted {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, out)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn answers_ready_in_one_turn_leave_in_one_write_and_a_lone_one_by_itself() {
        let (client, server) = tokio::io::duplex(1 << 20);
        let writes = Arc::new(AtomicUsize::new(0));
        let (gate, arrived) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (stream, outlet) = gather(Counted(server, Arc::clone(&writes)));
        let (opened, arrivals) = (Arc::clone(&gate), Arc::clone(&arrived));
        let serving = tokio::spawn(async move {
            let service = hyper::service::service_fn(move |_| {
                arrivals.fetch_add(1, Ordering::Relaxed);
                let gate = Arc::clone(&opened);
                async move {
                    gate.acquire().await.unwrap().forget();
                    Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(vec![b'a'; 1024]))))
                }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
            poll_fn(|cx| outlet.poll_turn(served.as_mut(), cx)).await
        });
        let (mut send, connection) = h2::client::handshake(client).await.unwrap();
        let driving = tokio::spawn(connection);
        // The first takes SETTINGS and its acknowledgement with it.
        for answers in [1, 1, 10, 1] {
            let asked = (0..answers).map(|_| {
                let request = http::Request::get("https://a.example/").body(()).unwrap();
                send.send_request(request, true).unwrap().0
            });
            let asked = asked.collect::<Vec<_>>();
            while arrived.load(Ordering::Relaxed) < answers {
                tokio::task::yield_now().await;
            }
            arrived.store(0, Ordering::Relaxed);
            // Now each waits at the gate.
            tokio::task::yield_now().await;
            let before = writes.load(Ordering::Relaxed);
            gate.add_permits(answers);
            for answer in asked {
                let mut body = answer.await.unwrap().into_body();
                let mut length = 0;
                while let Some(piece) = body.data().await {
                    length += piece.unwrap().len();
                }
                assert_eq!(length, 1024);
            }
            assert_eq!(writes.load(Ordering::Relaxed) - before, 1, "{answers}");
        }
        drop(send);
        driving.await.unwrap().unwrap();
        serving.await.unwrap().unwrap();
    }

    /// As the gateway stacks them: hyper's own keep-alives are found among what was gathered, and timed when they leave.
    #[tokio::test]
    async fn settings_and_pings_are_timed_behind_it() {
        let (client, server) = tokio::io::duplex(1 << 14);
        let (seen, mut sources) = tokio::sync::mpsc::unbounded_channel();
        let tap = FrameTap::new(server, move |noticed| {
            if let Noticed::RoundTrip(_, source) = noticed {
                let _ = seen.send(source);
            }
        });
        let (stream, outlet) = gather(tap);
        let serving = tokio::spawn(async move {
            let service = hyper::service::service_fn(|_| async {
                Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(vec![b'a'; 1024]))))
            });
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).keep_alive_interval(Duration::from_millis(5));
            let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
            poll_fn(|cx| outlet.poll_turn(served.as_mut(), cx)).await
        });
        let (mut send, connection) = h2::client::handshake(client).await.unwrap();
        let driving = tokio::spawn(connection);
        let (mut settings, mut pings) = (0, 0);
        // Ours behind SETTINGS, then hyper's.
        while settings < 1 || pings < 4 {
            let request = http::Request::get("https://a.example/").body(()).unwrap();
            send.send_request(request, true).unwrap().0.await.unwrap();
            match sources.recv().await.unwrap() {
                TlsSource::Http2Settings => settings += 1,
                TlsSource::Http2Ping => pings += 1,
                other => panic!("{other:?}"),
            }
        }
        drop(send);
        driving.await.unwrap().unwrap();
        serving.await.unwrap().unwrap();
    }

    /// Takes so many bytes a write; none: not now.
    struct Wire {
        takes: VecDeque<Option<usize>>,
        out: Vec<u8>,
    }

    impl AsyncRead for Wire {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Wire {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let Some(take) = self.takes.pop_front().unwrap_or(Some(usize::MAX)) else { return Poll::Pending };
            let take = take.min(bytes.len());
            self.out.extend_from_slice(&bytes[..take]);
            Poll::Ready(Ok(take))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all = pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<_>>();
            self.poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn flushed<S: AsyncWrite + Unpin>(gathered: &mut Gathered<S>) {
        assert!(Pin::new(gathered).poll_flush(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    #[test]
    fn nothing_waits_before_the_first_flush() {
        let (mut gathered, _outlet) = gather(Wire { takes: VecDeque::new(), out: Vec::new() });
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut gathered).poll_write(&mut cx, b"settings").is_ready());
        assert_eq!(lock(&gathered.0).stream.out, b"settings");
        flushed(&mut gathered);
        assert!(Pin::new(&mut gathered).poll_write(&mut cx, b"answer").is_ready());
        assert_eq!(lock(&gathered.0).stream.out, b"settings");
    }

    #[test]
    fn a_failure_reaches_the_connection_in_the_same_turn() {
        let (mut gathered, outlet) = gather(Wire { takes: VecDeque::from([Some(0)]), out: Vec::new() });
        flushed(&mut gathered);
        let connection = poll_fn(|cx| {
            let mut space = [0; 8];
            let read = Pin::new(&mut gathered).poll_read(cx, &mut ReadBuf::new(&mut space));
            if read.is_pending() {
                assert!(Pin::new(&mut gathered).poll_write(cx, b"answer").is_ready());
            }
            read
        });
        let ended = outlet.poll_turn(pin!(connection), &mut Context::from_waker(Waker::noop()));
        assert!(matches!(ended, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WriteZero));
    }

    proptest! {
        /// Whatever is written and however the wire takes it: all of it arrives, in order, and little waits.
        #[test]
        fn all_bytes_leave_in_order(
            pieces in prop::collection::vec(prop_oneof![0..2000usize, 0..40_000usize], 1..20),
            takes in prop::collection::vec(prop::option::of(1..30_000usize), 0..40),
        ) {
            let (mut gathered, outlet) = gather(Wire { takes: takes.into(), out: Vec::new() });
            flushed(&mut gathered);
            let all = (0..pieces.iter().sum()).map(|at: usize| at as u8).collect::<Vec<_>>();
            let (mut at, mut ends) = (0, pieces.iter().scan(0, |end, length| { *end += length; Some(*end) }));
            let mut end = ends.next();
            let mut connection = pin!(poll_fn(|cx| {
                while let Some(until) = end {
                    let (a, b) = all[at..until].split_at((until - at) / 4);
                    at += ready!(Pin::new(&mut gathered).poll_write_vectored(cx, &[IoSlice::new(a), IoSlice::new(b)]))?;
                    if at == until {
                        end = ends.next();
                        ready!(Pin::new(&mut gathered).poll_flush(cx))?;
                    }
                }
                Poll::<io::Result<()>>::Pending
            }));
            for _ in 0..100 {
                let polled = outlet.poll_turn(connection.as_mut(), &mut Context::from_waker(Waker::noop()));
                prop_assert!(polled.is_pending());
                prop_assert!(lock(&outlet.0).waiting.len() <= FULL);
            }
            prop_assert!(lock(&outlet.0).waiting.is_empty());
            prop_assert_eq!(&lock(&outlet.0).stream.out, &all);
        }
    }
}
