//! WebSockets through the gate, over HTTP/1.1 and over HTTP/2 (RFC 8441): carried, timed and closed.

use crate::client::{BOTH, Client, Http, request};
use crate::gateway::{Harness, PATIENCE, PKI, eventually};
use crate::upstream::{Upstream, empty, ok, status};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Echoes messages; agrees to the first extension and protocol asked for. Refuses at `/no`; at `/raw` it answers the
/// first eleven bytes with a compressed frame that holds them; at `/` without an upgrade it says hello.
pub async fn chat() -> Upstream {
    Upstream::http1(|mut request: Request<Incoming>| async move {
        let Some(key) = request.headers().get("sec-websocket-key") else { return ok("hello") };
        if request.uri().path() == "/no" {
            return status(404, "no such room");
        }
        let mut response = Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", derive_accept_key(key.as_bytes()));
        for name in ["sec-websocket-extensions", "sec-websocket-protocol"] {
            if let Some(value) = request.headers().get(name) {
                response = response.header(name, value);
            }
        }
        let raw = request.uri().path() == "/raw";
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let mut stream = TokioIo::new(upgraded);
            if raw {
                let mut frame = [0; 11];
                stream.read_exact(&mut frame).await.expect("a frame");
                stream.write_all(&[&[0xc2, 11], &frame[..]].concat()).await.expect("an open stream");
                // Until the client is gone.
                let _ = stream.read(&mut [0; 64]).await;
                return;
            }
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                    return;
                }
            }
        });
        response.body(empty()).expect("a response")
    })
    .await
}

/// Asks for a WebSocket as the HTTP version has it.
pub async fn upgrade(client: &mut Client, version: Http, path: &str, fields: &[(&str, &str)]) -> Response<Incoming> {
    let mut asked = request(Method::GET, path, fields);
    asked.headers_mut().insert("sec-websocket-version", "13".parse().expect("a value"));
    match version {
        Http::One => {
            let fields = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", &generate_key())];
            for (name, value) in fields {
                asked.headers_mut().insert(name, value.parse().expect("a value"));
            }
        }
        Http::Two => {
            *asked.method_mut() = Method::CONNECT;
            asked.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
        }
    }
    client.send(asked).await.expect("an answer")
}

/// An open WebSocket, and the fields of the answer that opened it.
pub async fn open(client: &mut Client, version: Http, path: &str, fields: &[(&str, &str)]) -> (Socket, HeaderMap) {
    let (stream, headers) = open_raw(client, version, path, fields).await;
    (WebSocketStream::from_raw_socket(stream, Role::Client, None).await, headers)
}

async fn open_raw(
    client: &mut Client,
    version: Http,
    path: &str,
    fields: &[(&str, &str)],
) -> (TokioIo<Upgraded>, HeaderMap) {
    let mut response = upgrade(client, version, path, fields).await;
    let expected = if version == Http::One { StatusCode::SWITCHING_PROTOCOLS } else { StatusCode::OK };
    assert_eq!(response.status(), expected, "{version:?} {:?}", response.headers());
    let upgraded = hyper::upgrade::on(&mut response).await.expect("an upgrade");
    (TokioIo::new(upgraded), response.headers().clone())
}

/// The next message that is no ping or pong.
pub async fn receive(socket: &mut Socket) -> Message {
    loop {
        let message = timeout(PATIENCE, socket.next()).await.expect("in time").expect("open").expect("a message");
        if !message.is_ping() && !message.is_pong() {
            return message;
        }
    }
}

#[tokio::test]
async fn messages_of_any_size_come_back() {
    let app = chat().await;
    let gate =
        Harness::builder().app(&app).limits(|limits| limits.ping_interval = Duration::from_millis(5)).start().await;
    for version in BOTH {
        let mut client = gate.dial().certificate(&PKI.ann).http(version).await;
        let (mut socket, headers) =
            open(&mut client, version, "/room?x=1", &[("origin", "https://app.corp.example")]).await;
        assert_eq!(headers.contains_key("sec-websocket-accept"), version == Http::One);
        assert_eq!(headers["rangegate-request-id"].len(), 26);
        for message in [Message::text("hello"), Message::text(""), Message::binary(vec![7; 1_000_000])] {
            socket.send(message.clone()).await.expect("open");
            assert!(receive(&mut socket).await == message, "{version:?}");
        }
        let seen = app.last();
        assert_eq!((seen.method.as_str(), seen.uri.to_string().as_str()), ("GET", "/room?x=1"));
        assert_eq!(seen.header("origin"), "https://app.corp.example");
        assert_eq!(seen.header("rangegate-device"), "ann-laptop");
        assert_eq!((seen.header("connection"), seen.header("upgrade")), ("upgrade", "websocket"));
        gate.metrics_show("rangegate_live_streams 1").await;
        socket.close(None).await.expect("open");
        assert!(receive(&mut socket).await.is_close());
    }
    let records = gate.audit_records(2).await;
    for (record, status) in records.iter().zip([101, 200]) {
        assert_eq!((&record["live"], &record["end"]), (&true.into(), &"complete".into()), "{record:#}");
        assert_eq!((&record["response"]["status"], &record["upstream"]["status"]), (&status.into(), &101.into()));
        assert_eq!(record["evidence"]["request"]["method"], "GET");
        assert_eq!(record["evidence"]["request"]["upgrade"], "websocket");
        for way in ["in", "out"] {
            assert!(record["bytes"][way].as_u64().expect("a number") > 1_000_000, "{record:#}");
        }
    }
    let opened = gate.lines_of("live", 2).await;
    assert!(opened.iter().all(|line| line["event"] == "opened"), "{opened:#?}");
}

#[tokio::test]
async fn what_the_ends_negotiate_is_theirs() {
    let app = chat().await;
    let gate = Harness::open(&app).await;
    for version in BOTH {
        let extension = "permessage-deflate; client_max_window_bits";
        let mut client = gate.dial().http(version).await;
        let fields = [("sec-websocket-extensions", extension), ("sec-websocket-protocol", "chat.v2")];
        let (mut stream, headers) = open_raw(&mut client, version, "/raw", &fields).await;
        assert_eq!(headers["sec-websocket-extensions"], extension);
        assert_eq!(headers["sec-websocket-protocol"], "chat.v2");
        assert_eq!(app.last().header("sec-websocket-extensions"), extension);
        // A compressed frame: the first reserved bit is set, and the payload is nobody's business.
        let frame = [0xc2, 0x85, 1, 2, 3, 4, b'a', b'b', b'c', b'd', b'e'];
        stream.write_all(&frame).await.expect("open");
        let expected = [&[0xc2, 11], &frame[..]].concat();
        let mut back = Vec::new();
        // The gateway's own pings may come before it.
        while !back.ends_with(&expected) {
            let mut piece = [0; 64];
            let read = timeout(PATIENCE, stream.read(&mut piece)).await.expect("in time").expect("open");
            assert!(read > 0, "{version:?}: {back:?}");
            back.extend_from_slice(&piece[..read]);
        }
    }
}

#[tokio::test]
async fn a_handshake_may_come_right_behind_a_request() {
    let app = chat().await;
    let gate = Harness::open(&app).await;
    let mut client = gate.dial().alpn(&["http/1.1"]).tls().await.expect("a handshake");
    let both = "GET / HTTP/1.1\r\nHost: app.corp.example\r\n\r\nGET /raw HTTP/1.1\r\nHost: app.corp.example\r\n\
        Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    client.write_all(both.as_bytes()).await.expect("sent");
    let mut back = Vec::new();
    let mut sent = false;
    let frame = [0xc2, 0x85, 1, 2, 3, 4, b'a', b'b', b'c', b'd', b'e'];
    let expected = [&[0xc2, 11], &frame[..]].concat();
    while !back.ends_with(&expected) {
        let mut piece = [0; 1024];
        let read = timeout(PATIENCE, client.read(&mut piece)).await.expect("in time").expect("open");
        assert!(read > 0, "{}", String::from_utf8_lossy(&back));
        back.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&back);
        if !sent && text.split_once("HTTP/1.1 101 ").is_some_and(|(_, head)| head.contains("\r\n\r\n")) {
            client.write_all(&frame).await.expect("open");
            sent = true;
        }
    }
}

#[tokio::test]
async fn a_refused_upgrade_leaves_http_usable() {
    let app = chat().await;
    let gate = Harness::open(&app).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        for _ in 0..2 {
            let refused = crate::client::Answer::read(upgrade(&mut client, version, "/no", &[]).await).await;
            assert_eq!((refused.status.as_u16(), refused.text()), (404, "no such room"), "{version:?}");
            assert_eq!(client.get("/").await.text(), "hello", "{version:?}");
        }
        let mut denied = gate.dial().sni("nobody.corp.example").http(version).await;
        let answer = upgrade(&mut denied, version, "/room", &[]).await;
        assert_eq!(answer.status(), 403, "{version:?}");
        drop(crate::client::Answer::read(answer).await);
        assert_eq!(denied.get("/").await.status, 403, "{version:?}");
    }
    for record in gate.audit_records(12).await {
        assert_eq!(record["end"], "complete", "{record:#}");
    }
}

#[tokio::test]
async fn a_refusal_that_looks_like_a_yes_in_http2_is_a_bad_gateway() {
    let app = Upstream::plain().await;
    let gate = Harness::open(&app).await;
    for (version, status) in [(Http::One, 200), (Http::Two, 502)] {
        let mut client = gate.dial().http(version).await;
        let answer = crate::client::Answer::read(upgrade(&mut client, version, "/room", &[]).await).await;
        assert_eq!(answer.status.as_u16(), status, "{version:?}: {answer:?}");
    }
    for record in gate.audit_records(2).await {
        assert_eq!(record["end"], "complete", "{record:#}");
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_bad_gateway() {
    let gone = Upstream::dead().await;
    let gate = Harness::open(&gone).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        let answer = upgrade(&mut client, version, "/room", &[]).await;
        assert_eq!(answer.status(), 503, "{version:?}");
    }
    for record in gate.audit_records(2).await {
        assert_eq!(record["upstream"]["fault"], "upstream-unreachable", "{record:#}");
    }
}

#[tokio::test]
async fn its_pings_time_the_end_that_holds_the_key() {
    let app = chat().await;
    let gate =
        Harness::builder().app(&app).limits(|limits| limits.ping_interval = Duration::from_millis(10)).start().await;
    // HTTP/1.1 alone never times TLS; after a WebSocket of the same device it is known.
    let mut plain = gate.dial().certificate(&PKI.ann).h1().await;
    plain.get("/").await;
    let before = gate.audit_record().await["evidence"]["timing"].clone();
    assert_eq!(before["tls"]["unavailable"], "insufficient", "{before:#}");
    assert_eq!(before["device_tls"]["unavailable"], "insufficient", "{before:#}");
    let mut client = gate.dial().certificate(&PKI.ann).h1().await;
    let (mut socket, _) = open(&mut client, Http::One, "/room", &[]).await;
    let answering = tokio::spawn(async move { while let Some(Ok(_)) = socket.next().await {} });
    let begun = std::time::Instant::now();
    let mut asked = 1;
    let known = loop {
        plain.get("/").await;
        asked += 1;
        let timing = gate.audit_records(asked).await[asked - 1]["evidence"]["timing"].clone();
        if timing["device_tls"].is_number() {
            break timing;
        }
        assert!(begun.elapsed() < PATIENCE, "{timing:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(known["tls"]["unavailable"], "insufficient", "the plain connection itself was never timed: {known:#}");
    answering.abort();

    let mut client = gate.dial().certificate(&PKI.bob).h2().await;
    let (mut socket, _) = open(&mut client, Http::Two, "/room", &[]).await;
    for _ in 0..3 {
        let ping = timeout(PATIENCE, socket.next()).await.expect("pings come").expect("open").expect("a ping");
        assert!(ping.is_ping(), "{ping:?}");
        socket.flush().await.expect("the pong goes out");
    }
    let bobs = |line: &serde_json::Value| line["kind"] == "request" && line["evidence"]["device"]["id"] == "bob-laptop";
    let begun = std::time::Instant::now();
    for asked in 1.. {
        client.get("/").await;
        let timing = gate.lines_where(asked, bobs).await[asked - 1]["evidence"]["timing"].clone();
        if timing["tls"]["source"] == "websocket-ping" || timing["tls"]["source"] == "http2-ping" {
            assert!(timing["tls"]["samples"].as_u64() > Some(1), "{timing:#}");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{timing:#}");
    }
}

#[tokio::test]
async fn whoever_leaves_the_other_end_learns_it() {
    let app = chat().await;
    let gate = Harness::open(&app).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        let (mut socket, _) = open(&mut client, version, "/room", &[]).await;
        socket.send(Message::text("x")).await.expect("open");
        receive(&mut socket).await;
        client.abort();
        drop((socket, client));
    }
    gate.audit_records(2).await;
    // The other way round: the upstream dies.
    for version in BOTH {
        let raw = Upstream::raw(|mut stream| async move {
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.expect("a head");
            let head = String::from_utf8_lossy(&head[..read]).to_ascii_lowercase();
            let line = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ").map(str::len)).expect("a key");
            assert_eq!(line, 24);
            // The key's own case is needed, so this upstream agrees to nothing.
            let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAA\r\n\r\n").await;
        })
        .await;
        let lying = Harness::open(&raw).await;
        let mut client = lying.dial().http(version).await;
        assert_eq!(
            upgrade(&mut client, version, "/room", &[]).await.status(),
            502,
            "{version:?}: a 101 must prove that it read the key"
        );
        assert_eq!(lying.audit_record().await["upstream"]["fault"], "upstream-protocol");
    }
    eventually("no live stream is left", || gate.lines_open() == 0).await;
}
