//! Reloads under load: not one request fails, what is faulty is refused, and the last good one decides on.

use crate::client::{BOTH, request};
use crate::gateway::{Harness, PKI, everybody, fingerprint, open_to_all};
use crate::pki::{Wanted, file};
use crate::upstream::{Upstream, ok};
use http::Method;
use rangegate::gateway::clock;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Clients that ask without pause, over kept and over new connections, until told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Result<(), String>>>,
}

impl Load {
    pub fn start(gate: &Harness) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = Vec::new();
        for version in BOTH {
            for renewing in [false, true] {
                let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
                let dial = gate.dial().certificate(&PKI.ann);
                tasks.push(tokio::spawn(async move {
                    let mut client = dial.clone().http(version).await;
                    while !stop.load(Ordering::SeqCst) {
                        if renewing {
                            client = dial.clone().http(version).await;
                        }
                        let answer = client
                            .send(request(Method::GET, "/", &[]))
                            .await
                            .map_err(|error| format!("{version:?}: {error:?}"))?;
                        let answer = crate::client::Answer::try_read(answer)
                            .await
                            .map_err(|error| format!("{version:?}: {error:?}"))?;
                        if answer.status != 200 || answer.text() != "hello" {
                            return Err(format!("{version:?}: {answer:?}"));
                        }
                        asked.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(())
                }));
            }
        }
        Self { stop, asked, tasks }
    }

    /// Some more requests have been answered since.
    pub async fn goes_on(&self) {
        let until = self.asked.load(Ordering::SeqCst) + 20;
        crate::gateway::eventually("requests are answered", || {
            self.asked.load(Ordering::SeqCst) >= until || self.tasks.iter().any(tokio::task::JoinHandle::is_finished)
        })
        .await;
    }

    pub async fn unharmed(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("no panic").expect("every request is answered");
        }
        self.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn everything_is_reloaded_and_not_a_request_fails() {
    let app = Upstream::http1(|_| async { ok("hello") }).await;
    let text = open_to_all("app", "$app").replace("cidr = \"127.0.0.0/8\"", "device = { known = true }");
    let mut gate = Harness::builder().policy("app", &text, &[("app", &app)]).start().await;
    let load = Load::start(&gate);
    load.goes_on().await;

    // A new certificate of the gateway's own: shown in the next handshake.
    let renewed = PKI.servers.issue(&Wanted::server(&["*.corp.example"], 99).around(clock::now()));
    gate.reload("certificates", || {
        file(&gate.path(""), "server.key", renewed.key_pem());
        file(&gate.path(""), "server.pem", renewed.chain_pem());
    })
    .await;
    let tls = gate.dial().tls().await.expect("a handshake");
    let shown = tls.get_ref().1.peer_certificates().expect("a certificate")[0].clone();
    assert_eq!(shown, renewed.chain[0]);
    load.goes_on().await;

    // Somebody else's certificate is revoked, somebody else's device suspended.
    gate.revoke(&[PKI.bob.serial]).await;
    load.goes_on().await;
    let mut devices = everybody("active");
    devices[1].status = "suspended";
    gate.set_devices(&devices).await;
    load.goes_on().await;

    // Another policy, by other rules: the same people pass.
    let other = text.replace("\"local\"", "\"registered\"");
    gate.set_policy("app", &other, &[("app", &app)]).await;
    load.goes_on().await;

    // A policy with a fault, a registry with a fault, a certificate without its key, a key that anybody may read:
    // refused, and nothing changes.
    gate.set_faulty("policies/app.toml", "[[resource]]\nid = \"app\"\nhosts = \"oops\n").await;
    load.goes_on().await;
    gate.set_faulty("devices.toml", "[[device]]\nid = 7\n").await;
    gate.set_faulty("server.key", &PKI.server.key_pem()).await;
    let opened = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(gate.path("server.key"), opened).expect("opened");
    gate.set_faulty("server.key", &renewed.key_pem()).await;
    let open = "others may read it (mode 0644): `chmod 0600 ";
    gate.lines_where(1, |line| line["reason"].as_str().is_some_and(|told| told.contains(open))).await;
    load.goes_on().await;
    let (_, metrics) = gate.operations("/metrics").await;
    for kind in ["policies", "devices", "certificates"] {
        for result in ["accepted", "rejected"] {
            assert!(
                metrics.contains(&format!("rangegate_reloads_total{{kind=\"{kind}\",result=\"{result}\"}}")),
                "{kind} {result}: {metrics}"
            );
        }
    }
    assert_eq!(gate.operations("/readyz").await.0, 200);

    // All is well again.
    gate.set_policy("app", &text, &[("app", &app)]).await;
    load.goes_on().await;
    let asked = load.unharmed().await;
    let lines = gate.stop().await;
    let records: Vec<_> = lines.iter().filter(|line| line["kind"] == "request").collect();
    assert_eq!(records.len(), asked);
    let versions: std::collections::BTreeSet<_> =
        records.iter().map(|record| record["decision"]["policy"].to_string()).collect();
    assert_eq!(versions.len(), 2, "the first and the last policy are one");
    assert!(records.iter().all(|record| record["decision"]["outcome"] == "forward" && record["end"] == "complete"));
    for kind in ["policy-rejected", "source-rejected"] {
        assert!(lines.iter().any(|line| line["kind"] == "alert" && line["event"] == kind), "{kind}");
    }
}

#[tokio::test]
async fn a_change_is_noticed_without_being_told() {
    let app = Upstream::plain().await;
    let text = open_to_all("app", "$app").replace("cidr = \"127.0.0.0/8\"", "device = { known = true }");
    let gate = Harness::builder().policy("app", &text, &[("app", &app)]).start().await;
    let mut client = gate.dial().certificate(&PKI.stranger).h2().await;
    assert_eq!(client.get("/").await.status, 403);
    let registry = std::fs::read_to_string(gate.path("devices.toml")).expect("a registry");
    let stranger = format!(
        "[[device]]\nid = \"new\"\nclass = \"personal\"\ncertificates = [\"{}\"]\n",
        fingerprint(&PKI.stranger)
    );
    file(&gate.path(""), "devices.toml", registry + &stranger);
    gate.lines_where(1, |line| line["event"] == "reload" && line["detail"] == "devices").await;
    assert_eq!(client.get("/").await.status, 200);
    // The emergency switch, as the command line throws it.
    rangegate::store::emergency::write(&gate.path("emergency"), rangegate::evidence::Emergency::Deny).expect("written");
    gate.lines_where(1, |line| line["kind"] == "control" && line["event"] == "emergency").await;
    assert_eq!(client.get("/").await.status, 403);
    assert_eq!(gate.audit_records(3).await[2]["decision"]["reason"], "emergency-deny");
}

#[tokio::test]
async fn a_policy_whose_own_test_fails_is_refused_and_the_test_is_named() {
    let app = Upstream::plain().await;
    let expecting = |outcome: &str| {
        let test = "name = \"nobody gets in from elsewhere\"\ngiven = { address = \"192.0.2.1\" }";
        let request = "request = \"GET https://wiki.corp.example/\"";
        format!("{}[[test]]\n{test}\n{request}\nexpect = \"{outcome}\"\n", open_to_all("wiki", "$app"))
    };
    let gate = Harness::open(&app).await;
    let mut client = gate.dial().sni("wiki.corp.example").h2().await;
    gate.set_faulty("policies/wiki.toml", &expecting("forward").replace("$app", &app.url())).await;
    let rejected = gate.lines_where(1, |line| line["event"] == "policy-rejected").await;
    let why = rejected[0]["reason"].as_str().unwrap_or_default();
    assert!(why.contains("wiki.toml:7:8: the test `nobody gets in from elsewhere` fails"), "{why}");
    assert!(why.contains("expected forward, got deny because of `local`"), "{why}");
    assert_eq!(client.get("/").await.status, 403, "the last good policy knows no wiki");
    gate.set_policy("wiki", &expecting("deny"), &[("app", &app)]).await;
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn policy_files_come_and_go() {
    let app = Upstream::plain().await;
    let gate = Harness::open(&app).await;
    let mut client = gate.dial().sni("wiki.corp.example").h2().await;
    assert_eq!(client.get("/").await.status, 403);
    gate.set_policy("wiki", &open_to_all("wiki", "$app"), &[("app", &app)]).await;
    assert_eq!(client.get("/").await.status, 200);
    gate.reload("policies", || std::fs::remove_file(gate.path("policies/wiki.toml")).expect("a file")).await;
    assert_eq!(client.get("/").await.status, 403);
}

#[tokio::test]
async fn what_changes_while_it_starts_is_noticed() {
    let app = Upstream::plain().await;
    let gate =
        Harness::builder().app(&app).meanwhile(|directory| drop(file(directory, "devices.toml", ""))).start().await;
    gate.lines_where(1, |line| line["event"] == "reload" && line["detail"] == "devices").await;
    gate.dial().certificate(&PKI.ann).h2().await.get("/").await;
    assert_eq!(gate.audit_record().await["evidence"]["device"], serde_json::Value::Null);
}
