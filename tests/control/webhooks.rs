//! Webhooks: what targets get, what they can do wrong, and what may be done by a signed call.

use crate::pki::file;
use crate::upstream::{Upstream, full};
use crate::world::{Sent, World};
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use rangegate::control::webhook::{Format, WebhookSettings};
use rangegate::store::{Delivery, Expect, Kind, Store, StoreSettings, Write};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What a target got.
pub struct Got {
    fields: HeaderMap,
    body: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    fn is_signed_by(&self, secret: &str) -> bool {
        let shown = self.field("rangegate-signature");
        let (seconds, _) = shown.strip_prefix("t=").and_then(|rest| rest.split_once(',')).expect("a signature");
        shown == signed_by(secret, seconds.parse().expect("a number"), &self.body)
    }

    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A target that answers its `n`th call with what `answer` says of it: a status, or none and it never answers.
pub async fn target(
    answer: impl Fn(usize) -> Option<u16> + Send + Sync + 'static,
) -> (Upstream, mpsc::UnboundedReceiver<Got>) {
    let (tell, got) = mpsc::unbounded_channel();
    let (calls, answer) = (AtomicUsize::new(0), Arc::new(answer));
    let upstream = Upstream::http1(move |request| {
        let (tell, call, answer) = (tell.clone(), calls.fetch_add(1, Ordering::Relaxed), Arc::clone(&answer));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let body = String::from_utf8(body.to_vec()).expect("text");
            let _ = tell.send(Got { fields: parts.headers, body });
            match answer(call) {
                Some(status) => Response::builder().status(status).body(full("")),
                None => std::future::pending().await,
            }
            .expect("a response")
        }
    })
    .await;
    (upstream, got)
}

pub fn hook(at: &std::path::Path, name: &str, target: &str) -> WebhookSettings {
    WebhookSettings {
        name: name.to_owned(),
        url: format!("{target}/hook"),
        authority: None,
        private: false,
        secret: file(at, &format!("{name}.secret"), SECRET),
        events: vec!["grant-*".to_owned(), "break-glass".to_owned()],
        format: Format::Json,
        acts: false,
        retry_after: Duration::from_millis(40),
    }
}

/// As `hook`, for people to act by.
pub fn acting(at: &std::path::Path, target: &str) -> Vec<WebhookSettings> {
    vec![WebhookSettings { acts: true, format: Format::Chat, ..hook(at, "chat", target) }]
}

pub async fn world(hooks: impl FnOnce(&std::path::Path) -> Vec<WebhookSettings> + 'static) -> World {
    let world = World::with(|builder| {
        builder.settings(|settings| {
            let at = settings.devices.as_ref().and_then(|path| path.parent()).expect("a directory").to_owned();
            settings.webhooks = hooks(&at);
        })
    })
    .await;
    let (status, told) = world.owner("POST", "/v1/identities", Sent::Text("text/csv", crate::world::PEOPLE)).await;
    assert_eq!(status, 200, "{told}");
    world
}

/// As somebody else would compute it.
pub fn signed(seconds: i64, body: &str) -> String {
    signed_by(SECRET, seconds, body)
}

fn signed_by(secret: &str, seconds: i64, body: &str) -> String {
    let script = format!("printf '%s.%s' \"$1\" \"$2\" | openssl dgst -sha256 -hmac {secret} -r");
    let output = Command::new("sh").args(["-c", &script, "sh", &seconds.to_string(), body]).output().expect("openssl");
    let digest = String::from_utf8(output.stdout).expect("text");
    format!("t={seconds},v1={}", digest.split(' ').next().expect("a digest"))
}

pub fn seconds() -> i64 {
    rangegate::gateway::clock::now().millis() / 1000
}

#[tokio::test]
async fn a_secret_that_was_replaced_is_noticed() {
    const NEW: &str = "fedcba9876543210fedcba9876543210";
    let (upstream, mut got) = target(|_| Some(204)).await;
    let url = upstream.url();
    let world = world(move |at| vec![hook(at, "tickets", &url)]).await;
    let id = world.ann().await.asks_for("payroll-approver").await;
    let first = got.recv().await.expect("a notification");
    assert!(first.is_signed_by(SECRET) && !first.is_signed_by(NEW));
    file(&world.gate.path(""), "tickets.secret", NEW);
    world.gate.lines_where(1, |line| line["event"] == "reload" && line["detail"] == "webhooks").await;
    let (status, _) = world.bob().await.post(&format!("/v1/grants/{id}/approve"), json!({})).await;
    assert_eq!(status, 200);
    assert!(got.recv().await.expect("a notification").is_signed_by(NEW));
    // Too short to be one: the last good one stays.
    file(&world.gate.path(""), "tickets.secret", "secret");
    let refused = world.gate.lines_where(1, |line| line["event"] == "source-rejected").await;
    assert!(refused[0]["reason"].as_str().is_some_and(|why| why.contains("tickets.secret")), "{refused:?}");
    world.ann().await.asks_for("two-of-them").await;
    assert!(got.recv().await.expect("a notification").is_signed_by(NEW));
}

#[tokio::test]
async fn a_target_hears_of_what_it_asked_for_signed_and_once() {
    let (upstream, mut got) = target(|_| Some(204)).await;
    let url = upstream.url();
    let world = world(move |at| vec![hook(at, "tickets", &url)]).await;
    let id = world.ann().await.asks_for("payroll-approver").await;
    let first = got.recv().await.expect("a notification");
    assert_eq!(first.field("rangegate-event"), "grant-ask");
    let (seconds, _) = first.field("rangegate-signature").strip_prefix("t=").and_then(|s| s.split_once(',')).unwrap();
    assert_eq!(first.field("rangegate-signature"), signed(seconds.parse().unwrap(), &first.body));
    let told = first.json();
    assert_eq!((&told["event"], &told["actor"]["user"]), (&json!("grant-ask"), &json!("ann@corp.example")));
    assert_eq!((&told["after"]["id"], &told["reason"]), (&json!(id), &json!("PAY-1234: run 7")));
    assert_eq!(told["id"], first.field("rangegate-delivery"));

    let (status, _) = world.bob().await.post(&format!("/v1/grants/{id}/approve"), json!({})).await;
    assert_eq!(status, 200);
    let second = got.recv().await.expect("a notification");
    assert_eq!(second.field("rangegate-event"), "grant-approve", "and no second time what was taken");
    // Nobody asked to hear of devices.
    let device = json!({ "class": "kiosk", "keys": ["ab".repeat(32)] });
    assert_eq!(world.owner("POST", "/v1/devices", Sent::Json(device)).await.0, 201);
    let (status, _) = world.bob().await.post(&format!("/v1/grants/{id}/end"), json!({ "note": "done" })).await;
    assert_eq!(status, 200);
    assert_eq!(got.recv().await.expect("a notification").field("rangegate-event"), "grant-end");
}

#[tokio::test]
async fn what_is_not_taken_comes_again_under_the_same_id() {
    for bad in [500, 404] {
        let (upstream, mut got) = target(move |call| Some(if call < 3 { bad } else { 200 })).await;
        let url = upstream.url();
        let world = world(move |at| vec![hook(at, "tickets", &url)]).await;
        world.ann().await.asks_for("payroll-approver").await;
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(got.recv().await.expect("a notification").field("rangegate-delivery").to_owned());
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "{bad}: {ids:?}");
        // Taken now: the next to come is another.
        world.ann().await.asks_for("two-of-them").await;
        assert_ne!(got.recv().await.expect("a notification").field("rangegate-delivery"), ids[0]);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_not_taken_for_an_answer() {
    let elsewhere = Upstream::plain().await;
    let (to, calls) = (elsewhere.url(), AtomicUsize::new(0));
    let (tell, mut got) = mpsc::unbounded_channel();
    let upstream = Upstream::http1(move |request| {
        let status = [301, 302, 307, 308].get(calls.fetch_add(1, Ordering::Relaxed)).copied();
        let location = format!("{to}/hook");
        let _ = tell.send(request.headers()["rangegate-delivery"].clone());
        async move {
            let answer = Response::builder().status(status.unwrap_or(200));
            answer.header("location", location).body(full("")).expect("a response")
        }
    })
    .await;
    let url = upstream.url();
    let world = world(move |at| vec![hook(at, "tickets", &url)]).await;
    world.ann().await.asks_for("payroll-approver").await;
    let first = got.recv().await.expect("a notification");
    for _ in 0..4 {
        assert_eq!(got.recv().await.expect("it comes again"), first);
    }
    assert_eq!(elsewhere.connections(), 0, "nobody went where it was sent");
}

#[tokio::test]
async fn a_chat_tool_is_told_in_one_sentence() {
    let (upstream, mut got) = target(|_| Some(200)).await;
    let url = upstream.url();
    let world = world(move |at| acting(at, &url)).await;
    let id = world.ann().await.asks_for("payroll-approver").await;
    let told = got.recv().await.expect("a notification");
    let sentence = format!(
        "ann@corp.example asks for the role payroll-approver: PAY-1234: run 7. \
         Approve with `rangegate grant approve {id}`, refuse with `rangegate grant refuse {id}`."
    );
    assert_eq!((told.json(), told.field("content-type")), (json!({ "text": sentence }), "application/json"));
    let (seconds, _) = told.field("rangegate-signature").strip_prefix("t=").and_then(|s| s.split_once(',')).unwrap();
    assert_eq!(told.field("rangegate-signature"), signed(seconds.parse().unwrap(), &told.body));
    let (status, _) = world.bob().await.post(&format!("/v1/grants/{id}/approve"), json!({ "note": "<!here>" })).await;
    assert_eq!(status, 200);
    let text = "bob@corp.example approved the role payroll-approver for ann@corp.example: &lt;!here&gt;.";
    assert_eq!(got.recv().await.expect("a notification").json(), json!({ "text": text }));
}

#[tokio::test]
async fn a_target_that_hangs_holds_up_no_other() {
    let (hanging, mut stuck) = target(|_| None).await;
    let (well, mut got) = target(|_| Some(200)).await;
    let patient = |settings: WebhookSettings| WebhookSettings { retry_after: Duration::from_secs(600), ..settings };
    let (slow, quick) = (hanging.url(), well.url());
    let world = world(move |at| vec![patient(hook(at, "hanging", &slow)), hook(at, "well", &quick)]).await;
    world.ann().await.asks_for("payroll-approver").await;
    stuck.recv().await.expect("it was called");
    got.recv().await.expect("a notification");
    world.ann().await.asks_for("two-of-them").await;
    assert_eq!(got.recv().await.expect("a notification").json()["after"]["role"], "two-of-them");
}

#[tokio::test]
async fn people_act_by_a_signed_call_under_the_rules_of_the_role() {
    let (upstream, _got) = target(|_| Some(200)).await;
    let url = upstream.url();
    let world = world(move |at| {
        let acting = |name| WebhookSettings { acts: true, format: Format::Chat, ..hook(at, name, &url) };
        vec![acting("chat"), hook(at, "tickets", &url)]
    })
    .await;
    let (status, grant) = call(
        &world,
        "chat",
        seconds(),
        json!({ "action": "ask", "user": "ann@corp.example", "role": "payroll-approver", "reason": "PAY-1234" }),
    )
    .await;
    assert_eq!(status, 201, "{grant}");
    let id = grant["id"].as_str().expect("an id");
    let approve = |user: &str| json!({ "action": "approve", "user": user, "grant": id });
    // Her other account is hers all the same.
    let (status, problem) = call(&world, "chat", seconds(), approve("ann.admin@corp.example")).await;
    assert_eq!((status, &problem["reason"]), (403, &json!("self-approval")), "{problem}");
    let (status, problem) = call(&world, "chat", seconds(), approve("nobody@corp.example")).await;
    assert_eq!(status, 422, "{problem}");
    let old = call(&world, "chat", seconds() - 600, approve("bob@corp.example")).await;
    let passive = call(&world, "tickets", seconds(), approve("bob@corp.example")).await;
    let unknown = call(&world, "elsewhere", seconds(), approve("bob@corp.example")).await;
    let forged = post(&world, "chat", &approve("bob@corp.example").to_string(), &signed(seconds(), "{}")).await;
    for (status, problem) in [old, passive, unknown, forged] {
        assert_eq!((status, &problem["type"]), (401, &json!("tag:rangegate,2026:api/unsigned")), "{problem}");
    }
    let (status, grant) = call(&world, "chat", seconds(), approve("bob@corp.example")).await;
    assert_eq!((status, &grant["phase"]), (200, &json!("held")), "{grant}");
    let line = world.admin_lines("grant-approve", 2).await;
    let done = line.iter().find(|line| line["outcome"] == "done").expect("a line");
    assert_eq!(
        (&done["actor"]["user"], &done["actor"]["issuer"]),
        (&json!("bob@corp.example"), &json!("webhook:chat"))
    );
}

#[tokio::test]
async fn a_signed_call_counts_once_at_whichever_gateway_it_comes_again() {
    let (upstream, _got) = target(|_| Some(200)).await;
    let (one, two) = (upstream.url(), upstream.url());
    let world = world(move |at| acting(at, &one)).await;
    let store = world.gate.path("store.db");
    let other = World::with(move |builder| {
        builder.settings(move |settings| {
            let at = settings.devices.as_ref().and_then(|path| path.parent()).expect("a directory").to_owned();
            settings.webhooks = acting(&at, &two);
            settings.store = Some(StoreSettings::sqlite(store));
        })
    })
    .await;
    let store = Store::open(&StoreSettings::sqlite(world.gate.path("store.db"))).await.expect("the store");
    let grants = async || store.list(Kind::Grant, "", 10).await.expect("an answer").len();
    let ask = |user: &str| {
        json!({ "action": "ask", "user": user, "role": "payroll-approver", "reason": "PAY-1234" }).to_string()
    };
    let (now, body) = (seconds(), ask("ann@corp.example"));
    let signature = signed(now, &body);
    // At both at once: one of them carries it out.
    let (here, there) = tokio::join!(post(&world, "chat", &body, &signature), post(&other, "chat", &body, &signature));
    let first = if here.0 == 201 { here } else { there };
    assert_eq!((first.0, grants().await), (201, 1), "{}", first.1);
    // The request is over. Whoever overheard the call makes it again.
    let path = format!("/v1/grants/{}/withdraw", first.1["id"].as_str().expect("an id"));
    assert_eq!(world.ann().await.post(&path, json!({})).await.0, 200);
    let (time, hex) = signature.split_once("v1=").expect("a signature");
    for again in [signature.clone(), format!("{time} v1={}", hex.to_uppercase())] {
        for gateway in [&world, &other] {
            assert_eq!(post(gateway, "chat", &body, &again).await, first, "the same answer");
        }
    }
    let changed = post(&world, "chat", &body.replace("1234", "9999"), &signature).await;
    assert_eq!((changed.0, grants().await), (401, 1), "{}", changed.1);
    let meant = post(&other, "chat", &body, &signed(now + 1, &body)).await;
    assert_eq!((meant.0, grants().await), (201, 2), "{}", meant.1);

    // What was refused stays so, whatever has changed since.
    let body = ask("zoe@corp.example");
    let refused = post(&world, "chat", &body, &signed(now, &body)).await;
    assert_eq!(refused.0, 422, "{}", refused.1);
    let zoe = Sent::Text("text/csv", "user,person\nzoe@corp.example,p-zoe\n");
    assert_eq!(world.owner("POST", "/v1/identities", zoe).await.0, 200);
    let again = post(&world, "chat", &body, &signed(now, &body)).await;
    assert_eq!((again.0, &again.1["reason"]), (409, &json!("call-repeated")), "{}", again.1);
    assert_eq!(post(&world, "chat", &body, &signed(now + 1, &body)).await.0, 201);
    assert_eq!(grants().await, 3);
}

pub async fn call(world: &World, hook: &str, seconds: i64, body: Value) -> (u16, Value) {
    let body = body.to_string();
    post(world, hook, &body, &signed(seconds, &body)).await
}

/// As a bot would: over TLS, without a certificate.
async fn post(world: &World, hook: &str, body: &str, signature: &str) -> (u16, Value) {
    let body = file(&world.gate.path(""), "call.json", body);
    let (data, field) = (format!("@{}", body.display()), format!("Rangegate-Signature: {signature}"));
    let url = format!("https://{}/v1/calls/{hook}", crate::world::API);
    let args = ["--header", "Content-Type: application/json", "--header", &field, "--data-binary", &data];
    let output = world.gate.curl().args(args).args(["--write-out", "\n%{http_code}", &url]).run().await;
    let text = String::from_utf8(output.stdout).expect("text");
    let (answer, status) = text.rsplit_once('\n').expect("a status");
    (status.parse().expect("a status"), serde_json::from_str(answer).unwrap_or(Value::Null))
}

#[tokio::test]
async fn when_too_many_wait_somebody_is_alerted_once_and_broken_glass_is_told_all_the_same() {
    let app = Upstream::plain().await;
    let (upstream, mut got) = target(|_| Some(200)).await;
    let url = upstream.url();
    let world = World::with(|builder| {
        builder.policy("console", crate::break_glass::CONSOLE, &[("app", &app)]).settings(move |settings| {
            let at = settings.devices.as_ref().and_then(|path| path.parent()).expect("a directory").to_owned();
            settings.webhooks = vec![hook(&at, "tickets", &url)];
        })
    })
    .await;
    world.people().await;
    // As if the target had been away for long: none of these is due.
    let store = Store::open(&StoreSettings::sqlite(world.gate.path("store.db"))).await.expect("the store");
    let now = rangegate::gateway::clock::now();
    let delivery = Delivery {
        hook: "tickets".into(),
        event: "grant-ask".into(),
        at: now,
        attempts: 3,
        next: now.plus_millis(3_600_000),
        body: "{}".to_owned(),
    };
    let body = serde_json::to_string(&delivery).expect("JSON");
    let write = |number: usize| Write::Put {
        kind: Kind::Delivery,
        id: format!("w_{number}").into(),
        expect: Expect::New,
        body: body.clone(),
    };
    store.commit((0..10_000).map(write).collect(), now).await.expect("written");
    // Until the gateway has counted them, what is asked is told of.
    let mut ann = world.ann().await;
    let undelivered = || {
        let lines = world.gate.lines();
        lines.into_iter().filter(|line| line["kind"] == "alert" && line["event"] == "undelivered").collect::<Vec<_>>()
    };
    for _ in 0..100 {
        let id = ann.asks_for("payroll-approver").await;
        assert_eq!(ann.post(&format!("/v1/grants/{id}/withdraw"), json!({})).await.0, 200);
        if !undelivered().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Whatever came before the count has been told of by now.
    let broken = json!({ "role": "console-glass", "reason": "the provider is down", "break-glass": true });
    let (status, grant) = ann.post("/v1/grants", broken).await;
    assert_eq!(status, 201, "{grant}");
    loop {
        let told = tokio::time::timeout(crate::gateway::PATIENCE, got.recv()).await.expect("in time");
        let told = told.expect("a notification");
        if told.field("rangegate-event") == "break-glass" {
            assert_eq!(told.json()["after"]["id"], grant["id"]);
            break;
        }
    }
    let alerts = undelivered();
    assert_eq!(alerts.len(), 1, "of one outage one: {alerts:#?}");
    let reason = alerts[0]["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("webhook tickets: grant-") && reason.contains("too many"), "{reason}");
}

#[tokio::test]
async fn an_import_that_suspends_people_says_how_many_and_whom() {
    let (upstream, mut got) = target(|_| Some(200)).await;
    let url = upstream.url();
    let world = world(move |at| {
        let events = || vec!["identity-import".to_owned()];
        vec![WebhookSettings { events: events(), ..hook(at, "tickets", &url) }]
    })
    .await;
    let first = got.recv().await.expect("a notification").json();
    assert_eq!((&first["reason"], &first["after"]), (&json!("4 added, 0 changed"), &Value::Null));
    let import = async |text: &str| world.owner("POST", "/v1/identities", Sent::Text("text/csv", text)).await;
    // One is suspended already, one is only renamed, and one comes suspended.
    let put = json!({ "status": "suspended" });
    assert_eq!(world.owner("PATCH", "/v1/identities/ann@corp.example", Sent::Json(put)).await.0, 200);
    let text = "user,name,status\nann@corp.example,Ann,suspended\nbob@corp.example,Bob,suspended\n\
        eve@corp.example,Eve,active\nzoe@corp.example,Zoe,suspended\n";
    assert_eq!(import(text).await.0, 200);
    let told = got.recv().await.expect("a notification").json();
    assert_eq!(told["reason"], "1 added, 3 changed, 2 suspended: bob@corp.example, zoe@corp.example");
    assert_eq!(
        told["after"],
        json!({ "suspended": { "count": 2, "users": ["bob@corp.example", "zoe@corp.example"] } })
    );
    // Many: the notification has an end. What was written before it broke off is told, too.
    let people: String = (0..6000).map(|row| format!("user{row:04},,suspended\n")).collect();
    assert_eq!(import(&format!("user,aliases,status\n{people}user9999,bob@corp.example,active\n")).await.0, 409);
    let told = got.recv().await.expect("a notification").json();
    let names: Vec<String> = (0..10).map(|row| format!("user{row:04}")).collect();
    let sentence =
        format!("5000 added, 0 changed, 5000 suspended: {} and 4990 more; then it broke off", names.join(", "));
    assert_eq!(told["reason"], json!(sentence));
    let suspended = &told["after"]["suspended"];
    assert_eq!((&suspended["count"], suspended["users"].as_array().map(Vec::len)), (&json!(5000), Some(100)));
}
