//! What was changed is told, whatever the client does meanwhile, and in lines that every reader takes.

use crate::gateway::{PATIENCE, PKI, eventually};
use crate::upstream::{Upstream, full};
use crate::world::{API, PEOPLE, Person, Sent, World, read};
use http::{Method, Request};
use rangegate::audit::verify::{Log, verify};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const POLICY: &str = r#"
[[resource]]
id = "vault"
hosts = ["vault.corp.example"]
upstream = "$app"
require = [{ id = "keeper", that = { grant = "vault-keeper" } }]

[[role]]
id = "vault-keeper"
opens = "vault"
longest = "1h"
approvers = { group = "payroll-leads" }
break-glass = { group = "staff", longest = "15m", reviewers = { group = "payroll-leads" } }
"#;

/// With a role whose glass can be broken, and a store that waits for others.
async fn world() -> World {
    let app = Upstream::plain().await;
    let world = World::with(|builder| {
        builder.policy("vault", POLICY, &[("app", &app)]).settings(|settings| {
            settings.store.as_mut().expect("a store").timeout = PATIENCE;
        })
    })
    .await;
    world.people().await;
    world
}

/// Somebody else who writes to the same database, until this is dropped: commits wait.
struct Writing(Child);

impl Writing {
    fn begin(world: &World) -> Self {
        let program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
             c.execute('BEGIN IMMEDIATE'); print('writing', flush=True); sys.stdin.read()";
        let mut python = Command::new("python3");
        python.args(["-c", program]).arg(world.gate.path("store.db")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().expect("python3 is installed");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut said).expect("a line");
        assert_eq!(said, "writing\n");
        Self(child)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

const KEY: (&str, &str) = ("idempotency-key", "k-1");

fn breaking() -> Value {
    json!({ "role": "vault-keeper", "reason": "the vault burns", "break-glass": true })
}

fn request(person: &Person<'_>) -> Request<crate::upstream::Body> {
    let bearer = format!("Bearer {}", person.token);
    let request = Request::post("/v1/grants").header("authorization", bearer).header(KEY.0, KEY.1);
    request.header("content-type", "application/json").body(full(breaking().to_string())).expect("a request")
}

/// Waits until this person's submission is being carried out. What is sent here is refused, or its key is in use.
async fn is_under_way(mut person: Person<'_>) {
    let begun = Instant::now();
    loop {
        let other = Some(json!({ "role": "no id", "reason": "x" }));
        let (_, problem) = read(&person.ask_with(Method::POST, "/v1/grants", other, &[KEY]).await);
        match problem["reason"].as_str() {
            Some("key-reused") => return,
            reason => assert_eq!(reason, Some("role"), "{problem}"),
        }
        assert!(begun.elapsed() < PATIENCE, "it never came");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn leaves(world: &World, path: &str, count: usize) {
    let gone = |line: &Value| line["end"] == "client-gone" && line["evidence"]["request"]["path"] == path;
    world.gate.lines_where(count, gone).await;
}

#[tokio::test]
async fn whoever_breaks_the_glass_and_leaves_is_told_of() {
    let world = world().await;
    let writing = Writing::begin(&world);
    // One resets the stream, the other breaks the connection.
    let mut ann = world.ann().await;
    ann.client = world.gate.dial().sni(API).certificate(&PKI.ann).h2().await;
    let (sent, mut client) = (request(&ann), ann.client.again());
    let asking = tokio::spawn(async move { client.send(sent).await.is_ok() });
    is_under_way(world.ann().await).await;
    asking.abort();
    let mut bob = world.bob().await;
    let (sent, breaker) = (request(&bob), bob.client.breaker());
    let asking = tokio::spawn(async move { bob.client.send(sent).await.is_ok() });
    is_under_way(world.bob().await).await;
    breaker.shutdown(std::net::Shutdown::Both).expect("a connection");
    assert!(!asking.await.expect("it ran"), "no answer came");
    leaves(&world, "/v1/grants", 2).await;
    drop(writing);
    let lines = world.admin_lines("grant-ask", 2).await;
    let mut users: Vec<_> = lines.iter().map(|line| line["actor"]["user"].as_str().expect("a user")).collect();
    users.sort_unstable();
    assert_eq!(users, ["ann@corp.example", "bob@corp.example"]);
    assert!(lines.iter().all(|line| line["outcome"] == "done"), "{lines:#?}");
    let alerts = world.gate.lines_where(2, |line| line["event"] == "break-glass").await;
    assert!(alerts.iter().all(|alert| alert["reason"] == "role vault-keeper: the vault burns"), "{alerts:#?}");
    // Sent again, it is answered as it would have been.
    let (status, grant) = read(&world.ann().await.client.ask(request(&ann)).await);
    assert_eq!((status, &grant["phase"]), (201, &json!("held")), "{grant}");
    assert_eq!(ann.get("/v1/me/grants").await.1["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_import_whose_client_leaves_is_told_of() {
    let world = world().await;
    let writing = Writing::begin(&world);
    let file = crate::pki::file(&world.gate.path(""), "people.csv", "user,name\nann@corp.example,Ann\nzoe,Zoe\n");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--unix-socket"]).arg(world.socket()).args(["--header", "Content-Type: text/csv"]);
    curl.arg("--data-binary").arg(format!("@{}", file.display())).arg("http://localhost/v1/identities");
    let mut curl = curl.stdout(Stdio::null()).spawn().expect("curl is installed");
    let begun = Instant::now();
    while world.owner("GET", "/v1/store", Sent::Nothing).await.1["importing"]["rows"] != 2 {
        assert!(begun.elapsed() < PATIENCE, "it never came");
    }
    curl.kill().expect("it runs");
    curl.wait().expect("it ends");
    leaves(&world, "/v1/identities", 1).await;
    drop(writing);
    world.admin_lines("identity-import", 2).await;
    let lines = world.admin_lines("identity-set", 1).await;
    assert_eq!(
        (&lines[0]["target"], &lines[0]["after"]),
        (&json!("identity ann@corp.example"), &json!({ "name": "Ann" }))
    );
}

#[tokio::test]
async fn a_log_that_is_closed_waits_for_what_is_being_changed() {
    let mut world = world().await;
    let writing = Writing::begin(&world);
    let mut bob = world.bob().await;
    let (sent, breaker) = (request(&bob), bob.client.breaker());
    let mut client = std::mem::replace(&mut bob.client, world.gate.dial().sni(API).h1().await);
    drop(bob);
    let asking = tokio::spawn(async move { client.send(sent).await.is_ok() });
    is_under_way(world.bob().await).await;
    breaker.shutdown(std::net::Shutdown::Both).expect("a connection");
    assert!(!asking.await.expect("it ran"), "no answer came");
    leaves(&world, "/v1/grants", 1).await;
    let address = world.gate.address("direct");
    let stopping = world.gate.stopping();
    eventually("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;
    drop(writing);
    stopping.await.expect("it stops");
    let lines = world.admin_lines("grant-ask", 1).await;
    assert_eq!(lines[0]["outcome"], "done");
    world.gate.lines_where(1, |line| line["event"] == "break-glass").await;
}

/// What takes the most room in a line for its own size: a byte of it takes six.
fn long() -> String {
    "\u{7f}".repeat(200_000)
}

#[tokio::test]
async fn no_line_is_longer_than_its_reader_takes() {
    let world = world().await;
    let (status, problem) = world.ann().await.post("/v1/grants", json!({ "role": long(), "reason": "x" })).await;
    assert_eq!((status, &problem["reason"]), (422, &json!("role")), "{problem}");
    let send = async |method: &str, path: &str, body: Value| {
        world.owner(method, path, Sent::Text("application/json", &body.to_string())).await.0
    };
    let kiosk = json!({ "id": "kiosk", "class": "kiosk", "keys": ["ab".repeat(32)] });
    assert_eq!(send("POST", "/v1/devices", kiosk.clone()).await, 201);
    assert_eq!(send("PATCH", "/v1/devices/kiosk", json!({ "asset-tag": long() })).await, 200);
    assert_eq!(send("PATCH", "/v1/devices/kiosk", json!({ "asset-tag": null })).await, 200);
    assert_eq!(send("POST", "/v1/devices/kiosk/suspend", json!({ "reason": long() })).await, 200);
    let mut other = kiosk;
    other["id"] = json!(long());
    assert_eq!(send("POST", "/v1/devices", other).await, 422);
    let changes = world.admin_lines("device-change", 2).await;
    let suspend = &world.admin_lines("device-suspend", 1).await[0];
    let refused = &world.admin_lines("device-register", 2).await[1];
    for text in
        [&changes[0]["after"]["asset-tag"], &changes[1]["before"]["asset-tag"], &suspend["reason"], &refused["target"]]
    {
        let text = text.as_str().expect("text");
        assert!(text.contains("\u{7f}\u{7f}… (shortened: 20"), "it says so: {}", text.escape_debug());
    }
    assert_eq!(world.gate.lines().iter().filter(|line| line["action"] == "grant-ask").count(), 0, "nothing was asked");
    let log = Log::gather(&[world.gate.path("audit.jsonl")]).expect("a log");
    let report = verify(&log).expect("read");
    assert!(report.faults.is_empty(), "{:#?}", report.faults);
}

#[tokio::test]
async fn an_import_says_whom_it_changed_and_how() {
    let world = World::peopled().await;
    let added = &world.admin_lines("identity-add", 1).await[0];
    assert_eq!(added["target"], "4 identities");
    assert_eq!(added["after"]["ann.admin@corp.example"]["groups"], json!(["payroll-leads"]), "{added}");
    let text =
        PEOPLE.replace("p-bob,,staff;payroll-leads", "p-robert,,staff") + "zoe@corp.example,p-zoe,,payroll-leads,\n";
    // A dry run changes nothing, and says nothing.
    for (path, status) in [("/v1/identities?dry-run=true", 200), ("/v1/identities", 200)] {
        assert_eq!(world.owner("POST", path, Sent::Text("text/csv", &text)).await.0, status);
    }
    world.admin_lines("identity-import", 2).await;
    let lines = world.gate.lines();
    let of = |action: &str| lines.iter().filter(|line| line["action"] == action).collect::<Vec<_>>();
    let (set, added) = (of("identity-set"), of("identity-add"));
    assert_eq!((set.len(), added.len()), (1, 2), "{set:#?} {added:#?}");
    assert_eq!(set[0]["target"], "identity bob@corp.example");
    assert_eq!(set[0]["before"], json!({ "person": "p-bob", "groups": ["staff", "payroll-leads"] }));
    assert_eq!(set[0]["after"], json!({ "person": "p-robert", "groups": ["staff"] }));
    assert_eq!(set[0]["actor"]["issuer"], "unix");
    assert_eq!(added[1]["after"]["zoe@corp.example"]["person"], "p-zoe", "{}", added[1]);
}

/// The second five thousand cannot be written, for one of them has a name that is taken.
#[tokio::test]
async fn an_import_that_fails_in_the_middle_says_what_it_did() {
    use std::fmt::Write as _;
    let world = World::peopled().await;
    let mut text = "user,aliases,groups\nann@corp.example,ann.lee@corp.example,staff;news\n".to_owned();
    for row in 0..6000 {
        let alias = if row == 5999 { "bob@corp.example" } else { "" };
        let _ = writeln!(text, "user{row:04},{alias},staff");
    }
    let (status, problem) = world.owner("POST", "/v1/identities", Sent::Text("text/csv", &text)).await;
    assert_eq!(status, 409, "{problem}");
    let failed = world.admin_lines("identity-import", 2).await;
    assert_eq!((&failed[1]["outcome"], &failed[1]["reason"]), (&json!("refused"), &json!("taken")));
    let lines = world.gate.lines();
    let told: Vec<&str> = lines
        .iter()
        .filter(|line| line["action"] == "identity-add")
        .flat_map(|line| line["after"].as_object().expect("identities").keys().map(String::as_str))
        .filter(|user| user.starts_with("user"))
        .collect();
    assert_eq!((told.len(), told.first(), told.last()), (4999, Some(&"user0000"), Some(&"user4998")));
    let set: Vec<_> = lines.iter().filter(|line| line["action"] == "identity-set").collect();
    assert_eq!((set.len(), &set[0]["after"]), (1, &json!({ "groups": ["staff", "news"] })), "{set:#?}");
    let log = Log::gather(&[world.gate.path("audit.jsonl")]).expect("a log");
    assert!(verify(&log).expect("read").faults.is_empty());
}
