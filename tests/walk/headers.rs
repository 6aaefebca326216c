//! What upstreams are told, and what they are spared.

use crate::client::{BOTH, Http, request};
use crate::gateway::{Harness, PKI};
use crate::upstream::{Upstream, ok};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Response};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn nobody_can_speak_in_the_gateways_name() {
    let app = Upstream::plain().await;
    let gate = Harness::open(&app).await;
    let authorization = format!("Bearer {}", gate.token("ann@corp.example"));
    let forged = [
        "rangegate-user",
        "rangegate_user",
        "rangegate.user",
        "rangegate-device",
        "rangegate-assertion",
        "rangegate_assertion",
        "rangegate-request-id",
        "rangegate-anything",
        "x-forwarded-for",
        "x_forwarded_for",
        "x.forwarded.for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-user",
        "x-forwarded-client-cert",
        "forwarded",
        "x-real-ip",
        "x-real_ip",
        "true-client-ip",
        "remote-user",
        "remote_user",
        "x-remote-user",
        "x-auth-request-email",
        "x-client-cert",
        "ssl-client-s-dn",
        "x-original-url",
        "x-rewrite-url",
        "x-http-method-override",
        "proxy",
    ];
    for version in BOTH {
        let mut fields: Vec<_> = forged.iter().map(|name| (*name, "forged")).collect();
        fields.push(("authorization", &authorization));
        fields.push(("x-harmless", "kept"));
        if version == Http::One {
            fields.push(("connection", "rangegate-user, x-hop"));
            fields.push(("x-hop", "forged"));
        }
        let mut client = gate.dial().certificate(&PKI.ann).http(version).await;
        let answer = client.ask(request(Method::GET, "/", &fields)).await;
        assert_eq!(answer.status, 200);
        let seen = app.last();
        let left: Vec<_> = seen.headers.iter().filter(|(_, value)| value.as_bytes() == b"forged").collect();
        assert!(left.is_empty(), "{version:?}: {left:?}");
        assert_eq!(seen.header("rangegate-user"), "ann@corp.example");
        assert_eq!(seen.header("rangegate-device"), "ann-laptop");
        assert_eq!(seen.header("rangegate-request-id"), answer.header("rangegate-request-id"));
        assert_eq!(seen.header("x-forwarded-for"), "127.0.0.1");
        assert_eq!(seen.header("x-forwarded-proto"), "https");
        assert_eq!(seen.header("x-forwarded-host"), "app.corp.example");
        assert_eq!(seen.header("forwarded"), "for=127.0.0.1;proto=https");
        assert_eq!(seen.header("host"), "app.corp.example");
        assert_eq!(seen.header("x-harmless"), "kept");
        assert_eq!(seen.header("authorization"), authorization);
        for name in seen.headers.keys() {
            assert_eq!(seen.headers.get_all(name).iter().count(), 1, "`{name}` came twice");
        }
    }
}

#[tokio::test]
async fn the_assertion_verifies_with_the_published_keys() {
    let app = Upstream::plain().await;
    let gate = Harness::open(&app).await;
    let authorization = format!("Bearer {}", gate.bound_token("ann@corp.example", &PKI.ann));
    let mut client = gate.dial().certificate(&PKI.ann).h2().await;
    let answer = client.ask(request(Method::GET, "/", &[("authorization", &authorization)])).await;
    let assertion = app.last().header("rangegate-assertion").to_owned();
    let (message, signature) = assertion.rsplit_once('.').expect("three parts");
    let (header, claims) = message.split_once('.').expect("three parts");
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let json = |text| serde_json::from_slice::<Value>(&bytes(text)).expect("JSON");
    let (header, claims) = (json(header), json(claims));

    let (status, keys) = gate.operations("/assertion-keys").await;
    assert_eq!(status, 200);
    let keys: Value = serde_json::from_str(&keys).expect("a key set");
    let key = keys["keys"].as_array().expect("keys").iter().find(|key| key["kid"] == header["kid"]).expect("its key");
    assert_eq!((&header["alg"], &key["crv"]), (&"ES256".into(), &"P-256".into()));
    let part = |name: &str| bytes(key[name].as_str().expect("a coordinate"));
    let point = [vec![4], part("x"), part("y")].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(message.as_bytes(), &bytes(signature))
        .expect("signed");

    assert_eq!(claims["iss"], "https://gate.corp.example");
    assert_eq!(claims["sub"], "ann@corp.example");
    assert_eq!(answer.status, 200);
    assert!(claims["exp"].as_i64() > claims["iat"].as_i64(), "{claims:#}");
}

#[tokio::test]
async fn upstreams_get_the_path_that_was_decided() {
    let app = Upstream::plain().await;
    let gate = Harness::open(&app).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        for (asked, given) in [
            ("/%61dmin/%7Ejoe?q=%61", "/admin/~joe?q=%61"),
            ("/a%2db?x=1&y=%2F", "/a-b?x=1&y=%2F"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/", "/"),
        ] {
            assert_eq!(client.get(asked).await.status, 200, "{asked}");
            assert_eq!(app.last().uri, given, "{version:?}");
        }
        let before = app.seen().len();
        for refused in ["/a/../b", "/a/%2e%2e/b", "/a%2fb", "/a%5cb", "/a//b", "/a%00b", "/a;x=1/..;/b", "/%2561"] {
            assert_eq!(client.get(refused).await.status, 400, "{refused}");
        }
        assert_eq!(app.seen().len(), before, "a path with two readings reached the upstream");
    }
}

#[tokio::test]
async fn answers_lose_what_is_not_for_the_client() {
    let app = Upstream::http1(|_| async {
        let fields = [
            ("rangegate-user", "spoofed"),
            ("alt-svc", "h3=\":443\""),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("x-app", "kept"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ];
        let response =
            fields.iter().fold(Response::builder(), |response, (name, value)| response.header(*name, *value));
        response.body(ok("x").into_body()).expect("a response")
    })
    .await;
    let gate = Harness::open(&app).await;
    for version in BOTH {
        let answer = gate.dial().http(version).await.get("/").await;
        for name in ["rangegate-user", "alt-svc", "connection", "x-hop"] {
            assert_eq!(answer.header(name), "", "{version:?} `{name}`");
        }
        assert_eq!(answer.header("x-app"), "kept");
        assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
    }
}

#[tokio::test]
async fn a_host_other_than_the_connections_is_misdirected() {
    let app = Upstream::plain().await;
    let gate = Harness::open(&app).await;
    for version in BOTH {
        let mut client = gate.dial().sni("other.corp.example").http(version).await;
        let answer = client.get("https://app.corp.example/").await;
        assert_eq!(answer.status, 421, "{version:?}");
        assert_eq!(answer.json()["type"], "tag:rangegate,2026:misdirected");
        // The connection itself is fine.
        assert_eq!(client.get("https://other.corp.example/").await.status, 403, "{version:?}");
    }
    let records = gate.audit_records(4).await;
    assert_eq!(records[0]["evidence"]["request"]["malformed"], "misdirected");
    assert!(app.seen().is_empty());
}

#[tokio::test]
async fn a_port_in_the_host_is_passed_on() {
    let app = Upstream::plain().await;
    let gate = Harness::open(&app).await;
    let mut client = gate.dial().h1().await;
    let answer = client.ask(request(Method::GET, "/", &[("host", "APP.corp.example.:8443")])).await;
    assert_eq!(answer.status, 200);
    assert_eq!(app.last().header("host"), "app.corp.example:8443");
}

#[tokio::test]
async fn forwarders_are_believed_and_nobody_else() {
    let app = Upstream::plain().await;
    let gate = Harness::builder()
        .app(&app)
        .policy(
            "other",
            &crate::gateway::open_to_all("forwarded", "$app").replace("127.0.0.0/8", "198.51.100.0/24"),
            &[("app", &app)],
        )
        .balanced()
        .listener("forwarder", |listener| listener.forwarders = vec!["127.0.0.0/8".parse().expect("a prefix")])
        .start()
        .await;
    let named = [("x-forwarded-for", "203.0.113.1, 198.51.100.7")];
    let ask = || request(Method::GET, "/", &named);
    let direct = gate.dial().sni("forwarded.corp.example").h1().await.ask(ask()).await;
    assert_eq!(direct.status, 403, "anybody could choose an address");
    let trusted = gate.dial_to("forwarder").sni("forwarded.corp.example").h1().await.ask(ask()).await;
    assert_eq!(trusted.status, 200);
    assert_eq!(app.last().header("x-forwarded-for"), "198.51.100.7");
    let header = "PROXY TCP4 198.51.100.9 127.0.0.1 40000 443\r\n";
    let mut proxied = gate.dial_to("balanced").prelude(header).sni("forwarded.corp.example").h2().await;
    assert_eq!(proxied.get("/").await.status, 200);
    assert_eq!(app.last().header("x-forwarded-for"), "198.51.100.9");
    let records = gate.audit_records(3).await;
    assert_eq!(records[2]["evidence"]["network"]["address"], "198.51.100.9", "{:#}", records[2]);
}

#[tokio::test]
async fn a_listed_balancer_must_introduce_its_clients() {
    let app = Upstream::plain().await;
    let gate = Harness::builder().app(&app).balanced().start().await;
    let mut mute = tokio::net::TcpStream::connect(gate.address("balanced")).await.expect("a connection");
    mute.write_all(b"GET / HTTP/1.1\r\nHost: app.corp.example\r\n\r\n").await.expect("sent");
    let mut read = Vec::new();
    // A reset or an end: not a word either way.
    let _ = mute.read_to_end(&mut read).await;
    assert!(read.is_empty(), "{read:?}");
    let refused = gate.lines_of("connection", 1).await;
    assert_eq!(refused[0]["reason"], "proxy-header-malformed");
}

#[tokio::test]
async fn a_balancer_that_only_looks_whether_somebody_listens_leaves_no_trace() {
    let app = Upstream::plain().await;
    let mut gate = Harness::builder().app(&app).balanced().start().await;
    for reset in [false, true] {
        let mut check = tokio::net::TcpStream::connect(gate.address("balanced")).await.expect("a connection");
        if reset {
            let at_once = Some(std::time::Duration::ZERO);
            socket2::SockRef::from(&check).set_linger(at_once).expect("an open socket");
        } else {
            check.shutdown().await.expect("an open socket");
            assert!(check.read_to_end(&mut Vec::new()).await.is_ok_and(|read| read == 0));
        }
    }
    // Who begins with a header and does not finish is still refused.
    let mut half = tokio::net::TcpStream::connect(gate.address("balanced")).await.expect("a connection");
    half.write_all(b"PROXY").await.expect("sent");
    half.shutdown().await.expect("an open socket");
    assert!(half.read_to_end(&mut Vec::new()).await.is_ok_and(|read| read == 0));
    gate.lines_of("connection", 1).await;
    let lines = gate.stop().await;
    let refused: Vec<_> = lines.iter().filter(|line| line["kind"] == "connection").collect();
    assert_eq!(refused.len(), 1, "{refused:#?}");
    assert_eq!(refused[0]["reason"], "proxy-header-malformed");
}
