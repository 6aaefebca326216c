//! Identities: set, imported, and what an import does when something is wrong.

use crate::gateway::PKI;
use crate::world::{PEOPLE, Sent, World};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn an_import_is_idempotent_and_shows_what_it_would_do() {
    let world = World::new().await;
    let (_, told) = world.owner("POST", "/v1/identities?dry-run=true", Sent::Text("text/csv", PEOPLE)).await;
    assert_eq!((&told["added"], &told["dry-run"]), (&json!(4), &json!(true)), "{told}");
    assert_eq!(told["changes"][1]["user"], "ann@corp.example");
    assert_eq!(
        world.owner("GET", "/v1/identities/ann@corp.example", Sent::Nothing).await.0,
        404,
        "nothing was changed"
    );
    let (_, told) = world.owner("POST", "/v1/identities", Sent::Text("text/csv", PEOPLE)).await;
    assert_eq!((&told["added"], &told["changed"]), (&json!(4), &json!(0)), "{told}");
    let (_, told) = world.owner("POST", "/v1/identities", Sent::Text("text/csv", PEOPLE)).await;
    assert_eq!((&told["added"], &told["changed"], &told["unchanged"]), (&json!(0), &json!(0), &json!(4)), "{told}");
    let (_, told) =
        world.owner("POST", "/v1/identities", Sent::Text("text/csv", "user,name\nann@corp.example,Ann Lee\n")).await;
    assert_eq!((&told["changed"], &told["changes"][0]["after"]), (&json!(1), &json!({ "name": "Ann Lee" })), "{told}");
    let (_, ann) = world.owner("GET", "/v1/identities/ann.lee@corp.example", Sent::Nothing).await;
    assert_eq!(
        (&ann["user"], &ann["name"], &ann["version"]),
        (&json!("ann@corp.example"), &json!("Ann Lee"), &json!(2))
    );
    let lines = world.admin_lines("identity-import", 2).await;
    assert_eq!(lines[0]["outcome"], "done");
    assert_eq!(lines[0]["actor"]["issuer"], "unix");
}

#[tokio::test]
async fn one_broken_row_and_nothing_is_changed() {
    let world = World::new().await;
    let text = "user,employment\nann,employee\nbob,boss\n,\ncarl\n";
    let (status, problem) = world.owner("POST", "/v1/identities", Sent::Text("text/csv", text)).await;
    assert_eq!(status, 422);
    assert_eq!(problem["fault_count"], 3, "{problem}");
    assert_eq!(problem["faults"][0]["line"], 3);
    assert_eq!(problem["faults"][0]["column"], 5);
    assert_eq!(world.owner("GET", "/v1/identities", Sent::Nothing).await.1["items"], json!([]));
    let (status, problem) = world.owner("POST", "/v1/identities", Sent::Text("text/plain", text)).await;
    assert_eq!(status, 415, "{problem}");
}

#[tokio::test]
async fn an_alias_belongs_to_one_account() {
    let world = World::peopled().await;
    let taken = json!({ "aliases": ["ann.lee@corp.example"] });
    let (status, problem) = world.owner("PATCH", "/v1/identities/bob@corp.example", Sent::Json(taken)).await;
    assert_eq!(status, 409, "{problem}");
    let (status, _) =
        world.owner("PATCH", "/v1/identities/ann@corp.example", Sent::Json(json!({ "aliases": [] }))).await;
    assert_eq!(status, 200);
    let given = json!({ "aliases": ["ann.lee@corp.example"] });
    let (status, problem) = world.owner("PATCH", "/v1/identities/bob@corp.example", Sent::Json(given)).await;
    assert_eq!(status, 200, "what was given back can be taken: {problem}");
}

#[tokio::test]
async fn a_version_that_is_demanded_has_to_be_the_one_there_is() {
    let world = World::peopled().await;
    let path = "/v1/identities/ann@corp.example";
    let (_, ann, etag) = world.owner_with("GET", path, Sent::Nothing, &[]).await;
    assert_eq!(etag, "\"1\"");
    let demand = format!("If-Match: {etag}");
    let name = |name: &str| Sent::Json(json!({ "name": name }));
    let (status, _, etag) = world.owner_with("PATCH", path, name("Ann"), &[&demand]).await;
    assert_eq!((status, &*etag), (200, "\"2\""));
    let (status, problem, _) = world.owner_with("PATCH", path, name("Anne"), &[&demand]).await;
    assert_eq!(status, 412, "{problem}");
    // PUT makes it what was sent: what is not named is gone.
    let mut whole = ann;
    whole["manager"] = json!(null);
    let (status, changed) = world.owner("PUT", path, Sent::Json(whole)).await;
    assert_eq!((status, changed.get("name"), changed.get("manager")), (200, None, None), "{changed}");
}

#[tokio::test]
async fn a_suspended_person_is_out_at_once_and_a_watched_one_is_not_told() {
    let world = World::peopled().await;
    let mut ann = world.ann().await;
    assert_eq!(ann.get("/v1/me").await.0, 200);
    let status = |status: &str| Sent::Json(json!({ "status": status }));
    let path = "/v1/identities/ann@corp.example";
    assert_eq!(world.owner("PATCH", path, status("watched")).await.0, 200);
    let (code, problem) = ann.get("/v1/me").await;
    assert_eq!(code, 403);
    assert!(!problem.to_string().contains("watch"), "{problem}");
    assert_eq!(world.owner("PATCH", path, status("suspended")).await.0, 200);
    // What was open is closed; who comes again is told, and may stay.
    let mut ann = world.ann().await;
    assert_eq!(ann.get("/v1/me").await.0, 403);
    assert_eq!(world.owner("PATCH", path, status("active")).await.0, 200);
    assert_eq!(ann.get("/v1/me").await.0, 200);
    let _ = &PKI.ann;
}

#[tokio::test]
async fn lists_come_a_page_at_a_time() {
    let world = World::peopled().await;
    let (_, first) = world.owner("GET", "/v1/identities?limit=3", Sent::Nothing).await;
    let users = |page: &serde_json::Value| -> Vec<String> {
        page["items"].as_array().expect("items").iter().map(|item| item["user"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(users(&first), ["ann.admin@corp.example", "ann@corp.example", "bob@corp.example"]);
    let next = format!("/v1/identities?limit=3&cursor={}", first["next"].as_str().expect("more"));
    let (_, second) = world.owner("GET", &next, Sent::Nothing).await;
    assert_eq!((users(&second), second.get("next")), (vec!["eve@corp.example".to_owned()], None));
    let (_, one) = world.owner("GET", "/v1/identities?person=p-ann&limit=1", Sent::Nothing).await;
    assert_eq!((users(&one).len(), one["next"].is_string()), (1, true));
}

/// This many people; every so many there is a row that cannot be taken.
fn rows(count: usize, broken_every: usize) -> (String, Vec<u64>) {
    use std::fmt::Write as _;
    let mut text = "user,person,groups,manager,home.country\n".to_owned();
    let mut broken = Vec::new();
    for row in 0..count {
        let country = if row % broken_every == broken_every - 1 { "usa" } else { "US" };
        if country == "usa" {
            broken.push(row as u64 + 2); // counted from 1, behind the header
        }
        let (team, lead) = (row % 100, row % 1000);
        let _ = writeln!(text, "user{row:07}@corp.example,p-{row},staff;team-{team},lead{lead}@corp.example,{country}");
    }
    (text, broken)
}

#[tokio::test]
async fn many_rows_come_in_or_none() {
    come_in_or_none(30_000, Duration::from_millis(10)).await;
}

/// `scripts/test` runs it: `cargo test --release --test control a_million -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "takes most of a minute"]
async fn a_million_rows_come_in_or_none() {
    come_in_or_none(1_000_000, Duration::from_secs(1)).await;
}

/// Asked how far it has come each `moment`.
async fn come_in_or_none(many: usize, moment: Duration) {
    let world = World::new().await;
    println!("before: {}", most_memory());
    let (text, broken) = rows(many, many / 50);
    let (status, problem) = world.owner("POST", "/v1/identities", Sent::Text("text/csv", &text)).await;
    let told: Vec<_> =
        problem["faults"].as_array().expect("faults").iter().filter_map(|one| one["line"].as_u64()).collect();
    assert_eq!((status, &problem["fault_count"], told), (422, &json!(50), broken));
    assert_eq!(world.owner("GET", "/v1/identities", Sent::Nothing).await.1["items"], json!([]), "nothing was changed");
    println!("{many} rows read, and none taken: {}", most_memory());

    let (text, _) = rows(many, usize::MAX);
    for (added, unchanged) in [(many, 0), (0, many)] {
        let began = Instant::now();
        let mut progress = Vec::new();
        let importing = world.owner("POST", "/v1/identities", Sent::Text("text/csv", &text));
        let watching = async {
            loop {
                if let Some(written) =
                    world.owner("GET", "/v1/store", Sent::Nothing).await.1["importing"]["written"].as_u64()
                {
                    progress.push(written);
                }
                tokio::time::sleep(moment).await;
            }
        };
        let (status, told) = tokio::select! { done = importing => done, () = watching => unreachable!() };
        assert_eq!((status, &told["added"], &told["unchanged"]), (200, &json!(added), &json!(unchanged)), "{told}");
        println!("{many} rows, {added} added: {:?}, {}", began.elapsed(), most_memory());
        assert!(progress.is_sorted() && (added == 0 || progress.len() > 1), "whoever waits sees it grow: {progress:?}");
        let (_, store) = world.owner("GET", "/v1/store", Sent::Nothing).await;
        assert_eq!(store["importing"], json!(null), "{store}");
    }
    // What was read while it was written is what a new reader finds.
    let last = format!("/v1/identities/user{:07}@corp.example", many - 1);
    let (status, last) = world.owner("GET", &last, Sent::Nothing).await;
    assert_eq!((status, &last["home"]["country"]), (200, &json!("US")), "{last}");
}

/// The most that this process ever held, as the kernel says it.
fn most_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process");
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned()
}
