//! Key sets: rotation, storms of unknown keys, and servers that mean no good.

use crate::issuer::{Behaviour, JwksServer, SigningKey, key_set};
use crate::pki::{Authority, Wanted, file};
use crate::tokens::{Gate, claims, settings, with};
use rangegate::evidence::{Fact, Fault};
use rangegate::gateway::clock;
use rangegate::sources::token::{IssuerSettings, Tokens};
use serde_json::json;
use std::time::{Duration, Instant};

const UNAVAILABLE: Fact<()> = Fact::Unavailable(Fault::KeysUnavailable);
const UNKNOWN: Fact<()> = Fact::Invalid(Fault::TokenUnknownKey);
const GOOD: Fact<()> = Fact::Known(());

async fn ask(gate: &Gate, token: &str) -> Fact<()> {
    gate.ask(token).await.map(|_| ())
}

/// Waits until the condition holds; the test fails by never ending, which the runner's limit reports.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    while !condition().await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_new_key_is_fetched_when_the_first_token_signed_with_it_comes() {
    let (old, new) = (SigningKey::es256("2025"), SigningKey::eddsa("2026"));
    let server = JwksServer::serving([&old]).await;
    let gate = Gate::start(vec![settings(server.url())]);
    let (by_old, by_new) = (old.token(&claims()), new.token(&claims()));
    assert_eq!(ask(&gate, &by_old).await, GOOD);
    server.serve([&old, &new]);
    assert_eq!(ask(&gate, &by_new).await, GOOD);
    assert_eq!(ask(&gate, &by_old).await, GOOD);
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_key_that_was_taken_away_verifies_nothing_more_remembered_or_not() {
    let (old, new) = (SigningKey::es256("2025"), SigningKey::es256("2026"));
    let server = JwksServer::serving([&old]).await;
    let gate = Gate::start(vec![IssuerSettings { cooldown: Duration::ZERO, ..settings(server.url()) }]);
    let by_old = old.token(&claims());
    assert_eq!(ask(&gate, &by_old).await, GOOD);
    server.serve([&new]);
    assert_eq!(ask(&gate, &new.token(&claims())).await, GOOD);
    assert_eq!(ask(&gate, &by_old).await, UNKNOWN);
}

#[tokio::test]
async fn a_storm_of_unknown_keys_causes_few_fetches_and_waits_little() {
    let key = SigningKey::es256("k");
    let server = JwksServer::serving([&key]).await;
    let gate = Gate::start(vec![settings(server.url())]);
    assert_eq!(ask(&gate, &key.token(&claims())).await, GOOD);
    let begun = Instant::now();
    for n in 0..100 {
        let header = with(key.header(), "kid", json!(format!("unknown-{n}")));
        assert_eq!(ask(&gate, &key.token_with(&header, &claims())).await, UNKNOWN);
    }
    assert!(server.requests() <= 2, "{} fetches", server.requests());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn requests_that_come_together_share_one_fetch() {
    let (old, new) = (SigningKey::es256("2025"), SigningKey::es256("2026"));
    let server = JwksServer::serving([&old]).await;
    let gate = std::sync::Arc::new(Gate::start(vec![settings(server.url())]));
    assert_eq!(ask(&gate, &old.token(&claims())).await, GOOD);
    server.serve([&new]);
    let mut requests = tokio::task::JoinSet::new();
    for n in 0..100 {
        let (gate, token) = (std::sync::Arc::clone(&gate), new.token(&with(claims(), "jti", json!(n))));
        requests.spawn(async move { gate.ask(&token).await.map(|_| ()) });
    }
    for fact in requests.join_all().await {
        assert_eq!(fact, GOOD);
    }
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn what_is_no_key_set_never_replaces_one() {
    let key = SigningKey::es256("k");
    let server = JwksServer::serving([&key]).await;
    let gate = Gate::start(vec![IssuerSettings { cooldown: Duration::ZERO, ..settings(server.url()) }]);
    let token = key.token(&claims());
    assert_eq!(ask(&gate, &token).await, GOOD);
    let answer = |head: &str, body: &[u8]| Behaviour::Raw([head.as_bytes(), b"\r\n\r\n", body].concat());
    let metadata = "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data\r\nContent-Length: 0";
    let many = format!(r#"{{"keys":[{}]}}"#, vec![key.jwk().to_string(); 101].join(","));
    let hostile = [
        Behaviour::Serve(String::new()),
        Behaviour::Serve(r#"{"keys":[]}"#.into()),
        Behaviour::Serve(r#"{"keys":[{"kty":"oct","k":"AAAA","kid":"k"}]}"#.into()),
        Behaviour::Serve("<html>back soon</html>".into()),
        Behaviour::Serve(format!("{}1", "[".repeat(100_000))),
        Behaviour::Serve(many),
        Behaviour::Serve(" ".repeat(1024 * 1024 + 1)),
        answer("HTTP/1.1 500 Oh\r\nContent-Length: 2", b"{}"),
        answer(metadata, b""),
        answer("HTTP/1.1 200 OK\r\nContent-Length: 1000000", b"{\"keys\":["),
        answer("garbage", b""),
        Behaviour::Raw(Vec::new()),
        Behaviour::Refuse,
    ];
    for (n, behaviour) in hostile.into_iter().enumerate() {
        let asked = server.requests();
        let answers = !matches!(behaviour, Behaviour::Refuse);
        server.behave(behaviour);
        // Unknown keys have the set fetched: the hostile answer is looked at, and the good set stays.
        let header = with(key.header(), "kid", json!("unknown"));
        assert_eq!(ask(&gate, &key.token_with(&header, &claims())).await, UNKNOWN, "case {n}");
        assert_eq!(server.requests() > asked, answers, "case {n}");
        assert_eq!(ask(&gate, &key.token(&with(claims(), "jti", json!(n)))).await, GOOD, "case {n}");
        assert_eq!(ask(&gate, &token).await, GOOD, "case {n}");
    }
}

#[tokio::test]
async fn without_a_first_key_set_nobody_is_known_and_the_wait_is_short() {
    let key = SigningKey::es256("k");
    let server = JwksServer::start(Behaviour::Hang).await;
    let gate = Gate::start(vec![settings(server.url())]);
    let begun = Instant::now();
    assert_eq!(ask(&gate, &key.token(&claims())).await, UNAVAILABLE);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(gate.tokens.without_keys().collect::<Vec<_>>(), [crate::tokens::ISSUER]);
}

#[tokio::test]
async fn a_server_that_comes_up_late_is_found_without_being_asked() {
    let key = SigningKey::es256("k");
    let server = JwksServer::start(Behaviour::Refuse).await;
    let often = IssuerSettings { refresh: Duration::from_millis(5), ..settings(server.url()) };
    let gate = Gate::start(vec![often]);
    assert_eq!(ask(&gate, &key.token(&claims())).await, UNAVAILABLE);
    server.serve([&key]);
    until(async || gate.tokens.without_keys().next().is_none()).await;
    assert_eq!(ask(&gate, &key.token(&claims())).await, GOOD);
}

#[tokio::test]
async fn keys_go_stale_for_new_and_remembered_tokens_alike() {
    let key = SigningKey::es256("k");
    let server = JwksServer::serving([&key]).await;
    let brief = Duration::from_millis(50);
    let gate = Gate::start(vec![IssuerSettings { refresh: brief, stale_for: brief, ..settings(server.url()) }]);
    let token = key.token(&claims());
    until(async || ask(&gate, &token).await == GOOD).await;
    server.behave(Behaviour::Refuse);
    until(async || ask(&gate, &token).await == UNAVAILABLE).await;
    assert_eq!(ask(&gate, &key.token(&with(claims(), "jti", json!(2)))).await, UNAVAILABLE);
    server.serve([&key]);
    until(async || ask(&gate, &token).await == GOOD).await;
}

#[tokio::test]
async fn a_reload_keeps_the_keys_and_forgets_what_was_verified_with_them() {
    let key = SigningKey::es256("k");
    let server = JwksServer::serving([&key]).await;
    let mut gate = Gate::start(vec![settings(server.url())]);
    let token = key.token(&claims());
    assert_eq!(ask(&gate, &token).await, GOOD);
    server.behave(Behaviour::Refuse);

    // The worker's cache stays; what it remembers does not hold under settings for another audience.
    for (audience, expected) in [("elsewhere", Fact::Invalid(Fault::TokenAudience)), ("rangegate", GOOD)] {
        let changed = IssuerSettings { audiences: vec![audience.into()], ..settings(server.url()) };
        let tokens = Tokens::new(vec![changed]).expect("good settings");
        tokens.inherit(&gate.tokens);
        gate.tokens = tokens;
        assert_eq!(ask(&gate, &token).await, expected, "{audience}");
    }
    let moved = Tokens::new(vec![settings("http://127.0.0.1:1/elsewhere".into())]).expect("good settings");
    moved.inherit(&gate.tokens);
    assert_eq!(moved.without_keys().count(), 1, "keys of another place are not its keys");
}

#[tokio::test]
async fn over_https_the_server_must_be_the_one_it_says() {
    let (ca, other) = (Authority::new("Servers"), Authority::new("Elsewhere"));
    let leaf = ca.issue(&Wanted::server(&["127.0.0.1"], 1).around(clock::now()));
    let key = SigningKey::es256("k");
    let server = JwksServer::start_tls(Behaviour::Serve(key_set([&key])), leaf.chain.clone(), leaf.key_der()).await;
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("https://{}/jwks", server.address);
    for (authority, expected) in [(&ca, GOOD), (&other, UNAVAILABLE)] {
        let path = file(directory.path(), "ca.pem", authority.pem());
        let gate = Gate::start(vec![IssuerSettings { jwks_ca: Some(path), ..settings(url.clone()) }]);
        assert_eq!(ask(&gate, &key.token(&claims())).await, expected);
    }
    let named = IssuerSettings { jwks_ca: Some(directory.path().join("absent")), ..settings(url) };
    let fault = Tokens::new(vec![named]).err().expect("a fault")[0].to_string();
    assert!(fault.contains("cannot read authorities from"), "{fault}");
}
