//! The two systems behind the demo's gate: a payroll and an admin console that show who the gateway says is asking.
//!
//! They do what an upstream should: they believe the gateway's headers only beside an assertion that verifies.

use super::websocket;
use crate::enforce::tunnel;
use askama::Template;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Interval;

/// Which console; what it shows is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Payroll,
    Admin,
    /// What whoever is watched is shown in place of the admin console: the same, with nothing in it.
    Decoy,
}

/// How a console knows the gateway's word.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The gateway's key set (`Signer::jwks`).
    pub keys: Bytes,
    /// `AssertionSettings::issuer`.
    pub issuer: String,
    /// The ids of its resources in the policies. None: it is told of nobody.
    pub audiences: Vec<String>,
}

/// Answers HTTP/1.1 on `listener` for as long as it is polled.
///
/// `/stream` sends ten lines, 100 ms apart; `/live` is a WebSocket that says one as often; any other path answers with a page or, to programs, with JSON.
pub async fn serve(listener: TcpListener, kind: Kind, trust: Trust) {
    let console = Arc::new(Console { kind, trust });
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: asking again at once would only spin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let console = Arc::clone(&console);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let console = Arc::clone(&console);
                async move { Ok::<_, Infallible>(console.answer(request).await) }
            });
            // A client that goes away in the middle is not worth a line.
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

struct Console {
    kind: Kind,
    trust: Trust,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The request as the console saw it.
#[derive(Serialize)]
struct Echo<'a> {
    console: &'a str,
    method: &'a str,
    path: &'a str,
    body_bytes: usize,
    request_id: Option<&'a str>,
    forwarded_for: Option<&'a str>,
    /// None: no assertion came, or it does not verify; then nothing else here is to be believed.
    identity: Option<Identity>,
}

/// The assertion's claims that are of use to a console.
#[derive(Serialize, Deserialize)]
struct Identity {
    user: Option<String>,
    device: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    acr: Option<String>,
    binding: Option<String>,
    policy: String,
}

#[derive(Template)]
#[template(path = "console.html")]
struct Page<'a> {
    name: &'a str,
    greeting: &'a str,
    columns: [&'a str; 3],
    rows: &'a [[&'a str; 3]],
    echo: &'a Echo<'a>,
}

impl Console {
    async fn answer(&self, mut request: Request<Incoming>) -> Answer {
        if request.uri().path() == "/live" && request.headers().contains_key(header::UPGRADE) {
            return live(&mut request);
        }
        let (head, body) = request.into_parts();
        if head.method == Method::GET && head.uri.path() == "/stream" {
            return streamed();
        }
        // Read to the end and only counted: the demo sends small bodies, and nothing is kept.
        let body_bytes = match count(body).await {
            Ok(bytes) => bytes,
            Err(_) => return whole(StatusCode::BAD_REQUEST, "text/plain", Bytes::from_static(b"the body broke off\n")),
        };
        let echo = Echo {
            console: self.kind.name(),
            method: head.method.as_str(),
            path: head.uri.path(),
            body_bytes,
            request_id: text(&head.headers, "rangegate-request-id"),
            forwarded_for: text(&head.headers, "x-forwarded-for"),
            identity: self.identity(&head.headers),
        };
        if text(&head.headers, "accept").is_some_and(|accept| accept.contains("text/html")) {
            return whole(StatusCode::OK, "text/html; charset=utf-8", self.page(&echo).into());
        }
        let mut json = serde_json::to_vec_pretty(&echo).expect("text and numbers always serialize");
        json.push(b'\n');
        whole(StatusCode::OK, "application/json", json.into())
    }

    /// The identity that the gateway vouches for.
    fn identity(&self, headers: &HeaderMap) -> Option<Identity> {
        let token = text(headers, "rangegate-assertion")?;
        let keys: JwkSet = serde_json::from_slice(&self.trust.keys).ok()?;
        let key = keys.find(&jsonwebtoken::decode_header(token).ok()?.kid?)?;
        let mut expected = Validation::new(Algorithm::ES256);
        expected.set_issuer(&[&self.trust.issuer]);
        expected.set_audience(&self.trust.audiences);
        jsonwebtoken::decode(token, &DecodingKey::from_jwk(key).ok()?, &expected).ok().map(|token| token.claims)
    }

    fn page(&self, echo: &Echo<'_>) -> String {
        let (greeting, columns, rows) = self.kind.content();
        let page = Page { name: self.kind.name(), greeting, columns, rows, echo };
        page.render().expect("writing to a string does not fail")
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Payroll => "Payroll",
            Self::Admin | Self::Decoy => "Admin console",
        }
    }

    const fn content(self) -> (&'static str, [&'static str; 3], &'static [[&'static str; 3]]) {
        match self {
            Self::Payroll => (
                "Pay runs of this quarter",
                ["Run", "People", "State"],
                &[["Run 7", "212", "waits for approval"], ["Run 6", "209", "paid"], ["Run 5", "207", "paid"]],
            ),
            Self::Decoy => ("Services and who looks after them", ["Service", "Team", "State"], &[]),
            Self::Admin => (
                "Services and who looks after them",
                ["Service", "Team", "State"],
                &[["mail", "platform", "running"], ["wiki", "tools", "running"], ["backup", "platform", "last night"]],
            ),
        }
    }
}

async fn count(mut body: Incoming) -> Result<usize, hyper::Error> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(bytes)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn whole(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Agrees to a WebSocket (RFC 6455 section 4.2.2) and speaks on it.
fn live(request: &mut Request<Incoming>) -> Answer {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        return whole(StatusCode::BAD_REQUEST, "text/plain", Bytes::from_static(b"the key is missing\n"));
    };
    let accept = HeaderValue::try_from(tunnel::accept(key.as_bytes())).expect("base64 is text");
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            // Ends when the other side does.
            let _ = websocket::speak(TokioIo::new(upgraded)).await;
        }
    });
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    response.headers_mut().extend(fields);
    response
}

fn streamed() -> Answer {
    let lines = Lines { every: tokio::time::interval(Duration::from_millis(100)), next: 1 };
    let mut response = Response::new(lines.boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Ten lines, one at each tick: a body that takes its time.
struct Lines {
    every: Interval,
    next: u32,
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.next > 10 {
            return Poll::Ready(None);
        }
        self.every.poll_tick(cx).map(|_| {
            let line = format!("line {} of 10\n", self.next);
            self.next += 1;
            Some(Ok(Frame::data(line.into())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn key() -> EncodingKey {
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        EncodingKey::from_ec_der(&pair.serialize_der())
    }

    /// Valid until the year 2100.
    fn assertion(key: &EncodingKey, audience: &str) -> String {
        let header = Header { kid: Some("k".into()), ..Header::new(Algorithm::ES256) };
        let claims = json!({
            "iss": "gate", "aud": audience, "exp": 4_102_444_800_u64, "user": "ann <b>", "policy": "00ff",
        });
        jsonwebtoken::encode(&header, &claims, key).unwrap()
    }

    /// What a payroll console that trusts `key` answers, head and body.
    async fn ask(key: &EncodingKey, request: &str) -> String {
        let mut published = Jwk::from_encoding_key(key, Algorithm::ES256).unwrap();
        published.common.key_id = Some("k".into());
        let keys = serde_json::to_vec(&JwkSet { keys: vec![published] }).unwrap().into();
        let trust = Trust { keys, issuer: "gate".into(), audiences: vec!["payroll".into()] };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Kind::Payroll, trust));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn get(path: &str, fields: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nhost: payroll\r\nconnection: close\r\n{fields}\r\n")
    }

    #[tokio::test]
    async fn an_assertion_is_believed_only_when_it_verifies() {
        let (ours, other) = (key(), key());
        let cases = [
            (assertion(&ours, "payroll"), json!("ann <b>")),
            (assertion(&ours, "wiki"), Value::Null),
            (assertion(&other, "payroll"), Value::Null),
            ("nonsense".to_owned(), Value::Null),
        ];
        for (assertion, user) in cases {
            let fields = format!("rangegate-assertion: {assertion}\r\nrangegate-user: mallory\r\n");
            let answer = ask(&ours, &get("/runs/7", &fields)).await;
            let echo: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
            assert_eq!(echo["identity"]["user"], user);
            assert_eq!(echo["path"], "/runs/7");
        }
    }

    #[tokio::test]
    async fn people_get_a_page_that_escapes() {
        let ours = key();
        let fields = format!("accept: text/html\r\nrangegate-assertion: {}\r\n", assertion(&ours, "payroll"));
        let answer = ask(&ours, &get("/", &fields)).await;
        assert!(answer.contains("content-type: text/html"), "{answer}");
        assert!(answer.contains("ann &#60;b&#62;") && !answer.contains("ann <b>"), "{answer}");
    }

    #[tokio::test]
    async fn the_stream_comes_in_ten_pieces() {
        let answer = ask(&key(), &get("/stream", "")).await;
        assert_eq!(answer.matches(" of 10\n").count(), 10, "{answer}");
        assert!(answer.contains("transfer-encoding: chunked"), "{answer}");
    }
}
