//! Many at once, and more than there is room for.

use crate::client::{Answer, Http, get};
use crate::gateway::{Harness, eventually};
use crate::upstream::{Upstream, drain, ok};
use crate::websockets::{chat, open, receive};
use futures_util::SinkExt;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::protocol::Message;

const EACH: usize = 500;

#[tokio::test]
async fn a_thousand_connections_are_served() {
    let app =
        Upstream::http1(|request| async move { ok(drain(request.into_body()).await.expect("whole").0.to_string()) })
            .await;
    let mut gate = Harness::open(&app).await;
    // So many handshakes at a time; all the connections stay open.
    let turnstile = Arc::new(Semaphore::new(50));
    let opening: Vec<_> = (0..2 * EACH)
        .map(|number| {
            let (turnstile, dial) = (Arc::clone(&turnstile), gate.dial());
            tokio::spawn(async move {
                let _turn = turnstile.acquire().await.expect("open");
                dial.http(if number % 2 == 0 { Http::One } else { Http::Two }).await
            })
        })
        .collect();
    let mut clients = Vec::new();
    for opened in opening {
        clients.push(opened.await.expect("a connection"));
    }
    gate.metrics_show(&format!("rangegate_connections {}", 2 * EACH)).await;
    let asking: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                for size in [0, 10, 1000] {
                    let answer = client.post("/", vec![7; size]).await;
                    assert_eq!((answer.status.as_u16(), answer.text()), (200, size.to_string().as_str()));
                }
                client
            })
        })
        .collect();
    let mut served = Vec::new();
    for asked in asking {
        served.push(asked.await.expect("all are answered"));
    }
    gate.audit_records(6 * EACH).await;
    drop(served);
    gate.metrics_show("rangegate_connections 0").await;
    let lines = gate.stop().await;
    let records: Vec<_> = lines.iter().filter(|line| line["kind"] == "request").collect();
    assert_eq!(records.len(), 6 * EACH);
    assert!(records.iter().all(|record| record["end"] == "complete"));
}

#[tokio::test]
async fn there_is_room_for_so_many_and_a_websocket_keeps_its_place() {
    let app = chat().await;
    let gate = Harness::builder().app(&app).limits(|limits| limits.connections_per_address = 2).start().await;
    let mut one = gate.dial().h1().await;
    let (mut socket, _) = open(&mut one, Http::One, "/", &[]).await;
    let mut two = gate.dial().h2().await;
    assert_eq!(two.get("/").await.status, 200);
    assert!(gate.dial().alpn(&["http/1.1"]).tls().await.is_err(), "a third");
    assert_eq!(gate.lines_of("connection", 1).await[0]["reason"], "address-limit");
    socket.send(Message::text("on")).await.expect("open");
    assert_eq!(receive(&mut socket).await, Message::text("on"));
    // Its place is free again when it is gone.
    drop((socket, one));
    gate.audit_records(2).await;
    let mut three = None;
    for _ in 0..200 {
        if let Ok(tls) = gate.dial().alpn(&["http/1.1"]).tls().await {
            three = Some(tls);
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(three.is_some());
}

#[tokio::test]
async fn connections_that_say_nothing_are_closed() {
    let app = Upstream::plain().await;
    let gate = Harness::builder()
        .app(&app)
        .limits(|limits| {
            limits.handshake_timeout = std::time::Duration::from_millis(200);
            limits.header_timeout = std::time::Duration::from_millis(200);
            limits.idle_timeout = std::time::Duration::from_millis(400);
        })
        .start()
        .await;
    let mute = tokio::net::TcpStream::connect(gate.address("direct")).await.expect("a connection");
    assert_eq!(gate.lines_of("connection", 1).await[0]["reason"], "handshake-timeout");
    drop(mute);
    for version in crate::client::BOTH {
        let mut client = gate.dial().http(version).await;
        assert_eq!(client.get("/").await.status, 200);
        eventually("an idle connection is closed", || client.is_closed()).await;
    }
    // A request that takes longer than idleness is no idleness.
    let slow = Upstream::http1(|_| async {
        tokio::time::sleep(std::time::Duration::from_millis(900)).await;
        ok("late")
    })
    .await;
    gate.set_policy("slow", &crate::gateway::open_to_all("slow", "$slow"), &[("slow", &slow)]).await;
    for version in crate::client::BOTH {
        let mut client = gate.dial().sni("slow.corp.example").http(version).await;
        let answer = Answer::read(client.send(get("/")).await.expect("an answer")).await;
        assert_eq!(answer.text(), "late", "{version:?}");
    }
}
