//! The commands, as people type them.

use crate::upstream::Upstream;
use crate::world::{PEOPLE, World};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

pub async fn rangegate(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rangegate"));
    command.args(args).env("NO_COLOR", "1");
    let run = move || command.output().expect("it runs");
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(run).await.expect("it ran");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// One command over the gateway's socket.
pub async fn by_socket(world: &World, args: &[&str]) -> (i32, String, String) {
    let socket = world.socket();
    let all: Vec<&str> = args.iter().copied().chain(["--socket", socket.to_str().expect("utf-8")]).collect();
    rangegate(&all).await
}

pub fn write(at: &Path, text: &str) -> String {
    std::fs::write(at, text).expect("a file");
    at.to_str().expect("utf-8").to_owned()
}

#[tokio::test]
async fn people_are_imported_and_shown() {
    let world = World::new().await;
    let file = write(&world.gate.path("people.csv"), PEOPLE);
    let (exit, out, err) = by_socket(&world, &["identity", "import", &file, "--dry-run"]).await;
    assert_eq!(exit, 0, "{err}");
    assert!(out.contains("+ ann@corp.example") && out.contains("4 rows: 4 would be added"), "{out}");
    let (exit, out, _) = by_socket(&world, &["identity", "import", &file]).await;
    assert_eq!((exit, out.contains("4 rows: 4 added, 0 changed, 0 as they were")), (0, true), "{out}");
    let (_, out, _) = by_socket(&world, &["identity", "list"]).await;
    assert!(out.starts_with("USER") && out.contains("bob@corp.example") && out.ends_with("4 lines\n"), "{out}");
    let (exit, out, _) =
        by_socket(&world, &["identity", "set", "ann@corp.example", "name=Ann Lee", "home.country=US", "--json"]).await;
    let ann: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((exit, &ann["name"], &ann["home"]["country"]), (0, &"Ann Lee".into(), &"US".into()));
    let broken = write(&world.gate.path("broken.csv"), "user,status\nann,gone\n,active\n");
    let (exit, _, err) = by_socket(&world, &["identity", "import", &broken]).await;
    assert_eq!(exit, 2, "{err}");
    assert!(err.contains("2:5: `status` cannot be `gone`") && err.contains("3:1: `user` is missing"), "{err}");
    let (exit, _, err) = by_socket(&world, &["identity", "show", "nobody"]).await;
    assert_eq!((exit, err.contains("there is no identity of this name")), (1, true), "{err}");
}

const DESK: &str = r#"
[[resource]]
id = "desk"
hosts = ["desk.corp.example"]
upstream = "$app"
require = [{ id = "one-of-us", that = { identity = { employment = "employee", proofed-within = "30d", at-home = true } } }]
"#;

/// The day so many days before today, as personnel systems write it.
fn days_ago(days: i64) -> String {
    let moment = rangegate::gateway::clock::now().plus_millis(-days * 86_400_000);
    crate::gateway::stamp(moment)[..10].to_owned()
}

/// Employment, proofing and home come from a file, and count with the next request.
#[tokio::test]
async fn what_is_imported_is_decided_on() {
    let app = Upstream::plain().await;
    let world = World::with(|builder| {
        let builder = builder.policy("desk", DESK, &[("app", &app)]);
        // At 1° north, 1° east.
        crate::live::located(builder, "US", "Phoenix", (64500, "Sonoran Home Broadband"))
    })
    .await;
    let person = |user: &str, employment: &str, proofed: Option<i64>, latitude: f64| {
        let proofed = proofed.map(|days| json!({ "method": "in-person", "by": "hr", "at": days_ago(days) }));
        json!({
            "user": format!("{user}@corp.example"), "employment": employment, "proofing": proofed,
            "home": { "country": "US", "coordinates": { "latitude": latitude, "longitude": 1.2 }, "radius-km": 60.0 },
        })
    };
    let people = [
        (person("ann", "employee", Some(10), 1.1), "all-met"),
        (person("bob", "employee", Some(40), 1.1), "proofing-too-old"),
        (person("cat", "employee", None, 1.1), "proofing-unknown"),
        (person("dan", "contractor", Some(10), 1.1), "employment-other"),
        (person("zoe", "employee", Some(10), 3.0), "away-from-home"),
    ];
    let lines: String = people.iter().map(|(person, _)| format!("{person}\n")).collect();
    let file = write(&world.gate.path("people.ndjson"), &lines);
    let (exit, out, err) = by_socket(&world, &["identity", "import", &file]).await;
    assert_eq!((exit, out.contains("5 rows: 5 added, 0 changed, 0 as they were")), (0, true), "{out}{err}");
    let visit = async |user: &str| {
        let mut client = world.gate.dial().sni("desk.corp.example").h1().await;
        let authorization = format!("Bearer {}", world.gate.token(user));
        let request = http::Request::get("/").header("authorization", authorization);
        client.ask(request.body(crate::upstream::full("")).expect("a request")).await.status.as_u16()
    };
    let decided = async |count| {
        let of_desk = |line: &Value| line["kind"] == "request" && line["decision"]["resource"] == "desk";
        world.gate.lines_where(count, of_desk).await.pop().expect("a record")["decision"]["reason"].clone()
    };
    for (count, (person, reason)) in (1..).zip(&people) {
        let status = visit(person["user"].as_str().expect("a name")).await;
        assert_eq!((status, decided(count).await), (if *reason == "all-met" { 200 } else { 403 }, json!(reason)));
    }

    // A list of them, as another file has it: shown first, then done, then decided on.
    let bob =
        json!([{ "user": "bob@corp.example", "proofing": { "method": "in-person", "by": "hr", "at": days_ago(1) } }]);
    let file = write(&world.gate.path("people.json"), &format!("{bob:#}"));
    let (exit, out, err) = by_socket(&world, &["identity", "import", &file, "--dry-run"]).await;
    let line =
        out.lines().find(|line| line.starts_with("~ bob@corp.example  {")).unwrap_or_else(|| panic!("{out}{err}"));
    let (before, after) = line.split_once(" -> ").unwrap_or_else(|| panic!("{line}"));
    assert!(before.contains(&days_ago(40)) && after.contains(&days_ago(1)), "{line}");
    assert!(!line.contains("home") && !line.contains("employee"), "only what changes: {line}");
    assert_eq!((exit, out.contains("1 row: 0 would be added, 1 would be changed")), (0, true), "{out}");
    assert_eq!(
        (visit("bob@corp.example").await, decided(6).await),
        (403, json!("proofing-too-old")),
        "shown, not done"
    );
    let (exit, out, err) = by_socket(&world, &["identity", "import", &file]).await;
    assert_eq!((exit, out.contains("1 changed, 0 as they were")), (0, true), "{out}{err}");
    assert_eq!((visit("bob@corp.example").await, decided(7).await), (200, json!("all-met")));
    let broken =
        write(&world.gate.path("broken.json"), "[{\"user\":\"ann\"},\n {\"user\":\"bob\",\"employment\":\"boss\"}]");
    let (exit, _, err) = by_socket(&world, &["identity", "import", &broken]).await;
    assert_eq!((exit, err.contains("2:2: ")), (2, true), "{err}");
}

#[tokio::test]
async fn devices_invitations_grants_and_what_is_open() {
    let world = World::peopled().await;
    let (exit, out, err) = by_socket(&world, &["device", "invite", "ann@corp.example", "--expires-in", "8h"]).await;
    assert_eq!((exit, out.starts_with("code     ")), (0, true), "{out}{err}");
    let (_, out, _) = by_socket(&world, &["invitation", "list"]).await;
    assert!(out.contains("ann@corp.example") && out.contains("open"), "{out}");
    let key = "ab".repeat(32);
    let (exit, out, err) =
        by_socket(&world, &["device", "register", "--class", "kiosk", "--public-key", &key, "--id", "kiosk-1"]).await;
    assert_eq!((exit, out.contains("kiosk-1")), (0, true), "{err}");
    let (exit, out, _) = by_socket(&world, &["device", "suspend", "kiosk-1", "--reason", "lobby closed"]).await;
    assert_eq!((exit, out.contains("suspended")), (0, true), "{out}");
    let (_, out, _) = by_socket(&world, &["device", "list", "--status", "suspended"]).await;
    assert!(out.contains("kiosk-1") && out.contains("1 line\n"), "{out}");
    let (exit, out, _) = by_socket(&world, &["grant", "roles"]).await;
    assert_eq!((exit, out.contains("payroll-approver"), out.contains("PAY-####*")), (0, true, true), "{out}");
    let mut ann = world.ann().await;
    let id = ann.asks_for("payroll-approver").await;
    let (_, out, _) = by_socket(&world, &["grant", "list", "--all", "--state", "waiting"]).await;
    assert!(out.contains(&id), "{out}");
    let (exit, _, err) = by_socket(&world, &["grant", "approve", &id]).await;
    assert_eq!((exit, err.contains("not among those who may approve")), (1, true), "the owner is no approver: {err}");
    let (exit, out, _) = by_socket(&world, &["grant", "revoke", &id, "--why", "closed"]).await;
    assert_eq!((exit, out.contains("refused")), (0, true), "{out}");
    for command in [["live", "list"], ["session", "list"]] {
        let (exit, out, err) = by_socket(&world, &command).await;
        assert_eq!(exit, 0, "{err}");
        assert!(out.contains("USER") && out.contains("lines") | out.contains("line"), "{out}");
    }
}

#[tokio::test]
async fn what_is_in_the_way_is_said() {
    let at = tempfile::tempdir().expect("a directory");
    let socket = at.path().join("rangegate.sock");
    let name = socket.to_str().expect("utf-8");
    let (exit, _, err) = rangegate(&["live", "list", "--socket", name]).await;
    assert_eq!((exit, err.contains("is the gateway running")), (3, true), "{err}");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    let (exit, _, err) = rangegate(&["live", "list", "--socket", name]).await;
    assert_eq!((exit, err.contains("nobody listens")), (3, true), "{err}");
    let config = write(&at.path().join("rangegate.toml"), "policies = 'policies'\n");
    let (exit, _, err) = rangegate(&["live", "list", "--config", &config]).await;
    assert_eq!((exit, err.contains("has no `[control]`")), (2, true), "{err}");
}

#[tokio::test]
async fn what_is_open_is_shown_without_saying_list() {
    let world = World::peopled().await;
    let mut client = world.gate.dial().sni("payroll.corp.example").certificate(&crate::gateway::PKI.ann).h1().await;
    let token = world.gate.bound_token("ann@corp.example", &crate::gateway::PKI.ann);
    let request = http::Request::get("/slow").header("authorization", format!("Bearer {token}"));
    let open = client.send(request.body(crate::upstream::full("")).expect("a request")).await.expect("an answer");
    for (short, long) in [(["live"], ["live", "list"]), (["session"], ["session", "list"])] {
        let (exit, out, err) = by_socket(&world, &short).await;
        assert_eq!((exit, out.contains("ann@corp.example")), (0, true), "{out}{err}");
        let ends = |command: &[&str]| [command, &["--json"]].concat().iter().map(|&a| a.to_owned()).collect::<Vec<_>>();
        let mut shown = Vec::new();
        for command in [ends(&short), ends(&long)] {
            let args: Vec<&str> = command.iter().map(String::as_str).collect();
            let (exit, out, err) = by_socket(&world, &args).await;
            assert_eq!(exit, 0, "{err}");
            let answer: Value = serde_json::from_str(&out).expect("JSON");
            shown.push(
                answer["items"].as_array().expect("items").iter().map(|item| item["user"].clone()).collect::<Vec<_>>(),
            );
        }
        assert_eq!(shown[0], shown[1]);
    }
    let (_, out, _) = by_socket(&world, &["live", "--user", "bob@corp.example"]).await;
    assert!(!out.contains("ann@corp.example"), "{out}");
    drop(open);
}
