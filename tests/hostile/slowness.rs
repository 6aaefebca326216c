//! Clients that take their time: everything ends, is written down, and holds nothing meanwhile.

use crate::client::{Http, get, request};
use crate::gateway::{Builder, Harness, eventually};
use crate::upstream::{Upstream, channel, data, full, ok};
use crate::wire::{listen, refusals, say, still_serves};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use rangegate::enforce::rate::MinRate;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SHORT: Duration = Duration::from_millis(300);
/// For a loaded machine: everything here ends long before.
const LONG: Duration = Duration::from_secs(10);

fn hasty() -> Builder {
    Harness::builder().limits(|limits| {
        limits.handshake_timeout = SHORT;
        limits.header_timeout = SHORT;
        limits.body_timeout = SHORT;
        limits.idle_timeout = 2 * SHORT;
        limits.ping_interval = SHORT;
    })
}

#[tokio::test]
async fn silence_ends_at_every_stage_and_is_recorded() {
    let app = Upstream::plain().await;
    let gate = hasty().app(&app).balanced().start().await;
    let direct = gate.address("direct");
    let begun = Instant::now();
    let mute = TcpStream::connect(direct).await.expect("a connection");
    let mut half = TcpStream::connect(direct).await.expect("a connection");
    // A record's head that announces 512 bytes, and a few of them.
    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.expect("an open socket");
    let unproxied = TcpStream::connect(gate.address("balanced")).await.expect("a connection");
    for stream in [mute, half, unproxied] {
        assert!(listen(stream, LONG).await.closed);
    }
    let refused = gate.lines_of("connection", 3).await;
    assert_eq!(refusals(&refused), ["handshake-timeout"; 3]);

    for alpn in ["http/1.1", "h2"] {
        let silent = gate.dial().alpn(&[alpn]).tls().await.expect("a handshake");
        assert!(listen(silent, LONG).await.closed, "{alpn}");
    }
    // A preface and settings are no request either.
    let mut polite = gate.dial().alpn(&["h2"]).tls().await.expect("a handshake");
    polite.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("an open stream");
    assert!(listen(polite, LONG).await.closed);
    let refused = gate.lines_of("connection", 6).await;
    assert_eq!(refusals(&refused)[3..], ["header-timeout"; 3]);
    assert!(begun.elapsed() < LONG);
    still_serves(&gate).await;
}

#[tokio::test]
async fn a_head_that_drips_is_cut() {
    let app = Upstream::plain().await;
    let gate = hasty().app(&app).start().await;
    let head = "GET / HTTP/1.1\r\nHost: app.corp.example\r\nX-Drip: ".to_owned() + &"x".repeat(500);
    for before in ["", "GET / HTTP/1.1\r\nHost: app.corp.example\r\n\r\n"] {
        let stream = gate.dial().alpn(&["http/1.1"]).tls().await.expect("a handshake");
        let (read, mut write) = tokio::io::split(stream);
        let bytes = format!("{before}{head}");
        let dripping = tokio::spawn(async move {
            if write.write_all(&bytes.as_bytes()[..bytes.len() - 500]).await.is_err() {
                return;
            }
            for byte in &bytes.as_bytes()[bytes.len() - 500..] {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if write.write_all(&[*byte]).await.is_err() || write.flush().await.is_err() {
                    return;
                }
            }
            panic!("500 bytes of a head passed");
        });
        let said = listen(read, LONG).await;
        assert!(said.closed && said.after < Duration::from_secs(5), "{said:?}");
        dripping.abort();
    }
    let refused = gate.lines_of("connection", 2).await;
    assert_eq!(refusals(&refused), ["header-timeout"; 2]);
}

#[tokio::test]
async fn a_connection_that_was_used_and_is_idle_ends_without_ado() {
    let app = Upstream::plain().await;
    let mut gate = hasty().app(&app).start().await;
    for version in [Http::One, Http::Two] {
        let mut client = gate.dial().http(version).await;
        assert_eq!(client.get("/").await.status, 200);
        eventually("an idle connection to end", || client.is_closed()).await;
    }
    let lines = gate.stop().await;
    assert_eq!(refusals(&lines), [""; 0], "nobody did anything wrong");
}

#[tokio::test]
async fn an_open_answer_is_not_idleness() {
    let (sender, body) = channel();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let app = Upstream::http1(move |_| {
        let body = body.lock().expect("not poisoned").take();
        async { body.map_or_else(|| ok("again"), Response::new) }
    })
    .await;
    let gate = hasty().app(&app).start().await;
    let mut client = gate.dial().h2().await;
    let answer = client.send(get("/")).await.expect("a head");
    let mut body = answer.into_body();
    for _ in 0..15 {
        tokio::time::sleep(SHORT / 3).await;
        sender.send(data("tick")).await.expect("a reader");
        assert!(body.frame().await.expect("a frame").expect("data").is_data());
    }
    // Longer than the idle timeout, and the connection takes requests as before.
    assert_eq!(client.again().get("/").await.text(), "again");
    drop(sender);
    assert_eq!(crate::upstream::drain(body).await.expect("its end").0, 0);
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&dropped);
    let app = Upstream::http1(move |request| {
        let counter = Arc::clone(&counter);
        async move {
            if crate::upstream::drain(request.into_body()).await.is_err() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
            ok("never")
        }
    })
    .await;
    let gate = hasty().app(&app).start().await;
    let stream = "POST / HTTP/1.1\r\nHost: app.corp.example\r\nContent-Length: 10\r\n\r\nhel";
    let said = say(gate.dial(), stream).await;
    assert_eq!((said.statuses(), said.closed), (vec![408], true), "{said:?}");

    let mut client = gate.dial().h2().await;
    let (sender, body) = channel();
    sender.send(data("hel")).await.expect("room");
    let answer = client.ask(Request::post("/").body(body).expect("a request")).await;
    assert_eq!(answer.status, 408);
    assert_eq!(client.again().ask(Request::post("/").body(full("x")).expect("a request")).await.text(), "never");
    let records = gate.audit_records(3).await;
    for record in &records[..2] {
        assert_eq!(
            (&record["upstream"]["fault"], &record["response"]["status"]),
            (&"request-body".into(), &408.into())
        );
    }
    eventually("the upstream to see both broken off", || dropped.load(Ordering::SeqCst) == 2).await;
}

/// Sends for as long as somebody takes it, and counts those who no longer do.
async fn endless() -> (Upstream, Arc<AtomicUsize>) {
    let ended = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ended);
    let app = Upstream::http1(move |request: Request<_>| {
        let counter = Arc::clone(&counter);
        async move {
            if request.method() == Method::POST {
                let _ = crate::upstream::drain(request.into_body()).await;
                return ok("all of it");
            }
            if request.uri().path() == "/fine" {
                return ok("fine");
            }
            let (sender, body) = channel();
            tokio::spawn(async move {
                let piece = Bytes::from(vec![b'x'; 64 * 1024]);
                while sender.send(data(piece.clone())).await.is_ok() {}
                counter.fetch_add(1, Ordering::SeqCst);
            });
            Response::new(body)
        }
    })
    .await;
    (app, ended)
}

#[tokio::test]
async fn who_does_not_read_does_not_hold_the_upstream() {
    let (app, ended) = endless().await;
    let gate = hasty().app(&app).start().await;
    // HTTP/1: a socket nobody reads.
    let mut stream = gate.dial().alpn(&["http/1.1"]).tls().await.expect("a handshake");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: app.corp.example\r\n\r\n").await.expect("an open stream");
    eventually("the upstream of the deaf client to be let go", || ended.load(Ordering::SeqCst) == 1).await;
    // HTTP/2: one stream's window stays shut, and the others flow.
    let mut client = gate.dial().h2().await;
    let unread = client.send(get("/")).await.expect("a head");
    let mut fine = 0;
    let begun = Instant::now();
    while ended.load(Ordering::SeqCst) < 2 {
        assert!(begun.elapsed() < LONG, "the upstream is still held");
        assert_eq!(client.again().get("/fine").await.text(), "fine");
        fine += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.again().get("/fine").await.text(), "fine", "after {fine}, the connection goes on");
    let records = gate.audit_records(fine + 3).await;
    let cut: Vec<_> = records.iter().filter(|record| record["evidence"]["request"]["path"] == "/").collect();
    assert_eq!(cut.len(), 2);
    assert!(cut.iter().all(|record| record["end"] != "complete"), "{cut:#?}");
    drop((stream, unread));
}

/// Every byte comes well within the limits on silence; there are too few of them.
#[tokio::test]
async fn who_trickles_is_cut_though_never_silent() {
    let (app, ended) = endless().await;
    let gate = Harness::builder()
        .limits(|limits| limits.min_rate = MinRate { bytes_per_second: 50_000, grace: SHORT })
        .app(&app)
        .start()
        .await;
    let head = "POST /fine HTTP/1.1\r\nHost: app.corp.example\r\n";
    for framing in ["Content-Length: 100000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"] {
        let mut drip = gate.dial().alpn(&["http/1.1"]).tls().await.expect("a handshake");
        drip.write_all(format!("{head}{framing}").as_bytes()).await.expect("an open stream");
        let begun = Instant::now();
        let piece: &[u8] = if framing.starts_with('C') { b"x" } else { b"1\r\nx\r\n" };
        let (mut read, mut write) = tokio::io::split(drip);
        let answer = tokio::spawn(async move {
            let mut answer = Vec::new();
            let _ = read.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        });
        while !answer.is_finished() && write.write_all(piece).await.is_ok() && write.flush().await.is_ok() {
            assert!(begun.elapsed() < LONG, "{framing}: it may go on");
            tokio::time::sleep(SHORT / 10).await;
        }
        assert!(answer.await.expect("no panic").starts_with("HTTP/1.1 408 "), "{framing}");
    }

    // HTTP/2: a stream that is read a few bytes at a time, on a connection that is well.
    let tls = gate.dial().alpn(&["h2"]).tls().await.expect("a handshake");
    let (client, connection) =
        h2::client::Builder::new().initial_window_size(1000).handshake::<_, Bytes>(tls).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut client = client.ready().await.expect("room for a stream");
    let (answer, _) = client
        .send_request(Request::get("https://app.corp.example/").body(()).expect("a request"), true)
        .expect("a stream");
    let mut body = answer.await.expect("a head").into_body();
    let begun = Instant::now();
    while let Some(Ok(data)) = body.data().await {
        assert!(begun.elapsed() < LONG, "it may go on");
        body.flow_control().release_capacity(data.len()).expect("taken");
        tokio::time::sleep(SHORT / 5).await;
    }
    eventually("the upstream to be let go", || ended.load(Ordering::SeqCst) == 1).await;
    let (answer, _) = client
        .ready()
        .await
        .expect("the connection goes on")
        .send_request(Request::get("https://app.corp.example/fine").body(()).expect("a request"), true)
        .expect("a stream");
    assert_eq!(answer.await.expect("a head").status(), 200);
}

/// Slowly is not too slowly, and silence costs nothing where there is nothing to say.
#[tokio::test]
async fn who_waits_for_the_upstream_spends_nothing() {
    let app = Upstream::http1(|request: Request<hyper::body::Incoming>| async move {
        let (sender, body) = channel();
        tokio::spawn(async move {
            let mut request = request.into_body();
            for _ in 0..4 {
                tokio::time::sleep(SHORT).await;
                let _ = sender.send(data("event")).await;
            }
            // Both ways, as a conversation.
            while let Some(Ok(frame)) = request.frame().await {
                if let Ok(bytes) = frame.into_data() {
                    let _ = sender.send(data(bytes)).await;
                }
            }
        });
        Response::new(body)
    })
    .await;
    let gate = Harness::builder()
        .limits(|limits| limits.min_rate = MinRate { bytes_per_second: 1_000_000, grace: SHORT })
        .app(&app)
        .start()
        .await;
    for version in crate::client::BOTH {
        let mut client = gate.dial().http(version).await;
        let (sender, body) = channel();
        let mut answer =
            client.send(Request::post("/").body(body).expect("a request")).await.expect("a head").into_body();
        for _ in 0..4 {
            let event = answer.frame().await.expect("more").expect("whole").into_data().expect("data");
            assert_eq!(&event[..], b"event", "{version:?}");
        }
        sender.send(data("still there")).await.expect("open");
        let event = answer.frame().await.expect("more").expect("whole").into_data().expect("data");
        assert_eq!(&event[..], b"still there", "{version:?}");
    }
}

#[tokio::test]
async fn pages_that_nobody_takes_hold_no_place_in_the_log() {
    let app = Upstream::plain().await;
    let gate = Harness::builder()
        .policy("app", "[[resource]]\nid = \"app\"\nhosts = [\"app.corp.example\"]\nupstream = \"$app\"\nrequire = [{ id = \"ann\", that = { device = { known = true } } }]\n", &[("app", &app)])
        .settings(|settings| settings.audit.queue = 64)
        .start()
        .await;
    // More streams than the log has places, and not a window among them.
    let mut streams = Vec::new();
    for _ in 0..2 {
        let tls = gate.dial().alpn(&["h2"]).tls().await.expect("a handshake");
        let (client, connection) =
            h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(tls).await.expect("HTTP/2");
        let task = tokio::spawn(connection);
        for _ in 0..50 {
            let mut client = client.clone().ready().await.expect("room for a stream");
            let request = Request::get("https://app.corp.example/").body(()).expect("a request");
            let (answer, _) = client.send_request(request, true).expect("a stream");
            streams.push(answer.await.expect("a head"));
            if streams.len() % 25 == 0 {
                // Its place comes back when the record is written, taken or not.
                gate.audit_records(streams.len()).await;
            }
        }
        drop(task);
    }
    assert!(streams.iter().all(|answer| answer.status() == 403));
    gate.audit_records(100).await;
    assert_eq!(gate.dial().h1().await.get("/").await.status, 403, "not 503");
}

#[tokio::test]
async fn three_hundred_half_open_clients_harm_nobody() {
    let app = Upstream::plain().await;
    let gate =
        Harness::builder().app(&app).limits(|limits| limits.handshake_timeout = Duration::from_secs(3)).start().await;
    let mut half = Vec::new();
    for at in 0..300 {
        let mut stream = TcpStream::connect(gate.address("direct")).await.expect("a connection");
        if at % 2 == 0 {
            stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.expect("an open socket");
        }
        half.push(stream);
    }
    let mut slowest = Duration::ZERO;
    for version in [Http::One, Http::Two].repeat(10) {
        let begun = Instant::now();
        assert_eq!(gate.dial().http(version).await.get("/").await.status, 200);
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let refused = gate.lines_of("connection", 300).await;
    assert_eq!(refusals(&refused), ["handshake-timeout"; 300]);
    drop(half);
}

const UPGRADE: [(&str, &str); 4] = [
    ("upgrade", "websocket"),
    ("connection", "upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[tokio::test]
async fn an_address_has_so_many_connections_and_a_websocket_is_one() {
    let app = Upstream::raw(|mut stream| async move {
        let mut seen = vec![0; 4096];
        let _ = stream.read(&mut seen).await;
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
        while let Ok(1..) = stream.read(&mut seen).await {}
    })
    .await;
    let gate = Harness::builder().app(&app).limits(|limits| limits.connections_per_address = 3).start().await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut client = gate.dial().h1().await;
        let mut answer = client.send(request(Method::GET, "/", &UPGRADE)).await.expect("a head");
        assert_eq!(answer.status(), 101);
        sockets.push(hyper::upgrade::on(&mut answer).await.expect("a socket"));
    }
    assert!(gate.dial().tls().await.is_err(), "the fourth");
    let refused = gate.lines_of("connection", 1).await;
    assert_eq!(refusals(&refused), ["address-limit"]);
    sockets.pop();
    let begun = Instant::now();
    while gate.dial().tls().await.is_err() {
        assert!(begun.elapsed() < LONG, "the place was not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
