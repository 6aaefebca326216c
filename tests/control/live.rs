//! What is open: seen by administrators over all cores, and ended by them.

use crate::gateway::{PKI, cut_on_time, eventually};
use crate::two_gateways::{chat, close_reason, socket};
use crate::world::{Sent, World};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test]
async fn what_is_open_is_seen_and_can_be_ended() {
    let world = World::peopled().await;
    let token = world.gate.bound_token("ann@corp.example", &PKI.ann);
    let mut client = world.gate.dial().sni("payroll.corp.example").certificate(&PKI.ann).h1().await;
    let request = http::Request::get("/slow").header("authorization", format!("Bearer {token}"));
    let mut answer = client.send(request.body(crate::upstream::full("")).expect("a request")).await.expect("an answer");
    assert!(answer.body_mut().frame().await.expect("a piece").is_ok());
    let (status, live) = world.owner("GET", "/v1/live?user=ann@corp.example", Sent::Nothing).await;
    let open = &live["items"][0];
    assert_eq!((status, &open["device"], &open["path"]), (200, &json!("ann-laptop"), &json!("/slow")), "{live}");
    assert_eq!((&open["resource"], &open["address"]), (&json!("payroll"), &json!("127.0.0.1")));
    let (_, sessions) = world.owner("GET", "/v1/sessions", Sent::Nothing).await;
    let hers = sessions["items"].as_array().expect("items").iter().find(|one| one["user"] == "ann@corp.example");
    assert_eq!(hers.map(|one| one["exchanges"].clone()), Some(json!(1)), "{sessions}");
    let path = format!("/v1/live/{}/cut", open["id"].as_str().expect("an id"));
    let reason = || Sent::Json(json!({ "reason": "left the building" }));
    assert_eq!(world.owner("POST", &path, reason()).await.0, 200);
    let end = answer.body_mut().frame().await;
    assert!(end.is_none_or(|frame| frame.is_err()), "it ends");
    assert_eq!(world.owner("POST", &path, reason()).await.0, 404, "once");
    let lines = world.admin_lines("live-cut", 1).await;
    assert_eq!(lines[0]["reason"], "left the building");
    let cut = world.gate.lines_where(1, |line| line["end"] == "cut:cut-by-administrator").await;
    assert_eq!(cut[0]["evidence"]["request"]["path"], "/slow");
}

#[tokio::test]
async fn a_suspension_ends_what_is_open() {
    let world = World::peopled().await;
    let token = world.gate.bound_token("ann@corp.example", &PKI.ann);
    let mut client = world.gate.dial().sni("payroll.corp.example").certificate(&PKI.ann).h1().await;
    let request = http::Request::get("/slow").header("authorization", format!("Bearer {token}"));
    let mut answer = client.send(request.body(crate::upstream::full("")).expect("a request")).await.expect("an answer");
    assert!(answer.body_mut().frame().await.expect("a piece").is_ok());
    let suspended = Sent::Json(json!({ "status": "suspended" }));
    assert_eq!(world.owner("PATCH", "/v1/identities/ann@corp.example", suspended).await.0, 200);
    let end = answer.body_mut().frame().await;
    assert!(end.is_none_or(|frame| frame.is_err()), "it ends");
    world.gate.lines_where(1, |line| line["end"] == "cut:identity-suspended").await;
}

#[tokio::test]
async fn a_device_is_seen_when_it_comes() {
    let world = World::peopled().await;
    let mut eve = world.eve().await;
    assert_eq!(eve.get("/v1/me").await.0, 200);
    // Written down with the next round of the memory, not by the request.
    let seen = loop {
        let (status, devices) = world.owner("GET", "/v1/devices", Sent::Nothing).await;
        assert_eq!(status, 200, "{devices}");
        match &devices["items"][0]["seen"] {
            serde_json::Value::Null => tokio::task::yield_now().await,
            seen => break seen.clone(),
        }
    };
    assert_eq!(seen["first"]["address"], "127.0.0.1", "{seen}");
    assert!(seen["last"]["round-trip"].as_u64().is_some_and(|micros| micros > 0), "{seen}");
}

#[tokio::test]
async fn what_relied_on_a_grant_ends_with_it_to_the_moment() {
    let world = World::peopled().await;
    let (mut ann, mut bob) = (world.ann().await, world.bob().await);
    let asked = json!({ "role": "payroll-approver", "reason": "PAY-1234: run 7", "duration": 2 });
    let (status, grant) = ann.post("/v1/grants", asked).await;
    assert_eq!(status, 201, "{grant}");
    let id = grant["id"].as_str().expect("an id");
    assert_eq!(bob.post(&format!("/v1/grants/{id}/approve"), json!({})).await.0, 200);
    let mut client = world.gate.dial().sni("payroll.corp.example").certificate(&PKI.ann).h1().await;
    let request = http::Request::get("/runs/slow").header("authorization", format!("Bearer {}", ann.token));
    let mut answer = client.send(request.body(crate::upstream::full("")).expect("a request")).await.expect("an answer");
    assert!(answer.body_mut().frame().await.expect("a piece").is_ok());
    let end = answer.body_mut().frame().await;
    assert!(end.is_none_or(|frame| frame.is_err()), "it ends");
    world.gate.lines_where(1, |line| line["end"] == "cut:grant-expired").await;
    cut_on_time(&world.gate, 1, |record| record["evidence"]["grants"][0]["expires"].clone());
}

const ROOM: &str = r#"
[[resource]]
id = "room"
hosts = ["room.corp.example"]
upstream = "$chat"
require = [{ id = "talker", that = { grant = "talker" }, otherwise = "require-grant" }]

[[role]]
id = "talker"
opens = "room"
longest = "1h"
reason = "optional"
approvers = { group = "payroll-leads" }
"#;

#[tokio::test]
async fn what_relied_on_a_grant_says_how_it_ended_and_so_does_the_next_refusal() {
    let chat = chat().await;
    let world = World::with(|builder| builder.policy("room", ROOM, &[("chat", &chat)])).await;
    world.people().await;
    let (mut ann, mut bob) = (world.ann().await, world.bob().await);
    for (duration, reason) in [(2, "grant-expired"), (3600, "grant-ended")] {
        let (status, grant) = ann.post("/v1/grants", json!({ "role": "talker", "duration": duration })).await;
        assert_eq!(status, 201, "{grant}");
        let path = format!("/v1/grants/{}", grant["id"].as_str().expect("an id"));
        assert_eq!(bob.post(&format!("{path}/approve"), json!({})).await.0, 200);
        let (mut open, _client) = socket(&ann, &PKI.ann).await;
        assert_eq!(ann.get("/v1/me").await.1["grants"].as_array().map(Vec::len), Some(1));
        if reason == "grant-ended" {
            assert_eq!(bob.post(&format!("{path}/end"), json!({ "note": "done" })).await.0, 200);
        }
        assert_eq!(close_reason(&mut open).await, reason);
        let mut client = world.gate.dial().sni("room.corp.example").certificate(&PKI.ann).h1().await;
        let request = http::Request::get("/").header("authorization", format!("Bearer {}", ann.token));
        let refused = client.ask(request.body(crate::upstream::full("")).expect("a request")).await;
        assert_eq!(refused.status, 403);
        let told = refused.json()["detail"].as_str().expect("a detail").to_owned();
        assert!(told.contains("the role “talker”, which you held until 20"), "{told}");
        let lines = world.gate.lines_where(1, |line| {
            line["kind"] == "request"
                && line["decision"]["outcome"] == "require-grant"
                && line["decision"]["reason"] == reason
        });
        let record = lines.await.remove(0);
        let over = &record["evidence"]["grants"][0];
        assert_eq!((&over["role"], &over["over"]), (&json!("talker"), &json!(reason.trim_start_matches("grant-"))));
        let findings = record["decision"]["findings"].as_array().expect("findings");
        let finding = findings.iter().find(|finding| finding["unmet"] == reason).expect("a finding");
        let seen: jiff::Timestamp = finding["seen"].as_str().expect("a moment").parse().expect("a moment");
        assert_eq!(over["expires"].as_i64(), Some(seen.as_millisecond()), "{record:#}");
        assert_eq!(ann.get("/v1/me").await.1["grants"], json!([]), "it is not held");
    }
}

#[tokio::test]
async fn a_revoked_device_loses_its_idle_connections_and_others_do_not() {
    let world = World::peopled().await;
    let (mut ann, mut eve) = (world.ann().await, world.eve().await);
    assert_eq!(eve.get("/v1/roles").await.0, 200);
    assert_eq!(ann.get("/v1/roles").await.0, 200);
    let (_, devices) = world.owner("GET", "/v1/devices?owner=eve@corp.example", Sent::Nothing).await;
    let of_the_store = |device: &&Value| device["id"].as_str().is_some_and(|id| id.starts_with("d_"));
    let device = devices["items"].as_array().expect("items").iter().find(of_the_store).expect("Eve's")["id"].clone();
    let path = format!("/v1/devices/{}/revoke", device.as_str().expect("an id"));
    assert_eq!(world.owner("POST", &path, Sent::Json(json!({ "reason": "lost" }))).await.0, 200);
    let begun = Instant::now();
    eventually("Eve's connection is closed", || eve.client.is_closed()).await;
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_eq!(ann.get("/v1/roles").await.0, 200, "over the same connection");
}
