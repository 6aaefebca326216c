//! What operators' machines ask.

use crate::client::BOTH;
use crate::gateway::{Harness, PKI};
use crate::pki::HOUR;
use crate::upstream::{Upstream, drain, ok};
use rangegate::gateway::clock;
use std::collections::BTreeMap;

/// Families by name with their type, and samples by name and labels.
struct Exposition {
    families: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

/// Reads OpenMetrics text strictly enough to notice what a scraper would.
fn parse(text: &str) -> Exposition {
    let (mut families, mut samples) = (BTreeMap::new(), BTreeMap::new());
    let body = text.strip_suffix("# EOF\n").expect("ends as OpenMetrics ends");
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "`{name}` is declared twice");
            continue;
        }
        if line.starts_with("# HELP ") || line.starts_with("# UNIT ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: `{line}`"));
        let name = series.split('{').next().expect("a name");
        let family =
            families.keys().filter(|family| name.starts_with(family.as_str())).max_by_key(|family| family.len());
        let kind = &families[family.unwrap_or_else(|| panic!("`{name}` is declared nowhere"))];
        match kind.as_str() {
            "counter" => assert!(name.ends_with("_total"), "{line}"),
            "histogram" => assert!(["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end)), "{line}"),
            "gauge" => {}
            other => panic!("`{other}`: {line}"),
        }
        let value = value.parse().unwrap_or_else(|_| panic!("no number: `{line}`"));
        assert!(samples.insert(series.to_owned(), value).is_none(), "`{series}` stands twice");
    }
    Exposition { families, samples }
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    // It reads before it answers: an upload that is still on its way counts as far as it came.
    let app = Upstream::http1(|request| async {
        let _ = drain(request.into_body()).await;
        ok("hello")
    })
    .await;
    let gate = Harness::open(&app).await;
    let mut clients = Vec::new();
    for version in BOTH {
        let mut client = gate.dial().certificate(&PKI.ann).http(version).await;
        client.get("/").await;
        client.post("/", vec![7; 1000]).await;
        client.get("/a//b").await;
        clients.push(client);
    }
    assert!(gate.dial().sni("elsewhere.example").tls().await.is_err());
    gate.audit_records(6).await;
    gate.lines_of("connection", 1).await;
    let (status, text) = gate.operations("/metrics").await;
    assert_eq!(status, 200);
    let Exposition { families, samples } = parse(&text);
    let policy = gate.audit_records(6).await[0]["decision"]["policy"].as_str().expect("a version").to_owned();
    for (series, value) in [
        ("rangegate_requests_total{resource=\"app\",outcome=\"forward\",reason=\"all-met\"}", 4.0),
        ("rangegate_request_ends_total{end=\"complete\"}", 6.0),
        ("rangegate_decision_seconds_count", 6.0),
        ("rangegate_upstream_seconds_count{resource=\"app\"}", 4.0),
        ("rangegate_body_bytes_total{resource=\"app\",direction=\"in\"}", 2000.0),
        ("rangegate_body_bytes_total{resource=\"app\",direction=\"out\"}", 20.0),
        ("rangegate_client_rtt_seconds_count{height=\"tcp\"}", 6.0),
        ("rangegate_refused_connections_total{reason=\"server-name-unknown\"}", 1.0),
        ("rangegate_connections", 2.0),
        ("rangegate_live_streams", 0.0),
        ("rangegate_audit_queue_records", 0.0),
        ("rangegate_audit_write_failures_total", 0.0),
        (&format!("rangegate_upstream_healthy{{origin=\"{}\"}}", app.url()), 1.0),
        (&format!("rangegate_policy_info{{version=\"{policy}\"}}"), 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "`{series}` in\n{text}");
    }
    let left = samples["rangegate_revocation_list_remaining_seconds{listener=\"direct\"}"];
    assert!((0.0..=86_400.0).contains(&left), "{left}");
    assert!(families.len() >= 15, "{families:?}");
    assert!(!text.contains("ann"), "no people in metrics");
}

#[tokio::test]
async fn every_database_that_is_named_has_a_series_whether_it_is_there_or_not() {
    let app = Upstream::plain().await;
    let built = rangegate::gateway::clock::now().millis() as u64 / 1000;
    let somewhere = crate::mmdb::nested("US", "", "", 1.0, 1.0);
    let good = crate::mmdb::Writer::both_families(built).with("127.0.0.0/8", &somewhere).bytes();
    let bytes = good.clone();
    let gate = Harness::builder()
        .app(&app)
        .settings(move |settings| {
            let at = |name: &str| settings.emergency.with_file_name(name);
            std::fs::write(at("good.mmdb"), bytes).expect("a file");
            std::fs::write(at("broken.mmdb"), "nothing of the kind").expect("a file");
            settings.geo.places = vec![at("good.mmdb"), at("broken.mmdb")];
            settings.geo.asns = vec![at("missing.mmdb")];
        })
        .start()
        .await;
    let series =
        |name: &str, what: &str| format!("rangegate_geo_database_{what}{{database=\"{}\"}}", gate.path(name).display());
    let (_, text) = gate.operations("/metrics").await;
    let Exposition { samples, .. } = parse(&text);
    for (name, loaded) in [("good.mmdb", 1.0), ("broken.mmdb", 0.0), ("missing.mmdb", 0.0)] {
        assert_eq!(samples.get(&series(name, "loaded")), Some(&loaded), "{text}");
        assert_eq!(samples.contains_key(&series(name, "age_seconds")), loaded == 1.0, "{name} in\n{text}");
    }
    let rejected = |line: &serde_json::Value| line["event"] == "source-rejected";
    let before = gate.lines().into_iter().filter(rejected).count();
    std::fs::write(gate.path("missing.new"), good).expect("a file");
    std::fs::rename(gate.path("missing.new"), gate.path("missing.mmdb")).expect("renamed");
    gate.metrics_show(&format!("{} 1", series("missing.mmdb", "loaded"))).await;
    // The broken one is told of again, and would pass for the new configuration's.
    gate.lines_where(before + 1, rejected).await;
    // What is named no more has no series.
    gate.reconfigure(|settings| settings.geo.asns.clear()).await;
    let (_, text) = gate.operations("/metrics").await;
    assert!(!text.contains("missing.mmdb"), "{text}");
}

#[tokio::test]
async fn alive_ready_and_nothing_else() {
    let app = Upstream::plain().await;
    let gate = Harness::open(&app).await;
    assert_eq!(gate.operations("/healthz").await, (200, "alive\n".to_owned()));
    assert_eq!(gate.operations("/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(gate.operations("/").await.0, 404);
    assert_eq!(gate.operations("/metrics/..").await.0, 404);
    // None of it stands on the way in.
    for path in ["/healthz", "/readyz", "/metrics", "/assertion-keys"] {
        assert_eq!(gate.dial().sni("nobody.corp.example").h1().await.get(path).await.status, 403);
    }
}

#[tokio::test]
async fn a_revocation_list_that_has_run_out_is_told() {
    let app = Upstream::plain().await;
    let now = clock::now();
    let over = PKI.devices.crl_between(&[], now.plus_millis(-2 * HOUR), now.plus_millis(-HOUR));
    let gate = Harness::builder()
        .app(&app)
        .settings(move |settings| std::fs::write(&settings.listeners[0].trust.crls[0], over).expect("written"))
        .start()
        .await;
    let told = gate.lines_where(1, |line| line["event"] == "source-expired").await;
    assert_eq!(told[0]["kind"], "alert");
    let reason = told[0]["reason"].as_str().expect("words");
    assert!(reason.contains("devices.crl`: the revocation list expired at "), "{reason}");
    let left = async || {
        let (_, text) = gate.operations("/metrics").await;
        parse(&text).samples["rangegate_revocation_list_remaining_seconds{listener=\"direct\"}"]
    };
    assert!(left().await <= -3600.0);
    gate.revoke(&[]).await;
    assert!(left().await > 0.0);
    // One that runs out while the gateway runs.
    let short = PKI.devices.crl_between(&[], now.plus_millis(-HOUR), clock::now().plus_millis(2000));
    gate.reload("certificates", || std::fs::write(gate.path("devices.crl"), short).expect("written")).await;
    gate.lines_where(2, |line| line["event"] == "source-expired").await;
}
