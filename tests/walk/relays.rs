//! A relay that splits the connection: what the round trips at two heights tell of it.

use crate::client::{Client, Http};
use crate::gateway::{Harness, PATIENCE};
use crate::upstream::Upstream;
use crate::websockets::{chat, open, receive};
use futures_util::SinkExt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

const NO_RELAY: &str = r#"
[[resource]]
id = "app"
hosts = ["app.corp.example"]
upstream = "$app"
require = [{ id = "no-relay", that = { relay-gap = { below = "50ms" } } }]
"#;

/// Answers for its own TCP on both sides, and passes what the client says on after `behind` milliseconds: the way
/// from the relay to hands far away.
async fn relay(to: SocketAddr, behind: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let gateway = TcpStream::connect(to).await.expect("the gateway");
            for stream in [&client, &gateway] {
                stream.set_nodelay(true).expect("an open socket");
            }
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_gateway, mut to_gateway) = gateway.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_gateway, &mut to_client).await });
            let (line, mut late) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
            tokio::spawn(async move {
                while let Some((due, bytes)) = late.recv().await {
                    tokio::time::sleep_until(due.into()).await;
                    if to_gateway.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            });
            let behind = Arc::clone(&behind);
            tokio::spawn(async move {
                let mut piece = vec![0; 16 * 1024];
                while let Ok(read @ 1..) = from_client.read(&mut piece).await {
                    let due = Instant::now() + Duration::from_millis(behind.load(Ordering::SeqCst));
                    if line.send((due, piece[..read].to_vec())).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// HTTP/2 to the gateway by way of a relay.
async fn through_relay(gate: &Harness, behind: &Arc<AtomicU64>) -> Client {
    let relay = relay(gate.address("direct"), Arc::clone(behind)).await;
    let tcp = TcpStream::connect(relay).await.expect("the relay");
    let tls = gate.dial().alpn(&["h2"]).tls_over(tcp).await.expect("a handshake");
    Client::h2_over(tls, "app.corp.example").await
}

#[tokio::test]
async fn a_relay_shows_at_the_first_request_and_is_refused() {
    let app = Upstream::plain().await;
    let gate = Harness::builder().policy("app", NO_RELAY, &[("app", &app)]).start().await;
    let mut direct = gate.dial().h2().await;
    assert_eq!(direct.get("/").await.status, 200, "the first request waits for its measurement");
    let mut relayed = through_relay(&gate, &Arc::new(AtomicU64::new(120))).await;
    assert_eq!(relayed.get("/").await.status, 403);
    let records = gate.audit_records(2).await;
    let micros = |record: &serde_json::Value, part: &str| record["evidence"]["timing"][part].clone();
    let gap = |record| micros(record, "relay_gap").as_u64().expect("measured");
    assert!(gap(&records[0]) < 50_000, "{:#}", records[0]);
    assert!((110_000..1_000_000).contains(&gap(&records[1])), "{:#}", records[1]);
    assert!(
        micros(&records[1], "tcp")["minimum"].as_u64() < Some(50_000),
        "the relay itself is near: {:#}",
        records[1]
    );
    assert_eq!(micros(&records[1], "tls")["source"], "http2-ping");
    assert_eq!(records[1]["decision"]["reason"], "relay-gap-above");
    assert_eq!(app.seen().len(), 1);
}

#[tokio::test]
async fn pings_outweigh_what_came_before_them() {
    let app = Upstream::plain().await;
    let text = crate::gateway::open_to_all("app", "$app");
    let gate = Harness::builder()
        .policy("app", &text, &[("app", &app)])
        .limits(|limits| limits.ping_interval = Duration::from_millis(50))
        .start()
        .await;
    let behind = Arc::new(AtomicU64::new(0));
    let mut client = through_relay(&gate, &behind).await;
    let begun = Instant::now();
    for asked in 1.. {
        client.get("/").await;
        let timing = gate.audit_records(asked).await[asked - 1]["evidence"]["timing"]["tls"].clone();
        if timing["source"] == "http2-ping" {
            assert!(timing["samples"].as_u64() >= Some(2), "{timing:#}");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{timing:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_websocket_is_cut_when_a_relay_appears_behind_it() {
    moves_away(NO_RELAY, "relay-gap-above").await;
}

#[tokio::test]
async fn a_websocket_is_cut_when_its_round_trip_rises_above_the_bound() {
    let near = "{ id = \"near\", that = { tls-rtt = { below = \"50ms\" } } }";
    let policy = NO_RELAY.replace("{ id = \"no-relay\", that = { relay-gap = { below = \"50ms\" } } }", near);
    moves_away(&policy, "tls-rtt-above").await;
}

/// The hands behind an open WebSocket move away: near, it stays as long as it likes; far, it is cut.
async fn moves_away(policy: &str, why: &str) {
    let chat = chat().await;
    let gate = Harness::builder()
        .policy("app", policy, &[("app", &chat)])
        .limits(|limits| limits.ping_interval = Duration::from_millis(50))
        .start()
        .await;
    let behind = Arc::new(AtomicU64::new(0));
    let mut client = through_relay(&gate, &behind).await;
    let (mut socket, _) = open(&mut client, Http::Two, "/", &[]).await;
    // Longer than the gateway looks for measurements.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1300) {
        socket.send(Message::text("near")).await.expect("open");
        assert_eq!(receive(&mut socket).await, Message::text("near"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    behind.store(200, Ordering::SeqCst);
    let Message::Close(Some(CloseFrame { code, reason })) = receive(&mut socket).await else {
        panic!("not a close frame");
    };
    assert_eq!((u16::from(code), reason.as_str()), (1008, why));
    let record = gate.audit_record().await;
    assert_eq!((&record["end"], &record["decision"]["outcome"]), (&format!("cut:{why}").into(), &"forward".into()));
}

/// HTTP/2 by hand: the preface, what else is said at once, and a GET.
async fn speak(gate: &Harness, frames: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut tls = gate.dial().alpn(&["h2"]).tls().await.expect("a handshake");
    let host = b"app.corp.example";
    let mut head = vec![0x82, 0x87, 0x84, 0x41, host.len() as u8];
    head.extend_from_slice(host);
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(frames);
    bytes.extend_from_slice(&[0, 0, head.len() as u8, 1, 5, 0, 0, 0, 1]);
    bytes.extend_from_slice(&head);
    tls.write_all(&bytes).await.expect("sent");
    tls
}

#[tokio::test]
async fn who_never_acknowledges_is_not_measured_and_does_not_pass() {
    let app = Upstream::plain().await;
    let gate = Harness::builder()
        .policy("app", NO_RELAY, &[("app", &app)])
        .limits(|limits| limits.first_round_trip = Duration::from_millis(200))
        .start()
        .await;
    let begun = Instant::now();
    let _mute = speak(&gate, &[]).await;
    let record = gate.audit_record().await;
    assert!(begun.elapsed() >= Duration::from_millis(200), "it was given its time");
    assert_eq!(record["evidence"]["timing"]["relay_gap"]["unavailable"], "insufficient", "{record:#}");
    assert_eq!((&record["decision"]["outcome"], &record["response"]["status"]), (&"deny".into(), &403.into()));
    // Nor is anybody over HTTP/1.1, who has nothing to acknowledge; and nobody waits for that.
    let begun = Instant::now();
    assert_eq!(gate.dial().http(Http::One).await.get("/").await.status, 403);
    assert!(begun.elapsed() < Duration::from_millis(150), "{:?}", begun.elapsed());
    assert!(app.seen().is_empty());
}
