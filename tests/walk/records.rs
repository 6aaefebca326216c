//! Law 8: every way out of the walk leaves exactly one closed record.

use crate::client::{BOTH, Http, get, request};
use crate::gateway::{Harness, eventually};
use crate::upstream::{Upstream, channel, data, drain, full, ok, status};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use rangegate::audit::verify::{Log, verify};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io;
use std::net::Shutdown;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Does as the path says.
async fn app() -> Upstream {
    Upstream::http1(|request| async move {
        match request.uri().path() {
            "/silent" => std::future::pending().await,
            "/read" => match drain(request.into_body()).await {
                Ok((bytes, _)) => ok(bytes.to_string()),
                Err(_) => std::future::pending().await,
            },
            "/endless" | "/breaks" | "/stalls" => {
                let path = request.uri().path().to_owned();
                let (sender, body) = channel();
                tokio::spawn(async move {
                    let _ = sender.send(data("beginning")).await;
                    match &*path {
                        "/breaks" => drop(sender.send(Err(io::ErrorKind::BrokenPipe.into())).await),
                        "/stalls" => sender.closed().await,
                        _ => while sender.send(data(vec![7; 1000])).await.is_ok() {},
                    }
                });
                Response::new(body)
            }
            "/short" => Response::builder().header("content-length", "100").body(broken()).expect("a response"),
            "/missing" => status(404, "no such page"),
            _ => ok("hello"),
        }
    })
    .await
}

/// Announced longer than it is.
fn broken() -> crate::upstream::Body {
    let (sender, body) = channel();
    tokio::spawn(async move {
        let _ = sender.send(data("beginning")).await;
        let _ = sender.send(Err(io::ErrorKind::ConnectionReset.into())).await;
    });
    body
}

async fn stage(app: &Upstream) -> Harness {
    Harness::builder()
        .app(app)
        .limits(|limits| limits.body_timeout = Duration::from_millis(300))
        .settings(|settings| {
            settings.upstream.idle_timeout = Duration::from_millis(300);
            settings.upstream.header_timeout = Duration::from_secs(5);
        })
        .start()
        .await
}

/// Stops the gateway; its log holds this many requests, each once, and its chain holds.
async fn closed(mut gate: Harness, count: usize) -> Vec<Value> {
    let lines = gate.stop().await;
    let requests: Vec<_> = lines.into_iter().filter(|line| line["kind"] == "request").collect();
    let ids: BTreeSet<_> = requests.iter().map(|line| line["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!((requests.len(), ids.len()), (count, count), "{requests:#?}");
    let log = Log::gather(&[gate.path("audit.jsonl")]).expect("a log");
    let report = verify(&log).expect("readable");
    assert_eq!((report.fault_count, report.torn), (0, None), "{:#?}", report.faults);
    requests
}

#[tokio::test]
async fn answers_and_refusals_are_recorded_once() {
    let app = app().await;
    let gate = stage(&app).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        assert_eq!(client.get("/missing").await.status, 404);
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(client.get("/a/../b").await.status, 400);
        assert_eq!(client.post("/read", vec![7; 100_000]).await.text(), "100000");
        assert_eq!(gate.dial().sni("nobody.corp.example").http(version).await.get("/").await.status, 403);
    }
    for half in closed(gate, 10).await.chunks(5) {
        let ends: Vec<_> =
            half.iter().map(|record| (record["end"].as_str(), record["response"]["status"].as_u64())).collect();
        assert_eq!(ends, [404, 200, 400, 200, 403].map(|status| (Some("complete"), Some(status))));
        assert_eq!((&half[3]["bytes"]["in"], &half[3]["bytes"]["out"]), (&100_000.into(), &6.into()));
        assert_eq!(half[0]["bytes"]["out"], "no such page".len());
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_recorded_wherever_it_was() {
    let app = app().await;
    let gate = stage(&app).await;
    for version in BOTH {
        // While the upstream thinks.
        let mut client = gate.dial().http(version).await;
        let (breaker, sent) = (client.breaker(), app.seen().len());
        let asked = tokio::spawn(async move { client.send(get("/silent")).await.map(drop) });
        eventually("the upstream thinks", || app.seen().len() > sent).await;
        breaker.shutdown(Shutdown::Both).expect("an open socket");
        asked.await.expect("no panic").expect_err("no answer");
        // In the middle of its upload.
        let mut client = gate.dial().http(version).await;
        let breaker = client.breaker();
        let (sender, body) = channel();
        let asked =
            tokio::spawn(
                async move { client.send(Request::post("/read").body(body).expect("a request")).await.map(drop) },
            );
        sender.send(data(vec![7; 1000])).await.expect("a reader");
        eventually("the upload has begun", || app.seen().len() > sent + 1).await;
        breaker.shutdown(Shutdown::Both).expect("an open socket");
        asked.await.expect("no panic").expect_err("no answer");
        // In the middle of a download.
        let mut client = gate.dial().http(version).await;
        let mut body = client.send(get("/endless")).await.expect("an answer").into_body();
        for _ in 0..10 {
            body.frame().await.expect("more").expect("whole");
        }
        client.abort();
        gate.audit_records(if version == Http::One { 3 } else { 6 }).await;
    }
    let records = closed(gate, 6).await;
    for record in &records {
        assert_eq!(record["end"], "client-gone", "{record:#}");
        assert_eq!(record["decision"]["outcome"], "forward");
    }
    let paths = |path: &str| {
        records.iter().filter(|record| record["evidence"]["request"]["path"] == path).cloned().collect::<Vec<_>>()
    };
    assert!(paths("/endless").iter().all(|record| record["bytes"]["out"].as_u64() > Some(1000)), "{records:#?}");
    assert!(paths("/read").iter().all(|record| record["bytes"]["in"] == 1000), "{:#?}", paths("/read"));
}

#[tokio::test]
async fn a_stream_reset_on_a_connection_that_stays_is_recorded() {
    let app = app().await;
    let gate = stage(&app).await;
    let client = gate.dial().h2().await;
    let mut one = client.again();
    let waiting = tokio::spawn(async move { one.send(get("/silent")).await.map(drop) });
    eventually("the upstream thinks", || app.seen().len() == 1).await;
    waiting.abort();
    gate.audit_records(1).await;
    let mut two = client.again();
    drop(two.send(get("/endless")).await.expect("an answer"));
    gate.audit_records(2).await;
    assert_eq!(client.again().get("/").await.status, 200);
    let ends: Vec<_> = closed(gate, 3).await.iter().map(|record| record["end"].clone()).collect();
    assert_eq!(ends, ["client-gone", "client-gone", "complete"]);
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_recorded_and_never_looks_whole() {
    let app = app().await;
    let gate = stage(&app).await;
    for version in BOTH {
        for path in ["/breaks", "/short", "/stalls"] {
            let mut client = gate.dial().http(version).await;
            let response = client.send(get(path)).await.expect("an answer");
            assert_eq!(response.status(), 200);
            assert!(
                crate::client::Answer::try_read(response).await.is_err(),
                "{version:?} {path}: it must not look whole"
            );
        }
    }
    for half in closed(gate, 6).await.chunks(3) {
        let ends: Vec<_> = half.iter().map(|record| record["end"].as_str().expect("an end")).collect();
        assert_eq!(ends, ["upstream-error", "upstream-error", "timeout"], "{half:#?}");
        assert!(half.iter().all(|record| record["bytes"]["out"] == "beginning".len()), "{half:#?}");
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_be_asked_is_recorded() {
    let gone = Upstream::dead().await;
    let gate = stage(&gone).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        assert_eq!(client.get("/").await.status, 503);
        assert_eq!(client.post("/", vec![7; 500_000]).await.status, 503, "with an upload that nobody reads");
    }
    for record in closed(gate, 4).await {
        assert_eq!(
            (&record["end"], &record["upstream"]["fault"]),
            (&"complete".into(), &"upstream-unreachable".into())
        );
        assert_eq!(record["response"]["status"], 503);
    }
}

#[tokio::test]
async fn an_upload_that_stalls_is_given_up() {
    let app = app().await;
    let gate = stage(&app).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        let (sender, body) = channel();
        let asked = tokio::spawn(async move {
            let response = client.send(Request::post("/read").body(body).expect("a request")).await;
            (client, response)
        });
        sender.send(data("half")).await.expect("a reader");
        let (_client, response) = asked.await.expect("no panic");
        assert_eq!(response.expect("an answer").status(), 408, "{version:?}");
        drop(sender);
    }
    for record in closed(gate, 2).await {
        assert_eq!(record["upstream"]["fault"], "request-body", "{record:#}");
        assert_eq!(record["bytes"]["in"], 4);
    }
}

#[tokio::test]
async fn pipelined_and_broken_requests_are_recorded_each_once() {
    let app = app().await;
    let gate = stage(&app).await;
    let mut tls = gate.dial().tls().await.expect("a handshake");
    let one = "GET / HTTP/1.1\r\nHost: app.corp.example\r\n\r\n";
    let broken =
        "POST / HTTP/1.1\r\nHost: app.corp.example\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    tls.write_all(format!("{one}{one}{broken}{one}").as_bytes()).await.expect("sent");
    let mut answers = Vec::new();
    let _ = tls.read_to_end(&mut answers).await;
    let answers = String::from_utf8(answers).expect("text");
    let statuses: Vec<_> = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "400"], "{answers}");
    let records = closed(gate, 3).await;
    assert_eq!(records[2]["evidence"]["request"]["malformed"], "ambiguous-framing");
}

#[tokio::test]
async fn a_denied_upload_is_answered_though_nobody_reads_it() {
    let app = app().await;
    let gate = stage(&app).await;
    for version in BOTH {
        let mut client = gate.dial().sni("nobody.corp.example").http(version).await;
        let mut upload = request(Method::POST, "/", &[]);
        *upload.body_mut() = full(vec![7; 300_000]);
        assert_eq!(client.ask(upload).await.status, 403, "{version:?}");
    }
    // A client that reads only when all is sent gets its answer too: nothing is reset away.
    let mut stubborn = gate.dial().sni("nobody.corp.example").tls().await.expect("a handshake");
    let head = "POST / HTTP/1.1\r\nHost: nobody.corp.example\r\nContent-Length: 3000000\r\n\r\n";
    stubborn.write_all(head.as_bytes()).await.expect("sent");
    stubborn.write_all(&vec![7; 3_000_000]).await.expect("sent");
    let mut answer = Vec::new();
    stubborn.read_to_end(&mut answer).await.expect("a farewell");
    assert!(answer.starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&answer));
    closed(gate, 3).await;
    assert!(app.seen().is_empty());
}
