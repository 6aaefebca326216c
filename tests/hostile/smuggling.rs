//! Requests that two servers would read differently: refused before anybody behind the gateway sees them.

use crate::client::request;
use crate::gateway::Harness;
use crate::upstream::{Upstream, ok};
use crate::wire::{Recorder, say, say_and_wait, still_serves, try_write};
use http::Method;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HOST: &str = "Host: app.corp.example\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: app.corp.example\r\n\r\n";

/// Heads that are refused: what stands between `POST / HTTP/1.1`, `Host` and the body, the body, and the reason.
const HEADS: &[(&str, &str, &str)] = &[
    // CL.TE and TE.CL
    ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", "ambiguous-framing"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "5c\r\n", "ambiguous-framing"),
    ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "", "ambiguous-framing"),
    // TE.TE and TE.0
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n", "ambiguous-framing"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", "ambiguous-framing"),
    ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n", "ambiguous-framing"),
    ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n", "ambiguous-framing"),
    ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n", "ambiguous-framing"),
    ("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n", "ambiguous-framing"),
    ("Transfer-Encoding:\x0bchunked\r\n", "0\r\n\r\n", "control-byte"),
    ("Transfer-Encoding: identity\r\n", "", "ambiguous-framing"),
    ("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n", "ambiguous-framing"),
    ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n", "header-invalid"),
    ("X: y\rTransfer-Encoding: chunked\r\n", "0\r\n\r\n", "control-byte"),
    ("X: y\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", "control-byte"),
    // Lengths
    ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello", "ambiguous-framing"),
    ("Content-Length: 5\r\nContent-Length: 0\r\n", "hello", "ambiguous-framing"),
    ("Content-Length: 5, 5\r\n", "hello", "ambiguous-framing"),
    ("Content-Length: +5\r\n", "hello", "ambiguous-framing"),
    ("Content-Length: -5\r\n", "hello", "ambiguous-framing"),
    ("Content-Length: 0x5\r\n", "hello", "ambiguous-framing"),
    ("Content-Length: 5 5\r\n", "hello", "ambiguous-framing"),
    ("Content-Length: 05\r\n", "hello", "ambiguous-framing"),
    ("Content-Length: 5a\r\n", "hello", "ambiguous-framing"),
    ("Content-Length:\r\n", "hello", "ambiguous-framing"),
    ("Content-Length: 18446744073709551617\r\n", "x", "ambiguous-framing"),
    ("Content-Length: \u{665}\r\n", "hello", "ambiguous-framing"),
    ("Content-Length : 5\r\n", "hello", "header-invalid"),
    // Lines
    ("X: a\r\n\tfolded\r\n", "", "header-invalid"),
    (" X: a\r\n", "", "header-invalid"),
    ("X: a\0b\r\n", "", "control-byte"),
    ("X: a\x7fb\r\n", "", "control-byte"),
    ("X\0: a\r\n", "", "control-byte"),
    ("X: a\n\nGET /smuggled HTTP/1.1\r\n", "", "control-byte"),
    ("X: a\r\r\n", "", "control-byte"),
    ("no colon\r\n", "", "header-invalid"),
    (": nameless\r\n", "", "malformed-syntax"),
    ("X(Y): a\r\n", "", "malformed-syntax"),
    ("Host: app.corp.example\r\n", "", "host-repeated"),
];

#[tokio::test]
async fn an_ambiguous_head_is_refused_recorded_and_the_last_of_its_connection() {
    let recorder = Recorder::new().await;
    let gate = Harness::open(&recorder.upstream).await;
    for (at, (fields, body, reason)) in HEADS.iter().enumerate() {
        let stream = format!("POST / HTTP/1.1\r\n{HOST}{fields}\r\n{body}{SMUGGLED}");
        // Only here is the framing sound, and the next request nobody's but the client's.
        let next = if *reason == "host-repeated" { "Connection: close\r\n" } else { "" };
        let stream = stream.replacen("\r\n", &format!("\r\n{next}"), 1);
        let said = say(gate.dial(), stream).await;
        assert_eq!((said.statuses(), said.closed), (vec![400], true), "{fields:?}: {said:?}");
        assert!(said.text.contains("application/problem+json"), "{fields:?}: {said:?}");
        let records = gate.audit_records(at + 1).await;
        let record = &records[at];
        assert_eq!(record["evidence"]["request"]["malformed"], *reason, "{fields:?}: {record:#}");
        assert_eq!((&record["decision"]["outcome"], &record["response"]["status"]), (&"deny".into(), &400.into()));
        assert_eq!(records.len(), at + 1, "{fields:?}");
    }
    assert_eq!(recorder.got(), [""; 0], "it reached the upstream");
    still_serves(&gate).await;
}

#[tokio::test]
async fn whatever_is_wrong_with_the_first_line_is_too() {
    let recorder = Recorder::new().await;
    let gate = Harness::open(&recorder.upstream).await;
    let lines = [
        "POST / HTTP/1.0\r\nHost: app.corp.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\nHost: app.corp.example\n\n",
        "GET  / HTTP/1.1\r\nHost: app.corp.example\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: app.corp.example\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: app.corp.example\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/0.9\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: app.corp.example\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.corp.example\r\nHost: app.corp.example\r\n\r\n",
        "GET http://app.corp.example/ HTTP/1.1\r\nHost: app.corp.example\r\n\r\n",
        "GET https://other.corp.example/ HTTP/1.1\r\nHost: app.corp.example\r\n\r\n",
        "GET https://user@app.corp.example/ HTTP/1.1\r\nHost: app.corp.example\r\n\r\n",
        "CONNECT app.corp.example:443 HTTP/1.1\r\nHost: app.corp.example\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: app.corp.example\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: app.corp.example\r\n\r\n",
        "get / HTTP/1.1\r\nHost: app.corp.example\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03",
        "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: app.corp.example\r\n\r\n",
    ];
    for (at, line) in lines.iter().enumerate() {
        // What is wrong only with the address leaves the connection as it is: the client is asked to end it.
        let line = line.replacen("Host: app.corp.example\r\n", "Connection: close\r\nHost: app.corp.example\r\n", 1);
        let line = if line == "GET / HTTP/1.1\r\n\r\n" {
            "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned()
        } else {
            line
        };
        let said = say(gate.dial(), line.clone() + SMUGGLED).await;
        assert_eq!((said.statuses(), said.closed), (vec![400], true), "{line:?}: {said:?}");
        gate.audit_records(at + 1).await;
    }
    assert_eq!(recorder.got(), [""; 0]);
}

/// Bodies whose end cannot be told. The head may have gone upstream by then; a whole request never does.
const BODIES: &[&str] = &[
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5;a=\nb\r\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
    "5\0\r\nhello\r\n0\r\n\r\n",
    "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "\r\nhello\r\n0\r\n\r\n",
    ";ext\r\nhello\r\n0\r\n\r\n",
    "0\r\nContent-Length: 5\r\n\r\n",
    "0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "0\r\nHost: other.corp.example\r\n\r\n",
    "0\r\nX: a\nb\r\n\r\n",
    "0\r\n X: folded\r\n\r\n",
];

#[tokio::test]
async fn a_body_without_a_clear_end_never_makes_a_request() {
    let recorder = Recorder::new().await;
    let gate = Harness::open(&recorder.upstream).await;
    let flood = format!("1;{}\r\na\r\n", "x".repeat(200)).repeat(30);
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(4000));
    for (at, body) in BODIES.iter().copied().chain([&*flood, &*long]).enumerate() {
        let stream = format!("POST /body HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}");
        let said = say(gate.dial(), stream).await;
        assert!(said.closed && said.statuses().iter().all(|status| *status == 400), "{body:?}: {said:?}");
        let broken = gate.lines_of("connection", at + 1).await;
        assert!(
            ["ambiguous-framing", "control-byte", "header-invalid"].contains(&broken[at]["reason"].as_str().unwrap()),
            "{body:?}: {:#}",
            broken[at]
        );
    }
    for got in recorder.got() {
        assert!(!got.contains("smuggled") && !got.contains("GET"), "{got}");
        assert!(got.matches("HTTP/1.1").count() <= 1 && !got.ends_with("0\r\n\r\n"), "{got}");
    }
    still_serves(&gate).await;
}

#[tokio::test]
async fn what_is_sound_arrives_once_and_written_anew() {
    let recorder = Recorder::new().await;
    let gate = Harness::open(&recorder.upstream).await;
    let stream = format!(
        "POST /1 HTTP/1.1\r\n{HOST}Transfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n00A\r\nGET /2 HTT\r\n0\r\nX-Sum: 1\r\n\r\n\
         POST /2 HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nhello\
         \r\nGET /3 HTTP/1.1\r\n{HOST}Content-Length: 0\r\n\r\n\
         PUT /4 HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc\
         GET /5 HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n{SMUGGLED}"
    );
    let said = say(gate.dial(), stream).await;
    let statuses: Vec<_> = said.statuses().into_iter().filter(|status| *status != 100).collect();
    assert_eq!((statuses, said.closed), (vec![200; 5], true), "{said:?}");
    // Over one upstream connection or several: then they are recorded in the order of the connections.
    let mut requests = recorder.requests();
    requests.sort_unstable();
    let expected: Vec<_> =
        ["GET /3", "GET /5", "POST /1", "POST /2", "PUT /4"].map(|line| format!("{line} HTTP/1.1")).into();
    assert_eq!(requests, expected);
    let all = recorder.got().concat();
    for spelling in ["Chunked", "x=y", "00A", "Expect"] {
        assert!(!all.contains(spelling), "`{spelling}` was passed on: {all}");
    }
}

#[tokio::test]
async fn behind_a_refused_head_sound_requests_before_it_are_still_answered() {
    let recorder = Recorder::new().await;
    let gate = Harness::open(&recorder.upstream).await;
    let good = format!("GET /1 HTTP/1.1\r\n{HOST}\r\nGET /2 HTTP/1.1\r\n{HOST}\r\n");
    let bad = format!("GET /3 HTTP/1.1\r\n{HOST}Content-Length: 1\r\nContent-Length: 2\r\n\r\n");
    let said = say(gate.dial(), format!("{good}{bad}{SMUGGLED}{good}")).await;
    assert_eq!((said.statuses(), said.closed), (vec![200, 200, 400], true));
    assert_eq!(recorder.requests(), ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1"]);
}

/// Only `/open` is let in.
const ONE_WAY: &str = "[[resource]]\nid = \"app\"\nhosts = [\"app.corp.example\"]\nupstream = \"$app\"\n\
    require = [{ id = \"open\", that = { path = [\"/open\"] } }]\n";

#[tokio::test]
async fn the_body_of_a_refused_request_is_never_read_as_a_request() {
    let recorder = Recorder::new().await;
    let gate = Harness::builder().policy("app", ONE_WAY, &[("app", &recorder.upstream)]).start().await;
    let inner = format!("GET /open HTTP/1.1\r\n{HOST}\r\n");
    let chunk = format!("{:x}\r\n{inner}\r\n", inner.len());
    for (refused, then) in [
        (format!("Content-Length: {}\r\n\r\n{inner}", inner.len()), ""),
        (format!("Content-Length: {}\r\n\r\n{}", 400 * inner.len(), inner.repeat(400)), ""),
        (format!("Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"), ""),
        (format!("Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(2000)), ""),
        // Announced and never sent.
        ("Content-Length: 1000000\r\n\r\n".to_owned(), &*inner),
        ("Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n".to_owned(), &*inner),
    ] {
        let stream = format!("POST /shut HTTP/1.1\r\n{HOST}{refused}{then}");
        let said = say_and_wait(gate.dial(), stream.as_bytes(), Duration::from_millis(300)).await;
        assert_eq!(said.statuses(), [403], "{said:?}");
    }
    assert_eq!(recorder.got(), [""; 0]);
    // Where the body was small and is behind it, the connection may go on.
    let stream = format!("POST /shut HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nhello{inner}");
    let said = say_and_wait(gate.dial(), stream.as_bytes(), Duration::from_millis(300)).await;
    assert!(matches!(said.statuses()[..], [403] | [403, 200]), "{said:?}");
}

/// Asks for a WebSocket, says something early, and waits until the upstream has the handshake.
const UPGRADE: &str = "GET /socket HTTP/1.1\r\nHost: app.corp.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn bytes_behind_an_upgrade_wait_for_the_101_and_are_a_request_if_it_is_refused() {
    let (heads, mut head) = tokio::sync::mpsc::unbounded_channel();
    let (verdict, verdicts) = tokio::sync::watch::channel("");
    let app = Upstream::raw(move |mut stream| {
        let (heads, mut verdicts) = (heads.clone(), verdicts.clone());
        async move {
            let mut seen = vec![0; 4096];
            let read = stream.read(&mut seen).await.unwrap_or(0);
            let _ = heads.send(String::from_utf8_lossy(&seen[..read]).into_owned());
            let answer = verdicts.wait_for(|verdict| !verdict.is_empty()).await.expect("a verdict").to_owned();
            let _ = stream.write_all(answer.as_bytes()).await;
            while let Ok(read @ 1..) = stream.read(&mut seen).await {
                let _ = heads.send(String::from_utf8_lossy(&seen[..read]).into_owned());
            }
        }
    })
    .await;
    let gate = Harness::open(&app).await;
    let mut stream = gate.dial().alpn(&["http/1.1"]).tls().await.expect("a handshake");
    assert!(try_write(&mut stream, format!("{UPGRADE}{SMUGGLED}").as_bytes()).await);
    let first = head.recv().await.expect("the handshake");
    assert!(first.starts_with("GET /socket HTTP/1.1\r\n") && first.ends_with("\r\n\r\n"), "{first}");
    assert!(!first.contains("smuggled"));
    verdict.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").expect("an upstream");
    // The next request is one, decided by itself: this upstream answers it alike.
    let mut text = String::new();
    let mut piece = vec![0; 4096];
    while text.matches("HTTP/1.1 403").count() < 2 {
        let read = stream.read(&mut piece).await.expect("two answers");
        assert!(read > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    let second = head.recv().await.expect("the second request");
    assert!(second.starts_with("GET /smuggled HTTP/1.1\r\n"), "{second}");
    assert_eq!(gate.audit_records(2).await.len(), 2, "both were decided and recorded");
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused_and_the_connection_goes_on() {
    let recorder = Recorder::new().await;
    let gate = Harness::open(&recorder.upstream).await;
    for broken in [
        UPGRADE.replace("Version: 13", "Version: 12"),
        UPGRADE.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        UPGRADE.replace("Connection: Upgrade\r\n", ""),
        UPGRADE.replace("GET", "POST"),
        UPGRADE.replace("Upgrade: websocket", "Upgrade: h2c"),
        UPGRADE.replace("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket"),
        UPGRADE.replace("Upgrade: websocket", "Upgrade: websocket, h2c"),
        UPGRADE.replace("Upgrade: websocket", "Upgrade: TLS/1.0"),
    ] {
        let next = format!("GET /next HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n");
        let said = say(gate.dial(), format!("{broken}{next}")).await;
        assert_eq!((said.statuses(), said.closed), (vec![400, 200], true), "{broken}: {said:?}");
    }
    assert!(recorder.requests().iter().all(|line| line == "GET /next HTTP/1.1"));
}

#[tokio::test]
async fn bodies_arrive_whole_whatever_the_method() {
    let app = Upstream::http1(|request| async {
        let (bytes, _) = crate::upstream::drain(request.into_body()).await.expect("a body");
        ok(bytes.to_string())
    })
    .await;
    let gate = Harness::open(&app).await;
    for method in ["GET", "DELETE", "POST", "OPTIONS"] {
        let stream = format!(
            "{method} / HTTP/1.1\r\n{HOST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        let said = say(gate.dial(), stream).await;
        assert!(said.text.ends_with("\r\n\r\n5"), "{method}: {said:?}");
    }
    let mut client = gate.dial().h1().await;
    assert_eq!(client.ask(request(Method::GET, "/", &[])).await.text(), "0");
}

#[tokio::test]
async fn a_refused_upload_is_told_so_before_the_connection_ends() {
    let recorder = Recorder::new().await;
    let gate = Harness::builder().policy("app", ONE_WAY, &[("app", &recorder.upstream)]).start().await;
    let upload = vec![b'x'; 8 << 20];
    for at in 0..20 {
        let head = format!("POST /shut HTTP/1.1\r\n{HOST}Content-Length: {}\r\n\r\n", upload.len());
        let stream = gate.dial().alpn(&["http/1.1"]).tls().await.expect("a handshake");
        let (read, mut write) = tokio::io::split(stream);
        // Like many clients, it reads only when everything is sent, or cannot be.
        try_write(&mut write, &[head.as_bytes(), &upload].concat()).await;
        let said = crate::wire::listen(read, crate::gateway::PATIENCE).await;
        assert_eq!(said.statuses(), [403], "{at}");
        // A head that is broken is answered before its body as well.
        let head = head.replace("Content-Length", "Content-Length : 1\r\nContent-Length");
        let stream = gate.dial().alpn(&["http/1.1"]).tls().await.expect("a handshake");
        let (read, mut write) = tokio::io::split(stream);
        try_write(&mut write, &[head.as_bytes(), &upload].concat()).await;
        let said = crate::wire::listen(read, crate::gateway::PATIENCE).await;
        assert_eq!(said.statuses(), [400], "{at}");
    }
    assert_eq!(recorder.got(), [""; 0]);
}
