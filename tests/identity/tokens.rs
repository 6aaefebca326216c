//! Tokens, good and forged.

use crate::issuer::{JwksServer, SigningKey, encode, hs256, unsigned};
use crate::pki::{NOW, Wanted};
use http::{HeaderMap, HeaderValue, header};
use rangegate::evidence::{Fact, Fault, Moment, Subject};
use rangegate::sources::token::{Assurance, IssuerSettings, LastToken, TokenCache, Tokens};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

pub const ISSUER: &str = "https://id.example";
pub const SECONDS: i64 = NOW.0 / 1000;

pub fn settings(jwks: String) -> IssuerSettings {
    IssuerSettings {
        issuer: ISSUER.into(),
        audiences: vec!["rangegate".into()],
        jwks,
        jwks_ca: None,
        jwks_private: false,
        algorithms: ["ES256", "EdDSA", "RS256"].map(Into::into).to_vec(),
        types: Vec::new(),
        skew: Duration::from_secs(30),
        user_claim: "email".into(),
        groups_claim: "groups".into(),
        assurance: BTreeMap::from([("passkey".into(), Assurance { acr: vec![], amr: vec!["hwk".into()] })]),
        stale_for: Duration::from_secs(3600),
        refresh: Duration::from_secs(600),
        cooldown: Duration::from_secs(60),
    }
}

pub fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": ["other", "rangegate"], "sub": "1", "email": "ann@corp.example",
        "groups": ["staff"], "amr": ["hwk"], "iat": SECONDS - 60, "nbf": SECONDS - 60, "exp": SECONDS + 600,
    })
}

pub fn with(mut value: Value, name: &str, new: Value) -> Value {
    value[name] = new;
    value
}

/// The walk's view: tokens, one worker's cache, and the background task.
pub struct Gate {
    pub tokens: Arc<Tokens>,
    pub cache: TokenCache,
    pub last: LastToken,
    task: JoinHandle<()>,
}

impl Gate {
    pub fn start(settings: Vec<IssuerSettings>) -> Self {
        let tokens = Tokens::new(settings).expect("good settings");
        let task = tokio::spawn(Arc::clone(&tokens).run(std::future::pending()));
        Self { tokens, cache: TokenCache::default(), last: LastToken::default(), task }
    }

    pub async fn ask(&self, token: &str) -> Fact<Arc<Subject>> {
        self.ask_at(token, NOW).await
    }

    pub async fn ask_at(&self, token: &str, now: Moment) -> Fact<Arc<Subject>> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).expect("a field"));
        self.tokens.subject(&self.cache, &self.last, &headers, now).await
    }

    pub async fn fault(&self, token: &str) -> Option<Fault> {
        match self.ask(token).await {
            Fact::Invalid(fault) => Some(fault),
            Fact::Known(_) => None,
            other => panic!("neither good nor bad: {other:?}"),
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_good_token_of_every_algorithm_is_a_subject() {
    for key in [SigningKey::es256("k"), SigningKey::eddsa("k"), SigningKey::rs256("k")] {
        let server = JwksServer::serving([&key]).await;
        let gate = Gate::start(vec![settings(server.url())]);
        let token = key.token(&claims());
        let Fact::Known(subject) = gate.ask(&token).await else { panic!("{}", key.algorithm()) };
        assert_eq!((&*subject.user, &*subject.issuer), ("ann@corp.example", ISSUER));
        assert_eq!(subject.assurance, ["passkey".into()]);
        let Fact::Known(again) = gate.ask(&token).await else { panic!("{}", key.algorithm()) };
        assert!(Arc::ptr_eq(&subject, &again), "remembered, not verified again");
    }
}

#[tokio::test]
async fn no_token_is_absent_and_asks_nobody() {
    let key = SigningKey::es256("k");
    let server = JwksServer::serving([&key]).await;
    let tokens = Tokens::new(vec![settings(server.url())]).expect("good settings");
    let fact = tokens.subject(&TokenCache::default(), &LastToken::default(), &HeaderMap::new(), NOW).await;
    assert_eq!(fact, Fact::Absent);
    let mut headers = HeaderMap::new();
    headers.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer a.b.c"));
    headers.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer a.b.c"));
    let fact = tokens.subject(&TokenCache::default(), &LastToken::default(), &headers, NOW).await;
    assert_eq!(fact, Fact::Invalid(Fault::TokenRepeated));
    assert_eq!(server.requests(), 0);
}

#[test]
fn asking_costs_every_request_little_room() {
    let tokens = Tokens::new(vec![settings("http://127.0.0.1:1/".into())]).expect("good settings");
    let (cache, last, headers) = (TokenCache::default(), LastToken::default(), HeaderMap::new());
    let future = tokens.subject(&cache, &last, &headers, NOW);
    assert!(size_of_val(&future) <= 256, "{} bytes in every request's future", size_of_val(&future));
}

#[tokio::test]
async fn forgeries_of_every_kind_are_refused() {
    let (key, thief, rsa) = (SigningKey::es256("k"), SigningKey::es256("k"), SigningKey::rs256("r"));
    let server = JwksServer::serving([&key, &rsa]).await;
    let gate = Gate::start(vec![settings(server.url())]);
    let good = key.token(&claims());
    assert_eq!(gate.fault(&good).await, None);

    // Another key under the same id; a good signature under other claims; no signature, or half of one.
    assert_eq!(gate.fault(&thief.token(&claims())).await, Some(Fault::TokenForged));
    let parts: Vec<_> = good.split('.').collect();
    let other = encode(with(claims(), "email", json!("bob@corp.example")).to_string());
    assert_eq!(gate.fault(&format!("{}.{other}.{}", parts[0], parts[2])).await, Some(Fault::TokenForged));
    assert_eq!(gate.fault(&unsigned(&key.header(), &claims(), "")).await, Some(Fault::TokenForged));
    assert_eq!(gate.fault(&good[..good.len() - 2]).await, Some(Fault::TokenForged));

    // `none` in every spelling, and the public key as a shared secret.
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let header = with(key.header(), "alg", json!(none));
        for signature in ["", parts[2]] {
            let fault = gate.fault(&unsigned(&header, &claims(), signature)).await;
            assert_eq!(fault, Some(Fault::TokenAlgorithm), "{none}");
        }
    }
    for key in [&key, &rsa] {
        let header = with(key.header(), "alg", json!("HS256"));
        let confused = hs256(&key.public_bytes(), &header, &claims());
        assert_eq!(gate.fault(&confused).await, Some(Fault::TokenAlgorithm));
    }

    // An algorithm that is allowed, but not this key's.
    for stated in ["RS256", "EdDSA"] {
        let header = with(key.header(), "alg", json!(stated));
        assert_eq!(gate.fault(&key.token_with(&header, &claims())).await, Some(Fault::TokenAlgorithm), "{stated}");
    }
    let header = with(rsa.header(), "alg", json!("PS256"));
    assert_eq!(
        gate.fault(&rsa.token_with(&header, &claims())).await,
        Some(Fault::TokenAlgorithm),
        "not allowed at all"
    );
}

#[tokio::test]
async fn keys_come_from_the_key_set_and_from_nowhere_a_token_points_to() {
    let (key, thief) = (SigningKey::es256("k"), SigningKey::es256("k"));
    let server = JwksServer::serving([&key]).await;
    let lure = JwksServer::serving([&thief]).await;
    let gate = Gate::start(vec![settings(server.url())]);
    for (name, value) in [("jku", json!(lure.url())), ("x5u", json!(lure.url())), ("jwk", thief.jwk())] {
        let header = with(key.header(), name, value);
        assert_eq!(gate.fault(&thief.token_with(&header, &claims())).await, Some(Fault::TokenForged), "{name}");
        assert_eq!(gate.fault(&key.token_with(&header, &claims())).await, None, "{name} is ignored");
    }
    assert_eq!(lure.requests(), 0);
}

/// RFC 7517 section 4.5 allows it for keys of different kinds.
#[tokio::test]
async fn two_kinds_of_key_may_share_an_id() {
    let (ec, ed) = (SigningKey::es256("k"), SigningKey::eddsa("k"));
    let server = JwksServer::serving([&ec, &ed]).await;
    let gate = Gate::start(vec![settings(server.url())]);
    for key in [&ec, &ed] {
        assert_eq!(gate.fault(&key.token(&claims())).await, None, "{}", key.algorithm());
    }
    let header = with(ec.header(), "alg", json!("EdDSA"));
    assert_eq!(gate.fault(&ec.token_with(&header, &claims())).await, Some(Fault::TokenForged));
}

#[tokio::test]
async fn every_claim_that_is_wrong_has_its_own_fault() {
    let key = SigningKey::es256("k");
    let server = JwksServer::serving([&key]).await;
    let gate = Gate::start(vec![settings(server.url())]);
    for (name, value, expected) in [
        ("exp", json!(SECONDS - 30), Fault::TokenExpired),
        ("exp", json!((SECONDS + 600).to_string()), Fault::TokenClaims),
        ("exp", json!(null), Fault::TokenClaims),
        ("nbf", json!(SECONDS + 31), Fault::TokenNotYetValid),
        ("nbf", json!(4_102_444_800_i64), Fault::TokenNotYetValid),
        ("nbf", json!("0"), Fault::TokenClaims),
        ("iat", json!(SECONDS + 31), Fault::TokenNotYetValid),
        ("auth_time", json!(SECONDS + 31), Fault::TokenNotYetValid),
        ("iss", json!("https://id.example/"), Fault::TokenIssuer),
        ("iss", json!("https://evil.example"), Fault::TokenIssuer),
        ("iss", json!([ISSUER]), Fault::TokenClaims),
        ("iss", json!(null), Fault::TokenClaims),
        ("aud", json!("other"), Fault::TokenAudience),
        ("aud", json!([]), Fault::TokenAudience),
        ("aud", json!(7), Fault::TokenClaims),
        ("aud", json!(null), Fault::TokenClaims),
        ("sub", json!(null), Fault::TokenClaims),
        ("email", json!(7), Fault::TokenClaims),
        ("groups", json!({"staff": true}), Fault::TokenClaims),
    ] {
        let token = key.token(&with(claims(), name, value.clone()));
        assert_eq!(gate.fault(&token).await, Some(expected), "{name} = {value}");
    }
    for text in ["[]", "7", "\"x\"", "{", ""] {
        assert_eq!(gate.fault(&key.token_raw(text)).await, Some(Fault::TokenMalformed), "{text}");
    }
    let twice = format!(r#"{{"iss":"{ISSUER}","iss":"{ISSUER}"}}"#);
    assert_eq!(gate.fault(&key.token_raw(&twice)).await, Some(Fault::TokenMalformed));
}

#[tokio::test]
async fn headers_that_ask_for_more_or_are_of_another_type_are_refused() {
    let key = SigningKey::es256("k");
    let server = JwksServer::serving([&key]).await;
    let gate = Gate::start(vec![settings(server.url())]);
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "JWT"] {
        let token = key.token_with(&with(key.header(), "typ", json!(typ)), &claims());
        assert_eq!(gate.fault(&token).await, None, "{typ}");
    }
    for typ in [json!("dpop+jwt"), json!("logout+jwt"), json!(""), json!(null)] {
        let token = key.token_with(&with(key.header(), "typ", typ.clone()), &claims());
        assert_eq!(gate.fault(&token).await, Some(Fault::TokenType), "{typ}");
    }
    let critical = with(with(key.header(), "crit", json!(["b64"])), "b64", json!(false));
    assert_eq!(gate.fault(&key.token_with(&critical, &claims())).await, Some(Fault::TokenCritical));

    let mut lenient = settings(server.url());
    lenient.types = vec![String::new()];
    let gate = Gate::start(vec![lenient]);
    let mut untyped = key.header();
    untyped.as_object_mut().expect("an object").remove("typ");
    assert_eq!(gate.fault(&key.token_with(&untyped, &claims())).await, None);
    assert_eq!(gate.fault(&key.token(&claims())).await, Some(Fault::TokenType));
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_own_times() {
    let key = SigningKey::es256("k");
    let server = JwksServer::serving([&key]).await;
    let gate = Gate::start(vec![settings(server.url())]);
    let token = key.token(&claims());
    let at = async |seconds: i64| match gate.ask_at(&token, NOW.plus_millis(seconds * 1000)).await {
        Fact::Known(_) => None,
        Fact::Invalid(fault) => Some(fault),
        other => panic!("{other:?}"),
    };
    assert_eq!(at(0).await, None);
    assert_eq!(at(629).await, None);
    assert_eq!(at(630).await, Some(Fault::TokenExpired));
    assert_eq!(at(629).await, None);
    assert_eq!(at(-91).await, Some(Fault::TokenNotYetValid), "the clock was set back");
    assert_eq!(at(-90).await, None);
}

#[tokio::test]
async fn issuers_are_kept_apart() {
    let (one, two) = (SigningKey::es256("k"), SigningKey::es256("k"));
    let (first, second) = (JwksServer::serving([&one]).await, JwksServer::serving([&two]).await);
    let other = IssuerSettings { issuer: "https://other.example".into(), ..settings(second.url()) };
    let gate = Gate::start(vec![settings(first.url()), other]);
    let elsewhere = with(claims(), "iss", json!("https://other.example"));
    assert_eq!(gate.fault(&one.token(&claims())).await, None);
    assert_eq!(gate.fault(&two.token(&elsewhere)).await, None);
    assert_eq!(gate.fault(&one.token(&elsewhere)).await, Some(Fault::TokenForged));
    assert_eq!(gate.fault(&two.token(&claims())).await, Some(Fault::TokenForged));
}

#[tokio::test]
async fn a_token_bound_to_a_certificate_names_it_as_the_certificate_fact_does() {
    use crate::certificates::Bench;
    use rangegate::evidence::{Binding, Device, DeviceStatus};
    use rangegate::sources::binding::{binding, confirmed};

    let ca = crate::pki::Authority::new("Devices");
    let (leaf, other) = (ca.issue(&Wanted::client("laptop", 7)), ca.issue(&Wanted::client("other", 8)));
    let trust = Bench::new(&ca, &[ca.crl(&[], NOW)]).trust();
    let (certificate, another) = (trust.judge(&leaf.chain, NOW), trust.judge(&other.chain, NOW));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &leaf.chain[0]);

    let key = SigningKey::es256("k");
    let server = JwksServer::serving([&key]).await;
    let gate = Gate::start(vec![settings(server.url())]);
    let subject = gate.ask(&key.token(&with(claims(), "cnf", json!({ "x5t#S256": encode(digest) })))).await;
    let device = Fact::Known(Arc::new(Device {
        id: "laptop".into(),
        owner: Some("ann@corp.example".into()),
        class: "corporate".into(),
        status: DeviceStatus::Active,
    }));
    assert_eq!(binding(&certificate, &device, &subject), Fact::Known(Binding::TokenAndDevice));
    assert_eq!(binding(&another, &device, &subject), Fact::Known(Binding::AnotherCertificate));
    assert_eq!(confirmed(subject.clone(), &certificate), subject);
    assert_eq!(confirmed(subject, &another), Fact::Invalid(Fault::TokenAnotherCertificate));
}

#[test]
fn settings_that_would_let_anybody_in_are_refused_all_at_once() {
    let mut bad = settings("http://id.example/keys".into());
    bad.algorithms = ["HS256", "none", "ES256"].map(Into::into).to_vec();
    bad.audiences.clear();
    bad.skew = Duration::from_secs(61);
    bad.stale_for = Duration::from_secs(1);
    let faults = Tokens::new(vec![bad]).err().expect("faults");
    let settings_at_fault: Vec<_> = faults.iter().map(|fault| fault.setting).collect();
    assert_eq!(settings_at_fault, ["audiences", "skew", "refresh", "algorithms", "algorithms", "jwks"], "{faults:?}");

    let twice = vec![settings("http://127.0.0.1:1/".into()), settings("http://127.0.0.1:1/".into())];
    let faults = Tokens::new(twice).err().expect("a fault");
    assert_eq!(faults[0].problem, "issuer `https://id.example` is configured twice");
}
