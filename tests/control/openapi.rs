//! `docs/openapi.json` and the server, held to each other: every path in both, every operation asked, every answer as described.

use crate::break_glass::alone;
use crate::gateway::PKI;
use crate::world::{Sent, World};
use http::Method;
use rangegate::control::api::routes::ROUTES;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;

/// A role that can be taken without asking.
const VAULT: &str = r#"
[[resource]]
id = "vault"
hosts = ["vault.corp.example"]
upstream = "$vault"
require = [{ id = "opener", that = { grant = "vault-opener" } }]

[[role]]
id = "vault-opener"
opens = "vault"
longest = "1h"
reason = "optional"
approvers = { group = "payroll-leads" }
break-glass = { group = "staff", longest = "15m", reviewers = { group = "payroll-leads" } }
"#;

const DESCRIPTION: &str = include_str!("../../docs/openapi.json");

#[test]
fn every_path_is_in_both() {
    let document: Value = serde_json::from_str(DESCRIPTION).expect("JSON");
    let described: BTreeSet<String> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().expect("operations").keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let served: BTreeSet<String> = ROUTES.iter().map(|(_, method, path)| format!("{method} {path}")).collect();
    assert_eq!(served, described);
}

/// What was asked and answered, for the validator.
#[derive(Default)]
struct Heard(Vec<Value>);

impl Heard {
    async fn owner(&mut self, world: &World, method: &str, template: &str, path: &str, body: Value) -> Value {
        let sent = match &body {
            Value::Null => Sent::Nothing,
            Value::String(text) => Sent::Text("text/csv", text),
            body => Sent::Json(body.clone()),
        };
        let (status, answer) = world.owner(method, path, sent).await;
        let request = if body.is_object() { body } else { Value::Null };
        self.note(method, template, status, request, answer)
    }

    fn note(&mut self, method: &str, template: &str, status: u16, request: Value, answer: Value) -> Value {
        self.0.push(
            json!({ "method": method, "path": template, "status": status, "request": request, "answer": answer }),
        );
        answer
    }
}

#[tokio::test]
async fn every_operation_answers_as_described() {
    let (bot, _told) = crate::webhooks::target(|_| Some(200)).await;
    let url = bot.url();
    let world = World::with(|builder| {
        let builder = builder.policy("vault", VAULT, &[("vault", &bot)]);
        builder.settings(move |settings| {
            settings.webhooks = crate::webhooks::acting(settings.emergency.parent().expect("a directory"), &url);
        })
    })
    .await;
    let mut heard = Heard::default();
    let people = json!(crate::world::PEOPLE);
    heard.owner(&world, "POST", "/v1/identities", "/v1/identities?dry-run=true", people.clone()).await;
    heard.owner(&world, "POST", "/v1/identities", "/v1/identities", people).await;
    heard.owner(&world, "POST", "/v1/identities", "/v1/identities", json!("user\n\"\n")).await;
    heard.owner(&world, "GET", "/v1/identities", "/v1/identities?limit=1", Value::Null).await;
    let ann = "/v1/identities/ann@corp.example";
    let home = json!({ "home": { "country": "US", "coordinates": { "latitude": 33.4, "longitude": -112.0 }, "radius-km": 60.0 },
        "proofing": { "method": "in-person", "by": "eve@corp.example", "at": "2026-01-02" } });
    heard.owner(&world, "PATCH", "/v1/identities/{user}", ann, home).await;
    heard.owner(&world, "GET", "/v1/identities/{user}", ann, Value::Null).await;
    heard
        .owner(&world, "PUT", "/v1/identities/{user}", "/v1/identities/new@corp.example", json!({ "name": "New" }))
        .await;
    heard.owner(&world, "GET", "/v1/identities/{user}", "/v1/identities/nobody", Value::Null).await;

    let device = json!({ "id": "kiosk", "class": "kiosk", "keys": ["ab".repeat(32)], "asset-tag": "A-1" });
    heard.owner(&world, "POST", "/v1/devices", "/v1/devices", device).await;
    heard.owner(&world, "GET", "/v1/devices", "/v1/devices", Value::Null).await;
    heard.owner(&world, "GET", "/v1/devices/{id}", "/v1/devices/kiosk", Value::Null).await;
    let owned = json!({ "owner": "ann@corp.example", "asset-tag": null });
    heard.owner(&world, "PATCH", "/v1/devices/{id}", "/v1/devices/kiosk", owned).await;
    for what in ["suspend", "watch", "resume"] {
        let (template, path) = (format!("/v1/devices/{{id}}/{what}"), format!("/v1/devices/kiosk/{what}"));
        heard.owner(&world, "POST", &template, &path, json!({ "reason": "a test" })).await;
    }
    let to = json!({ "to": "bob@corp.example" });
    heard.owner(&world, "POST", "/v1/devices/{id}/transfer", "/v1/devices/kiosk/transfer", to).await;
    heard.owner(&world, "POST", "/v1/devices/{id}/revoke", "/v1/devices/kiosk/revoke", Value::Null).await;

    let wanted = json!({ "user": "ann@corp.example", "expires-in": 3600 });
    let invited = heard.owner(&world, "POST", "/v1/invitations", "/v1/invitations", wanted.clone()).await;
    let other = heard.owner(&world, "POST", "/v1/invitations", "/v1/invitations", wanted).await;
    let path = format!("/v1/invitations/{}/withdraw", other["id"].as_str().expect("an id"));
    heard.owner(&world, "POST", "/v1/invitations/{id}/withdraw", &path, Value::Null).await;
    let (key, csr) = request();
    let enrolment = json!({ "code": invited["code"], "request": csr });
    let enrolled = by_tls(&world, &mut heard, "/v1/enrolments", enrolment, &[]).await;
    heard.owner(&world, "GET", "/v1/invitations", "/v1/invitations", Value::Null).await;
    heard.owner(&world, "GET", "/v1/authority", "/v1/authority", Value::Null).await;
    let (status, _) = world.owner("GET", "/v1/authority/revocation-list", Sent::Nothing).await;
    assert_eq!(status, 200);
    heard.note("GET", "/v1/authority/revocation-list", status, Value::Null, Value::Null);
    renew(&world, &mut heard, &enrolled, &key).await;

    grants(&world, &mut heard).await;
    let choice =
        json!({ "action": "ask", "user": "ann@corp.example", "role": "payroll-approver", "reason": "PAY-1234" });
    heard.owner(&world, "POST", "/v1/calls/{name}", "/v1/calls/chat", choice.clone()).await;
    let (status, answer) = crate::webhooks::call(&world, "chat", crate::webhooks::seconds(), choice.clone()).await;
    assert_eq!(status, 201, "{answer}");
    heard.note("POST", "/v1/calls/{name}", status, choice, answer);
    let ann = world.ann().await;
    let (_answer, _client) = crate::live::slow(&world, "/slow", &ann.token).await;
    for (template, path) in [("/v1/live", "/v1/live"), ("/v1/sessions", "/v1/sessions"), ("/v1/store", "/v1/store")] {
        heard.owner(&world, "GET", template, path, Value::Null).await;
    }
    let live = heard.owner(&world, "GET", "/v1/live", "/v1/live?user=ann@corp.example", Value::Null).await;
    for id in [live["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{live}")), "01J"] {
        let path = format!("/v1/live/{id}/cut");
        heard.owner(&world, "POST", "/v1/live/{id}/cut", &path, json!({ "reason": "a test" })).await;
    }
    validate(&world, &heard);
    world.is_whole().await;
}

async fn grants(world: &World, heard: &mut Heard) {
    let mut ann = world.ann().await;
    let mut bob = world.bob().await;
    // The glass is broken, and somebody looks at it afterwards.
    let broken = json!({ "role": "vault-opener", "reason": "INC-1: the vault is on fire", "break-glass": true });
    let (status, grant) = ann.post("/v1/grants", broken.clone()).await;
    let grant = heard.note("POST", "/v1/grants", status, broken, grant);
    let path = format!("/v1/grants/{}/review", grant["id"].as_str().unwrap_or_else(|| panic!("{grant}")));
    let note = json!({ "note": "it was" });
    let (status, answer) = bob.post(&path, note.clone()).await;
    assert_eq!(status, 200, "{answer}");
    heard.note("POST", "/v1/grants/{id}/review", status, note, answer);
    for (template, path) in [("/v1/me", "/v1/me"), ("/v1/roles", "/v1/roles"), ("/v1/me/grants", "/v1/me/grants")] {
        let (status, answer) = ann.get(path).await;
        heard.note("GET", template, status, Value::Null, answer);
    }
    let asked = json!({ "role": "payroll-approver", "reason": "PAY-1234", "duration": 600 });
    for what in ["withdraw", "refuse", "end", "revoke"] {
        let (status, grant) = ann.post("/v1/grants", asked.clone()).await;
        let id = {
            let heard = heard.note("POST", "/v1/grants", status, asked.clone(), grant);
            heard["id"].as_str().unwrap_or_else(|| panic!("{what}: {heard}")).to_owned()
        };
        let note = json!({ "note": "a test" });
        let template = format!("/v1/grants/{{id}}/{what}");
        let path = format!("/v1/grants/{id}/{what}");
        let (status, answer) = match what {
            "withdraw" => ann.post(&path, json!({})).await,
            "refuse" => {
                let (status, answer) = bob.get("/v1/me/waiting").await;
                heard.note("GET", "/v1/me/waiting", status, Value::Null, answer);
                bob.post(&path, note.clone()).await
            }
            "end" => {
                let (status, answer) = bob.post(&format!("/v1/grants/{id}/approve"), note.clone()).await;
                heard.note("POST", "/v1/grants/{id}/approve", status, note.clone(), answer);
                let (status, answer) = ann.get(&format!("/v1/grants/{id}")).await;
                heard.note("GET", "/v1/grants/{id}", status, Value::Null, answer);
                let (status, answer) = bob.post(&format!("/v1/grants/{id}/review"), note.clone()).await;
                heard.note("POST", "/v1/grants/{id}/review", status, note.clone(), answer);
                ann.post(&path, note.clone()).await
            }
            _ => {
                let path = format!("/v1/revocations/grants/{id}");
                heard.owner(world, "POST", "/v1/revocations/grants/{id}", &path, note.clone()).await;
                heard.owner(world, "GET", "/v1/grants", "/v1/grants", Value::Null).await;
                continue;
            }
        };
        heard.note("POST", &template, status, if what == "withdraw" { json!({}) } else { note }, answer);
    }
    let broken = json!({ "role": "payroll-approver", "reason": "PAY-1234", "break-glass": true });
    let (status, answer) = ann.post("/v1/break-glass", broken.clone()).await;
    heard.note("POST", "/v1/break-glass", status, broken, answer);
    // Nobody is signed in: the device speaks for its owner.
    let broken = json!({ "role": "vault-opener", "reason": "INC-2: nobody can sign in", "break-glass": true });
    let (status, answer) = alone(world, &PKI.bob, "/v1/break-glass", broken.clone()).await;
    assert_eq!(status, 201, "{answer}");
    heard.note("POST", "/v1/break-glass", status, broken, answer);
    let answer = ann.ask(Method::GET, "/v1/me/grants", None).await;
    heard.note("GET", "/v1/me/grants", answer.status.as_u16(), Value::Null, answer.json());
}

/// Invites somebody, and enrols a device of theirs with a new key.
pub async fn enrolled(world: &World, user: &str) -> Value {
    let (_, invited) = world.owner("POST", "/v1/invitations", Sent::Json(json!({ "user": user }))).await;
    let enrolment = json!({ "code": invited["code"], "request": request().1 });
    by_tls(world, &mut Heard::default(), "/v1/enrolments", enrolment, &[]).await
}

async fn renew(world: &World, heard: &mut Heard, enrolled: &Value, key: &str) {
    let at = world.gate.path("");
    let cert = crate::pki::file(&at, "enrolled.pem", enrolled["certificate"].as_str().expect("PEM"));
    let key = crate::pki::file(&at, "enrolled.key", key);
    let pair = ["--cert", cert.to_str().expect("utf-8"), "--key", key.to_str().expect("utf-8")];
    by_tls(world, heard, "/v1/renewals", json!({ "request": request().1 }), &pair).await;
}

/// What devices ask, which have an address and perhaps a certificate.
async fn by_tls(world: &World, heard: &mut Heard, path: &str, sent: Value, args: &[&str]) -> Value {
    let body = crate::pki::file(&world.gate.path(""), "sent.json", sent.to_string());
    let (data, url) = (format!("@{}", body.display()), format!("https://gate.corp.example{path}"));
    let args = args.iter().copied().chain(["--header", "Content-Type: application/json", "--data-binary", &data, &url]);
    let output = world.gate.curl().args(args).run().await;
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(answer["certificate"].is_string(), "{answer}");
    heard.note("POST", path, 201, sent, answer)
}

/// A key and a request for a certificate, PEM.
fn request() -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(&key).expect("a request");
    (key.serialize_pem(), request.pem().expect("PEM"))
}

/// Holds what was heard against the file, by a validator of JSON Schema 2020-12 that is not ours.
fn validate(world: &World, heard: &Heard) {
    let done: BTreeSet<String> = heard
        .0
        .iter()
        .filter(|one| one["status"].as_u64().is_some_and(|status| (200..300).contains(&status)))
        .map(|one| format!("{} {}", one["method"].as_str().unwrap(), one["path"].as_str().unwrap()))
        .collect();
    let all: BTreeSet<String> = ROUTES.iter().map(|(_, method, path)| format!("{method} {path}")).collect();
    assert_eq!(done, all, "every operation is asked for and done at least once");
    let file = world.gate.path("heard.json");
    std::fs::write(&file, serde_json::to_vec(&heard.0).expect("JSON")).expect("a file");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("python3");
    command.arg(root.join("tests/control/openapi.py")).arg(root.join("docs/openapi.json")).arg(&file);
    let output = command.output().expect("python3 is installed");
    let (told, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{failed}");
}
