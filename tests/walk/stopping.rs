//! Stopping: what is under way finishes, what idles is closed, what lives on is told when time is up.

use crate::client::{BOTH, Http, get};
use crate::gateway::{Harness, PATIENCE, PKI, eventually};
use crate::upstream::{Upstream, channel, data, ok};
use crate::websockets::{chat, open, receive};
use futures_util::SinkExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

#[tokio::test]
async fn what_is_under_way_finishes_and_what_idles_is_closed() {
    let go = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&go);
    let app = Upstream::http1(move |request| {
        let wait = Arc::clone(&wait);
        async move {
            if request.uri().path() == "/slow" {
                wait.acquire().await.expect("open").forget();
            }
            ok("done")
        }
    })
    .await;
    let mut gate =
        Harness::builder().app(&app).limits(|limits| limits.drain_timeout = Duration::from_secs(30)).start().await;
    let mut idle = Vec::new();
    let mut busy = Vec::new();
    for version in BOTH {
        for _ in 0..3 {
            let mut client = gate.dial().http(version).await;
            assert_eq!(client.get("/").await.text(), "done");
            idle.push(client);
            let mut client = gate.dial().http(version).await;
            busy.push(tokio::spawn(async move { client.get("/slow").await }));
        }
    }
    eventually("six are under way", || app.seen().iter().filter(|seen| seen.uri == "/slow").count() == 6).await;
    let stopping = gate.stopping();
    for client in &idle {
        eventually("idle connections close", || client.is_closed()).await;
    }
    assert!(gate.dial().tls().await.is_err(), "no new connections");
    let (status, body) = gate.operations("/readyz").await;
    assert_eq!((status, body.as_str()), (503, "not ready: draining\n"));
    assert_eq!(gate.operations("/healthz").await.0, 200);
    assert!(!stopping.is_finished());
    go.add_permits(6);
    for asked in busy {
        let answer = asked.await.expect("no panic");
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "done"));
    }
    let begun = Instant::now();
    stopping.await.expect("no panic");
    assert!(begun.elapsed() < Duration::from_secs(5), "it does not wait for the timeout when nothing is left");
    let lines = gate.lines();
    let records: Vec<_> = lines.iter().filter(|line| line["kind"] == "request").collect();
    assert_eq!(records.len(), 12);
    assert!(records.iter().all(|record| record["end"] == "complete"), "{records:#?}");
    assert_eq!(lines.last().expect("a line")["event"], "stop");
}

#[tokio::test]
async fn websockets_stay_until_the_deadline_and_are_told() {
    let app = chat().await;
    let mut gate =
        Harness::builder().app(&app).limits(|limits| limits.drain_timeout = Duration::from_millis(700)).start().await;
    let mut sockets = Vec::new();
    for version in BOTH {
        let mut client = gate.dial().certificate(&PKI.ann).http(version).await;
        let (mut socket, _) = open(&mut client, version, "/", &[]).await;
        socket.send(Message::text("before")).await.expect("open");
        assert_eq!(receive(&mut socket).await, Message::text("before"));
        sockets.push((version, socket, client));
    }
    let begun = Instant::now();
    let stopping = gate.stopping();
    for (version, socket, _) in &mut sockets {
        // A drain is for finishing: talk goes on until time is up.
        socket.send(Message::text("during")).await.expect("open");
        assert_eq!(receive(socket).await, Message::text("during"), "{version:?}");
    }
    for (version, socket, _) in &mut sockets {
        let Message::Close(Some(CloseFrame { code, .. })) = receive(socket).await else { panic!("{version:?}") };
        assert_eq!(u16::from(code), 1001, "{version:?}");
    }
    assert!(begun.elapsed() >= Duration::from_millis(700), "cut after {:?}", begun.elapsed());
    stopping.await.expect("no panic");
    let lines = gate.lines();
    let records: Vec<_> = lines.iter().filter(|line| line["kind"] == "request").collect();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record["end"] == "cut:draining"), "{records:#?}");
}

#[tokio::test]
async fn answers_that_do_not_end_are_cut_at_the_deadline_and_recorded_so() {
    let app = Upstream::http1(|request| async move {
        if request.uri().path() == "/silent" {
            std::future::pending::<()>().await;
        }
        let (sender, body) = channel();
        tokio::spawn(async move {
            while sender.send(data("more")).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
        });
        Response::new(body)
    })
    .await;
    let mut gate =
        Harness::builder().app(&app).limits(|limits| limits.drain_timeout = Duration::from_millis(200)).start().await;
    let mut endless = Vec::new();
    let mut silent = Vec::new();
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        let body = client.send(get("/endless")).await.expect("an answer").into_body();
        endless.push((version, body, client));
        let mut client = gate.dial().http(version).await;
        silent.push(tokio::spawn(async move { client.get("/silent").await }));
    }
    eventually("all four are under way", || app.seen().len() == 4).await;
    let begun = Instant::now();
    let stopping = gate.stopping();
    for (version, mut body, _client) in endless {
        let end = async {
            loop {
                match body.frame().await {
                    Some(Ok(_)) => {}
                    other => return other.is_some(),
                }
            }
        };
        assert!(tokio::time::timeout(PATIENCE, end).await.expect("in time"), "{version:?}: it must not look whole");
    }
    for asked in silent {
        assert_eq!(asked.await.expect("an answer").status, 503);
    }
    stopping.await.expect("no panic");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let lines = gate.lines();
    let records: Vec<_> = lines.iter().filter(|line| line["kind"] == "request").collect();
    assert_eq!(records.len(), 4);
    assert!(records.iter().all(|record| record["end"] == "cut:draining"), "{records:#?}");
}

#[tokio::test]
async fn whoever_is_in_a_hurry_ends_the_drain_and_it_is_recorded_as_at_the_deadline() {
    let app = chat().await;
    let mut gate =
        Harness::builder().app(&app).limits(|limits| limits.drain_timeout = Duration::from_secs(600)).start().await;
    let mut sockets = Vec::new();
    for version in BOTH {
        let mut client = gate.dial().certificate(&PKI.ann).http(version).await;
        let (socket, _) = open(&mut client, version, "/", &[]).await;
        sockets.push((version, socket, client));
    }
    let hurry = gate.hurry();
    let stopping = gate.stopping();
    for (version, socket, _) in &mut sockets {
        socket.send(Message::text("during")).await.expect("open");
        assert_eq!(receive(socket).await, Message::text("during"), "{version:?}");
    }
    assert!(!stopping.is_finished());
    hurry();
    for (version, socket, _) in &mut sockets {
        let Message::Close(Some(CloseFrame { code, .. })) = receive(socket).await else { panic!("{version:?}") };
        assert_eq!(u16::from(code), 1001, "{version:?}");
    }
    tokio::time::timeout(PATIENCE, stopping).await.expect("in time").expect("no panic");
    let lines = gate.lines();
    let records: Vec<_> = lines.iter().filter(|line| line["kind"] == "request").collect();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record["end"] == "cut:draining"), "{records:#?}");
    assert_eq!(lines.last().expect("a line")["event"], "stop");
}

#[tokio::test]
async fn a_client_that_does_not_read_cannot_hold_up_the_end() {
    let app = Upstream::http1(|_| async { ok(vec![7; 32 << 20]) }).await;
    let mut gate = Harness::open(&app).await;
    let mut clients = Vec::new();
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        let response = client.send(get("/")).await.expect("an answer");
        clients.push((client, response));
    }
    // An upload that never comes, too.
    let mut client = gate.dial().http(Http::One).await;
    let (_sender, body) = channel();
    let upload =
        tokio::spawn(async move { client.send(Request::post("/").body(body).expect("a request")).await.map(drop) });
    eventually("all three are under way", || app.seen().len() == 3).await;
    let begun = Instant::now();
    let lines = gate.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(lines.iter().filter(|line| line["kind"] == "request").count(), 3);
    drop(upload);
}
