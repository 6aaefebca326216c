//! From an invitation to the first allowed request, with plain openssl and curl; and codes that do not count.

use crate::gateway::PKI;
use crate::pki::{Leaf, file};
use crate::world::{API, Sent, World};
use rangegate::gateway::clock;
use rangegate::store::{Expect, Kind, Store, StoreSettings, Write};
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A key and a request for a certificate, made by openssl.
pub async fn request(at: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (key, csr) = (at.join(format!("{name}.key")), at.join(format!("{name}.csr")));
    let mut command = Command::new("openssl");
    command.args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x"]);
    command.arg("-keyout").arg(&key).arg("-out").arg(&csr);
    let output =
        tokio::task::spawn_blocking(move || command.output().expect("openssl is installed")).await.expect("it ran");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (key, csr)
}

/// What curl gets from the API over TLS: status and body.
pub async fn curl(world: &World, path: &str, args: &[&str]) -> (u16, String) {
    let url = format!("https://{API}{path}");
    let all = args.iter().copied().chain(["--write-out", "\n%{http_code}", &url]);
    let output = world.gate.curl().args(all).run().await;
    let text = String::from_utf8(output.stdout).expect("text");
    let (body, status) =
        text.rsplit_once('\n').unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (status.parse().expect("a status"), body.to_owned())
}

pub async fn invite(world: &World, user: &str) -> (String, String) {
    let (status, invitation) = world.owner("POST", "/v1/invitations", Sent::Json(json!({ "user": user }))).await;
    assert_eq!(status, 201, "{invitation}");
    let text = |name: &str| invitation[name].as_str().expect("text").to_owned();
    (text("code"), text("id"))
}

pub async fn enrol(world: &World, code: &str, csr: &Path) -> (u16, String) {
    let code = format!("Rangegate-Invitation: {code}");
    let data = format!("@{}", csr.display());
    let args = ["--header", "Content-Type: application/pkcs10", "--header", &code, "--data-binary", &data];
    curl(world, "/v1/enrolments", &args).await
}

#[tokio::test]
async fn from_an_invitation_to_the_first_allowed_request() {
    let world = World::peopled().await;
    let (code, id) = invite(&world, "ann@corp.example").await;
    let at = world.gate.path("");
    let (key, csr) = request(&at, "device").await;
    let (status, pem) = enrol(&world, &code, &csr).await;
    assert_eq!(status, 201, "{pem}");
    let certificate = file(&at, "device.pem", &pem);
    // The first request with it.
    let bearer = format!("Authorization: Bearer {}", world.gate.token("ann@corp.example"));
    let pair = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let args: Vec<&str> = pair.into_iter().chain(["--header", &bearer]).collect();
    let (status, me) = curl(&world, "/v1/me", &args).await;
    let me: Value = serde_json::from_str(&me).unwrap_or_else(|_| panic!("{me}"));
    assert_eq!((status, &me["user"]), (200, &json!("ann@corp.example")));
    let device = me["device"].as_str().expect("a device").to_owned();
    // The code has counted.
    let (status, problem) = enrol(&world, &code, &csr).await;
    assert_eq!(status, 403, "{problem}");
    let (_, list) = world.owner("GET", "/v1/invitations", Sent::Nothing).await;
    assert_eq!(list["items"][0]["state"]["device"], device, "{list}");
    assert!(!list.to_string().contains(&code) && list["items"][0].get("code-sha256").is_none());
    // Renewed with itself, for a new key.
    let (new_key, new_csr) = request(&at, "renewed").await;
    let data = format!("@{}", new_csr.display());
    let accept = "Accept: application/pem-certificate-chain";
    let kind = "Content-Type: application/pkcs10";
    let args: Vec<&str> =
        pair.into_iter().chain(["--header", kind, "--header", accept, "--data-binary", &data]).collect();
    let (status, pem) = curl(&world, "/v1/renewals", &args).await;
    assert_eq!(status, 201, "{pem}");
    let renewed = file(&at, "renewed.pem", &pem);
    let renewed = ["--cert", renewed.to_str().unwrap(), "--key", new_key.to_str().unwrap(), "--header", &bearer];
    assert_eq!(curl(&world, "/v1/me", &renewed).await.0, 200);
    // Its owner is suspended: it renews nothing and opens nothing, though nobody is signed in, and no code of theirs
    // counts; and is itself again after.
    let (second, _) = invite(&world, "ann@corp.example").await;
    let (_, second_csr) = request(&at, "second").await;
    let status = |word: &str| json!({ "status": word });
    let ann = "/v1/identities/ann@corp.example";
    let (told, shown) = world.owner("PATCH", ann, Sent::Json(status("suspended"))).await;
    assert_eq!(told, 200, "{shown}");
    let (refused, problem) = curl(&world, "/v1/renewals", &args).await;
    assert_eq!(refused, 403, "{problem}");
    let reason = |line: &Value| line["decision"]["reason"] == "owner-suspended";
    world.gate.lines_where(1, reason).await;
    let (refused, problem) = enrol(&world, &second, &second_csr).await;
    assert_eq!(refused, 403, "{problem}");
    assert_eq!(world.owner("PATCH", ann, Sent::Json(status("active"))).await.0, 200);
    assert_eq!(enrol(&world, &second, &second_csr).await.0, 201, "it was not used up");
    assert_eq!(curl(&world, "/v1/me", &renewed).await.0, 200);
    // Revoked, neither certificate counts, and nothing is renewed.
    let (status, shown) = world.owner("POST", &format!("/v1/devices/{device}/revoke"), Sent::Nothing).await;
    assert_eq!((status, shown["history"].as_array().map(Vec::len)), (200, Some(2)), "{shown}");
    assert!(shown["history"][0]["revoked"].is_string(), "{shown}");
    assert_eq!(curl(&world, "/v1/me", &renewed).await.0, 403);
    assert_eq!(curl(&world, "/v1/renewals", &args).await.0, 403);
    let list = std::fs::read_to_string(world.gate.path("authority.crl")).expect("a list");
    let output =
        Command::new("openssl").args(["crl", "-noout", "-text", "-in"]).arg(world.gate.path("authority.crl")).output();
    let text = String::from_utf8(output.expect("openssl").stdout).expect("text");
    assert_eq!(text.matches("Serial Number:").count(), 2, "{text}\n{list}");
    let lines = world.admin_lines("device-enrol", 2).await;
    assert_eq!((&lines[0]["outcome"], &lines[0]["target"]), (&json!("done"), &json!(format!("invitation {id}"))));
    assert_eq!((&lines[1]["outcome"], &lines[1]["reason"]), (&json!("refused"), &json!("invitation-used")));
    let whole = std::fs::read_to_string(world.gate.path("audit.jsonl")).expect("a log");
    assert!(!whole.contains(&code), "the code is in no log");
}

#[tokio::test]
async fn codes_that_do_not_count_are_all_the_same() {
    let world = World::peopled().await;
    let at = world.gate.path("");
    let (_, csr) = request(&at, "device").await;
    let (withdrawn, id) = invite(&world, "ann@corp.example").await;
    let path = format!("/v1/invitations/{id}/withdraw");
    assert_eq!(world.owner("POST", &path, Sent::Nothing).await.0, 200);
    let unknown = rangegate::authority::Code::of(&[7; 17]).to_string();
    let mut told = Vec::new();
    for code in [withdrawn.as_str(), &unknown, "nonsense", ""] {
        let (status, problem) = enrol(&world, code, &csr).await;
        let problem: Value = serde_json::from_str(&problem).unwrap_or_else(|_| panic!("{status} {problem}"));
        told.push((status, problem["detail"].clone()));
    }
    assert_eq!(told[3].0, 400, "no code at all is another thing");
    assert!(told[..3].iter().all(|one| *one == told[0] && one.0 == 403), "{told:?}");
    // A good code and a request that asks for more than a certificate.
    let (code, _) = invite(&world, "ann@corp.example").await;
    let asks = at.join("asks.csr");
    let mut command = Command::new("openssl");
    command.args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x"]);
    command
        .args(["-addext", "basicConstraints=critical,CA:TRUE", "-keyout"])
        .arg(at.join("asks.key"))
        .arg("-out")
        .arg(&asks);
    assert!(command.output().expect("openssl").status.success());
    let (status, problem) = enrol(&world, &code, &asks).await;
    assert_eq!(status, 422, "{problem}");
    assert!(problem.contains("request-wants-authority"), "{problem}");
    assert_eq!(enrol(&world, &code, &csr).await.0, 201, "the code has not been used up by that");
    // One key, one device.
    let (second, _) = invite(&world, "bob@corp.example").await;
    let (status, problem) = enrol(&world, &second, &csr).await;
    assert_eq!((status, problem.contains("key-of-another-device")), (403, true), "{problem}");
    let alerts = world.gate.lines_where(1, |line| line["kind"] == "alert" && line["event"] == "device-finding").await;
    assert_eq!(alerts[0]["user"], "bob@corp.example");
    // Whoever goes on trying is refused each time, and alerted of once.
    for _ in 0..3 {
        assert_eq!(enrol(&world, &second, &csr).await.0, 403);
    }
    let refused = |line: &Value| line["kind"] == "admin" && line["reason"] == "key-of-another-device";
    world.gate.lines_where(4, refused).await;
    assert_eq!(world.gate.lines().iter().filter(|line| line["event"] == "device-finding").count(), 1);
}

/// The whole answer to this code but for what differs between any two: the request's id and the date.
async fn whole(world: &World, code: &str, csr: &Path) -> String {
    let code = format!("Rangegate-Invitation: {code}");
    let data = format!("@{}", csr.display());
    let args = ["--include", "--header", "Content-Type: application/pkcs10", "--header", &code, "--data-binary", &data];
    let (_, answer) = curl(world, "/v1/enrolments", &args).await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let problem: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    let answer = answer.replace(problem["request_id"].as_str().expect("an id"), "ID");
    answer.split_inclusive('\n').filter(|line| !line.to_ascii_lowercase().starts_with("date:")).collect()
}

/// Lets an invitation end a moment ago, in the store, as if that long had passed.
async fn run_out(world: &World, id: &str) {
    let store = Store::open(&StoreSettings::sqlite(world.gate.path("store.db"))).await.expect("the store");
    let document = store.get(Kind::Invitation, id).await.expect("an answer").expect("the invitation");
    let mut body: Value = serde_json::from_str(&document.body).expect("JSON");
    let now = clock::now();
    assert!(body["expires"].as_i64().is_some_and(|expires| expires > now.millis()), "{body}");
    body["expires"] = json!(now.millis() - 1);
    let expect = Expect::Version(document.version);
    let write = Write::Put { kind: Kind::Invitation, id: id.into(), expect, body: body.to_string() };
    store.commit(vec![write], now).await.expect("written");
}

#[tokio::test]
async fn a_code_that_has_run_out_tells_nothing_but_is_on_record_and_counts_as_a_guess() {
    let world = World::peopled().await;
    let (_, csr) = request(&world.gate.path(""), "device").await;
    let (used, _) = invite(&world, "ann@corp.example").await;
    assert_eq!(enrol(&world, &used, &csr).await.0, 201);
    let (over, id) = invite(&world, "ann@corp.example").await;
    run_out(&world, &id).await;
    let unknown = rangegate::authority::Code::of(&[7; 17]).to_string();
    let told = whole(&world, &over, &csr).await;
    assert!(told.starts_with("HTTP/2 403") && told.contains("ID"), "{told}");
    assert_eq!(told, whole(&world, &used, &csr).await);
    assert_eq!(told, whole(&world, &unknown, &csr).await);
    let lines =
        world.gate.lines_where(3, |line| line["action"] == "device-enrol" && line["outcome"] == "refused").await;
    let reasons: Vec<_> = lines.iter().map(|line| line["reason"].as_str().unwrap_or_default()).collect();
    assert_eq!(reasons, ["invitation-expired", "invitation-used", "invitation-unknown"]);
    assert_eq!(lines[0]["target"], format!("invitation {id}"));
    // Ten wrong ones an address: three were tried.
    for _ in 3..10 {
        assert_eq!(enrol(&world, &over, &csr).await.0, 403);
    }
    let (status, told) = enrol(&world, &over, &csr).await;
    assert_eq!(status, 429, "{told}");
    let tries = world.gate.lines_where(12, |line| line["evidence"]["request"]["path"] == "/v1/enrolments").await;
    assert_eq!(tries[11]["response"]["status"], 429, "and each try has its own line");
}

#[tokio::test]
async fn codes_are_not_tried_one_after_the_other() {
    let world = World::peopled().await;
    let at = world.gate.path("");
    let (_, csr) = request(&at, "device").await;
    let mut statuses = Vec::new();
    for guess in 0..12 {
        let code = rangegate::authority::Code::of(&[guess; 17]).to_string();
        statuses.push(enrol(&world, &code, &csr).await.0);
    }
    assert_eq!(statuses[0], 403);
    assert_eq!(statuses[11], 429, "{statuses:?}");
    let _ = &PKI.ann;
}

/// Enrols with this code, by a key that is made now.
pub async fn device(world: &World, code: &str, name: &str) -> Leaf {
    let (key, csr) = request(&world.gate.path(""), name).await;
    let (status, pem) = enrol(world, code, &csr).await;
    assert_eq!(status, 201, "{pem}");
    file(&world.gate.path(""), &format!("{name}.pem"), &pem);
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("certificates");
    let key = KeyPair::from_pem(&std::fs::read_to_string(key).expect("a key")).expect("PEM");
    Leaf { chain, key, serial: 0 }
}

/// How many certificates the published list names.
pub fn on_the_list(world: &World) -> usize {
    let mut command = Command::new("openssl");
    let output = command.args(["crl", "-noout", "-text", "-in"]).arg(world.gate.path("authority.crl")).output();
    let text = String::from_utf8(output.expect("openssl").stdout).expect("text");
    text.matches("Serial Number:").count()
}

/// Lets the device have `count` more certificates for its key, in the store, good for another hour.
async fn renewed(world: &World, device: &str, count: usize) {
    let store = Store::open(&StoreSettings::sqlite(world.gate.path("store.db"))).await.expect("the store");
    let document = store.get(Kind::Device, device).await.expect("an answer").expect("the device");
    let mut body: Value = serde_json::from_str(&document.body).expect("JSON");
    let now = clock::now();
    let history = body["history"].as_array_mut().expect("a history");
    for number in 1..=count {
        let mut one = history[0].clone();
        one["serial"] = json!(format!("abc{number:x}"));
        one["sha256"] = json!(format!("{number:064x}"));
        one["not-after"] = json!(now.millis() + 3_600_000);
        history.push(one);
    }
    let expect = Expect::Version(document.version);
    let write = Write::Put { kind: Kind::Device, id: device.into(), expect, body: body.to_string() };
    store.commit(vec![write], now).await.expect("written");
}

#[tokio::test]
async fn however_often_a_device_is_renewed_all_its_certificates_can_be_revoked() {
    let world = World::peopled().await;
    let (code, _) = invite(&world, "ann@corp.example").await;
    let leaf = device(&world, &code, "device").await;
    let id = world.person("ann@corp.example", &leaf).await.get("/v1/me").await.1["device"].clone();
    let id = id.as_str().expect("a device");
    renewed(&world, id, 62).await;
    let at = world.gate.path("");
    let (cert, key, csr) = (at.join("device.pem"), at.join("device.key"), at.join("device.csr"));
    let (cert, key, data) = (cert.to_str().unwrap(), key.to_str().unwrap(), format!("@{}", csr.display()));
    let kind = "Content-Type: application/pkcs10";
    let args = ["--cert", cert, "--key", key, "--header", kind, "--data-binary", &data];
    let (status, told) = curl(&world, "/v1/renewals", &args).await;
    assert_eq!(status, 201, "the 64th: {told}");
    let again: Vec<&str> = args.into_iter().chain(["--include"]).collect();
    let (status, told) = curl(&world, "/v1/renewals", &again).await;
    assert_eq!((status, told.contains("\"reason\":\"too-many-certificates\"")), (429, true), "{told}");
    let wait = told.lines().find_map(|line| line.to_lowercase().strip_prefix("retry-after: ")?.trim().parse().ok());
    assert!(wait.is_some_and(|wait: u32| (3000..=3600).contains(&wait)), "until the first of them ends: {told}");
    let line = &world.admin_lines("device-renew", 2).await[1];
    assert_eq!((&line["outcome"], &line["reason"]), (&json!("refused"), &json!("too-many-certificates")));
    let (status, shown) = world.owner("POST", &format!("/v1/devices/{id}/revoke"), Sent::Nothing).await;
    assert_eq!((status, shown["history"].as_array().map(Vec::len)), (200, Some(64)), "{shown}");
    assert_eq!(on_the_list(&world), 64, "each of them");
}
