//! Bytes as attackers send them, and an upstream that keeps every byte it gets.

use crate::client::Dial;
use crate::gateway::{Harness, PATIENCE};
use crate::upstream::Upstream;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came back on a connection.
#[derive(Debug)]
pub struct Said {
    pub text: String,
    /// The gateway ended the connection; else it was silent for too long.
    pub closed: bool,
    pub after: Duration,
}

impl Said {
    /// The statuses of all answers in order.
    pub fn statuses(&self) -> Vec<u16> {
        let after = self.text.split("HTTP/1.").map(|rest| rest.get(2..).unwrap_or_default()).skip(1);
        after.filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
    }
}

/// Sends everything, whatever happens meanwhile, and reads until the connection ends or nothing has come for `silence`.
pub async fn say_and_wait(dial: Dial, bytes: &[u8], silence: Duration) -> Said {
    let stream = dial.alpn(&["http/1.1"]).tls().await.expect("a handshake");
    let (read, mut write) = tokio::io::split(stream);
    let bytes = bytes.to_vec();
    // The writing half stays open: a client that hangs up is another test's.
    let writing = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        let _ = write.flush().await;
        write
    });
    let said = listen(read, silence).await;
    drop(writing.await);
    said
}

pub async fn say(dial: Dial, bytes: impl AsRef<[u8]>) -> Said {
    say_and_wait(dial, bytes.as_ref(), PATIENCE).await
}

/// Reads until the connection ends or nothing has come for `silence`.
pub async fn listen(mut read: impl AsyncRead + Unpin, silence: Duration) -> Said {
    let begun = Instant::now();
    let (mut heard, mut piece, mut closed) = (Vec::new(), vec![0; 16 * 1024], false);
    while let Ok(came) = tokio::time::timeout(silence, read.read(&mut piece)).await {
        match came {
            Ok(read @ 1..) => heard.extend_from_slice(&piece[..read]),
            // However it ends: in good order, by a reset, without a goodbye.
            _ => {
                closed = true;
                break;
            }
        }
    }
    Said { text: String::from_utf8_lossy(&heard).into_owned(), closed, after: begun.elapsed() }
}

/// The gateway is unharmed: a stranger to the attack is served at once.
pub async fn still_serves(gate: &Harness) {
    let said = say(gate.dial(), "GET /fine HTTP/1.1\r\nHost: app.corp.example\r\nConnection: close\r\n\r\n").await;
    assert_eq!(said.statuses(), [200], "{said:?}");
}

/// The reasons of all connections that were refused, in order.
pub fn refusals(lines: &[Value]) -> Vec<String> {
    let refused = lines.iter().filter(|line| line["kind"] == "connection");
    refused.map(|line| line["reason"].as_str().expect("a reason").to_owned()).collect()
}

/// An upstream that answers each strict request with 200 and its number on the connection, and keeps all it got.
pub struct Recorder {
    pub upstream: Upstream,
    got: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    pub async fn new() -> Self {
        let got = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let keep = Arc::clone(&got);
        let upstream = Upstream::raw(move |stream| record(stream, Arc::clone(&keep))).await;
        Self { upstream, got }
    }

    /// What came on each connection.
    pub fn got(&self) -> Vec<String> {
        let got = self.got.lock().expect("not poisoned");
        got.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// The request lines of everything that came, read as strictly as can be.
    ///
    /// # Panics
    /// When what came is anything but whole requests one behind the other.
    pub fn requests(&self) -> Vec<String> {
        let got = self.got.lock().expect("not poisoned");
        got.iter().flat_map(|bytes| strict(bytes)).collect()
    }
}

async fn record(mut stream: TcpStream, got: Arc<Mutex<Vec<Vec<u8>>>>) {
    let place = {
        let mut got = got.lock().expect("not poisoned");
        got.push(Vec::new());
        got.len() - 1
    };
    let (mut buffer, mut answered) = (vec![0; 16 * 1024], 0);
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let whole = {
            let mut got = got.lock().expect("not poisoned");
            got[place].extend_from_slice(&buffer[..read]);
            count(&got[place]).0
        };
        while answered < whole {
            answered += 1;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX-Number: {answered}\r\n\r\n{answered}");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn strict(bytes: &[u8]) -> Vec<String> {
    let (_, lines, rest) = parse(bytes);
    assert!(rest.is_empty(), "not a whole request: {}", rest.escape_ascii());
    lines
}

fn count(bytes: &[u8]) -> (usize, usize) {
    let (count, _, rest) = parse(bytes);
    (count, rest.len())
}

/// Whole requests at the beginning, their first lines, and what is behind them.
fn parse(mut bytes: &[u8]) -> (usize, Vec<String>, &[u8]) {
    let (mut count, mut lines) = (0, Vec::new());
    while let Some(end) = find(bytes, b"\r\n\r\n") {
        let head = std::str::from_utf8(&bytes[..end]).expect("an ASCII head");
        let body = &bytes[end + 4..];
        let field = |name: &str| {
            let mut found = head.lines().skip(1).filter_map(|line| line.split_once(": "));
            let value = found.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value);
            let again = found.any(|(field, _)| field.eq_ignore_ascii_case(name));
            assert!(!again, "`{name}` came twice: {head}");
            value
        };
        let length = match (field("content-length"), field("transfer-encoding")) {
            (Some(length), None) => Some(length.parse().expect("a length")),
            (None, Some(coding)) => {
                assert_eq!(coding, "chunked");
                chunks(body)
            }
            (None, None) => Some(0),
            (Some(_), Some(_)) => panic!("two framings: {head}"),
        };
        let Some(rest) = length.and_then(|length| body.get(length..)) else { break };
        lines.push(head.lines().next().expect("a request line").to_owned());
        count += 1;
        bytes = rest;
    }
    (count, lines, bytes)
}

/// How long a whole chunked body is.
fn chunks(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = body.get(at..)?;
        let line = find(rest, b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).expect("ascii"), 16).expect("a plain size");
        at += line + 2;
        if size == 0 {
            let rest = body.get(at..)?;
            return if rest.starts_with(b"\r\n") { Some(at + 2) } else { Some(at + find(rest, b"\r\n\r\n")? + 4) };
        }
        at += size + 2;
    }
}

pub fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Writes and goes on, whether it worked or not.
pub async fn try_write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> bool {
    stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok()
}
