//! What is open: seen by administrators over all cores, and ended by them.

use crate::client::Client;
use crate::commands::by_socket;
use crate::gateway::{Builder, PATIENCE, PKI, cut_on_time, eventually};
use crate::mmdb::{Writer, asn, nested};
use crate::two_gateways::{chat, close_reason, socket};
use crate::world::{Sent, World};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rangegate::gateway::clock;
use rangegate::store::StoreSettings;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Loopback is here, and announced by this system.
pub fn located(builder: Builder, country: &'static str, city: &'static str, system: (u32, &'static str)) -> Builder {
    builder.settings(move |settings| {
        let built = clock::now().millis() as u64 / 1000;
        let at = settings.emergency.with_file_name("places.mmdb");
        let places = Writer::both_families(built).with("127.0.0.0/8", &nested(country, "", city, 1.0, 1.0));
        std::fs::write(&at, places.bytes()).expect("a file");
        settings.geo.places = vec![at];
        let at = settings.emergency.with_file_name("asns.mmdb");
        let asns = Writer::both_families(built).with("127.0.0.0/8", &asn(system.0, system.1));
        std::fs::write(&at, asns.bytes()).expect("a file");
        settings.geo.asns = vec![at];
    })
}

/// Something that Ann has open at payroll.
pub async fn slow(world: &World, path: &str, token: &str) -> (Response<Incoming>, Client) {
    let mut client = world.gate.dial().sni("payroll.corp.example").certificate(&PKI.ann).h1().await;
    let request = http::Request::get(path).header("authorization", format!("Bearer {token}"));
    let mut answer = client.send(request.body(crate::upstream::full("")).expect("a request")).await.expect("an answer");
    assert!(answer.body_mut().frame().await.expect("a piece").is_ok());
    (answer, client)
}

#[tokio::test]
async fn what_is_open_is_seen_and_can_be_ended() {
    let world = World::with(|builder| located(builder, "US", "Phoenix", (64500, "Sonoran Home Broadband"))).await;
    world.people().await;
    let (mut ann, mut bob) = (world.ann().await, world.bob().await);
    let grant = ann.asks_for("payroll-approver").await;
    assert_eq!(bob.post(&format!("/v1/grants/{grant}/approve"), json!({})).await.0, 200);
    let (mut answer, _client) = slow(&world, "/runs/slow", &ann.token).await;
    let (status, live) = world.owner("GET", "/v1/live?user=ann@corp.example", Sent::Nothing).await;
    let open = &live["items"][0];
    assert_eq!((status, &open["device"], &open["path"]), (200, &json!("ann-laptop"), &json!("/runs/slow")), "{live}");
    assert_eq!((&open["resource"], &open["address"]), (&json!("payroll"), &json!("127.0.0.1")));
    assert_eq!((&open["country"], &open["outcome"]), (&json!("US"), &json!("forward")), "{live}");
    assert_eq!(
        (&open["met"], &open["grants"]),
        (&json!(["local", "approver"]), &json!(["payroll-approver"])),
        "{live}"
    );
    let round_trip = open["round-trip-ms"].as_f64().expect("a round trip");
    assert!(round_trip > 0.0 && round_trip < 1000.0, "{live}");
    let (_, sessions) = world.owner("GET", "/v1/sessions", Sent::Nothing).await;
    let hers = sessions["items"].as_array().expect("items").iter().find(|one| one["user"] == "ann@corp.example");
    assert_eq!(hers.map(|one| one["exchanges"].clone()), Some(json!(1)), "{sessions}");
    let path = format!("/v1/live/{}/cut", open["id"].as_str().expect("an id"));
    let reason = || Sent::Json(json!({ "reason": "left the building" }));
    assert_eq!(world.owner("POST", &path, reason()).await.0, 200);
    let end = answer.body_mut().frame().await;
    assert!(end.is_none_or(|frame| frame.is_err()), "it ends");
    assert_eq!(world.owner("POST", &path, reason()).await.0, 404, "once");

    // The same as commands.
    let (mut answer, _client) = slow(&world, "/runs/slow", &ann.token).await;
    let (exit, out, err) = by_socket(&world, &["live", "list", "--user", "ann@corp.example", "--json"]).await;
    let listed: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    let id = listed["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{out}")).to_owned();
    assert_eq!((exit, listed["items"].as_array().map(Vec::len)), (0, Some(1)), "{out}");
    let (exit, out, err) = by_socket(&world, &["live", "list", "--user", "ann@corp.example"]).await;
    assert_eq!(exit, 0, "{err}");
    let line = out.lines().find(|line| line.contains(&id)).unwrap_or_else(|| panic!("{out}"));
    for cell in [
        "ann@corp.example",
        "ann-laptop",
        "127.0.0.1 US",
        " ms  ",
        "payroll: GET /runs/slow",
        "local, approver; by payroll-approver",
    ] {
        assert!(line.contains(cell), "`{cell}` in {out}");
    }
    let (_, out, _) = by_socket(&world, &["live", "list", "--user", "bob@corp.example"]).await;
    assert!(!out.contains(&id) && out.contains("0 lines"), "{out}");
    let cut = ["live", "cut", &id, "--reason", "left the building"];
    let (exit, out, err) = by_socket(&world, &cut).await;
    assert_eq!((exit, out), (0, format!("{id}: cut\n")), "{err}");
    let end = answer.body_mut().frame().await;
    assert!(end.is_none_or(|frame| frame.is_err()), "it ends");
    let (exit, _, err) = by_socket(&world, &cut).await;
    assert_eq!((exit, err.contains("there is no open exchange of this id")), (1, true), "once: {err}");

    let lines = world.admin_lines("live-cut", 2).await;
    assert!(lines.iter().filter(|line| line["outcome"] == "done").all(|line| line["reason"] == "left the building"));
    let cut = world.gate.lines_where(2, |line| line["end"] == "cut:cut-by-administrator").await;
    assert!(cut.iter().all(|line| line["evidence"]["request"]["path"] == "/runs/slow"), "{cut:#?}");
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
    let here = World::with(|builder| located(builder, "US", "Phoenix", (64500, "Sonoran Home Broadband"))).await;
    here.people().await;
    // For a while a gateway writes nothing more of a device it has just written of. Another has not seen it yet.
    let store = here.gate.path("store.db");
    let there = World::with(|builder| {
        let builder = located(builder, "GB", "London", (64508, "Thames Broadband"));
        builder.settings(|settings| settings.store = Some(StoreSettings::sqlite(store)))
    })
    .await;
    let seen = async |of: &str, so: &dyn Fn(&Value) -> bool| {
        let begun = Instant::now();
        // Written down with the next round of the memory, not by the request.
        loop {
            let (status, device) = here.owner("GET", of, Sent::Nothing).await;
            assert_eq!(status, 200, "{device}");
            if so(&device["seen"]) {
                return device["seen"].clone();
            }
            assert!(begun.elapsed() < PATIENCE, "{device}");
        }
    };
    let moment =
        |sighting: &Value| sighting["at"].as_str().expect("a moment").parse::<jiff::Timestamp>().expect("a moment");

    let begun = jiff::Timestamp::now();
    let mut eve = here.eve().await;
    assert_eq!(eve.get("/v1/me").await.0, 200);
    let (_, devices) = here.owner("GET", "/v1/devices?owner=eve@corp.example", Sent::Nothing).await;
    let mut ids = devices["items"].as_array().expect("items").iter().filter_map(|device| device["id"].as_str());
    let path = format!("/v1/devices/{}", ids.find(|id| id.starts_with("d_")).expect("Eve's"));
    let once = seen(&path, &|seen| !seen.is_null()).await;
    let first = &once["first"];
    assert_eq!((&first["address"], &first["place"]), (&json!("127.0.0.1"), &json!("Phoenix, US")), "{once}");
    assert_eq!(first["network"], "AS64500 Sonoran Home Broadband", "{once}");
    assert!(first["round-trip"].as_u64().is_some_and(|micros| micros > 0), "{once}");
    let arrived = moment(first);
    // What is stamped is cut to the millisecond.
    assert!(arrived.as_millisecond() >= begun.as_millisecond() && arrived <= jiff::Timestamp::now(), "{once}");
    assert_eq!(*first, once["last"], "so far");

    let known = async || there.person("eve@corp.example", &PKI.stranger).await.get("/v1/me").await.0 == 200;
    eventually_async("she is known there", known).await;
    let again = seen(&path, &|seen| seen["last"] != *first).await;
    assert_eq!(again["first"], *first, "it stays");
    let last = &again["last"];
    assert_eq!(
        (&last["place"], &last["network"]),
        (&json!("London, GB"), &json!("AS64508 Thames Broadband")),
        "{again}"
    );
    assert!(moment(last) > arrived, "{again}");
}

/// As `eventually`, of something that takes asking.
async fn eventually_async(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !so().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
    }
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
async fn what_relied_on_a_role_that_is_gone_is_cut() {
    let chat = chat().await;
    let world = World::with(|builder| builder.policy("room", ROOM, &[("chat", &chat)])).await;
    world.people().await;
    let (mut ann, mut bob) = (world.ann().await, world.bob().await);
    let id = ann.asks_for("talker").await;
    assert_eq!(bob.post(&format!("/v1/grants/{id}/approve"), json!({})).await.0, 200);
    let (mut open, _client) = socket(&ann, &PKI.ann).await;
    // Something else that changes: it stays open.
    world.gate.set_policy("room", &ROOM.replace("1h", "50m"), &[("chat", &chat)]).await;
    assert_eq!(ann.get("/v1/me").await.1["grants"].as_array().map(Vec::len), Some(1));
    world.gate.set_policy("room", &ROOM.replace("\"talker\"", "\"listener\""), &[("chat", &chat)]).await;
    assert_eq!(close_reason(&mut open).await, "grant-missing");
    assert_eq!(ann.get("/v1/me").await.1["grants"], json!([]), "it is not held");
    let cut = |line: &Value| line["kind"] == "request" && line["end"] == "cut:grant-missing";
    let record = world.gate.lines_where(1, cut).await.remove(0);
    assert_eq!(record["evidence"]["grants"][0]["role"], "talker", "{record:#}");
    assert_eq!(record["decision"]["outcome"], "forward", "what was decided stands: {record:#}");
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

#[tokio::test]
async fn a_suspended_persons_devices_lose_their_idle_connections_and_others_do_not() {
    let world = World::peopled().await;
    // Ann's stands in the registry file, Eve's in the store; Eve's is bound to another name of hers.
    let (mut ann, mut bob) = (world.ann().await, world.bob().await);
    let alias = json!({ "aliases": ["eve.lead@corp.example"] });
    assert_eq!(world.owner("PATCH", "/v1/identities/eve@corp.example", Sent::Json(alias)).await.0, 200);
    let mut eve = world.registered("eve.lead@corp.example").await;
    for person in [&mut ann, &mut bob, &mut eve] {
        assert_eq!(person.get("/v1/roles").await.0, 200);
    }
    for user in ["ann", "eve"] {
        let (path, set) = (format!("/v1/identities/{user}@corp.example"), json!({ "status": "suspended" }));
        assert_eq!(world.owner("PATCH", &path, Sent::Json(set)).await.0, 200);
    }
    eventually("their connections are closed", || ann.client.is_closed() && eve.client.is_closed()).await;
    assert_eq!(bob.get("/v1/roles").await.0, 200, "over the same connection");
}
