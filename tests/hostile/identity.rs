//! Words put into the gateway's mouth, names that are not the connection's, and balancers that are none.

use crate::client::{BOTH, get};
use crate::gateway::Harness;
use crate::upstream::{Upstream, channel, drain, ok, trailers};
use crate::wire::{Recorder, find, listen, refusals, say, still_serves};
use http::Request;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn forged_fields_in_any_spelling_reach_nobody() {
    let recorder = Recorder::new().await;
    let gate = Harness::builder()
        .app(&recorder.upstream)
        .settings(|settings| settings.headers.identity = vec!["x-employee".to_owned()])
        .start()
        .await;
    let forged = [
        "Rangegate-User",
        "RANGEGATE-USER",
        "Rangegate_User",
        "rangegate.user",
        "rangegate~device",
        "RangeGate-Assertion",
        "Rangegate-Request-Id",
        "X-Forwarded-For",
        "x_forwarded_for",
        "X-Forwarded-Groups",
        "Forwarded",
        "X-Real-IP",
        "Remote-User",
        "X-Employee",
        "X_EMPLOYEE",
        "x.employee",
        "X-HTTP-Method-Override",
        "X-Original-URL",
        "Proxy",
        "Proxy-Authorization",
        "Keep-Alive",
        "TE",
        "X-Hop",
    ];
    let fields: String = forged.iter().map(|name| format!("{name}: forged\r\n{name}: forged\r\n")).collect();
    for connection in [
        "close, x-hop",
        "close, X-Hop, Rangegate-User, X-Forwarded-For, rangegate-request-id, host",
        "close,, x-hop ,;",
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: app.corp.example\r\n{fields}Connection: {connection}\r\n\r\n");
        let said = say(gate.dial(), head).await;
        assert_eq!(said.statuses(), [200], "{said:?}");
    }
    assert_eq!(recorder.requests().len(), 3);
    for got in recorder.got() {
        assert!(!got.contains("forged"), "{got}");
        for ours in ["\nx-forwarded-for: 127.0.0.1\r", "\nhost: app.corp.example\r", "\nrangegate-request-id: 0"] {
            assert!(got.contains(ours), "{ours:?}: {got}");
        }
        assert!(!got.to_lowercase().contains("\nrangegate-user"), "nobody signed in: {got}");
    }
}

#[tokio::test]
async fn forged_trailers_reach_nobody_either() {
    let came = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&came);
    let app = Upstream::http1(move |request| {
        let seen = Arc::clone(&seen);
        async move {
            let (_, trailers) = drain(request.into_body()).await.expect("a body");
            let names = trailers.iter().flat_map(|trailers| trailers.keys()).map(ToString::to_string);
            seen.lock().expect("not poisoned").extend(names);
            ok("")
        }
    })
    .await;
    let gate = Harness::open(&app).await;
    let forged = "Rangegate-User: root\r\nRANGEGATE_USER: root\r\nX-Forwarded-For: 1.1.1.1\r\nX-Remote-User: root\r\nX-Sum: 1\r\n";
    let stream = format!(
        "POST / HTTP/1.1\r\nHost: app.corp.example\r\nConnection: close\r\nTE: trailers\r\nTrailer: X-Sum, Rangegate-User\r\n\
         Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n{forged}\r\n"
    );
    assert_eq!(say(gate.dial(), stream).await.statuses(), [200]);
    let (sender, body) = channel();
    let asking = tokio::spawn(async move {
        let fields = [
            ("rangegate-user", "root"),
            ("rangegate_device", "root"),
            ("x-forwarded-for", "1.1.1.1"),
            ("remote-user", "root"),
            ("x-sum", "1"),
        ];
        sender.send(crate::upstream::data("x")).await.expect("a reader");
        sender.send(trailers(&fields)).await.expect("a reader");
    });
    let mut client = gate.dial().h2().await;
    let request = Request::post("/").header("te", "trailers").header("trailer", "x-sum").body(body).expect("a request");
    assert_eq!(client.ask(request).await.status, 200);
    asking.await.expect("sent");
    let came = came.lock().expect("not poisoned");
    assert!(came.iter().all(|name| name == "x-sum") && came.len() <= 2, "{came:?}");
}

#[tokio::test]
async fn one_name_for_the_handshake_the_request_and_the_policy() {
    let recorder = Recorder::new().await;
    let gate = Harness::open(&recorder.upstream).await;
    for (host, status) in [
        ("app.corp.example", 200),
        ("APP.Corp.Example", 200),
        ("app.corp.example.", 200),
        ("app.corp.example:8443", 200),
        ("app.corp.example.:443", 200),
        ("other.corp.example", 421),
        ("corp.example", 421),
        ("app.corp.example.other.corp.example", 421),
        ("127.0.0.1", 421),
        ("[::1]", 421),
        ("xn--pp-eia.corp.example", 421),
        ("app.corp.example..", 400),
        (".app.corp.example", 400),
        ("app.corp.example:0", 400),
        ("app.corp.example:99999", 400),
        ("app.corp.example:443:443", 400),
        ("app.corp.example:+443", 400),
        ("app.corp.example:", 400),
        ("user@app.corp.example", 400),
        ("app.corp.example@other", 400),
        ("app.corp.example/x", 400),
        ("app.corp.example?x", 400),
        ("app.corp.example#x", 400),
        ("app.corp.example\\x", 400),
        ("app.corp.example, other", 400),
        ("app.corp.example other", 400),
        ("app%2ecorp.example", 400),
        ("\u{e4}pp.corp.example", 400),
        ("app\u{3002}corp.example", 400),
        ("*.corp.example", 400),
        ("2130706433", 400),
        ("127.1", 400),
        ("[::1", 400),
        ("[fe80::1%25eth0]", 400),
        ("", 400),
    ] {
        let said = say(gate.dial(), format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(said.statuses(), [status], "{host:?}: {said:?}");
    }
    for (target, status) in [
        ("https://app.corp.example/x", 200),
        ("https://APP.corp.example:443/x", 400),
        ("https://other.corp.example/x", 400),
        ("http://app.corp.example/x", 400),
        ("https://app.corp.example@other/x", 400),
        ("ftp://app.corp.example/x", 400),
        ("https:///x", 400),
        ("//app.corp.example/x", 400),
        ("app.corp.example:443", 400),
        ("*", 400),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: app.corp.example\r\nConnection: close\r\n\r\n");
        let said = say(gate.dial(), head).await;
        assert_eq!(said.statuses(), [status], "{target:?}: {said:?}");
    }
    // Whatever was let in has one spelling.
    for got in recorder.got() {
        let host = got.lines().find(|line| line.starts_with("host:")).expect("a host");
        assert!(
            ["host: app.corp.example", "host: app.corp.example:8443", "host: app.corp.example:443"].contains(&host),
            "{host}"
        );
    }
    // A connection for another name reaches this one by neither version.
    for version in BOTH {
        let mut other = gate.dial().sni("other.corp.example").http(version).await;
        assert_eq!(other.ask(get("https://app.corp.example/")).await.status, 421);
        let mut shouting = gate.dial().sni("APP.corp.EXAMPLE").http(version).await;
        assert_eq!(shouting.ask(get("https://app.corp.example/")).await.status, 200);
    }
}

#[tokio::test]
async fn paths_have_one_reading_or_none() {
    let recorder = Recorder::new().await;
    let shut = "[[resource]]\nid = \"app\"\nhosts = [\"app.corp.example\"]\nupstream = \"$app\"\n\
        require = [{ id = \"local\", that = { cidr = \"127.0.0.0/8\" } }]\n\
        [[resource.route]]\nmatch = [\"* /admin/**\", \"* /admin\"]\nrequire = [{ id = \"never\", that = { device = { known = true } } }]\n";
    let gate = Harness::builder().policy("app", shut, &[("app", &recorder.upstream)]).start().await;
    for path in [
        "/admin",
        "/admin/",
        "/admin/x",
        "/%61dmin",
        "/%61%64%6d%69%6e/x",
        "/admin?x",
        "/admin/%78",
        "/admin;x",
        "/admin/;x",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/x/..;/admin",
        "/x/%2e%2e/admin",
        "/x/%2e./admin",
        "/%2fadmin",
        "/admin%2fx",
        "/admin%5cx",
        "/admin\\x",
        "/admin%00",
        "/admin%0a",
        "/admin%0d%0aX:y",
        "/%2561dmin",
        "/%u0061dmin",
        "/%c0%af",
        "/admin#x",
        "/admin%",
        "/admin%6",
        "/admin%zz",
        "/%e0%80%af",
        "/\u{ff0f}admin",
        "/admin%23",
        "/x/%252e%252e/admin",
        "/..%2fadmin",
        "/admin/%2e",
        "/admin/.",
        "/x%2f..%2fadmin",
        "/.%00./admin",
        "/admin%20",
        "/admin%09",
    ] {
        let said =
            say(gate.dial(), format!("GET {path} HTTP/1.1\r\nHost: app.corp.example\r\nConnection: close\r\n\r\n"))
                .await;
        let status = said.statuses();
        // Another path than `/admin` to everybody may pass, under that other name.
        let other = ["/admin;x", "/admin%23", "/admin%20"].contains(&path) && status == [200];
        assert!(other || matches!(status[..], [400 | 403]), "{path:?}: {said:?}");
    }
    for line in recorder.requests() {
        assert!(
            ["GET /admin;x HTTP/1.1", "GET /admin%23 HTTP/1.1", "GET /admin%20 HTTP/1.1"].contains(&&*line),
            "{line}"
        );
    }
}

#[tokio::test]
async fn balancers_introduce_their_clients_and_nobody_else_does() {
    let recorder = Recorder::new().await;
    let gate = Harness::builder().app(&recorder.upstream).balanced().start().await;
    // From strangers: neither version is read, and it is said which it was.
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\0\x50\x01\xbb";
    for header in [&b"PROXY TCP4 192.0.2.1 192.0.2.2 80 443\r\n"[..], &binary[..]] {
        assert!(gate.dial().prelude(header).tls().await.is_err());
    }
    let refused = gate.lines_of("connection", 2).await;
    assert_eq!(refusals(&refused), ["proxy-header-forbidden"; 2]);
    // From a listed peer: missing, broken or endless ends the connection, unread.
    let broken: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"GET / HTTP/1.1\r\nHost: app.corp.example\r\n\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 80 443\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 80 443\r\n".to_vec(),
        b"PROXY TCP4 2001:db8::1 2001:db8::2 80 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 99999 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.01 192.0.2.2 80 443\r\n".to_vec(),
        b"PROXY TCP5 192.0.2.1 192.0.2.2 80 443\r\n".to_vec(),
        b"proxy TCP4 192.0.2.1 192.0.2.2 80 443\r\n".to_vec(),
        [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\0\x50\x01\xbb".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\xc0\0\x02\x01".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x2f\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\0\x50\x01\xbb".to_vec(),
    ];
    for header in &broken {
        let refused = gate.dial_to("balanced").prelude(header.clone()).tls().await;
        assert!(refused.is_err(), "{}", header.escape_ascii());
    }
    let refused = gate.lines_of("connection", 2 + broken.len()).await;
    assert_eq!(refusals(&refused)[2..], vec!["proxy-header-malformed"; broken.len()]);
    // Two of them: the second is the client's, and no handshake.
    let twice = "PROXY TCP4 192.0.2.1 192.0.2.2 80 443\r\n".repeat(2);
    assert!(gate.dial_to("balanced").prelude(twice).tls().await.is_err());
    assert_eq!(recorder.got(), [""; 0]);
    still_serves(&gate).await;
}

#[tokio::test]
async fn a_hello_in_pieces_is_a_hello() {
    let app = Upstream::plain().await;
    let gate = Harness::open(&app).await;
    // A relay in between that sends every byte by itself, and splits nothing of what is in them.
    let relay = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let dial = crate::client::Dial::new(relay.local_addr().expect("an address"));
    let to = gate.address("direct");
    tokio::spawn(async move {
        while let Ok((client, _)) = relay.accept().await {
            let gateway = TcpStream::connect(to).await.expect("the gateway");
            gateway.set_nodelay(true).expect("an open socket");
            tokio::spawn(async move {
                let (mut from, mut back) = client.into_split();
                let (mut answers, mut onward) = gateway.into_split();
                tokio::spawn(async move { drop(tokio::io::copy(&mut answers, &mut back).await) });
                let mut byte = [0; 1];
                while tokio::io::AsyncReadExt::read_exact(&mut from, &mut byte).await.is_ok() {
                    if onward.write_all(&byte).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    for dial in [dial.clone(), dial.tls12()] {
        assert_eq!(dial.h1().await.get("/").await.text(), "hello");
    }
    // The same name rule holds for a hello whose records are a byte each.
    let mut hello = Vec::new();
    for byte in *b"\x01\x00\x00\x05\x03\x03\x00\x00\x00" {
        hello.extend_from_slice(&[0x16, 3, 1, 0, 1, byte]);
    }
    let mut stream = TcpStream::connect(to).await.expect("a connection");
    stream.write_all(&hello).await.expect("an open socket");
    assert!(listen(stream, crate::gateway::PATIENCE).await.closed);
    assert_eq!(refusals(&gate.lines_of("connection", 1).await), ["handshake-refused"]);
}

#[tokio::test]
async fn plain_text_and_noise_are_no_handshake() {
    let app = Upstream::plain().await;
    let gate = Harness::open(&app).await;
    for noise in [&b"GET / HTTP/1.1\r\nHost: app.corp.example\r\n\r\n"[..], b"SSH-2.0-x\r\n", &[0; 600], &[0xff; 600]] {
        let (read, mut write) = TcpStream::connect(gate.address("direct")).await.expect("a connection").into_split();
        let _ = write.write_all(noise).await;
        let said = listen(read, crate::gateway::PATIENCE).await;
        assert!(said.closed && find(said.text.as_bytes(), b"HTTP").is_none(), "{said:?}");
    }
    assert_eq!(refusals(&gate.lines_of("connection", 4).await), ["handshake-refused"; 4]);
}
