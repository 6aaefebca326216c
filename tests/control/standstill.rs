//! The store cannot be written: decisions go on, nothing new is granted, and it is said.

use crate::world::{Sent, World};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Another process that holds the database's write lock for as long as it lives.
struct Holder(Child);

impl Holder {
    fn of(path: &std::path::Path) -> Self {
        let program = "import sqlite3, sys\n\
            c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n\
            c.execute('BEGIN IMMEDIATE')\n\
            print('held', flush=True)\n\
            sys.stdin.read()\n";
        let mut command = Command::new("python3");
        command.args(["-c", program]).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 is installed");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        assert_eq!(line, "held\n");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn while_the_store_is_away_decisions_go_on_and_nothing_new_is_granted() {
    let world = World::peopled().await;
    let (mut ann, mut bob) = (world.ann().await, world.bob().await);
    let id = ann.asks_for("payroll-approver").await;
    let holder = Holder::of(&world.gate.path("store.db"));
    let approve = format!("/v1/grants/{id}/approve");
    let answer = bob.ask(http::Method::POST, &approve, Some(json!({}))).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "5"), "{}", answer.text());
    assert_eq!(ann.uses_payroll(&crate::gateway::PKI.ann).await, 403);
    assert_eq!(ann.get("/v1/me").await.0, 200, "what is known goes on counting");
    let failed = world.admin_lines("grant-approve", 1).await;
    assert_eq!((&failed[0]["outcome"], &failed[0]["reason"]), (&json!("failed"), &json!("store-away")));
    drop(holder);
    let (status, grant) = bob.post(&approve, json!({})).await;
    assert_eq!((status, &grant["phase"]), (200, &json!("held")), "{grant}");
    assert_eq!(ann.uses_payroll(&crate::gateway::PKI.ann).await, 200);
    let (status, store) = world.owner("GET", "/v1/store", Sent::Nothing).await;
    assert_eq!((status, &store["reachable"]), (200, &json!(true)), "{store}");
}

#[tokio::test]
async fn without_a_store_the_api_says_so() {
    let world = World::with(|builder| {
        builder.settings(|settings| {
            settings.store = None;
            settings.authority = None;
        })
    })
    .await;
    let (status, problem) = world.owner("GET", "/v1/identities", Sent::Nothing).await;
    assert_eq!(status, 503);
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("[store]")), "{problem}");
}
