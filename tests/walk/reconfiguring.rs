//! The configuration itself read again: what can change does, under load; what cannot, and what is faulty, is refused.

use crate::gateway::{Harness, PKI, open_to_all};
use crate::pki::file;
use crate::reloading::Load;
use crate::upstream::{Upstream, ok};
use http::StatusCode;
use rangegate::sources::lists::ListSettings;
use std::time::Duration;

#[tokio::test]
async fn upstream_timeouts_and_lists_change_and_not_a_request_fails() {
    let (old, new) =
        (Upstream::http1(|_| async { ok("hello") }).await, Upstream::http1(|_| async { ok("hello") }).await);
    let silent = Upstream::http1(|_| std::future::pending()).await;
    let gate = Harness::open(&old).await;
    let load = Load::start(&gate);
    load.goes_on().await;
    assert_eq!(new.connections(), 0);

    // Another directory of policies, in which the same resource has another upstream, and which names a new list.
    std::fs::create_dir(gate.path("elsewhere")).expect("a directory");
    let unlisted = "{ id = \"unlisted\", that = { not = { list = \"hosting\" } } }, ";
    let app = open_to_all("app", &new.url()).replace("require = [", &format!("require = [{unlisted}"));
    file(&gate.path("elsewhere"), "app.toml", app);
    file(&gate.path("elsewhere"), "silent.toml", open_to_all("silent", &silent.url()));
    file(&gate.path(""), "hosting.txt", "192.0.2.0/24\n");
    let said = gate
        .reconfigure({
            let (policies, path, silent) = (gate.path("elsewhere"), gate.path("hosting.txt"), silent.url());
            move |settings| {
                settings.policies = policies;
                settings.lists = vec![ListSettings { name: "hosting".to_owned(), path }];
                // For this upstream alone: the others share a core with whoever reads the audit log below.
                let mut impatient = settings.upstream.clone();
                impatient.header_timeout = Duration::from_millis(100);
                settings.upstream_exceptions = vec![(silent, impatient)];
            }
        })
        .await;
    assert_eq!(said["event"], "reload", "{said}");
    load.goes_on().await;
    let before = old.seen().len();
    load.goes_on().await;
    // What was on its way when the upstream changed may still have arrived.
    assert!(old.seen().len() <= before + 4 && !new.seen().is_empty());
    let answer = gate.dial().sni("silent.corp.example").h2().await.get("/").await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "the new timeout: the old one is a minute");

    // Policies are followed where they are now.
    gate.reload("policies", || std::fs::remove_file(gate.path("elsewhere/silent.toml")).expect("a file")).await;
    assert_eq!(gate.dial().sni("silent.corp.example").h2().await.get("/").await.status, StatusCode::FORBIDDEN);
    assert!(load.unharmed().await >= 60);
}

type Change = fn(&mut rangegate::gateway::Settings);

#[tokio::test]
async fn what_takes_a_restart_and_what_is_broken_is_refused_whole() {
    let app = Upstream::http1(|_| async { ok("hello") }).await;
    let gate = Harness::open(&app).await;
    let load = Load::start(&gate);
    load.goes_on().await;
    let refusals: [(&str, Change); 4] = [
        ("`listener.address` takes a restart", |settings| settings.listeners[0].address.set_port(1)),
        ("`listener` takes a restart", |settings| settings.listeners[0].name = "renamed".to_owned()),
        ("`audit.path` takes a restart", |settings| settings.audit.path = "elsewhere.jsonl".into()),
        ("cannot read", |settings| settings.upstream.ca = Some("/nowhere/ca.pem".into())),
    ];
    for (expected, change) in refusals {
        let said = gate
            .reconfigure(|settings| {
                // Would refuse everything, were it in force.
                settings.limits.connections = 1;
                change(settings);
            })
            .await;
        assert_eq!((said["kind"].as_str(), said["event"].as_str()), (Some("alert"), Some("source-rejected")));
        assert!(said["reason"].as_str().is_some_and(|reason| reason.contains(expected)), "{expected}: {said}");
    }
    let said = gate.set_configuration(Err("error: unknown key `listner`\n --> rangegate.toml:1:1".to_owned())).await;
    assert_eq!(said["reason"], "error: unknown key `listner`");
    gate.metrics_show("rangegate_reloads_total{kind=\"configuration\",result=\"rejected\"} 5").await;
    load.goes_on().await;
    assert!(load.unharmed().await >= 40);

    // And the next good one holds.
    assert_eq!(gate.reconfigure(|settings| settings.limits.connections = 0).await["event"], "reload");
    assert!(gate.dial().tls().await.is_err());
}

/// A connection outlives the configuration; what is believed of its requests does not.
#[tokio::test]
async fn kept_connections_and_open_answers_are_judged_by_the_new_configuration() {
    let app = Upstream::http1(|seen| async move {
        if seen.uri().path() == "/stream" {
            let (sender, body) = crate::upstream::channel();
            sender.send(crate::upstream::data("first")).await.expect("taken");
            tokio::spawn(async move { sender.closed().await });
            return http::Response::new(body);
        }
        ok("hello")
    })
    .await;
    let policy =
        open_to_all("app", "$app").replace("cidr = \"127.0.0.0/8\"", "login = { user = \"ann@corp.example\" }");
    let gate = Harness::builder().policy("app", &policy, &[("app", &app)]).start().await;
    let token = format!("Bearer {}", gate.token("ann@corp.example"));
    let mut client = gate.dial().certificate(&PKI.ann).h2().await;
    let ask = |path: &str| crate::client::request(http::Method::GET, path, &[("authorization", &token)]);
    assert_eq!(client.ask(ask("/")).await.status, 200);
    let open = client.send(ask("/stream")).await.expect("an answer");
    assert_eq!(open.status(), 200);

    // Other audiences: the same issuer's keys are still there, and every token is read anew.
    gate.reconfigure(|settings| settings.issuers[0].audiences = vec!["another".to_owned()]).await;
    assert_eq!(client.ask(ask("/")).await.status, 401);
    gate.reconfigure(|settings| settings.issuers[0].audiences = vec!["rangegate".to_owned()]).await;
    assert_eq!(client.ask(ask("/")).await.status, 200);
    // Nobody's tokens: what rests on one is cut.
    gate.reconfigure(|settings| settings.issuers.clear()).await;
    assert_eq!(client.ask(ask("/")).await.status, 401);
    assert!(crate::client::Answer::try_read(open).await.is_err(), "the open answer is cut");
    gate.lines_where(1, |line| line["kind"] == "live" && line["event"] == "cut").await;
}
