//! HTTP/2 abused frame by frame: what is malformed costs its stream, what floods costs its connection, and nothing
//! costs anybody else.

use crate::client::{Dial, get};
use crate::gateway::{Harness, eventually};
use crate::upstream::{Upstream, ok};
use crate::wire::{Recorder, refusals, still_serves, try_write};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// Header fields as literals, never indexed and never compressed: every byte may stand in them.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        return block.push(length as u8);
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

fn plain(path: &str) -> Vec<(&'static str, &str)> {
    vec![(":method", "GET"), (":scheme", "https"), (":authority", "app.corp.example"), (":path", path)]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Status(u16),
    Reset,
}

/// What the gateway said, so far.
#[derive(Default)]
struct Heard {
    streams: BTreeMap<u32, Fate>,
    closed: bool,
}

struct Raw {
    write: WriteHalf<TlsStream<TcpStream>>,
    heard: Arc<Mutex<Heard>>,
    reading: JoinHandle<()>,
    next: u32,
}

impl Raw {
    async fn open(dial: Dial) -> Self {
        Self::with_settings(dial, &[]).await
    }

    async fn with_settings(dial: Dial, settings: &[u8]) -> Self {
        let tls = dial.alpn(&["h2"]).tls().await.expect("a handshake");
        let (read, write) = tokio::io::split(tls);
        let heard = Arc::<Mutex<Heard>>::default();
        let reading = tokio::spawn(hear(read, Arc::clone(&heard)));
        let mut raw = Self { write, heard, reading, next: 1 };
        raw.send(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, settings)[..]].concat()).await;
        raw
    }

    /// False when the connection takes no more.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        try_write(&mut self.write, bytes).await
    }

    fn stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    async fn ask(&mut self, block: &[u8]) -> u32 {
        let stream = self.stream();
        self.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, block)).await;
        stream
    }

    async fn fate(&self, stream: u32) -> Fate {
        eventually("a stream's fate", || {
            let heard = self.heard.lock().expect("not poisoned");
            heard.closed || heard.streams.contains_key(&stream)
        })
        .await;
        *self.heard.lock().expect("not poisoned").streams.get(&stream).unwrap_or(&Fate::Reset)
    }

    fn is_closed(&self) -> bool {
        self.heard.lock().expect("not poisoned").closed
    }

    async fn closed(&self) {
        eventually("the connection to be ended", || self.is_closed()).await;
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn hear(mut read: ReadHalf<TlsStream<TcpStream>>, heard: Arc<Mutex<Heard>>) {
    let mut head = [0; 9];
    while read.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, _, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if read.read_exact(&mut payload).await.is_err() {
            break;
        }
        let stream = u32::from_be_bytes(stream);
        let mut heard = heard.lock().expect("not poisoned");
        match kind {
            HEADERS => drop(heard.streams.entry(stream).or_insert(Fate::Status(status(&payload)))),
            RST_STREAM => drop(heard.streams.entry(stream).or_insert(Fate::Reset)),
            _ => {}
        }
    }
    heard.lock().expect("not poisoned").closed = true;
}

/// The status at the beginning of a header block: from the static table, or a literal with or without Huffman code.
fn status(block: &[u8]) -> u16 {
    match block {
        // The table's size may be changed first.
        [change, rest @ ..] if change >> 5 == 1 => {
            let more = if change & 31 == 31 { 1 + rest.iter().take_while(|byte| **byte >= 128).count() } else { 0 };
            status(rest.get(more..).unwrap_or_default())
        }
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        [_, length, rest @ ..] if *length < 128 => {
            let digits = rest.get(..usize::from(*length)).unwrap_or_default();
            std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
        }
        // Digits 0 to 2 have five bits in Huffman's code, the others six (RFC 7541 appendix B).
        [_, length, rest @ ..] => {
            let bits: String = rest.iter().take(usize::from(length & 127)).map(|byte| format!("{byte:08b}")).collect();
            let (mut at, mut status) = (0, 0);
            while let Some((digit, length)) = digit(&bits, at) {
                status = status * 10 + digit;
                at += length;
            }
            status
        }
        _ => 0,
    }
}

fn digit(bits: &str, at: usize) -> Option<(u16, usize)> {
    let code = |length: usize| bits.get(at..at + length).and_then(|code| u16::from_str_radix(code, 2).ok());
    match (code(5), code(6)) {
        (Some(short @ 0..=2), _) => Some((short, 5)),
        (_, Some(long @ 0x19..=0x1f)) => Some((long - 0x19 + 3, 6)),
        _ => None,
    }
}

#[test]
fn the_reader_of_statuses_reads_them() {
    // As in RFC 7541 sections C.5.1 and C.6.1.
    assert_eq!(status(b"\x48\x03302"), 302);
    assert_eq!(status(b"\x48\x82\x64\x02"), 302);
    assert_eq!(status(b"\x3f\xe1\x1f\x8c"), 400);
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("a number") * 1024
}

/// What one attack may make the gateway hold; other tests run beside it.
const MEMORY: u64 = 96 << 20;

/// A flood that must be over before it ends: `one` is sent until the connection takes no more. The gateway serves others
/// all the while.
async fn drowns(what: &str, settings: &[u8], first: &[u8], one: impl Fn(u32) -> Vec<u8>, at_most: u32) {
    let recorder = Recorder::new().await;
    let gate = Harness::open(&recorder.upstream).await;
    let mut other = gate.dial().h2().await;
    assert_eq!(other.get("/other").await.status, 200);
    let before = resident();
    let mut raw = Raw::with_settings(gate.dial(), settings).await;
    raw.send(first).await;
    let mut sent = 0;
    while sent < at_most && !raw.is_closed() {
        let many: Vec<u8> = (sent..sent + 50).flat_map(&one).collect();
        if !raw.send(&many).await {
            break;
        }
        sent += 50;
        if sent % 1000 == 0 {
            assert_eq!(other.get("/other").await.status, 200);
        }
    }
    raw.closed().await;
    assert!(sent < at_most, "{what}: all {sent} were taken");
    assert!(resident().saturating_sub(before) < MEMORY, "{what}: {} MiB", (resident() - before) >> 20);
    assert_eq!(other.get("/other").await.status, 200, "{what}");
    let refused = gate.lines_of("connection", 1).await;
    assert_eq!(refusals(&refused), ["http2-abuse"], "{what}");
    assert!(recorder.got().concat().matches("/attack").count() < 1500, "{what}");
}

const TURNS: u32 = 40_000;

#[tokio::test]
async fn rapid_resets() {
    let open = block(&plain("/attack"));
    drowns(
        "rapid reset",
        &[],
        &[],
        |turn| {
            let stream = 2 * turn + 1;
            let cancel = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            [frame(HEADERS, END_HEADERS | END_STREAM, stream, &open), cancel].concat()
        },
        TURNS,
    )
    .await;
}

#[tokio::test]
async fn resets_the_gateway_is_made_to_send() {
    let open = block(&plain("/attack"));
    drowns(
        "made you reset",
        &[],
        &[],
        |turn| {
            let stream = 2 * turn + 1;
            // A window that grows by nothing is an error of the stream (RFC 9113 section 6.9).
            [frame(HEADERS, END_HEADERS | END_STREAM, stream, &open), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
        },
        TURNS,
    )
    .await;
}

#[tokio::test]
async fn continuations_without_end() {
    let filler = block(&[("x-filler", &"a".repeat(8000))]);
    let first = frame(HEADERS, END_STREAM, 1, &block(&plain("/attack")));
    drowns("continuation", &[], &first, |_| frame(CONTINUATION, 0, 1, &filler), TURNS).await;
    drowns("empty continuation", &[], &first, |_| frame(CONTINUATION, 0, 1, &[]), TURNS).await;
}

#[tokio::test]
async fn control_frames_without_end() {
    drowns("ping", &[], &[], |turn| frame(PING, 0, 0, &u64::from(turn).to_be_bytes()), TURNS).await;
    drowns("settings", &[], &[], |_| frame(SETTINGS, 0, 0, &[]), TURNS).await;
    drowns("priority", &[], &[], |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]), TURNS).await;
    drowns("window", &[], &[], |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), TURNS).await;
    drowns("unknown", &[], &[], |_| frame(0x42, 0, 0, &[0; 32]), TURNS).await;
}

#[tokio::test]
async fn data_without_bytes() {
    let mut post = plain("/attack");
    post[0] = (":method", "POST");
    let first = frame(HEADERS, END_HEADERS, 1, &block(&post));
    drowns("empty data", &[], &first, |_| frame(DATA, 0, 1, &[]), TURNS).await;
}

#[tokio::test]
async fn a_bomb_of_header_fields_is_one_refused_stream() {
    let recorder = Recorder::new().await;
    let gate = Harness::open(&recorder.upstream).await;
    let before = resident();
    // No window for any answer.
    let mut raw = Raw::with_settings(gate.dial(), &[0, 4, 0, 0, 0, 0]).await;
    // One field goes into the dynamic table, and is then named ten thousand times by a byte each.
    let mut bomb = block(&plain("/attack"));
    bomb.extend_from_slice(b"\x40\x01x\x01y");
    bomb.extend_from_slice(&[0xbe; 10_000]);
    for _ in 0..90 {
        let stream = raw.ask(&bomb).await;
        assert_ne!(raw.fate(stream).await, Fate::Status(200));
        if raw.is_closed() {
            break;
        }
    }
    // Cookies are crumbled over many fields.
    if !raw.is_closed() {
        let mut crumbs = plain("/attack");
        crumbs.extend(vec![("cookie", "a"); 200]);
        let stream = raw.ask(&block(&crumbs)).await;
        assert!(matches!(raw.fate(stream).await, Fate::Status(400 | 431) | Fate::Reset));
    }
    assert!(resident().saturating_sub(before) < MEMORY);
    assert_eq!(recorder.got(), [""; 0]);
    still_serves(&gate).await;
}

#[tokio::test]
async fn as_many_streams_as_are_allowed_and_no_more() {
    let (reached, mut reaching) = tokio::sync::mpsc::unbounded_channel();
    let release = Arc::new(tokio::sync::Semaphore::new(0));
    let gatekeeper = Arc::clone(&release);
    let app = Upstream::http1(move |_| {
        let (reached, gatekeeper) = (reached.clone(), Arc::clone(&gatekeeper));
        async move {
            let _ = reached.send(());
            drop(gatekeeper.acquire().await);
            ok("late")
        }
    })
    .await;
    let gate = Harness::open(&app).await;
    let mut raw = Raw::open(gate.dial()).await;
    let open = block(&plain("/"));
    let mut streams = Vec::new();
    for _ in 0..150 {
        streams.push(raw.ask(&open).await);
    }
    for _ in 0..100 {
        reaching.recv().await.expect("a request");
    }
    for stream in &streams[100..] {
        assert_eq!(raw.fate(*stream).await, Fate::Reset);
    }
    assert!(reaching.try_recv().is_err(), "more than a hundred were let through");
    release.add_permits(1000);
    for stream in &streams[..100] {
        assert_eq!(raw.fate(*stream).await, Fate::Status(200));
    }
}

#[tokio::test]
async fn malformed_requests_cost_a_stream_and_never_reach_the_upstream() {
    let recorder = Recorder::new().await;
    let gate = Harness::open(&recorder.upstream).await;
    let with = |extra: &[(&'static str, &'static str)]| [&plain("/attack")[..], extra].concat();
    let but = |name: &'static str, value: &'static str| {
        let mut fields = plain("/attack");
        fields.iter_mut().find(|field| field.0 == name).expect("that field").1 = value;
        fields
    };
    let without = |name: &'static str| plain("/attack").into_iter().filter(|field| field.0 != name).collect::<Vec<_>>();
    let cases = [
        but(":path", "/attack HTTP/1.1\r\nX: y"),
        but(":path", "/attack\r\n\r\nGET /smuggled HTTP/1.1"),
        but(":path", "/attack\n"),
        but(":path", "/attack\0"),
        but(":path", "/att ack"),
        but(":path", "/att\tack"),
        but(":path", "attack"),
        but(":path", ""),
        but(":path", "*"),
        but(":path", "https://app.corp.example/attack"),
        but(":path", "//app.corp.example/attack"),
        but(":path", "/attack/../x"),
        but(":path", "/attack\\x"),
        but(":path", "/\u{e9}"),
        but(":method", "GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST"),
        but(":method", "GET "),
        but(":method", ""),
        but(":method", "get"),
        but(":method", "TRACE"),
        but(":method", "CONNECT"),
        but(":scheme", "http"),
        but(":scheme", "ftp"),
        but(":scheme", "https\r\nX: y"),
        but(":authority", "other.corp.example"),
        but(":authority", "app.corp.example\r\nX: y"),
        but(":authority", "app.corp.example/x"),
        but(":authority", "app.corp.example@other.corp.example"),
        but(":authority", "user@app.corp.example"),
        but(":authority", "app.corp.example, other.corp.example"),
        but(":authority", ""),
        without(":path"),
        without(":method"),
        without(":authority"),
        with(&[(":path", "/other")]),
        with(&[(":authority", "other.corp.example")]),
        with(&[(":method", "POST")]),
        with(&[(":status", "200")]),
        with(&[(":unknown", "x")]),
        with(&[(":protocol", "websocket")]),
        with(&[("x", "y"), (":path", "/late")]),
        with(&[("host", "other.corp.example")]),
        with(&[("host", "app.corp.example"), ("host", "app.corp.example")]),
        with(&[("X-Upper", "y")]),
        with(&[("x y", "z")]),
        with(&[("x:y", "z")]),
        with(&[("x\r\ny", "z")]),
        with(&[("", "z")]),
        with(&[("x", "y\r\nrangegate-user: root")]),
        with(&[("x", "y\nz")]),
        with(&[("x", "y\rz")]),
        with(&[("x", "y\0z")]),
        with(&[("x", " y")]),
        with(&[("x", "y ")]),
        with(&[("connection", "x")]),
        with(&[("connection", "keep-alive")]),
        with(&[("keep-alive", "1")]),
        with(&[("proxy-connection", "x")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("transfer-encoding", "identity")]),
        with(&[("upgrade", "websocket")]),
        with(&[("te", "gzip")]),
        with(&[("content-length", "5")]),
        with(&[("content-length", "0"), ("content-length", "5")]),
        with(&[("content-length", "+0")]),
        with(&[("content-length", "x")]),
    ];
    let mut resets = 0;
    for fields in &cases {
        let mut raw = Raw::open(gate.dial()).await;
        let stream = raw.ask(&block(fields)).await;
        let fate = raw.fate(stream).await;
        assert!(matches!(fate, Fate::Reset | Fate::Status(400 | 421 | 501)), "{fields:?}: {fate:?}");
        resets += usize::from(fate == Fate::Reset);
    }
    // What the library refuses by itself, the stream or the connection, is written down too, once.
    let refused = gate.lines_of("connection", resets).await;
    let (streams, others): (Vec<_>, Vec<_>) = refused.iter().partition(|line| line["reason"] == "http2-stream-refused");
    assert!(streams.iter().all(|line| line["stream"]["id"] == 1 && line["stream"]["error"] == 1), "{streams:#?}");
    assert!(others.iter().all(|line| line["reason"] == "http2-abuse") && streams.len() > others.len(), "{others:#?}");
    assert_eq!((refused.len(), gate.audit_records(cases.len() - resets).await.len()), (resets, cases.len() - resets));
    assert_eq!(recorder.got(), [""; 0], "it reached the upstream");
    // A connection with a refused stream on it goes on, as far as the fault was the stream's.
    let mut raw = Raw::open(gate.dial()).await;
    for fields in [with(&[("connection", "x")]), but(":path", "/att ack"), with(&[("te", "gzip")])] {
        let stream = raw.ask(&block(&fields)).await;
        assert_ne!(raw.fate(stream).await, Fate::Status(200));
    }
    let stream = raw.ask(&block(&plain("/fine"))).await;
    assert_eq!(raw.fate(stream).await, Fate::Status(200));
    assert_eq!(recorder.requests(), ["GET /fine HTTP/1.1"]);
}

#[tokio::test]
async fn a_length_that_is_not_the_datas_makes_no_whole_request() {
    let recorder = Recorder::new().await;
    let gate = Harness::open(&recorder.upstream).await;
    let mut post = plain("/attack");
    post[0] = (":method", "POST");
    post.push(("content-length", "5"));
    for body in [&b"hel"[..], b"hello GET /smuggled HTTP/1.1\r\n\r\n"] {
        let mut raw = Raw::open(gate.dial()).await;
        let stream = raw.stream();
        raw.send(&frame(HEADERS, END_HEADERS, stream, &block(&post))).await;
        raw.send(&frame(DATA, END_STREAM, stream, body)).await;
        let fate = raw.fate(stream).await;
        assert!(matches!(fate, Fate::Reset | Fate::Status(400)), "{fate:?}");
    }
    for got in recorder.got() {
        let body = got.split("\r\n\r\n").nth(1).unwrap_or_default();
        assert!(body.len() < 5 && !got.contains("smuggled"), "{got}");
    }
    still_serves(&gate).await;
}

#[tokio::test]
async fn frames_against_the_rules_end_the_connection() {
    let recorder = Recorder::new().await;
    let gate = Harness::open(&recorder.upstream).await;
    let open = block(&plain("/attack"));
    let cases = [
        frame(HEADERS, END_HEADERS | END_STREAM, 2, &open),
        frame(HEADERS, END_HEADERS | END_STREAM, 0, &open),
        frame(DATA, 0, 0, b"x"),
        frame(DATA, 0, 1, b"idle"),
        frame(SETTINGS, 0, 1, &[]),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        frame(PING, 0, 0, &[0; 7]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        frame(CONTINUATION, END_HEADERS, 1, &open),
        frame(RST_STREAM, 0, 1, &[0; 4]),
        [frame(HEADERS, END_STREAM, 1, &open), frame(DATA, 0, 1, b"x")].concat(),
        [frame(HEADERS, END_STREAM, 1, &open), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
        // A block that is no HPACK.
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 40]),
        // An index beyond the table.
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xfe"),
        // A frame larger than was allowed.
        frame(DATA, 0, 1, &[0; 20_000]),
        b"GET / HTTP/1.1\r\nHost: app.corp.example\r\n\r\n".to_vec(),
    ];
    for (at, case) in cases.iter().enumerate() {
        let mut raw = Raw::open(gate.dial()).await;
        raw.send(case).await;
        raw.closed().await;
        assert!(raw.heard.lock().expect("not poisoned").streams.values().all(|fate| *fate == Fate::Reset), "{at}");
    }
    let refused = gate.lines_of("connection", cases.len()).await;
    assert!(refusals(&refused).iter().all(|reason| reason == "http2-abuse"));
    assert_eq!(recorder.got(), [""; 0]);
    let no_preface = gate.dial().alpn(&["h2"]).tls().await.expect("a handshake");
    let (read, mut write) = tokio::io::split(no_preface);
    try_write(&mut write, b"GET / HTTP/1.1\r\nHost: app.corp.example\r\n\r\n").await;
    assert!(crate::wire::listen(read, Duration::from_secs(10)).await.closed);
    still_serves(&gate).await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_nobodys_abuse() {
    let app = Upstream::plain().await;
    let mut gate = Harness::open(&app).await;
    for _ in 0..3 {
        let mut client = gate.dial().h2().await;
        assert_eq!(client.ask(get("/")).await.status, 200);
        client.abort();
        let raw = Raw::open(gate.dial()).await;
        drop(raw);
    }
    gate.audit_records(3).await;
    let lines = gate.stop().await;
    assert_eq!(refusals(&lines), [""; 0]);
}
