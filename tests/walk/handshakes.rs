//! Names and client certificates: asked for and required, good and bad.

use crate::client::{BOTH, BROWSER, request};
use crate::gateway::{Harness, PKI};
use crate::pki::Leaf;
use crate::upstream::Upstream;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LAPTOPS: &str = r#"
[[resource]]
id = "app"
hosts = ["app.corp.example"]
upstream = "$app"
require = [{ id = "laptop", that = { device = { known = true } } }]
"#;

fn bad_certificates() -> [(&'static Leaf, &'static str); 4] {
    [
        (&PKI.expired, "certificate-expired"),
        (&PKI.revoked, "certificate-revoked"),
        (&PKI.wrong_purpose, "certificate-wrong-purpose"),
        (&PKI.foreign, "certificate-unknown-issuer"),
    ]
}

#[tokio::test]
async fn a_name_the_gateway_does_not_have_ends_the_handshake() {
    let app = Upstream::plain().await;
    let gate = Harness::open(&app).await;
    for dial in [gate.dial().no_sni(), gate.dial().sni("elsewhere.example"), gate.dial().sni("a.b.corp.example")] {
        for dial in [dial.clone(), dial.tls12()] {
            assert!(dial.tls().await.is_err());
        }
    }
    let refused = gate.lines_of("connection", 6).await;
    for line in &refused {
        assert_eq!(line["reason"], "server-name-unknown", "{line:#}");
        assert_eq!((&line["listener"], &line["address"]), (&"direct".into(), &"127.0.0.1".into()));
    }
    gate.metrics_show("rangegate_refused_connections_total{reason=\"server-name-unknown\"} 6").await;
}

#[tokio::test]
async fn where_certificates_are_asked_for_a_bad_one_gets_a_page_and_a_record() {
    let app = Upstream::plain().await;
    let gate = Harness::builder().policy("app", LAPTOPS, &[("app", &app)]).start().await;
    for version in BOTH {
        for (leaf, _) in bad_certificates() {
            let mut client = gate.dial().certificate(leaf).http(version).await;
            let page = client.ask(request(Method::GET, "/", &[BROWSER])).await;
            assert_eq!(page.status, 403);
            assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        }
        assert_eq!(gate.dial().http(version).await.get("/").await.status, 403, "without a certificate");
        assert_eq!(gate.dial().certificate(&PKI.stranger).http(version).await.get("/").await.status, 403);
        assert_eq!(gate.dial().certificate(&PKI.ann).http(version).await.get("/").await.status, 200);
    }
    assert_eq!(app.seen().len(), 2);
    let records = gate.audit_records(14).await;
    for half in records.chunks(7) {
        for (record, (_, fault)) in half.iter().zip(bad_certificates()) {
            assert_eq!(record["evidence"]["certificate"]["invalid"], fault, "{record:#}");
            assert_eq!(record["decision"]["reason"], fault, "{record:#}");
        }
        assert_eq!(half[4]["decision"]["reason"], "certificate-absent");
        assert_eq!(half[5]["decision"]["reason"], "device-absent");
        assert_eq!(half[6]["decision"]["outcome"], "forward");
    }
}

#[tokio::test]
async fn where_certificates_are_required_a_bad_one_fails_the_handshake_and_is_recorded() {
    let app = Upstream::plain().await;
    let gate = Harness::builder().app(&app).required().start().await;
    let dial = gate.dial_to("required").alpn(&["http/1.1"]);
    let mut told = 0;
    for dial in [dial.clone(), dial.tls12()] {
        let bad = bad_certificates().map(|(leaf, _)| dial.clone().certificate(leaf));
        for dial in bad.into_iter().chain([dial.clone()]) {
            assert!(refused(&dial).await);
            // One after the other: two cores would write in any order.
            told += 1;
            gate.lines_of("connection", told).await;
        }
        assert!(!refused(&dial.certificate(&PKI.ann)).await);
    }
    let lines = gate.lines_of("connection", 10).await;
    for half in lines.chunks(5) {
        for (line, (leaf, fault)) in half.iter().zip(bad_certificates()) {
            assert_eq!((&line["reason"], &line["listener"]), (&fault.into(), &"required".into()), "{line:#}");
            assert_eq!(line["certificate"], crate::gateway::fingerprint(leaf), "{line:#}");
        }
        assert_eq!(half[4]["reason"], "certificate-missing");
    }
    gate.audit_records(2).await;
}

/// Whether the client is turned away before HTTP. In TLS 1.3 it notices when it reads.
async fn refused(dial: &crate::client::Dial) -> bool {
    let Ok(mut tls) = dial.tls().await else { return true };
    if tls.write_all(b"GET / HTTP/1.1\r\nHost: app.corp.example\r\nConnection: close\r\n\r\n").await.is_err() {
        return true;
    }
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await.is_err() || answer.is_empty()
}

#[tokio::test]
async fn a_certificate_revoked_meanwhile_ends_the_open_connection_and_is_refused_on_the_next() {
    let app = Upstream::plain().await;
    let gate = Harness::builder().policy("app", LAPTOPS, &[("app", &app)]).start().await;
    let mut client = gate.dial().certificate(&PKI.ann).h2().await;
    assert_eq!(client.get("/").await.status, 200);
    gate.revoke(&[PKI.ann.serial]).await;
    crate::gateway::eventually("the connection is closed", || client.is_closed()).await;
    assert_eq!(gate.dial().certificate(&PKI.ann).h2().await.get("/").await.status, 403);
    assert_eq!(gate.audit_records(2).await[1]["decision"]["reason"], "certificate-revoked");
}

#[tokio::test]
async fn a_token_on_another_laptop_is_worth_nothing() {
    let app = Upstream::plain().await;
    let policy = LAPTOPS.replace("device = { known = true }", "login = { bound = true }");
    let gate = Harness::builder().policy("app", &policy, &[("app", &app)]).start().await;
    let authorization = format!("Bearer {}", gate.bound_token("ann@corp.example", &PKI.ann));
    for version in BOTH {
        let ask = || request(Method::GET, "/", &[("authorization", &authorization)]);
        let own = gate.dial().certificate(&PKI.ann).http(version).await.ask(ask()).await;
        let stolen = gate.dial().certificate(&PKI.bob).http(version).await.ask(ask()).await;
        assert_eq!((own.status.as_u16(), stolen.status.as_u16()), (200, 401), "{version:?}");
    }
    let records = gate.audit_records(4).await;
    assert_eq!(records[1]["evidence"]["subject"]["invalid"], "token-another-certificate");
}
