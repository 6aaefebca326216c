//! What is open: seen by administrators over all cores, and ended by them.

use crate::gateway::{PKI, cut_on_time, eventually};
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
    world.gate.lines_where(1, |line| line["end"].as_str().is_some_and(|end| end.starts_with("cut:grant"))).await;
    cut_on_time(&world.gate, 1, |record| record["evidence"]["grants"][0]["expires"].clone());
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
