//! What the logs must not say: no token, cookie or secret of a query, and nothing that is more than one clean line.
//!
//! A process of its own, for it listens to everything the process traces.

#[path = "support/client.rs"]
mod client;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/upstream.rs"]
mod upstream;

use client::{BOTH, request};
use gateway::{Harness, PKI};
use http::Method;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};
use upstream::{Upstream, ok};

static TRACED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Kept;

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        kept().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Kept {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

fn kept() -> MutexGuard<'static, Vec<u8>> {
    TRACED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As talkative as an operator may make it.
fn listen() {
    let targets = Targets::new().with_default(tracing::Level::DEBUG).with_target("rangegate", tracing::Level::TRACE);
    let _ = registry().with(targets).with(fmt::layer().with_writer(Kept).with_ansi(false)).try_init();
}

const RULES: &str = "[[resource]]\nid = \"app\"\nhosts = [\"app.corp.example\"]\nupstream = \"$app\"\n\
    [[resource.route]]\nmatch = [\"* /open/**\"]\nrequire = [{ id = \"local\", that = { cidr = \"127.0.0.0/8\" } }]\n\
    [[resource.route]]\nmatch = [\"* /signed-in/**\"]\nrequire = [{ id = \"signed-in\", that = { login = { known = true } } }]\n\
    [[resource.route]]\nmatch = [\"* /watched/**\"]\nrequire = [{ id = \"never\", that = { cidr = \"192.0.2.0/24\" }, otherwise = \"observe\" }]\n";

#[tokio::test]
async fn no_credential_is_written_anywhere() {
    listen();
    let app = Upstream::http1(|request| async move {
        let mut answer = ok("done");
        answer.headers_mut().insert("set-cookie", "session=ANSWERCOOKIESECRET".parse().expect("a value"));
        if request.uri().path().ends_with("/broken") {
            answer.headers_mut().insert("content-length", "99".parse().expect("a value"));
        }
        answer
    })
    .await;
    let mut gate = Harness::builder().policy("app", RULES, &[("app", &app)]).start().await;
    let good = gate.token("ann@corp.example");
    let expired = gate.token_with("ann@corp.example", |claims| claims["exp"] = 1.into());
    let forged = good[..good.len() - 6].to_owned() + "FORGED";
    for version in BOTH {
        let mut client = gate.dial().certificate(&PKI.ann).http(version).await;
        for (at, token) in [&good, &expired, &forged, &"OPAQUETOKENSECRET".to_owned()].into_iter().enumerate() {
            for path in ["/open/x", "/signed-in/x", "/watched/x", "/nowhere/x", "/open/%2f", "/open/../x"] {
                let path = format!("{path}?code=QUERYSECRET{at}&x=%51UERYSECRET");
                let fields = [
                    ("authorization", &*format!("Bearer {token}")),
                    ("cookie", "session=COOKIESECRET; other=COOKIESECRET"),
                    ("proxy-authorization", "Basic UFJPWFlTRUNSRVQ6UFJPWFlTRUNSRVQ="),
                    ("x-api-key", "HEADERSECRET"),
                    ("referer", "https://elsewhere.example/?q=REFERERSECRET"),
                ];
                client.ask(request(Method::GET, &path, &fields)).await;
            }
        }
        let fields = [("authorization", "Basic QkFTSUNTRUNSRVQ6QkFTSUNTRUNSRVQ=")];
        client.ask(request(Method::GET, "/signed-in/x", &fields)).await;
        client.post("/open/x", "BODYSECRET").await;
    }
    // What hyper or the guard refuse by themselves, too.
    for head in [
        format!(
            "GET /open/x?QUERYSECRET HTTP/1.1\r\nHost: app.corp.example\r\nAuthorization: Bearer {good}\r\nX: \0\r\n\r\n"
        ),
        format!(
            "GET /open/x HTTP/1.1\r\nHost: app.corp.example\r\nCookie: a=COOKIESECRET\r\nAuthorization: Bearer {good}\n\r\n"
        ),
        "POST /open/x HTTP/1.1\r\nHost: app.corp.example\r\nTransfer-Encoding: chunked\r\n\r\nBODYSECRET\r\n"
            .to_owned(),
    ] {
        let mut stream = gate.dial().alpn(&["http/1.1"]).tls().await.expect("a handshake");
        stream.write_all(head.as_bytes()).await.expect("an open stream");
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    gate.audit_records(2 * (4 * 6 + 2) + 3).await;
    let (_, metrics) = gate.operations("/metrics").await;
    gate.stop().await;
    let audit = std::fs::read_to_string(gate.path("audit.jsonl")).expect("a log");
    let traced = String::from_utf8_lossy(&kept()).into_owned();
    assert!(audit.contains("ann@corp.example") && !traced.is_empty(), "there is something to look at");
    let token_parts = [&good, &expired, &forged].map(|token| token.rsplit_once('.').expect("a signature").1.to_owned());
    let basics = ["UFJPWFlTRUNSRVQ6", "QkFTSUNTRUNSRVQ6"].map(str::to_owned);
    for secret in token_parts.iter().chain(&basics).map(String::as_str).chain(["SECRET"]) {
        for (what, text) in [("the audit log", &audit), ("the traces", &traced), ("the metrics", &metrics)] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{what} says `{secret}`");
        }
    }
}

#[tokio::test]
async fn whatever_is_sent_makes_one_clean_line() {
    listen();
    let app = Upstream::plain().await;
    let mut gate = Harness::builder().policy("app", RULES, &[("app", &app)]).start().await;
    let ugly = [
        "%0d%0a{\"schema\":1,\"kind\":\"request\"}",
        "%1b[2J%1b[31mred",
        "%e2%80%ae%e2%81%a6reversed",
        "%c2%9b31m",
        "\u{202e}reversed",
        "%ff%fe",
        "%00",
        "%7f",
        "\"}{\"x\":\"",
        "%22,%22outcome%22:%22forward",
        "%e2%80%a8",
        "%ef%bb%bf",
        "%f3%a0%81%81",
        "<script>",
    ];
    let mut asked = 0;
    for text in ugly {
        for head in [
            format!("GET /open/{text} HTTP/1.1\r\nHost: app.corp.example\r\n"),
            format!("GET /open/x HTTP/1.1\r\nHost: {text}\r\n"),
            format!(
                "GET /open/x HTTP/1.1\r\nHost: app.corp.example\r\nX-Forwarded-For: {text}\r\nUser-Agent: {text}\r\n"
            ),
            format!("GET /open/x HTTP/1.1\r\nHost: app.corp.example\r\nAuthorization: Bearer {text}\r\n"),
        ] {
            let mut stream = gate.dial().certificate(&PKI.ann).alpn(&["http/1.1"]).tls().await.expect("a handshake");
            stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await.expect("an open stream");
            let _ = stream.read_to_end(&mut Vec::new()).await;
            asked += 1;
        }
    }
    // A claim may say anything too.
    let wild = gate.token_with("ann@corp.example", |claims| {
        claims["email"] = "ann\r\n{\"kind\":\"request\"}\u{1b}[2J\u{202e}\u{9b}\u{0}@corp.example".into();
        claims["groups"] = serde_json::json!(["\u{2028}\u{feff}", "x\ny"]);
    });
    let mut client = gate.dial().certificate(&PKI.ann).h2().await;
    client.ask(request(Method::GET, "/signed-in/x", &[("authorization", &format!("Bearer {wild}"))])).await;
    asked += 1;
    // Names of servers that are none.
    for name in ["x\r\nX: y", "\u{1b}[2J", "\u{202e}"] {
        let mut stream = tokio::net::TcpStream::connect(gate.address("direct")).await.expect("a connection");
        let _ = stream.write_all(&hello(name.as_bytes())).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    let records = gate.audit_records(asked).await;
    assert_eq!(records.len(), asked);
    gate.stop().await;
    let audit = std::fs::read(gate.path("audit.jsonl")).expect("a log");
    let unclean = |character: char| {
        character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    for line in audit.split(|byte| *byte == b'\n') {
        let line = std::str::from_utf8(line).expect("UTF-8");
        assert_eq!(line.chars().find(|character| unclean(*character)), None, "{line}");
    }
    let text = String::from_utf8(audit).expect("UTF-8");
    assert_eq!(text.matches("\n{\"schema\"").count() + 1, text.lines().count());
    for line in String::from_utf8_lossy(&kept()).lines().filter(|line| line.contains("rangegate")) {
        assert!(!line.contains('\u{1b}') && !line.contains('\u{202e}'), "{line}");
    }
}

/// A ClientHello for TLS 1.2 and 1.3 with this server name, whatever it is.
fn hello(name: &[u8]) -> Vec<u8> {
    let short = |length: usize| u16::try_from(length).expect("short").to_be_bytes();
    let names = [&[0][..], &short(name.len()), name].concat();
    let list = [&short(names.len())[..], &names].concat();
    let sni = [&[0, 0][..], &short(list.len()), &list].concat();
    let groups = [0, 10, 0, 4, 0, 2, 0, 29];
    let signatures = [0, 13, 0, 4, 0, 2, 4, 3];
    let extensions = [&sni[..], &groups, &signatures].concat();
    let body =
        [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0xc0, 0x2b], &[1, 0], &short(extensions.len()), &extensions].concat();
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[0x16, 3, 1][..], &short(message.len()), &message].concat()
}
