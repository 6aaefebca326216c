//! Upstreams that cannot be trusted either: whatever they do, the client learns that it failed, and no answer goes to
//! the wrong request.

use crate::client::{Answer, BOTH, Http, get};
use crate::gateway::{Harness, eventually};
use crate::upstream::{Upstream, channel, data, full, ok};
use crate::wire::still_serves;
use http::{Request, Response};
use http_body_util::BodyExt;
use rangegate::enforce::upstream::UpstreamSettings;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SHORT: Duration = Duration::from_millis(400);

/// Reads one head; false when there is none.
async fn head(stream: &mut TcpStream) -> bool {
    let (mut seen, mut piece) = (Vec::new(), [0; 1024]);
    while crate::wire::find(&seen, b"\r\n\r\n").is_none() {
        match stream.read(&mut piece).await {
            Ok(read @ 1..) => seen.extend_from_slice(&piece[..read]),
            _ => return false,
        }
    }
    true
}

/// Answers each request on a connection with these bytes, and closes after so many.
async fn scripted(answer: Vec<u8>, times: usize) -> (Upstream, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let app = Upstream::raw(move |mut stream| {
        let (answer, counter) = (answer.clone(), Arc::clone(&counter));
        async move {
            for _ in 0..times {
                if !head(&mut stream).await {
                    return;
                }
                counter.fetch_add(1, Ordering::SeqCst);
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (app, asked)
}

async fn impatient(app: &Upstream) -> Harness {
    Harness::builder()
        .app(app)
        .settings(|settings| {
            settings.upstream =
                UpstreamSettings { header_timeout: SHORT, idle_timeout: SHORT, ..settings.upstream.clone() };
        })
        .start()
        .await
}

#[tokio::test]
async fn what_is_no_answer_is_a_bad_gateway() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let huge = format!("{ok}X: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("{ok}{}\r\n", "x: y\r\n".repeat(500));
    let endless = format!("{ok}X: {}", "x".repeat(200_000));
    for (what, answer) in [
        ("nothing", ""),
        ("half a head", "HTTP/1.1 200 OK\r\nContent-Le"),
        ("garbage", "\0\x01\x02 this is no answer\r\n\r\n"),
        ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n\r\n"),
        ("HTTP/2 unasked", "\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0"),
        ("a status that is none", "HTTP/1.1 abc OK\r\n\r\n"),
        ("a small status", "HTTP/1.1 99 No\r\n\r\n"),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        ("a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"),
        ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!"),
        ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello"),
        ("a list of the same", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello"),
        ("a length twice", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
        (
            "chunks and a length",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "a coding nobody asked for",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        ("a coding that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("a folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        ("a NUL in a field", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
        ("a field without a name", "HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 0\r\n\r\n"),
        (
            "a switch nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes",
        ),
        ("huge fields", &huge),
        ("many fields", &many),
        ("a field without end", &endless),
    ] {
        let (app, asked) = scripted(answer.as_bytes().to_vec(), 1).await;
        let gate = impatient(&app).await;
        for version in BOTH {
            let mut client = gate.dial().http(version).await;
            let answer = client.ask(Request::post("/").body(full("once")).expect("a request")).await;
            assert!(matches!(answer.status.as_u16(), 502), "{what}: {answer:?}");
            assert!(answer.json()["type"].as_str().expect("a type").starts_with("tag:rangegate"), "{what}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2, "{what}: a POST was sent twice");
        let records = gate.audit_records(2).await;
        assert!(records.iter().all(|record| record["upstream"]["fault"].is_string()), "{what}: {records:#?}");
    }
}

#[tokio::test]
async fn silence_is_a_gateway_timeout_and_nobody_listening_unavailable() {
    let app = Upstream::raw(|mut stream| async move { while head(&mut stream).await {} }).await;
    let gate = impatient(&app).await;
    // Whatever it says early, an answer it is not.
    let early = Upstream::raw(|mut stream| async move {
        head(&mut stream).await;
        loop {
            let hint = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
            if stream.write_all(hint).await.is_err() {
                return;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
    })
    .await;
    let hinting = impatient(&early).await;
    for gate in [&gate, &hinting] {
        for version in BOTH {
            let begun = Instant::now();
            assert_eq!(gate.dial().http(version).await.get("/").await.status, 504);
            assert!(begun.elapsed() >= SHORT && begun.elapsed() < 10 * SHORT);
        }
    }
    let dead = Upstream::dead().await;
    let gate = impatient(&dead).await;
    for version in BOTH {
        assert_eq!(gate.dial().http(version).await.get("/").await.status, 503);
    }
}

#[tokio::test]
async fn what_breaks_off_is_seen_to_break_off() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for (what, answer, hangs) in [
        ("a short body", format!("{ok}Content-Length: 10\r\n\r\nhello"), false),
        ("a chunk cut off", format!("{ok}Transfer-Encoding: chunked\r\n\r\nA\r\nhello"), false),
        ("no last chunk", format!("{ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), false),
        ("a chunk that is none", format!("{ok}Transfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n"), false),
        ("a chunk without its end", format!("{ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX5\r\n"), false),
        ("a body that stops", format!("{ok}Content-Length: 10\r\n\r\nhello"), true),
        ("chunks that stop", format!("{ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), true),
    ] {
        let app = Upstream::raw(move |mut stream| {
            let answer = answer.clone();
            async move {
                head(&mut stream).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                if hangs {
                    let _ = stream.read(&mut [0; 1]).await;
                }
            }
        })
        .await;
        let gate = impatient(&app).await;
        for version in BOTH {
            let response = gate.dial().http(version).await.send(get("/")).await;
            let whole = match response {
                Ok(response) => Answer::try_read(response).await.is_ok(),
                Err(_) => false,
            };
            assert!(!whole, "{what} passed for whole in {version:?}");
        }
        let records = gate.audit_records(2).await;
        let expected = if hangs { "timeout" } else { "upstream-error" };
        assert!(records.iter().all(|record| record["end"] == expected), "{what}: {records:#?}");
    }
}

#[tokio::test]
async fn without_a_length_the_connections_end_is_the_answers() {
    let answer = "HTTP/1.1 200 OK\r\nX-App: 1\r\n\r\nuntil the end";
    let (app, asked) = scripted(answer.as_bytes().to_vec(), 1).await;
    let gate = impatient(&app).await;
    for version in BOTH {
        assert_eq!(gate.dial().http(version).await.get("/").await.text(), "until the end");
    }
    assert_eq!((asked.load(Ordering::SeqCst), app.connections()), (2, 2));
}

#[tokio::test]
async fn hints_before_the_answer_do_not_stand_for_it() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let (app, _) = scripted(answer.as_bytes().to_vec(), 9).await;
    let gate = impatient(&app).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        for _ in 0..2 {
            assert_eq!(client.get("/").await.text(), "hello");
        }
    }
}

#[tokio::test]
async fn the_next_answer_belongs_to_the_next_request() {
    // Each answer carries the number of its request, and something behind its end.
    for behind in [
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        "HTTP/1.1 200 OK\r\nContent-Len",
        "garbage",
        "\r\n",
        "0\r\n\r\n",
    ] {
        let app = Upstream::raw(move |mut stream| async move {
            while head(&mut stream).await {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood{behind}");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
        .await;
        let gate = impatient(&app).await;
        for version in BOTH {
            let mut client = gate.dial().http(version).await;
            for _ in 0..20 {
                let answer = client.get("/").await;
                assert!(
                    (answer.status == 200 && answer.text() == "good") || answer.status == 502,
                    "{behind:?}: {answer:?}"
                );
            }
        }
    }
    // The same, when what is behind comes a moment later, on the connection in the pool.
    let app = Upstream::raw(|mut stream| async move {
        while head(&mut stream).await {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").await;
        }
    })
    .await;
    let gate = impatient(&app).await;
    let mut client = gate.dial().h2().await;
    for _ in 0..10 {
        let answer = client.get("/").await;
        assert_ne!(answer.text(), "poison");
        // It is there before the next request is.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // An answer to `HEAD` has no body, whatever comes.
    let app = Upstream::raw(|mut stream| async move {
        while head(&mut stream).await {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody").await;
        }
    })
    .await;
    let gate = impatient(&app).await;
    let mut client = gate.dial().h1().await;
    for _ in 0..5 {
        let answer = client.ask(crate::client::request(http::Method::HEAD, "/", &[])).await;
        assert!(answer.body.is_empty());
        let answer = client.get("/").await;
        assert!(answer.text() == "body" || answer.status == 502, "{answer:?}");
    }
}

#[tokio::test]
async fn who_leaves_takes_the_request_along() {
    let (began, mut beginning) = tokio::sync::mpsc::unbounded_channel();
    let ended = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ended);
    let app = Upstream::raw(move |mut stream| {
        let (began, counter) = (began.clone(), Arc::clone(&counter));
        async move {
            if head(&mut stream).await {
                let _ = began.send(());
                // Until the gateway hangs up.
                while let Ok(1..) = stream.read(&mut [0; 64]).await {}
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let gate = Harness::open(&app).await;
    for (at, version) in BOTH.into_iter().enumerate() {
        let mut client = gate.dial().http(version).await;
        let asking = tokio::spawn(async move {
            let answer = client.send(get("/")).await;
            drop(answer);
        });
        beginning.recv().await.expect("a request");
        asking.abort();
        eventually("the upstream to be let go", || ended.load(Ordering::SeqCst) == at + 1).await;
    }
    let records = gate.audit_records(2).await;
    assert!(records.iter().all(|record| record["end"] == "client-gone"), "{records:#?}");
}

#[tokio::test]
async fn who_leaves_in_the_middle_of_an_answer_ends_it() {
    let ended = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ended);
    let app = Upstream::http1(move |_| {
        let counter = Arc::clone(&counter);
        async move {
            let (sender, body) = channel();
            tokio::spawn(async move {
                while sender.send(data(vec![b'x'; 1024])).await.is_ok() {}
                counter.fetch_add(1, Ordering::SeqCst);
            });
            Response::new(body)
        }
    })
    .await;
    let gate = Harness::open(&app).await;
    for (at, version) in BOTH.into_iter().enumerate() {
        let mut client = gate.dial().http(version).await;
        let mut body = client.send(get("/")).await.expect("a head").into_body();
        assert!(body.frame().await.is_some());
        drop(body);
        if version == Http::One {
            client.abort();
        }
        eventually("the upstream to be let go", || ended.load(Ordering::SeqCst) == at + 1).await;
    }
}

#[tokio::test]
async fn an_upstream_that_answers_early_and_reads_no_further_costs_one_connection() {
    let app = Upstream::http1(|request: Request<_>| async move {
        drop(request);
        ok("enough")
    })
    .await;
    let gate = Harness::open(&app).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        let (sender, body) = channel();
        let feeding = tokio::spawn(async move { while sender.send(data(vec![0; 16 * 1024])).await.is_ok() {} });
        let response = client.send(Request::post("/").body(body).expect("a request")).await;
        if let Ok(response) = response {
            assert!(matches!(response.status().as_u16(), 200 | 502), "{response:?}");
        }
        drop(client);
        feeding.abort();
        still_serves_early(&gate).await;
    }
}

async fn still_serves_early(gate: &Harness) {
    assert_eq!(gate.dial().h2().await.get("/").await.text(), "enough");
    still_serves(gate).await;
}
