//! Just-in-time access through HTTP: asked, approved, used, over; and everything that must not work.

use crate::gateway::PKI;
use crate::world::{Sent, World};
use http::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test]
async fn asked_approved_used_and_over() {
    let world = World::peopled().await;
    let mut ann = world.ann().await;
    let mut bob = world.bob().await;
    assert_eq!(ann.uses_payroll(&PKI.ann).await, 403);
    let (status, roles) = ann.get("/v1/roles").await;
    assert_eq!((status, &roles["items"][0]["id"]), (200, &json!("payroll-approver")), "{roles}");
    let (status, problem) = ann.post("/v1/grants", json!({ "role": "payroll-approver", "reason": "please" })).await;
    assert_eq!((status, &problem["reason"]), (409, &json!("reason-unlike")), "{problem}");
    let asked = json!({ "role": "payroll-approver", "reason": "PAY-1234: run 7", "duration": 3 });
    let (status, grant) = ann.post("/v1/grants", asked).await;
    assert_eq!((status, &grant["phase"], &grant["duration"]), (201, &json!("waiting"), &json!(3)), "{grant}");
    let id = grant["id"].as_str().expect("an id");
    assert_eq!(bob.get("/v1/me/waiting").await.1["items"][0]["id"], id);
    assert_eq!(ann.get("/v1/me/waiting").await.1["items"], json!([]));
    assert_eq!(ann.uses_payroll(&PKI.ann).await, 403, "asking opens nothing");
    let (status, grant) = bob.post(&format!("/v1/grants/{id}/approve"), json!({ "note": "run 7 only" })).await;
    let began = Instant::now();
    assert_eq!((status, &grant["phase"]), (200, &json!("held")), "{grant}");
    assert_eq!(ann.uses_payroll(&PKI.ann).await, 200, "at once");
    assert_eq!(bob.uses_payroll(&PKI.bob).await, 403, "and for nobody else");
    while ann.uses_payroll(&PKI.ann).await == 200 {
        assert!(began.elapsed() < Duration::from_secs(10), "it never ended");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(2900), "{:?}", began.elapsed());
    world.admin_lines("grant-expire", 1).await;
    let (_, grant) = ann.get(&format!("/v1/grants/{id}")).await;
    assert_eq!((&grant["phase"], &grant["state"]["is"]), (&json!("over"), &json!("expired")), "{grant}");
    let approved = world.admin_lines("grant-approve", 1).await;
    assert_eq!(approved[0]["actor"]["user"], "bob@corp.example");
    assert_eq!(approved[0]["target"], format!("grant {id}"));
}

#[tokio::test]
async fn of_two_approvers_at_once_both_count_and_none_twice() {
    let world = World::peopled().await;
    let mut ann = world.ann().await;
    let id = ann.asks_for("two-of-them").await;
    let path = format!("/v1/grants/{id}/approve");
    let (mut bob, mut eve) = (world.bob().await, world.eve().await);
    let (mut bob_again, body) = (world.bob().await, json!({}));
    let answers =
        tokio::join!(bob.post(&path, body.clone()), eve.post(&path, body.clone()), bob_again.post(&path, body));
    for (status, grant) in [&answers.0, &answers.1, &answers.2] {
        assert_eq!(*status, 200, "{grant}");
    }
    let (_, grant) = ann.get(&format!("/v1/grants/{id}")).await;
    assert_eq!(grant["phase"], "held", "{grant}");
    let by: std::collections::BTreeSet<&str> =
        grant["approvals"].as_array().unwrap().iter().map(|approval| approval["user"].as_str().unwrap()).collect();
    assert_eq!(by.len(), 2, "{grant}");
    assert_eq!(grant["approvals"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_submission_that_is_sent_twice_asks_once() {
    let world = World::peopled().await;
    let body = json!({ "role": "payroll-approver", "reason": "PAY-1234" });
    let (mut one, mut other) = (world.ann().await, world.ann().await);
    let (first, second) = tokio::join!(one.post("/v1/grants", body.clone()), other.post("/v1/grants", body.clone()));
    assert_eq!(first.1["id"], second.1["id"], "{first:?} {second:?}");
    let mut statuses = [first.0, second.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 201]);
    let field = [("idempotency-key", "k-1")];
    let register = json!({ "class": "kiosk", "keys": ["aa".repeat(32)] });
    let mut made = Vec::new();
    for _ in 0..2 {
        let (status, device, _) =
            world.owner_with("POST", "/v1/devices", Sent::Json(register.clone()), &["Idempotency-Key: k-1"]).await;
        assert_eq!(status, 201, "{device}");
        made.push(device["id"].clone());
    }
    assert_eq!(made[0], made[1]);
    let other = json!({ "class": "laptop", "keys": ["bb".repeat(32)] });
    let (status, problem, _) =
        world.owner_with("POST", "/v1/devices", Sent::Json(other), &["Idempotency-Key: k-1"]).await;
    assert_eq!((status, &problem["reason"]), (409, &json!("key-reused")));
    let answer = one.ask_with(Method::POST, "/v1/grants", Some(body), &field).await;
    assert_eq!(answer.status.as_u16(), 200, "another's key of the same name is another key: {}", answer.text());
}

#[tokio::test]
async fn nobody_approves_what_is_their_own_from_any_account() {
    let world = World::peopled().await;
    let mut ann = world.ann().await;
    let id = ann.asks_for("payroll-approver").await;
    let approve = format!("/v1/grants/{id}/approve");
    let refused = |answer: (u16, Value), code: &str| {
        assert_eq!((answer.0, answer.1["reason"].as_str()), (403, Some(code)), "{}", answer.1);
    };
    refused(ann.post(&approve, json!({})).await, "self-approval");
    // Another account of the same person, on a device of its own.
    let mut admin = world.registered("ann.admin@corp.example").await;
    refused(admin.post(&approve, json!({})).await, "self-approval");
    // An alias of hers is her.
    let mut alias = world.person("ann.lee@corp.example", &PKI.ann).await;
    assert_eq!(alias.post(&approve, json!({})).await.0, 403);
    let refusals = world.admin_lines("grant-approve", 2).await;
    assert!(refusals.iter().all(|line| line["outcome"] == "refused"), "{refusals:#?}");
    let (status, problem) = ann.post("/v1/grants", json!({ "role": "no-such-role", "reason": "x" })).await;
    assert_eq!((status, &problem["reason"]), (404, &json!("no-such-role")));
}

#[tokio::test]
async fn others_do_not_see_what_is_not_theirs() {
    let world = World::peopled().await;
    let mut ann = world.ann().await;
    let id = ann.asks_for("payroll-approver").await;
    let path = format!("/v1/grants/{id}");
    let mut zoe = world.registered("zoe@corp.example").await;
    assert_eq!(zoe.get(&path).await.0, 404, "she is neither the holder nor an approver");
    assert_eq!(zoe.get("/v1/grants").await.0, 403);
    assert_eq!(zoe.get("/v1/me/grants").await.1["items"], json!([]));
    assert_eq!(zoe.post(&format!("{path}/end"), json!({ "note": "x" })).await.0, 403);
    assert_eq!(zoe.get("/v1/identities").await.0, 403);
    assert_eq!(world.bob().await.get(&path).await.0, 200, "whoever may answer it may read it");
    // The owner of the socket may.
    let (status, all) = world.owner("GET", "/v1/grants?state=waiting", Sent::Nothing).await;
    assert_eq!((status, &all["items"][0]["id"]), (200, &json!(id)), "{all}");
    let why = Sent::Json(json!({ "note": "not now" }));
    let (status, grant) = world.owner("POST", &format!("/v1/revocations/grants/{id}"), why).await;
    assert_eq!((status, &grant["state"]["is"]), (200, &json!("refused")), "{grant}");
    let (status, problem) = ann.post(&format!("{path}/withdraw"), json!({})).await;
    assert_eq!((status, &problem["reason"]), (409, &json!("over")));
}

#[tokio::test]
async fn a_denial_says_what_can_be_asked_for_and_how() {
    let world = World::peopled().await;
    let ann = world.ann().await;
    let mut client = world.gate.dial().sni("payroll.corp.example").certificate(&PKI.ann).h1().await;
    let request = http::Request::get("/runs/7").header("authorization", format!("Bearer {}", ann.token));
    let answer = client.ask(request.body(crate::upstream::full("")).expect("a request")).await;
    let problem = answer.json();
    let detail = problem["detail"].as_str().expect("words");
    assert!(detail.contains("rangegate grant ask payroll-approver"), "{detail}");
    assert!(detail.contains("/v1/grants"), "{detail}");
}

#[tokio::test]
async fn a_suspended_device_is_out_at_once() {
    let world = World::peopled().await;
    let register = json!({
        "id": "zoe-laptop", "class": "corporate", "owner": "zoe@corp.example",
        "certificates": [crate::gateway::fingerprint(&PKI.stranger)],
    });
    let (status, device) = world.owner("POST", "/v1/devices", Sent::Json(register)).await;
    assert_eq!((status, &device["id"]), (201, &json!("zoe-laptop")), "{device}");
    let mut zoe = world.person("zoe@corp.example", &PKI.stranger).await;
    assert_eq!(zoe.get("/v1/me").await.1["device"], "zoe-laptop");
    let reason = || Sent::Json(json!({ "reason": "lost" }));
    assert_eq!(world.owner("POST", "/v1/devices/zoe-laptop/suspend", reason()).await.0, 200);
    // Its connection ends; on a new one it is told why nothing opens.
    let mut zoe = world.person("zoe@corp.example", &PKI.stranger).await;
    assert_eq!(zoe.get("/v1/me").await.0, 403);
    assert_eq!(world.owner("POST", "/v1/devices/zoe-laptop/resume", Sent::Nothing).await.0, 200);
    assert_eq!(zoe.get("/v1/me").await.0, 200);
    assert_eq!(world.owner("POST", "/v1/devices/zoe-laptop/revoke", reason()).await.0, 200);
    // Its connection ends; on a new one it is told why nothing opens.
    let mut zoe = world.person("zoe@corp.example", &PKI.stranger).await;
    assert_eq!(zoe.get("/v1/me").await.0, 403);
    let (status, problem) = world.owner("POST", "/v1/devices/zoe-laptop/resume", Sent::Nothing).await;
    assert_eq!((status, &problem["reason"]), (422, &json!("device-revoked")));
    let lines = world.admin_lines("device-suspend", 1).await;
    assert_eq!((&lines[0]["reason"], &lines[0]["after"]["status"]), (&json!("lost"), &json!("suspended")));
}
