//! Bodies both ways: streamed and never gathered, with trailers, early answers and everything HTTP leaves out.

use crate::client::{Answer, BOTH, get, request};
use crate::gateway::{Harness, PATIENCE};
use crate::upstream::{Upstream, channel, data, drain, empty, ok, status, trailers};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;

/// Sends every byte back as it comes, then the trailers, and one of its own.
async fn echo() -> Upstream {
    Upstream::h2c(|request| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            let mut incoming = request.into_body();
            while let Some(Ok(frame)) = incoming.frame().await {
                match frame.into_data() {
                    Ok(piece) => drop(sender.send(data(piece)).await),
                    Err(frame) => {
                        let mut fields = frame.into_trailers().expect("data or trailers");
                        fields.insert("grpc-status", "0".parse().expect("a value"));
                        let _ = sender.send(Ok(http_body::Frame::trailers(fields))).await;
                    }
                }
            }
        });
        // HTTP/1.1 sends only trailers that were announced.
        Response::builder().header("trailer", "grpc-status, x-checksum").body(body).expect("a response")
    })
    .await
}

#[tokio::test]
async fn pieces_pass_both_ways_before_either_body_ends() {
    let app = echo().await;
    let gate = Harness::open(&app).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        let (sender, body) = channel();
        let request = Request::post("/rpc").header("te", "trailers").header("content-type", "application/grpc");
        let request = request.header("trailer", "x-checksum, authorization, rangegate-user");
        let sending = client.send(request.body(body).expect("a request"));
        sender.send(data("0")).await.expect("a reader");
        let response =
            timeout(PATIENCE, sending).await.expect("the head comes before the body's end").expect("an answer");
        let mut answer = response.into_body();
        for turn in 0..50_u8 {
            let frame = timeout(PATIENCE, answer.frame()).await.expect("each piece comes back at once");
            let piece = frame.expect("more").expect("whole").into_data().expect("data");
            assert_eq!(&piece[..], [b'0' + turn], "{version:?}");
            sender.send(data(vec![b'0' + turn + 1])).await.expect("a reader");
        }
        sender
            .send(trailers(&[("x-checksum", "abc"), ("authorization", "Bearer x"), ("rangegate-user", "eve")]))
            .await
            .expect("a reader");
        drop(sender);
        let (_, fields) = drain(answer).await.expect("whole");
        let fields = fields.expect("trailers");
        assert_eq!(fields["grpc-status"], "0", "{version:?}");
        assert_eq!(fields["x-checksum"], "abc", "{version:?}");
        for forbidden in ["authorization", "rangegate-user"] {
            assert!(!fields.contains_key(forbidden), "`{forbidden}` came through as a trailer");
        }
        assert_eq!(app.last().header("te"), "trailers");
    }
    for record in gate.audit_records(2).await {
        assert_eq!((&record["end"], &record["bytes"]["in"]), (&"complete".into(), &51.into()), "{record:#}");
        assert_eq!(record["bytes"]["out"], 51);
    }
}

const PIECE: usize = 64 * 1024;
const PIECES: u64 = 1024;
/// What the kernel's buffers of two connections and the windows of HTTP/2 may hold, with room to spare.
const HELD: u64 = 40 << 20;

#[tokio::test]
async fn large_bodies_pass_whole_and_wait_for_their_reader() {
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let (waiting, pushed) = (Arc::clone(&go), Arc::new(AtomicU64::new(0)));
    let counter = Arc::clone(&pushed);
    let app = Upstream::http1(move |request| {
        let (waiting, pushed) = (Arc::clone(&waiting), Arc::clone(&counter));
        async move {
            if request.method() == Method::GET {
                let (sender, body) = channel();
                tokio::spawn(async move {
                    for _ in 0..PIECES {
                        if sender.send(data(Bytes::from(vec![7; PIECE]))).await.is_err() {
                            return;
                        }
                        pushed.fetch_add(PIECE as u64, Ordering::SeqCst);
                    }
                });
                return Response::new(body);
            }
            waiting.acquire().await.expect("open").forget();
            let (bytes, _) = drain(request.into_body()).await.expect("whole");
            ok(bytes.to_string())
        }
    })
    .await;
    let gate = Harness::open(&app).await;
    for version in BOTH {
        // Up: as long as the upstream does not read, the client is held back.
        let mut client = gate.dial().http(version).await;
        let (sender, body) = channel();
        let taken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&taken);
        let writing = tokio::spawn(async move {
            for _ in 0..PIECES {
                sender.send(data(Bytes::from(vec![7; PIECE]))).await.expect("a reader");
                count.fetch_add(PIECE as u64, Ordering::SeqCst);
            }
        });
        let asked = tokio::spawn(async move { client.ask(Request::post("/up").body(body).expect("a request")).await });
        standstill(&taken).await;
        assert!(taken.load(Ordering::SeqCst) < HELD, "{version:?}: {taken:?} bytes went nowhere");
        go.add_permits(1);
        assert_eq!(asked.await.expect("no panic").text(), (PIECES * PIECE as u64).to_string());
        writing.await.expect("no panic");
        // Down: as long as the client does not read, the upstream is held back.
        pushed.store(0, Ordering::SeqCst);
        let mut client = gate.dial().http(version).await;
        let response = client.send(get("/down")).await.expect("an answer");
        standstill(&pushed).await;
        assert!(pushed.load(Ordering::SeqCst) < HELD, "{version:?}: {pushed:?} bytes went nowhere");
        assert_eq!(drain(response.into_body()).await.expect("whole").0, PIECES * PIECE as u64);
    }
    for (record, way) in gate.audit_records(4).await.iter().zip(["in", "out", "in", "out"]) {
        assert_eq!(
            (&record["bytes"][way], &record["end"]),
            (&(PIECES * PIECE as u64).into(), &"complete".into()),
            "{record:#}"
        );
    }
}

/// Waits until a counter has moved and then stood still for a while.
pub async fn standstill(counter: &AtomicU64) {
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let now = counter.load(Ordering::SeqCst);
        if now > 0 && now == last {
            return;
        }
        last = now;
    }
}

#[tokio::test]
async fn an_upload_is_invited_after_the_decision_and_never_when_denied() {
    let app =
        Upstream::http1(|request| async { ok(drain(request.into_body()).await.expect("whole").0.to_string()) }).await;
    let gate = Harness::open(&app).await;
    let head = |host: &str| {
        format!("POST /up HTTP/1.1\r\nHost: {host}.corp.example\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    };
    let mut open = gate.dial().tls().await.expect("a handshake");
    open.write_all(head("app").as_bytes()).await.expect("sent");
    let invited = read_until(&mut open, "\r\n\r\n").await;
    assert!(invited.starts_with("HTTP/1.1 100 "), "{invited}");
    open.write_all(b"hello").await.expect("sent");
    let answer = read_until(&mut open, "\r\n\r\n5").await;
    assert!(answer.contains("HTTP/1.1 200 "), "{answer}");

    let mut closed = gate.dial().sni("nobody.corp.example").tls().await.expect("a handshake");
    closed.write_all(head("nobody").as_bytes()).await.expect("sent");
    let refused = read_until(&mut closed, "\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert_eq!(app.seen().len(), 1);
}

async fn read_until(stream: &mut (impl tokio::io::AsyncRead + Unpin), end: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(end) {
        let mut piece = [0; 1024];
        let count = timeout(PATIENCE, stream.read(&mut piece)).await.expect("in time").expect("open");
        assert!(count > 0, "ended early: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(read).expect("text")
}

#[tokio::test]
async fn an_answer_may_come_before_the_upload_is_over() {
    for early in [
        Upstream::http1(|_| async { status(413, "too much") }).await,
        Upstream::h2c(|_| async { status(413, "too much") }).await,
    ] {
        let gate = Harness::open(&early).await;
        for version in BOTH {
            let mut client = gate.dial().http(version).await;
            let (sender, body) = channel();
            let sending = client.send(Request::post("/up").body(body).expect("a request"));
            sender.send(data("beginning")).await.expect("a reader");
            let response = timeout(PATIENCE, sending).await.expect("no waiting for the rest").expect("an answer");
            let answer = Answer::read(response).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (413, "too much"), "{version:?} {}", early.url());
            drop(sender);
        }
        gate.audit_records(2).await;
    }
}

#[tokio::test]
async fn heads_without_bodies_stay_without() {
    let app = Upstream::http1(|request| async move {
        match request.uri().path() {
            "/204" => Response::builder().status(204).body(empty()).expect("a response"),
            "/304" => Response::builder().status(304).header("etag", "\"v1\"").body(empty()).expect("a response"),
            _ => Response::builder()
                .header("content-length", "5")
                .body(if request.method() == Method::HEAD { empty() } else { ok("hello").into_body() })
                .expect("a response"),
        }
    })
    .await;
    let gate = Harness::open(&app).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        let head = client.ask(request(Method::HEAD, "/", &[])).await;
        assert_eq!(
            (head.status.as_u16(), head.header("content-length"), head.body.len()),
            (200, "5", 0),
            "{version:?}"
        );
        let none = client.get("/204").await;
        assert_eq!((none.status.as_u16(), none.body.len(), none.header("content-length")), (204, 0, ""), "{version:?}");
        let unchanged = client.get("/304").await;
        assert_eq!((unchanged.status.as_u16(), unchanged.header("etag"), unchanged.body.len()), (304, "\"v1\"", 0));
        assert_eq!(client.get("/").await.text(), "hello");
    }
    for record in gate.audit_records(8).await {
        assert_eq!(record["end"], "complete", "{record:#}");
    }
}

#[tokio::test]
async fn interim_answers_do_not_pass_for_the_answer() {
    let app = Upstream::raw(|mut stream| async move {
        let mut head = [0; 4096];
        while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
            let interim =
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
            let answer = format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let gate = Harness::open(&app).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        for _ in 0..2 {
            let answer = client.get("/").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "hello"), "{version:?}");
        }
    }
}

/// Says 102 and 103 before each answer, which for `/late` waits until it is told to go.
async fn hinting() -> (Upstream, Sender<()>) {
    let (go, waiting) = tokio::sync::mpsc::channel::<()>(1);
    let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
    let app = Upstream::raw(move |mut stream| {
        let waiting = Arc::clone(&waiting);
        async move {
            let mut head = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut head).await {
                let hint = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\
                    Connection: X-Hop\r\nX-Hop: 1\r\nRangegate-Request-Id: forged\r\nContent-Length: 9\r\n\r\n";
                let mut answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned();
                if head[..read].starts_with(b"GET /late") {
                    stream.write_all(hint.as_bytes()).await.expect("open");
                    waiting.lock().await.recv().await.expect("the client has its hint");
                } else {
                    answer.insert_str(0, hint);
                }
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (app, go)
}

/// As `hinting`, in HTTP/2.
async fn hinting_in_http2() -> (Upstream, Sender<()>) {
    let (go, waiting) = tokio::sync::mpsc::channel::<()>(1);
    let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
    let app = Upstream::raw_h2c(move |mut connection| {
        let waiting = Arc::clone(&waiting);
        async move {
            while let Some(Ok((request, mut answer))) = connection.accept().await {
                let waiting = Arc::clone(&waiting);
                tokio::spawn(async move {
                    let hint = Response::builder().status(103).header("link", "</a.css>; rel=preload");
                    let hint = hint.header("rangegate-request-id", "forged");
                    let working = Response::builder().status(102).body(()).expect("a head");
                    answer.send_informational(working).expect("open");
                    answer.send_informational(hint.body(()).expect("a head")).expect("open");
                    if request.uri().path() == "/late" {
                        waiting.lock().await.recv().await.expect("the client has its hint");
                    }
                    let head = Response::builder().header("content-length", "5").body(()).expect("a head");
                    let mut body = answer.send_response(head, false).expect("open");
                    body.send_data(Bytes::from_static(b"hello"), true).expect("open");
                });
            }
        }
    })
    .await;
    (app, go)
}

/// An HTTP/2 client with every frame in its hands; each stream may take `window` bytes.
async fn bare(gate: &Harness, window: u32) -> SendRequest<Bytes> {
    let tls = gate.dial().alpn(&["h2"]).tls().await.expect("a handshake");
    let (client, connection) =
        h2::client::Builder::new().initial_window_size(window).handshake::<_, Bytes>(tls).await.expect("HTTP/2");
    tokio::spawn(connection);
    client.ready().await.expect("room for a stream")
}

/// What comes before the answer next.
async fn interim(answer: &mut ResponseFuture) -> Response<()> {
    timeout(PATIENCE, poll_fn(|cx| answer.poll_informational(cx))).await.expect("in time").expect("one").expect("sound")
}

#[tokio::test]
async fn early_hints_reach_http2_clients_before_the_answer() {
    for (app, go) in [hinting().await, hinting_in_http2().await] {
        hints_reach_http2(app, go).await;
    }
}

async fn hints_reach_http2(app: Upstream, go: Sender<()>) {
    let gate = Harness::open(&app).await;
    let mut client = bare(&gate, 65_535).await;
    for path in ["late", "", "late"] {
        let asked = Request::get(format!("https://app.corp.example/{path}")).body(()).expect("a request");
        let (mut answer, _) = client.send_request(asked, true).expect("a stream");
        assert_eq!(interim(&mut answer).await.status(), 102);
        let hint = interim(&mut answer).await;
        assert_eq!((hint.status().as_u16(), hint.headers().len()), (103, 1), "{hint:?}");
        assert_eq!(hint.headers()["link"], "</a.css>; rel=preload");
        if path == "late" {
            go.send(()).await.expect("an upstream");
        }
        let answer = timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body();
        assert_eq!(&body.data().await.expect("more").expect("whole")[..], b"hello");
    }
    for record in gate.audit_records(3).await {
        assert_eq!((record["response"]["status"].as_u64(), record["end"].as_str()), (Some(200), Some("complete")));
    }
}

#[tokio::test]
async fn an_upload_over_http2_is_invited_after_the_decision_and_never_when_denied() {
    let app =
        Upstream::http1(|request| async { ok(drain(request.into_body()).await.expect("whole").0.to_string()) }).await;
    let gate = Harness::open(&app).await;
    let mut client = bare(&gate, 65_535).await;
    let upload = |host: &str| {
        let head = Request::post(format!("https://{host}.corp.example/up")).header("expect", "100-continue");
        head.body(()).expect("a request")
    };
    let (mut answer, mut body) = client.send_request(upload("app"), false).expect("a stream");
    assert_eq!(interim(&mut answer).await.status(), 100);
    body.send_data(Bytes::from_static(b"hello"), true).expect("open");
    let answer = timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(&answer.into_body().data().await.expect("more").expect("whole")[..], b"5");

    // Whoever sends without waiting is not asked.
    let (mut answer, mut body) = client.send_request(upload("app"), false).expect("a stream");
    body.send_data(Bytes::from_static(b"hello"), true).expect("open");
    let asked = timeout(PATIENCE, poll_fn(|cx| answer.poll_informational(cx))).await.expect("in time");
    assert!(asked.is_none(), "{asked:?}");
    assert_eq!(timeout(PATIENCE, answer).await.expect("in time").expect("an answer").status(), 200);

    let (mut answer, _body) = client.send_request(upload("nobody"), false).expect("a stream");
    let invited = timeout(PATIENCE, poll_fn(|cx| answer.poll_informational(cx))).await.expect("in time");
    assert!(invited.is_none(), "{invited:?}");
    let refused = timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
    assert!(refused.status().is_client_error(), "{refused:?}");
    assert_eq!(app.seen().len(), 2);
}

#[tokio::test]
async fn an_upload_that_its_client_gives_up_never_looks_whole() {
    let (told, mut came) = tokio::sync::mpsc::channel(4);
    let app = Upstream::http1(move |request| {
        let told = told.clone();
        async move {
            let mut body = request.into_body();
            let first = body.frame().await.map(|frame| frame.is_ok());
            told.send(first).await.expect("a listener");
            let next = body.frame().await.map(|frame| frame.is_ok());
            told.send(next).await.expect("a listener");
            ok("")
        }
    })
    .await;
    let gate = Harness::open(&app).await;
    for reason in [h2::Reason::CANCEL, h2::Reason::NO_ERROR] {
        let mut client = bare(&gate, 65_535).await;
        let upload = Request::post("https://app.corp.example/").body(()).expect("a request");
        let (_answer, mut body) = client.send_request(upload, false).expect("a stream");
        body.send_data(Bytes::from_static(b"half"), false).expect("open");
        assert_eq!(came.recv().await, Some(Some(true)));
        body.send_reset(reason);
        assert_eq!(came.recv().await, Some(Some(false)), "broken off, and not at its end: {reason}");
    }
}

#[tokio::test]
async fn early_hints_reach_http1_clients_before_the_answer() {
    for (app, go) in [hinting().await, hinting_in_http2().await] {
        hints_reach_http1(app, go).await;
    }
}

async fn hints_reach_http1(app: Upstream, go: Sender<()>) {
    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
    let gate = Harness::open(&app).await;
    let mut client = gate.dial().alpn(&["http/1.1"]).tls().await.expect("a handshake");
    let host = "Host: app.corp.example\r\n\r\n";

    // Not held back until the answer comes.
    client.write_all(format!("GET /late HTTP/1.1\r\n{host}").as_bytes()).await.expect("sent");
    assert_eq!(read_until(&mut client, HINT).await, format!("HTTP/1.1 102 Processing\r\n\r\n{HINT}"));
    go.send(()).await.expect("an upstream");
    let answer = read_until(&mut client, "hello").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && !answer.contains("HTTP/1.1 1"), "{answer}");
    // In one breath with the answer, on a kept connection, and for two requests at once: each before its answer.
    client.write_all(format!("GET / HTTP/1.1\r\n{host}").as_bytes()).await.expect("sent");
    let answer = read_until(&mut client, "hello").await;
    assert!(answer.starts_with(&format!("HTTP/1.1 102 Processing\r\n\r\n{HINT}HTTP/1.1 200 OK\r\n")), "{answer}");
    let two = format!("GET / HTTP/1.1\r\n{host}GET /late HTTP/1.1\r\n{host}");
    client.write_all(two.as_bytes()).await.expect("sent");
    let both = read_until(&mut client, &format!("helloHTTP/1.1 102 Processing\r\n\r\n{HINT}")).await;
    assert_eq!((both.matches("HTTP/1.1 103 ").count(), both.matches("HTTP/1.1 200 ").count()), (2, 1), "{both}");
    go.send(()).await.expect("an upstream");
    read_until(&mut client, "hello").await;

    // A client of HTTP/1.0 knows none (RFC 9110 section 15.2).
    let mut old = gate.dial().alpn(&["http/1.1"]).tls().await.expect("a handshake");
    old.write_all(format!("GET / HTTP/1.0\r\n{host}").as_bytes()).await.expect("sent");
    let answer = read_until(&mut old, "hello").await;
    assert!(!answer.contains(" 103 ") && !answer.contains(" 102 ") && answer.contains(" 200 "), "{answer}");
    for record in gate.audit_records(5).await {
        assert_eq!(
            (record["response"]["status"].as_u64(), record["end"].as_str()),
            (Some(200), Some("complete")),
            "{record:#}"
        );
    }
}

#[tokio::test]
async fn https_upstreams_are_verified_and_spoken_to_in_either_version() {
    let app = Upstream::https(|request| async move { ok(format!("{:?} {}", request.version(), request.uri())) }).await;
    let gate = Harness::open(&app).await;
    assert_eq!(gate.dial().h1().await.get("/").await.text(), "HTTP/2.0 https://app.corp.example/");
    assert_eq!(gate.dial().h2().await.post("/a", "body").await.text(), "HTTP/2.0 https://app.corp.example/a");
    // With the wrong authority nothing is sent.
    let stern = Harness::builder()
        .app(&app)
        .settings(|settings| settings.upstream.ca = Some(settings.listeners[0].trust.authorities[0].clone()))
        .start()
        .await;
    let before = app.seen().len();
    let answer = stern.dial().h1().await.get("/").await;
    assert_eq!((answer.status.as_u16(), app.seen().len()), (502, before));
    assert_eq!(stern.audit_record().await["upstream"]["fault"], "upstream-tls");
}

#[tokio::test]
async fn many_streams_share_one_connection_each_way() {
    let app = echo().await;
    let gate = Harness::open(&app).await;
    let client = gate.dial().h2().await;
    let asking: Vec<_> = (0..90)
        .map(|number: u32| {
            let mut client = client.again();
            tokio::spawn(async move { (number, client.post("/rpc", number.to_string()).await) })
        })
        .collect();
    for asked in asking {
        let (number, answer) = asked.await.expect("no panic");
        assert_eq!(answer.text(), number.to_string());
    }
    gate.audit_records(90).await;
    let connections = app.connections();
    let mut client = client;
    for _ in 0..20 {
        client.post("/rpc", "again").await;
    }
    assert_eq!(app.connections(), connections, "the connection that is there is used");
}
