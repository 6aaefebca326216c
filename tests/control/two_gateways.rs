//! Two gateways on one PostgreSQL: what is done at one counts at the other, and when the database is gone both go on.

use crate::client::Client;
use crate::commands::rangegate;
use crate::gateway::{PATIENCE, PKI, fingerprint};
use crate::pki::Leaf;
use crate::postgres::{Cluster, shared};
use crate::upstream::{Upstream, empty, full, ok};
use crate::world::{Person, Sent, World};
use futures_util::StreamExt;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rangegate::store::{Store, StoreSettings};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

/// What the project promises between two gateways.
const FELT: Duration = Duration::from_secs(1);

const POLICY: &str = r#"
[[resource]]
id = "room"
hosts = ["room.corp.example"]
upstream = "$chat"
require = [{ id = "laptop", that = { device = { bound = true, status = "active" } } }]

[[resource]]
id = "fresh"
hosts = ["fresh.corp.example"]
upstream = "$chat"
require = [{ id = "current", that = { memory-age = { below = "1s" } } }]
"#;

struct Pair {
    one: World,
    other: World,
    database: String,
    _chat: Upstream,
}

impl Pair {
    /// Both know everybody.
    async fn on(cluster: &Cluster, poll: Duration) -> Self {
        let (database, chat) = (cluster.database(), chat().await);
        let settings = StoreSettings { poll, timeout: Duration::from_secs(1), ..cluster.settings(&database) };
        let (one, other) = (gate(settings.clone(), &chat).await, gate(settings, &chat).await);
        one.people().await;
        let mut ann = other.ann().await;
        until("the other knows them", async || ann.get("/v1/me").await.1["person"] == "p-ann").await;
        drop(ann);
        Self { one, other, database, _chat: chat }
    }

    async fn register(&self, id: &str, user: &str, leaf: &Leaf) {
        let device = json!({ "id": id, "class": "corporate", "owner": user, "certificates": [fingerprint(leaf)] });
        let (status, device) = self.one.owner("POST", "/v1/devices", Sent::Json(device)).await;
        assert_eq!(status, 201, "{device}");
    }

    /// At the first of them.
    async fn stand(&self, device: &str, how: &str) {
        let path = format!("/v1/devices/{device}/{how}");
        let (status, device) = self.one.owner("POST", &path, Sent::Json(json!({ "reason": "lost" }))).await;
        assert_eq!(status, 200, "{device}");
    }
}

async fn gate(settings: StoreSettings, chat: &Upstream) -> World {
    World::with(|builder| {
        let builder = builder.policy("room", POLICY, &[("chat", chat)]);
        builder.settings(move |all| all.store = Some(settings))
    })
    .await
}

/// Says hello, and holds WebSockets open.
pub async fn chat() -> Upstream {
    Upstream::http1(|mut request: Request<Incoming>| async move {
        let Some(key) = request.headers().get("sec-websocket-key") else { return ok("hello") };
        let accept = derive_accept_key(key.as_bytes());
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            while let Some(Ok(_)) = socket.next().await {}
        });
        let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
        response.header("sec-websocket-accept", accept).body(empty()).expect("a response")
    })
    .await
}

/// Waits until something holds, and says how long that took.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    begun.elapsed()
}

/// What this person gets at `host`. 0: the connection was closed between its handshake and the request, as those of a
/// revoked device are.
pub async fn visit(person: &Person<'_>, host: &str, leaf: &Leaf) -> u16 {
    let mut client = person.world.gate.dial().sni(host).certificate(leaf).h1().await;
    let request = Request::get("/").header("authorization", format!("Bearer {}", person.token));
    let answer = client.send(request.body(full("")).expect("a request")).await;
    answer.map_or(0, |answer| answer.status().as_u16())
}

pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

pub async fn socket(person: &Person<'_>, leaf: &Leaf) -> (Socket, Client) {
    let mut client = person.world.gate.dial().sni("room.corp.example").certificate(leaf).h1().await;
    let request = Request::get("/")
        .header("authorization", format!("Bearer {}", person.token))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key());
    let mut response = client.send(request.body(full("")).expect("a request")).await.expect("an answer");
    assert_eq!(response.status(), 101);
    let upgraded = hyper::upgrade::on(&mut response).await.expect("an upgrade");
    (WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await, client)
}

/// Why it was closed, once it is.
pub async fn close_reason(socket: &mut Socket) -> String {
    loop {
        let message = timeout(PATIENCE, socket.next()).await.expect("in time").expect("a close frame");
        if let Message::Close(frame) = message.expect("a message") {
            return frame.expect("a reason").reason.to_string();
        }
    }
}

#[tokio::test]
async fn what_is_granted_at_one_opens_at_the_other() {
    let pair = Pair::on(shared(), Duration::from_secs(1)).await;
    let (mut ann, mut bob) = (pair.one.ann().await, pair.other.bob().await);
    let there = pair.other.ann().await;
    for ann in [&ann, &there] {
        assert_eq!(ann.uses_payroll(&PKI.ann).await, 403);
    }
    let id = ann.asks_for("payroll-approver").await;
    let approved = Instant::now();
    let (status, grant) = bob.post(&format!("/v1/grants/{id}/approve"), json!({})).await;
    assert_eq!((status, &grant["phase"]), (200, &json!("held")), "{grant}");
    assert_eq!(there.uses_payroll(&PKI.ann).await, 200, "at once where it was approved");
    until("it opens where it was asked for", async || ann.uses_payroll(&PKI.ann).await == 200).await;
    let opened = approved.elapsed();
    let ended = Instant::now();
    let (status, grant) = ann.post(&format!("/v1/grants/{id}/end"), json!({ "note": "done" })).await;
    assert_eq!(status, 200, "{grant}");
    assert_eq!(ann.uses_payroll(&PKI.ann).await, 403, "at once where it was ended");
    until("it is over at the other, too", async || there.uses_payroll(&PKI.ann).await == 403).await;
    let over = ended.elapsed();
    println!("approved at the other: open here after {opened:?}; ended here: over there after {over:?}");
    assert!(opened < FELT && over < FELT, "{opened:?} {over:?}");
}

#[tokio::test]
async fn a_revocation_at_one_is_felt_at_the_other() {
    let pair = Pair::on(shared(), Duration::from_secs(1)).await;
    pair.register("zoe-laptop", "zoe@corp.example", &PKI.stranger).await;
    let zoe = pair.other.person("zoe@corp.example", &PKI.stranger).await;
    let mut slowest = Duration::ZERO;
    for (how, reason) in [("suspend", "device-suspended"); 5].into_iter().chain([("revoke", "device-revoked")]) {
        until("she is let in", async || visit(&zoe, "room.corp.example", &PKI.stranger).await == 200).await;
        let (mut open, _client) = socket(&zoe, &PKI.stranger).await;
        let begun = Instant::now();
        let (closed, refused, ()) = tokio::join!(
            async {
                let reason = close_reason(&mut open).await;
                (reason, begun.elapsed())
            },
            async {
                until("she is refused", async || visit(&zoe, "room.corp.example", &PKI.stranger).await == 403).await;
                begun.elapsed()
            },
            pair.stand("zoe-laptop", how),
        );
        assert_eq!(closed.0, reason);
        slowest = slowest.max(closed.1).max(refused);
        if how == "suspend" {
            pair.stand("zoe-laptop", "resume").await;
        }
    }
    println!("from the command at one gateway to the cut and the refusal at the other: {slowest:?} at most");
    assert!(slowest < FELT, "{slowest:?}");
}

/// A change of which no notification comes, and nobody asks by the clock. The listener that is thrown out knows that it
/// may have missed something.
#[tokio::test]
async fn a_lost_notification_is_made_up_for() {
    let pair = Pair::on(shared(), Duration::from_secs(3600)).await;
    pair.register("zoe-laptop", "zoe@corp.example", &PKI.stranger).await;
    let zoe = pair.other.person("zoe@corp.example", &PKI.stranger).await;
    until("she is let in", async || visit(&zoe, "room.corp.example", &PKI.stranger).await == 200).await;
    let (mut open, _client) = socket(&zoe, &PKI.stranger).await;
    let sql = |sql: &str| {
        let done = shared().sql(&pair.database, sql);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    // What a commit does, but for its notification.
    sql("UPDATE counter SET revision = revision + 1; \
         UPDATE document SET version = version + 1, body = replace(body, '\"active\"', '\"suspended\"') \
         WHERE kind = 'device' AND id = 'zoe-laptop'; \
         INSERT INTO change (revision, kind, id) SELECT revision, 'device', 'zoe-laptop' FROM counter");
    assert_eq!(visit(&zoe, "room.corp.example", &PKI.stranger).await, 200, "nobody told the gateway");
    let begun = Instant::now();
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND \
         pid <> pg_backend_pid() AND query LIKE 'LISTEN%'");
    assert_eq!(close_reason(&mut open).await, "device-suspended");
    println!("the cut came {:?} after the listeners were thrown out", begun.elapsed());
    assert_eq!(visit(&zoe, "room.corp.example", &PKI.stranger).await, 403);
}

/// The list as a gateway gives it: the API's, and its file.
async fn lists(world: &World) -> [String; 2] {
    let mut command = std::process::Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "10", "--unix-socket"]).arg(world.socket());
    command.arg("http://localhost/v1/authority/revocation-list");
    let asked = tokio::task::spawn_blocking(move || command.output().expect("curl is installed"));
    let told = String::from_utf8(asked.await.expect("it ran").stdout).expect("text");
    [told, std::fs::read_to_string(world.gate.path("authority.crl")).expect("a file")]
}

/// The serial numbers on it, as openssl reads it.
fn named(list: &str) -> String {
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["crl", "-noout", "-text"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut openssl = openssl.spawn().expect("openssl is installed");
    openssl.stdin.take().expect("open").write_all(list.as_bytes()).expect("written");
    String::from_utf8(openssl.wait_with_output().expect("it ran").stdout).expect("text")
}

/// With one authority for both, a list that is good for a day, and devices that enrolled at the first.
#[tokio::test]
async fn a_certificate_revoked_at_one_is_on_the_list_of_both() {
    let (database, chat) = (shared().database(), chat().await);
    let settings = StoreSettings { timeout: Duration::from_secs(1), ..shared().settings(&database) };
    let one = gate(settings.clone(), &chat).await;
    one.people().await;
    let [certificate, key, passphrase] =
        ["authority.pem", "authority.key", "passphrase"].map(|name| one.gate.path(name));
    let other = World::with(|builder| {
        builder.settings(move |all| {
            all.store = Some(settings);
            let own = all.authority.as_mut().expect("an authority");
            for listener in &mut all.listeners {
                listener.trust.authorities.retain(|path| *path != own.certificate);
                listener.trust.authorities.push(certificate.clone());
            }
            (own.certificate, own.key, own.passphrase) = (certificate, key, Some(passphrase));
        })
    })
    .await;
    let mut serials = Vec::new();
    for reason in ["lost", "stolen"] {
        let enrolled = crate::openapi::enrolled(&one, "ann@corp.example").await;
        let serial = enrolled["serial"].as_str().unwrap_or_else(|| panic!("{enrolled}")).to_uppercase();
        let device = enrolled["device"]["id"].as_str().or(enrolled["device"].as_str()).expect("an id");
        for world in [&one, &other] {
            until("both have a list", async || lists(world).await[0].contains("X509 CRL")).await;
            assert!(lists(world).await.iter().all(|list| !named(list).contains(&serial)), "{serial} is good");
        }
        let path = format!("/v1/devices/{device}/revoke");
        let begun = Instant::now();
        assert_eq!(one.owner("POST", &path, Sent::Json(json!({ "reason": reason }))).await.0, 200);
        serials.push(serial);
        let whole = |lists: &[String; 2]| {
            let text = named(&lists[0]);
            lists[0] == lists[1] && serials.iter().all(|serial| text.contains(serial))
        };
        let here = lists(&one).await;
        until("it is on the other's list, which is its file", async || whole(&lists(&other).await)).await;
        assert!(begun.elapsed() < FELT, "{:?}", begun.elapsed());
        assert!(whole(&here), "at once where it was revoked");
    }
}

#[tokio::test]
async fn gateways_follow_a_database_that_is_restored_under_them() {
    let pair = Pair::on(shared(), Duration::from_secs(1)).await;
    let (url, password) = (shared().url(&pair.database), shared().password_file());
    let store = format!("url = '{url}'\npassword-file = '{}'", password.display());
    follow_what_is_restored(&[&pair.one, &pair.other], &store).await;
}

#[tokio::test]
async fn a_gateway_follows_a_file_that_is_restored_under_it() {
    let chat = chat().await;
    let world = World::with(|builder| builder.policy("room", POLICY, &[("chat", &chat)])).await;
    world.people().await;
    let store = format!("path = '{}'", world.gate.path("store.db").display());
    follow_what_is_restored(&[&world], &store).await;
}

/// By the commands, beside running gateways: what the backup did not know is gone, and what it denied is cut.
async fn follow_what_is_restored(worlds: &[&World], store: &str) {
    let at = worlds[0].gate.path("");
    let config = crate::pki::file(&at, "rangegate.toml", crate::killed::CONFIG.replace("$store", store));
    let (config, backup) = (config.to_str().expect("utf-8"), at.join("store.backup"));
    let backup = backup.to_str().expect("utf-8");
    let run = async |args: &[&str]| rangegate(&[args, &["--config", config]].concat()).await;
    let device = json!({ "id": "zoe-laptop", "class": "corporate", "owner": "zoe@corp.example", "certificates": [fingerprint(&PKI.stranger)] });
    assert_eq!(worlds[0].owner("POST", "/v1/devices", Sent::Json(device)).await.0, 201);
    let stand = async |how: &str| {
        let path = format!("/v1/devices/zoe-laptop/{how}");
        assert_eq!(worlds[0].owner("POST", &path, Sent::Json(json!({ "reason": "a test" }))).await.0, 200);
    };
    stand("suspend").await;
    let before = worlds[0].ann().await.asks_for("payroll-approver").await;
    let (exit, out, err) = run(&["store", "backup", backup]).await;
    assert_eq!((exit, out.contains("backed up to ")), (0, true), "{out}{err}");

    stand("resume").await;
    let after = worlds[0].ann().await.asks_for("two-of-them").await;
    let mut open = Vec::new();
    for world in worlds {
        let zoe = world.person("zoe@corp.example", &PKI.stranger).await;
        until("she is let in", async || visit(&zoe, "room.corp.example", &PKI.stranger).await == 200).await;
        open.push(socket(&zoe, &PKI.stranger).await);
    }
    let (exit, _, err) = run(&["store", "restore", backup]).await;
    assert_eq!((exit, err.contains("`--replace` gives up what it holds")), (1, true), "{err}");
    let zoe = worlds[0].person("zoe@corp.example", &PKI.stranger).await;
    assert_eq!(visit(&zoe, "room.corp.example", &PKI.stranger).await, 200, "nothing was touched");

    let (exit, out, err) = run(&["store", "restore", backup, "--replace"]).await;
    assert_eq!((exit, out.contains("restored into ")), (0, true), "{out}{err}");
    for (world, (open, _client)) in worlds.iter().zip(&mut open) {
        assert_eq!(close_reason(open).await, "device-suspended");
        let zoe = world.person("zoe@corp.example", &PKI.stranger).await;
        assert_eq!(visit(&zoe, "room.corp.example", &PKI.stranger).await, 403);
        let mut ann = world.ann().await;
        assert_eq!(ann.get(&format!("/v1/grants/{before}")).await.1["phase"], "waiting");
        assert_eq!(ann.get(&format!("/v1/grants/{after}")).await.0, 404, "asked for after the backup");
        // It goes on from there: what is done at the first is known at each.
    }
    stand("resume").await;
    for world in worlds {
        let zoe = world.person("zoe@corp.example", &PKI.stranger).await;
        until("she is let in", async || visit(&zoe, "room.corp.example", &PKI.stranger).await == 200).await;
    }
    let (exit, out, err) = run(&["store", "check"]).await;
    assert_eq!(exit, 0, "{out}{err}");
}

/// Who approves at once at two gateways gives one approval, whoever was first; and nothing is granted twice.
#[tokio::test]
async fn approvers_race_at_two_gateways() {
    let pair = Pair::on(shared(), Duration::from_secs(1)).await;
    let (mut ann, mut bob, mut bob_there) = (pair.one.ann().await, pair.one.bob().await, pair.other.bob().await);
    let mut eve = pair.one.eve().await;
    let mut eve_there = pair.other.person("eve@corp.example", &PKI.stranger).await;
    until("she is known there", async || visit(&eve_there, "room.corp.example", &PKI.stranger).await == 200).await;
    let body = || json!({});
    for round in 0..8 {
        for (role, needed) in [("two-of-them", 2), ("payroll-approver", 1)] {
            let id = ann.asks_for(role).await;
            let path = format!("/v1/grants/{id}/approve");
            let answers = tokio::join!(
                bob.post(&path, body()),
                bob_there.post(&path, body()),
                eve.post(&path, body()),
                eve_there.post(&path, body()),
            );
            let answers = [answers.0, answers.1, answers.2, answers.3];
            // Who comes when enough have approved is told that it is held, or that it is too late; nothing else.
            assert!(answers.iter().all(|(status, _)| [200, 409].contains(status)), "{answers:?}");
            let (_, grant) = ann.get(&format!("/v1/grants/{id}")).await;
            let by: Vec<_> =
                grant["approvals"].as_array().expect("approvals").iter().map(|by| by["user"].clone()).collect();
            assert_eq!((&grant["phase"], by.len()), (&json!("held"), needed), "round {round}: {grant}");
            assert!(needed == 1 || by[0] != by[1], "round {round}: {grant}");
            // Lists are of what is known here, and the last approval may have been given there.
            until("this one is held, and nothing else", async || {
                let (_, held) = pair.one.owner("GET", "/v1/grants?state=held", Sent::Nothing).await;
                held["items"].as_array().map(Vec::len) == Some(1)
            })
            .await;
            let written = |line: &Value| {
                line["action"] == "grant-approve"
                    && line["outcome"] == "done"
                    && line["target"] == format!("grant {id}")
            };
            let counted = |world: &World| world.gate.lines().iter().filter(|line| written(line)).count();
            until("each approval is on record", async || counted(&pair.one) + counted(&pair.other) >= needed).await;
            assert_eq!(counted(&pair.one) + counted(&pair.other), needed, "and nothing else is");
            let (status, grant) = ann.post(&format!("/v1/grants/{id}/end"), json!({ "note": "done" })).await;
            assert_eq!(status, 200, "{grant}");
        }
    }
    let store = Store::open(&shared().settings(&pair.database)).await.expect("it opens");
    assert_eq!(store.check(rangegate::gateway::clock::now()).await.expect("asked").faults, [""; 0]);
}

#[tokio::test]
async fn two_who_ask_at_once_at_two_gateways_have_one_grant() {
    let pair = Pair::on(shared(), Duration::from_secs(1)).await;
    let (mut here, mut there) = (pair.one.ann().await, pair.other.ann().await);
    let ask = |reason: &str| json!({ "role": "payroll-approver", "reason": reason });
    let mut ids = std::collections::BTreeSet::new();
    for round in 0..12 {
        // Sent twice; sent twice under a name of its own; and two different requests for the same.
        let key = format!("round-{round}");
        let fields = [("idempotency-key", key.as_str())];
        let fields = if round % 3 == 1 { &fields[..] } else { &[] };
        let other = if round % 3 == 2 { "PAY-4321" } else { "PAY-1234" };
        let (first, second) = tokio::join!(
            here.ask_with(Method::POST, "/v1/grants", Some(ask("PAY-1234")), fields),
            there.ask_with(Method::POST, "/v1/grants", Some(ask(other)), fields),
        );
        let answers = [crate::world::read(&first), crate::world::read(&second)];
        let mut statuses = [answers[0].0, answers[1].0];
        statuses.sort_unstable();
        let made = answers.iter().find(|(status, _)| *status == 201).expect("one was first");
        let id = made.1["id"].as_str().expect("an id").to_owned();
        if round % 3 == 2 {
            assert_eq!(statuses, [201, 409], "{answers:?}");
        } else {
            assert_eq!(statuses, [200, 201], "{answers:?}");
            assert_eq!(answers[0].1["id"], answers[1].1["id"]);
        }
        let (_, waiting) = pair.one.owner("GET", "/v1/grants?state=waiting", Sent::Nothing).await;
        assert_eq!(waiting["items"].as_array().map(Vec::len), Some(1), "{waiting}");
        assert!(ids.insert(id.clone()), "a new one each time");
        // Taken back at either, it can be asked for at either at once.
        let by = if round % 2 == 0 { &mut here } else { &mut there };
        let (status, grant) = by.post(&format!("/v1/grants/{id}/withdraw"), json!({})).await;
        assert_eq!(status, 200, "{grant}");
    }
}

/// One name for two different requests, so that nothing but the name itself is in each other's way.
#[tokio::test]
async fn one_name_is_one_submission_at_two_gateways() {
    let pair = Pair::on(shared(), Duration::from_secs(1)).await;
    let (mut here, mut there) = (pair.one.ann().await, pair.other.ann().await);
    let ask = |role: &str, reason: &str| json!({ "role": role, "reason": reason });
    let others = [ask("two-of-them", "PAY-1234"), ask("payroll-approver", "PAY-4321")];
    for round in 0..12 {
        let key = format!("round-{round}");
        let fields = [("idempotency-key", key.as_str())];
        let (one, other) = (ask("payroll-approver", "PAY-1234"), &others[round % 2]);
        let (first, second) = tokio::join!(
            here.ask_with(Method::POST, "/v1/grants", Some(one.clone()), &fields),
            there.ask_with(Method::POST, "/v1/grants", Some(other.clone()), &fields),
        );
        let answers = [crate::world::read(&first), crate::world::read(&second)];
        let (won, lost) = if answers[0].0 == 201 { (0, 1) } else { (1, 0) };
        assert_eq!((answers[won].0, answers[lost].0), (201, 409), "{answers:?}");
        assert_eq!(answers[lost].1["reason"], "key-reused", "{answers:?}");
        let id = answers[won].1["id"].as_str().expect("an id").to_owned();
        let (_, waiting) = pair.one.owner("GET", "/v1/grants?state=waiting", Sent::Nothing).await;
        assert_eq!(waiting["items"].as_array().map(Vec::len), Some(1), "{waiting}");
        // What was first is answered again, also where it lost.
        let (loser, body) = if won == 0 { (&mut there, one) } else { (&mut here, other.clone()) };
        let (status, again) =
            crate::world::read(&loser.ask_with(Method::POST, "/v1/grants", Some(body), &fields).await);
        assert_eq!((status, &again["id"]), (200, &json!(id)), "{again}");
        assert_eq!(loser.post(&format!("/v1/grants/{id}/withdraw"), json!({})).await.0, 200);
    }
    let store = Store::open(&shared().settings(&pair.database)).await.expect("it opens");
    assert_eq!(store.check(rangegate::gateway::clock::now()).await.expect("asked").faults, [""; 0]);
}

/// How the database is gone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gone {
    Stopped,
    /// It takes connections and answers nothing.
    Frozen,
}

/// For a moment in the ordinary run; `RANGEGATE_OUTAGE` says for how many seconds.
async fn the_database_is_gone_and_comes_back(gone: Gone) {
    let mut cluster = Cluster::start(&["fsync=off"]);
    let pair = Pair::on(&cluster, Duration::from_millis(100)).await;
    let (mut ann, mut bob) = (pair.one.ann().await, pair.other.bob().await);
    let held = ann.asks_for("payroll-approver").await;
    assert_eq!(bob.post(&format!("/v1/grants/{held}/approve"), json!({})).await.0, 200);
    let waiting = ann.asks_for("two-of-them").await;
    until("it is held", async || ann.uses_payroll(&PKI.ann).await == 200).await;
    until("all is current", async || visit(&bob, "fresh.corp.example", &PKI.bob).await == 200).await;
    let (_open, _client) = socket(&ann, &PKI.ann).await;

    match gone {
        Gone::Stopped => cluster.stop(),
        Gone::Frozen => cluster.freeze(),
    }
    for (person, leaf) in [(&ann, &PKI.ann), (&bob, &PKI.bob)] {
        until("a policy judges the age", async || visit(person, "fresh.corp.example", leaf).await == 503).await;
    }
    let begun = Instant::now();
    let lasts = std::env::var("RANGEGATE_OUTAGE").map_or(0, |seconds| seconds.parse().expect("seconds"));
    loop {
        assert_eq!(ann.uses_payroll(&PKI.ann).await, 200, "what is held is held");
        assert_eq!(visit(&ann, "room.corp.example", &PKI.ann).await, 200, "decisions go on");
        if begun.elapsed() >= Duration::from_secs(lasts) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(ann.get("/v1/me").await.0, 200);
    let away = |answer: &crate::client::Answer| {
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "5"), "{}", answer.text());
    };
    let approve = format!("/v1/grants/{waiting}/approve");
    away(&bob.ask(Method::POST, &approve, Some(json!({}))).await);
    let asked = json!({ "role": "payroll-approver", "reason": "PAY-1: while it is away" });
    away(&bob.ask(Method::POST, "/v1/grants", Some(asked)).await);
    let suspend = Sent::Json(json!({ "reason": "lost" }));
    assert_eq!(pair.one.owner("POST", "/v1/devices/zoe-laptop/suspend", suspend).await.0, 503);
    for action in ["grant-approve", "grant-ask"] {
        let failed = |line: &Value| line["action"] == action && line["outcome"] == "failed";
        let lines = pair.other.gate.lines_where(1, failed).await;
        assert_eq!(lines[0]["reason"], "store-away");
    }

    match gone {
        Gone::Stopped => cluster.run(),
        Gone::Frozen => cluster.thaw(),
    }
    let back = Instant::now();
    for (person, leaf) in [(&ann, &PKI.ann), (&bob, &PKI.bob)] {
        until("all is current again", async || visit(person, "fresh.corp.example", leaf).await == 200).await;
    }
    println!("{gone:?}: both were current again {:?} after the database was back", back.elapsed());
    let (_, all) = pair.one.owner("GET", "/v1/grants", Sent::Nothing).await;
    assert_eq!(all["items"].as_array().map(Vec::len), Some(2), "nothing was granted meanwhile: {all}");
    let (_, grant) = ann.get(&format!("/v1/grants/{waiting}")).await;
    assert_eq!((&grant["phase"], &grant["approvals"]), (&json!("waiting"), &json!([])), "{grant}");
    // What is done at one is known at the other again.
    assert_eq!(bob.post(&approve, json!({})).await.0, 200);
    let (status, ended) = bob.post(&format!("/v1/grants/{held}/end"), json!({ "note": "over" })).await;
    assert_eq!(status, 200, "{ended}");
    let felt = until("it is over here, too", async || ann.uses_payroll(&PKI.ann).await == 403).await;
    assert!(felt < FELT, "{felt:?}");
}

#[tokio::test]
async fn the_database_is_stopped_and_comes_back() {
    the_database_is_gone_and_comes_back(Gone::Stopped).await;
}

#[tokio::test]
async fn the_database_hangs_and_comes_to() {
    the_database_is_gone_and_comes_back(Gone::Frozen).await;
}
