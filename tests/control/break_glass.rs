//! The glass is broken while nobody can sign in: by the device's certificate, for its owner, and nothing beyond that.

use crate::gateway::{PKI, fingerprint};
use crate::pki::{Leaf, Wanted};
use crate::upstream::{Upstream, full};
use crate::webhooks::{hook, target};
use crate::world::{API, Sent, World, read};
use http::{Method, Request};
use rangegate::gateway::clock;
use serde_json::{Value, json};
use std::time::Duration;

pub const CONSOLE: &str = r#"
[[resource]]
id = "console"
hosts = ["console.corp.example"]
upstream = "$app"
require = [{ id = "glass", that = { grant = "console-glass" } }]

[[role]]
id = "console-glass"
opens = "console"
longest = "1h"
break-glass = { group = "staff", longest = "1h", reviewers = { group = "payroll-leads" } }
"#;

/// What the API answers to a device on which nobody has signed in, or somebody with this token.
async fn by(world: &World, leaf: &Leaf, token: Option<&str>, path: &str, body: Value) -> (u16, Value) {
    let mut client = world.gate.dial().sni(API).certificate(leaf).h1().await;
    let mut request = Request::post(path).header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    read(&client.ask(request.body(full(body.to_string())).expect("a request")).await)
}

pub async fn alone(world: &World, leaf: &Leaf, path: &str, body: Value) -> (u16, Value) {
    by(world, leaf, None, path, body).await
}

/// What the console answers to this device, with nobody signed in or with this token.
async fn console(world: &World, leaf: &Leaf, token: Option<&str>) -> u16 {
    let mut client = world.gate.dial().sni("console.corp.example").certificate(leaf).h1().await;
    let mut request = Request::get("/");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    client.ask(request.body(full("")).expect("a request")).await.status.as_u16()
}

/// By the policy: sign in, or no, or not at the moment.
fn is_refusal(status: u16) -> bool {
    matches!(status, 401 | 403 | 503)
}

fn glass() -> Value {
    json!({ "role": "console-glass", "reason": "the provider is down", "break-glass": true })
}

async fn register(world: &World, id: &str, owner: Option<&str>, serial: u64) -> Leaf {
    let leaf = PKI.devices.issue(&Wanted::client(id, serial).around(clock::now()));
    let device = json!({ "id": id, "class": "corporate", "owner": owner, "certificates": [fingerprint(&leaf)] });
    let (status, told) = world.owner("POST", "/v1/devices", Sent::Json(device)).await;
    assert_eq!(status, 201, "{told}");
    leaf
}

#[tokio::test]
async fn it_is_alerted_counts_on_that_device_is_reviewed_by_another_and_ends() {
    let app = Upstream::plain().await;
    let (upstream, mut got) = target(|_| Some(204)).await;
    let url = upstream.url();
    let world = World::with(|builder| {
        builder.policy("console", CONSOLE, &[("app", &app)]).settings(move |settings| {
            let at = settings.devices.as_ref().and_then(|path| path.parent()).expect("a directory").to_owned();
            settings.webhooks = vec![hook(&at, "oncall", &url)];
        })
    })
    .await;
    world.people().await;
    let second = register(&world, "ann-second", Some("ann@corp.example"), 71).await;
    assert!(is_refusal(console(&world, &PKI.ann, None).await));

    // Nothing but that: neither the ordinary way, nor a request without the word.
    let (status, told) = alone(&world, &PKI.ann, "/v1/grants", glass()).await;
    assert!(is_refusal(status), "{told}");
    let plain = json!({ "role": "console-glass", "reason": "the provider is down" });
    for body in [plain.clone(), json!({ "role": "payroll-approver", "reason": "PAY-1", "break-glass": false })] {
        let (status, told) = alone(&world, &PKI.ann, "/v1/break-glass", body).await;
        assert_eq!((status, &told["reason"]), (422, &json!("only-break-glass")), "{told}");
    }
    let unbreakable = json!({ "role": "payroll-approver", "reason": "PAY-1", "break-glass": true });
    let (status, told) = alone(&world, &PKI.ann, "/v1/break-glass", unbreakable).await;
    assert_eq!((status, &told["reason"]), (409, &json!("no-break-glass")), "{told}");
    assert_eq!(world.owner("GET", "/v1/grants", Sent::Nothing).await.1["items"], json!([]));

    let (status, grant) = alone(&world, &PKI.ann, "/v1/break-glass", glass()).await;
    assert_eq!((status, &grant["phase"], &grant["user"]), (201, &json!("held"), &json!("ann@corp.example")), "{grant}");
    assert_eq!((&grant["device"], &grant["break-glass"]), (&json!("ann-laptop"), &json!(true)), "{grant}");
    let id = grant["id"].as_str().expect("an id");
    let (status, again) = alone(&world, &PKI.ann, "/v1/break-glass", glass()).await;
    assert_eq!((status, &again["id"]), (200, &json!(id)), "once: {again}");

    let alerts = world.gate.lines_where(1, |line| line["kind"] == "alert" && line["event"] == "break-glass").await;
    assert_eq!((&alerts[0]["user"], &alerts[0]["device"]), (&json!("ann@corp.example"), &json!("ann-laptop")));
    assert_eq!(alerts[0]["reason"], "role console-glass: the provider is down");
    let lines = world.admin_lines("grant-ask", 2).await;
    let done: Vec<_> = lines.iter().filter(|line| line["outcome"] == "done").collect();
    assert_eq!((alerts.len(), done.len()), (1, 1), "{lines:#?}");
    let actor = json!({ "user": "ann@corp.example", "person": "p-ann", "device": "ann-laptop", "issuer": "device" });
    assert_eq!((&done[0]["actor"], &done[0]["after"]["break-glass"]), (&actor, &json!(true)));
    let told = got.recv().await.expect("a notification");
    assert_eq!((told.field("rangegate-event"), &told.json()["after"]["id"]), ("break-glass", &json!(id)));

    // From this device and from no other, hers or not.
    assert_eq!(console(&world, &PKI.ann, None).await, 200);
    let theirs = world.gate.bound_token("ann@corp.example", &second);
    for (leaf, token) in [(&second, None), (&second, Some(&*theirs)), (&PKI.bob, None), (&PKI.stranger, None)] {
        let status = console(&world, leaf, token).await;
        assert!(is_refusal(status), "{status}");
    }
    // Held or not, it speaks for her in nothing else.
    for what in ["end", "review", "approve", "withdraw"] {
        let (status, told) = alone(&world, &PKI.ann, &format!("/v1/grants/{id}/{what}"), json!({ "note": "x" })).await;
        assert!(is_refusal(status), "{what}: {told}");
    }

    let (mut ann, mut bob) = (world.ann().await, world.bob().await);
    let review = format!("/v1/grants/{id}/review");
    let (status, told) = ann.post(&review, json!({})).await;
    assert_eq!((status, &told["reason"]), (403, &json!("self-review")), "{told}");
    assert_eq!(bob.get("/v1/me/waiting").await.1["items"][0]["id"], id);
    let (status, told) = bob.post(&review, json!({ "note": "seen the log" })).await;
    assert_eq!((status, &told["review"]["user"]), (200, &json!("bob@corp.example")), "{told}");
    let (status, told) = ann.post(&format!("/v1/grants/{id}/end"), json!({ "note": "it is up again" })).await;
    assert_eq!((status, &told["state"]["is"]), (200, &json!("ended")), "{told}");
    assert!(is_refusal(console(&world, &PKI.ann, None).await));
}

#[tokio::test]
async fn a_token_that_nobody_can_check_is_no_hindrance_and_its_time_ends_by_itself() {
    let app = Upstream::plain().await;
    let world = World::with(|builder| {
        // Nobody listens there: the provider is down since before the gateway began.
        builder
            .policy("console", CONSOLE, &[("app", &app)])
            .settings(|settings| settings.issuers[0].jwks = "http://127.0.0.1:9/jwks".to_owned())
    })
    .await;
    world.people().await;
    let token = world.gate.bound_token("ann@corp.example", &PKI.ann);
    let (status, told) = by(&world, &PKI.ann, Some(&token), "/v1/grants", glass()).await;
    assert!(is_refusal(status), "{status} {told}");
    let mut asked = glass();
    asked["duration"] = json!(1);
    let (status, grant) = by(&world, &PKI.ann, Some(&token), "/v1/break-glass", asked).await;
    assert_eq!((status, &grant["phase"]), (201, &json!("held")), "{grant}");
    let evidence = world.gate.lines_where(1, |line| line["evidence"]["request"]["path"] == "/v1/break-glass").await;
    assert!(evidence[0]["evidence"]["subject"]["unavailable"].is_string(), "{:#}", evidence[0]["evidence"]);
    let line = world.admin_lines("grant-expire", 1).await.remove(0);
    assert_eq!((&line["after"]["id"], &line["after"]["state"]["is"]), (&grant["id"], &json!("expired")));
    assert!(is_refusal(console(&world, &PKI.ann, Some(&token)).await));
    // And again, for as long as it takes.
    assert_eq!(by(&world, &PKI.ann, Some(&token), "/v1/break-glass", glass()).await.0, 201);
    assert_eq!(console(&world, &PKI.ann, Some(&token)).await, 200);
    assert_eq!(console(&world, &PKI.ann, None).await, 200);
}

#[tokio::test]
async fn only_an_owner_on_record_in_good_standing_and_in_a_group_may() {
    let app = Upstream::plain().await;
    let world = World::with(|builder| builder.policy("console", CONSOLE, &[("app", &app)])).await;
    world.people().await;
    let refused = async |leaf: &Leaf, reason: &str| {
        let (status, told) = alone(&world, leaf, "/v1/break-glass", glass()).await;
        assert_eq!((status, &told["reason"]), (403, &json!("owner")), "{reason}: {told}");
        let this = |line: &Value| line["kind"] == "admin" && line["reason"] == reason;
        let lines = world.gate.lines_where(1, this).await;
        assert_eq!((&lines[0]["action"], &lines[0]["outcome"]), (&json!("grant-ask"), &json!("refused")), "{lines:?}");
        told["detail"].clone()
    };
    let set = async |change: Value| {
        let (status, told) = world.owner("PATCH", "/v1/identities/ann@corp.example", Sent::Json(change)).await;
        assert_eq!(status, 200, "{told}");
    };
    let mut told = Vec::new();
    // Before the administration hears of it: whoever owns the device has to be in good standing.
    for (status, reason) in [("suspended", "owner-suspended"), ("watched", "watched")] {
        set(json!({ "status": status })).await;
        let (answered, told) = alone(&world, &PKI.ann, "/v1/break-glass", glass()).await;
        assert_eq!((answered, &told["reason"]), (403, &Value::Null), "{status}: {told}");
        let this = |line: &Value| line["kind"] == "request" && line["decision"]["reason"] == reason;
        world.gate.lines_where(1, this).await;
        set(json!({ "status": "active" })).await;
    }
    set(json!({ "groups": null })).await;
    told.push(refused(&PKI.ann, "owner-without-groups").await);
    set(json!({ "groups": ["staff"] })).await;
    let kiosk = register(&world, "kiosk-1", None, 72).await;
    told.push(refused(&kiosk, "device-without-owner").await);
    let unrecorded = register(&world, "zoe-laptop", Some("zoe@corp.example"), 73).await;
    told.push(refused(&unrecorded, "owner-not-on-record").await);
    told.dedup();
    assert_eq!(told.len(), 1, "and nobody is told which it is: {told:?}");

    // On record, and not among those who may.
    let outside = register(&world, "ann-admin", Some("ann.admin@corp.example"), 74).await;
    let (status, problem) = alone(&world, &outside, "/v1/break-glass", glass()).await;
    assert_eq!((status, &problem["reason"]), (403, &json!("may-not-break-glass")), "{problem}");
    // A device that is watched, suspended or in no registry, and no device.
    let suspended = register(&world, "ann-third", Some("ann@corp.example"), 75).await;
    assert_eq!(world.owner("POST", "/v1/devices/ann-third/suspend", Sent::Nothing).await.0, 200);
    for leaf in [&PKI.eve, &suspended, &PKI.stranger] {
        assert_eq!(alone(&world, leaf, "/v1/break-glass", glass()).await.0, 403);
    }
    let mut client = world.gate.dial().sni(API).h1().await;
    let request = Request::builder().method(Method::POST).uri("/v1/break-glass");
    let request = request.header("content-type", "application/json").body(full(glass().to_string()));
    assert_eq!(client.ask(request.expect("a request")).await.status, 403);
    // Somebody else's token, one that ended, and her own: where a login can be read it counts as one.
    let stolen = world.gate.bound_token("bob@corp.example", &PKI.bob);
    let over = world.gate.bound_token_until("ann@corp.example", &PKI.ann, Duration::ZERO);
    let own = world.gate.bound_token("ann@corp.example", &PKI.ann);
    for (token, why) in [(stolen, "ask without one"), (over, "token-expired"), (own, "`/v1/grants`")] {
        let (status, told) = by(&world, &PKI.ann, Some(&token), "/v1/break-glass", glass()).await;
        let detail = told["detail"].as_str().unwrap_or_default();
        assert_eq!((status, detail.contains(why)), (403, true), "{told}");
    }
    assert_eq!(world.owner("GET", "/v1/grants", Sent::Nothing).await.1["items"], json!([]), "none of it counts");
    // An alias of hers owns this one, which is hers.
    let alias = register(&world, "ann-phone", Some("ann.lee@corp.example"), 76).await;
    let (status, grant) = alone(&world, &alias, "/v1/break-glass", glass()).await;
    assert_eq!((status, &grant["user"]), (201, &json!("ann@corp.example")), "{grant}");
    assert_eq!(console(&world, &alias, None).await, 200);
    // Suspended while it is held, she is out.
    set(json!({ "status": "suspended" })).await;
    assert!(is_refusal(console(&world, &alias, None).await));
}

#[tokio::test]
async fn a_device_breaks_the_glass_no_more_than_ten_times_in_ten_minutes() {
    let app = Upstream::plain().await;
    let world = World::with(|builder| builder.policy("console", CONSOLE, &[("app", &app)])).await;
    world.people().await;
    for _ in 0..10 {
        assert!(matches!(alone(&world, &PKI.ann, "/v1/break-glass", glass()).await.0, 200 | 201));
    }
    assert_eq!(alone(&world, &PKI.ann, "/v1/break-glass", glass()).await.0, 429);
    assert_eq!(alone(&world, &PKI.bob, "/v1/break-glass", glass()).await.0, 201, "another device has its own count");
}
