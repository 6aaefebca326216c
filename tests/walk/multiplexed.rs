//! Upstreams that speak HTTP/2: what breaks off is seen to break off, both ways.

use crate::client::BOTH;
use crate::gateway::{Harness, PATIENCE};
use crate::upstream::{Upstream, channel, data, drain, empty};
use bytes::Bytes;
use h2::Reason;
use http::{Request, Response};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::timeout;

/// What an upstream does to an answer it has half sent.
#[derive(Clone, Copy, Debug)]
enum Breach {
    Reset(Reason),
    /// As a server does that is being stopped.
    GoneAway,
    Closed,
}

/// Sends half an answer, and when that has arrived does what `breach` says.
async fn breaking(breach: Breach) -> Upstream {
    Upstream::raw_h2c(move |mut connection| async move {
        let mut pings = connection.ping_pong().expect("not taken yet");
        while let Some(Ok((_, mut answer))) = connection.accept().await {
            let mut body = answer.send_response(Response::new(()), false).expect("open");
            body.send_data(Bytes::from_static(b"half"), false).expect("open");
            pings.send_ping(h2::Ping::opaque()).expect("none under way");
            poll_fn(|cx| {
                assert!(connection.poll_closed(cx).is_pending());
                pings.poll_pong(cx)
            })
            .await
            .expect("an answer");
            match breach {
                Breach::Reset(reason) => body.send_reset(reason),
                Breach::GoneAway => {
                    connection.abrupt_shutdown(Reason::NO_ERROR);
                    let _ = poll_fn(|cx| connection.poll_closed(cx)).await;
                    return;
                }
                Breach::Closed => return,
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_answer_over_http2_that_breaks_off_never_looks_whole() {
    let resets = [Reason::CANCEL, Reason::NO_ERROR, Reason::INTERNAL_ERROR].map(Breach::Reset);
    for breach in resets.into_iter().chain([Breach::GoneAway, Breach::Closed]) {
        let app = breaking(breach).await;
        let gate = Harness::open(&app).await;
        for version in BOTH {
            let mut client = gate.dial().http(version).await;
            let asked = Request::get("/").body(empty()).expect("a request");
            let answer = timeout(PATIENCE, client.send(asked)).await.expect("in time").expect("a head");
            let read = timeout(PATIENCE, drain(answer.into_body())).await.expect("in time");
            assert!(read.is_err(), "{breach:?}, {version:?}: {read:?}");
        }
        for record in gate.audit_records(2).await {
            assert_eq!(record["end"], "upstream-error", "{breach:?}: {record:#}");
        }
    }
}

#[tokio::test]
async fn an_upload_that_is_given_up_breaks_off_at_an_http2_upstream() {
    let (told, mut came) = tokio::sync::mpsc::channel(4);
    let app = Upstream::raw_h2c(move |mut connection| {
        let told = told.clone();
        async move {
            while let Some(Ok((request, answer))) = connection.accept().await {
                let told = told.clone();
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    let first =
                        body.data().await.map(|data| data.map_err(|error| error.reason()).map(|data| data.len()));
                    told.send(first).await.expect("a listener");
                    let next =
                        body.data().await.map(|data| data.map_err(|error| error.reason()).map(|data| data.len()));
                    told.send(next).await.expect("a listener");
                    drop(answer);
                });
            }
        }
    })
    .await;
    let gate = Harness::open(&app).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        let (sender, body) = channel();
        let sending = tokio::spawn(async move {
            let _ = client.send(Request::post("/up").body(body).expect("a request")).await;
        });
        sender.send(data("half")).await.expect("a reader");
        assert_eq!(came.recv().await, Some(Some(Ok(4))), "{version:?}");
        sending.abort();
        assert_eq!(came.recv().await, Some(Some(Err(Some(Reason::INTERNAL_ERROR)))), "{version:?}");
    }
}

#[tokio::test]
async fn a_connection_that_its_upstream_takes_back_costs_no_request() {
    let app = Upstream::raw_h2c(|mut connection| async move {
        // One answer each.
        let Some(Ok((_, mut answer))) = connection.accept().await else { return };
        let mut body = answer.send_response(Response::new(()), false).expect("open");
        body.send_data(Bytes::from_static(b"hello"), true).expect("open");
        connection.graceful_shutdown();
        while connection.accept().await.is_some() {}
    })
    .await;
    let gate = Harness::open(&app).await;
    let mut client = gate.dial().h1().await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.text(), "hello");
    }
    assert!(app.connections() >= 2);
}

/// Never answers `/hold`, sends a body of 2 MiB for `/large`, and a word for anything else.
async fn holding(most: u32) -> (Upstream, Arc<AtomicU64>) {
    let held = Arc::<AtomicU64>::default();
    let count = Arc::clone(&held);
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(most);
    let app = Upstream::raw_h2c_with(builder, move |mut connection| {
        let count = Arc::clone(&count);
        async move {
            let mut held = Vec::new();
            while let Some(Ok((request, mut answer))) = connection.accept().await {
                if request.uri().path() == "/hold" {
                    count.fetch_add(1, Ordering::SeqCst);
                    held.push(answer);
                    continue;
                }
                let length = if request.uri().path() == "/large" { 2 << 20 } else { 5 };
                let mut body = answer.send_response(Response::new(()), false).expect("open");
                body.send_data(Bytes::from(vec![b'x'; length]), true).expect("open");
            }
        }
    })
    .await;
    (app, held)
}

#[tokio::test]
async fn what_an_upstream_holds_keeps_nothing_else_waiting() {
    let (app, held) = holding(2).await;
    let gate = Harness::open(&app).await;
    let client = gate.dial().h2().await;
    let holds: Vec<_> = (0..7)
        .map(|_| {
            let mut client = client.again();
            tokio::spawn(async move { client.get("/hold").await })
        })
        .collect();
    let all = async {
        while held.load(Ordering::SeqCst) < 7 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, all).await.expect("all are held");
    for _ in 0..3 {
        let mut client = client.again();
        let answer = timeout(PATIENCE, client.get("/")).await.expect("in time");
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "xxxxx"));
    }
    holds.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn who_takes_nothing_keeps_nobody_elses_answer_back() {
    let (app, _) = holding(100).await;
    let gate = Harness::open(&app).await;
    let tls = gate.dial().alpn(&["h2"]).tls().await.expect("a handshake");
    let (mut client, connection) =
        h2::client::Builder::new().initial_window_size(1000).handshake::<_, Bytes>(tls).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut get = |path: &str| {
        let request = Request::get(format!("https://app.corp.example{path}")).body(()).expect("a request");
        client.send_request(request, true).expect("a stream").0
    };
    let mut untaken = Vec::new();
    for _ in 0..40 {
        let mut body = get("/large").await.expect("an answer").into_body();
        assert_eq!(body.data().await.expect("more").expect("whole").len(), 1000);
        untaken.push(body);
    }
    let small = timeout(PATIENCE, async { get("/").await.expect("an answer").into_body().data().await });
    assert_eq!(small.await.expect("in time").expect("more").expect("whole").len(), 5);
}
