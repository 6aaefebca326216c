//! The Unix socket: who gets in, as whom, and what stays behind.

use crate::world::{Sent, World};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn the_owner_comes_in_by_the_socket_and_is_recorded_as_such() {
    let mut world = World::new().await;
    let (status, me) = world.owner("GET", "/v1/me", Sent::Nothing).await;
    assert_eq!(status, 200, "{me}");
    assert_eq!(me["groups"], json!(["owner"]));
    let record = world.gate.audit_record().await;
    assert_eq!(record["connection"]["listener"], "unix");
    assert_eq!(record["evidence"]["subject"]["issuer"], "unix");
    assert_eq!(record["evidence"]["network"]["address"], serde_json::Value::Null);
    assert_eq!(record["decision"]["outcome"], "forward");
    let mode = std::fs::metadata(world.socket()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let socket = world.socket();
    world.gate.stop().await;
    assert!(!socket.exists(), "the gateway takes its socket away");
}

#[tokio::test]
async fn the_socket_leads_to_the_api_and_nowhere_else() {
    let world = World::new().await;
    let (status, _, _) = world.owner_with("GET", "/v1/me", Sent::Nothing, &["Host: gate.corp.example"]).await;
    assert_eq!(status, 200);
    let (status, _, _) = world.owner_with("GET", "/", Sent::Nothing, &["Host: payroll.corp.example"]).await;
    assert_eq!(status, 421);
    let (status, _) = world.owner("GET", "/elsewhere", Sent::Nothing).await;
    assert_eq!(status, 403);
    // A token says nothing here: the kernel did.
    let bearer = format!("Authorization: Bearer {}", world.gate.token("ann@corp.example"));
    let (_, me, _) = world.owner_with("GET", "/v1/me", Sent::Nothing, &[&bearer]).await;
    assert_eq!(me["groups"], json!(["owner"]));
}

#[tokio::test]
async fn paths_methods_and_bodies_that_are_none() {
    let world = World::new().await;
    for (method, path, sent, expected) in [
        ("GET", "/v1/nothing", Sent::Nothing, 404),
        ("DELETE", "/v1/grants", Sent::Nothing, 405),
        ("GET", "/v1/identities?statuss=active", Sent::Nothing, 400),
        ("GET", "/v1/identities?status=gone", Sent::Nothing, 400),
        ("GET", "/v1/identities?limit=0", Sent::Nothing, 400),
        ("GET", "/v1/identities?cursor=%21", Sent::Nothing, 400),
        ("POST", "/v1/devices", Sent::Text("application/json", "{"), 400),
        ("POST", "/v1/devices", Sent::Text("text/plain", "{}"), 415),
        ("POST", "/v1/devices", Sent::Json(json!({ "class": "c", "colour": "red" })), 400),
        ("GET", "/v1/identities/nobody", Sent::Nothing, 404),
        ("PATCH", "/v1/identities/nobody", Sent::Json(json!({ "name": "N" })), 404),
        ("GET", "/v1/devices/d_1", Sent::Nothing, 404),
        ("POST", "/v1/live/01J/cut", Sent::Nothing, 404),
    ] {
        let (status, problem) = world.owner(method, path, sent).await;
        assert_eq!(status, expected, "{method} {path}: {problem}");
        assert_eq!(problem["status"], expected, "{method} {path}");
        assert!(problem["detail"].is_string() && problem["request_id"].is_string(), "{problem}");
    }
    let (status, problem) =
        world.owner("POST", "/v1/devices", Sent::Text("application/json", &" ".repeat(300_000))).await;
    assert_eq!(status, 413, "{problem}");
}
