//! Every outcome, for people and for programs, over both HTTP versions.

use crate::client::{BOTH, BROWSER, request};
use crate::gateway::{Harness, PKI};
use crate::upstream::{Upstream, ok};
use http::{Method, StatusCode};

/// A resource with a route for each outcome.
const POLICY: &str = r#"
[[resource]]
id = "app"
hosts = ["app.corp.example"]
upstream = "$app"
decoy = "$decoy"

  [[resource.route]]
  match = "* /forward"
  require = [{ id = "met", that = { cidr = "127.0.0.0/8" } }]

  [[resource.route]]
  match = "* /observe"
  require = [{ id = "watched", that = { cidr = "192.0.2.0/24" }, otherwise = "observe" }]

  [[resource.route]]
  match = "* /grant"
  require = [{ id = "approver", that = { grant = "approver" } }]

  [[resource.route]]
  match = "* /sign-in"
  require = [{ id = "signed-in", that = { login = { known = true } } }]

  [[resource.route]]
  match = "* /step-up"
  require = [{ id = "fresh", that = { login = { with = "passkey", within = "10s" } } }]

  [[resource.route]]
  match = "* /decoy"
  require = [{ id = "not-watched", that = { device = { status = "active" } }, otherwise = "decoy" }]

  [[resource.route]]
  match = "* /deny"
  require = [{ id = "elsewhere", that = { cidr = "192.0.2.0/24" } }]

[[role]]
id = "approver"
opens = "app"
longest = "1h"
approvals = 0
"#;

/// Path, outcome, status.
const CASES: [(&str, &str, u16); 8] = [
    ("/forward", "forward", 200),
    ("/observe", "observe", 200),
    ("/grant", "require-grant", 403),
    ("/sign-in", "step-up", 401),
    ("/step-up", "step-up", 401),
    ("/decoy", "decoy", 200),
    ("/deny", "deny", 403),
    ("/addressed-by-nobody", "deny", 403),
];

async fn stage() -> (Upstream, Upstream, Harness) {
    let app = Upstream::http1(|_| async { ok("the real one") }).await;
    let decoy = Upstream::http1(|_| async { ok("a copy") }).await;
    let gate = Harness::builder().policy("app", POLICY, &[("app", &app), ("decoy", &decoy)]).start().await;
    (app, decoy, gate)
}

#[tokio::test]
async fn programs_get_each_outcome_in_their_own_words() {
    let (_app, _decoy, gate) = stage().await;
    let authorization = format!("Bearer {}", gate.token("ann@corp.example"));
    for version in BOTH {
        let mut client = gate.dial().certificate(&PKI.eve).http(version).await;
        for (path, outcome, status) in CASES {
            let fields = [("authorization", authorization.as_str())];
            let fields = if path == "/sign-in" { &[][..] } else { &fields[..] };
            let answer = client.ask(request(Method::GET, path, fields)).await;
            assert_eq!(answer.status.as_u16(), status, "{version:?} {path}");
            assert_eq!(answer.header("rangegate-request-id").len(), 26, "{version:?} {path}");
            match (outcome, status) {
                ("decoy", _) => assert_eq!(answer.text(), "a copy"),
                (_, 200) => assert_eq!(answer.text(), "the real one"),
                _ => {
                    assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
                    let problem = answer.json();
                    assert_eq!(problem["outcome"], outcome, "{problem:#}");
                    assert_eq!(problem["status"], status);
                    assert_eq!(problem["request_id"], answer.header("rangegate-request-id"));
                }
            }
            let challenge = answer.header("www-authenticate");
            match path {
                "/sign-in" => assert_eq!(challenge, "Bearer realm=\"app.corp.example\""),
                "/step-up" => {
                    assert!(challenge.contains("insufficient_user_authentication"), "{challenge}");
                    assert!(challenge.contains("max_age=\"10\""), "{challenge}");
                }
                _ => assert_eq!(challenge, ""),
            }
        }
    }
    let records = gate.audit_records(2 * CASES.len()).await;
    for (record, (path, outcome, status)) in records.iter().zip(CASES.iter().chain(&CASES)) {
        assert_eq!(record["evidence"]["request"]["path"], *path, "{record:#}");
        assert_eq!(record["decision"]["outcome"], *outcome, "{record:#}");
        assert_eq!(record["response"]["status"], *status, "{record:#}");
        assert_eq!(record["end"], "complete", "{record:#}");
        assert_eq!(record["evidence"]["device"]["known"]["id"], "eve-laptop", "{record:#}");
        assert_eq!(record["upstream"].is_null(), *status != 200, "{record:#}");
    }
    let alerts = gate.lines_of("alert", 2).await;
    assert!(alerts.iter().all(|alert| alert["event"] == "observed" && alert["resource"] == "app"), "{alerts:#?}");
}

#[tokio::test]
async fn people_get_pages() {
    let (_app, _decoy, gate) = stage().await;
    for version in BOTH {
        let mut client = gate.dial().certificate(&PKI.eve).http(version).await;
        for (path, _, status) in CASES {
            let answer = client.ask(request(Method::GET, path, &[BROWSER])).await;
            // Without a token nobody is known: a step-up all the same, for the person to sign in.
            assert_eq!(answer.status.as_u16(), status, "{version:?} {path}");
            if status == 200 {
                continue;
            }
            assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{path}");
            assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{path}");
            assert_eq!(answer.header("cache-control"), "no-store");
            let page = answer.text();
            let id = answer.header("rangegate-request-id");
            assert!(page.contains(id) && page.contains("Example Corp") && page.contains("help@corp.example"), "{page}");
            // Which rule refused is for the audit log, not for whoever was refused.
            for secret in ["elsewhere", "192.0.2", "not-watched", "signed-in"] {
                assert!(!page.contains(secret), "{path} tells of `{secret}`");
            }
        }
    }
}

#[tokio::test]
async fn the_real_upstream_never_hears_of_what_the_decoy_gets() {
    let (app, decoy, gate) = stage().await;
    let authorization = format!("Bearer {}", gate.token("eve@corp.example"));
    let mut client = gate.dial().certificate(&PKI.eve).h2().await;
    let fields = [("authorization", authorization.as_str()), ("cookie", "session=secret")];
    let answer = client.ask(request(Method::GET, "/decoy", &fields)).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "a copy"));
    assert!(app.seen().is_empty());
    let seen = decoy.last();
    for name in ["authorization", "cookie", "rangegate-user", "rangegate-device", "rangegate-assertion"] {
        assert_eq!(seen.header(name), "", "the decoy was told `{name}`");
    }
}

#[tokio::test]
async fn who_is_not_addressed_is_refused_whatever_the_path() {
    let (_app, _decoy, gate) = stage().await;
    let mut client = gate.dial().sni("other.corp.example").h2().await;
    let answer = client.get("/forward").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(gate.audit_record().await["decision"]["reason"], "nothing-addressed");
}
