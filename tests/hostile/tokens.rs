//! Tokens that prove nothing, and key sets that cannot be had.

use crate::client::{BOTH, Http, request};
use crate::gateway::{Harness, ISSUER};
use crate::issuer::{Behaviour, SigningKey, encode, hs256, unsigned};
use crate::upstream::Upstream;
use http::Method;
use serde_json::{Value, json};

const SIGNED_IN: &str = "[[resource]]\nid = \"app\"\nhosts = [\"app.corp.example\"]\nupstream = \"$app\"\n\
    require = [{ id = \"signed-in\", that = { login = { known = true } } }]\n";

fn claims(now: i64) -> Value {
    json!({
        "iss": ISSUER, "aud": "rangegate", "sub": "ann", "email": "ann@corp.example", "groups": ["staff"],
        "iat": now - 60, "auth_time": now - 60, "exp": now + 3600, "amr": ["hwk"],
    })
}

#[tokio::test]
async fn what_proves_nothing_is_asked_to_sign_in() {
    let app = Upstream::plain().await;
    let gate = Harness::builder().policy("app", SIGNED_IN, &[("app", &app)]).start().await;
    let now = rangegate::gateway::clock::now().millis() / 1000;
    let (key, stranger) = (&gate.key, SigningKey::es256("k1"));
    let claims = claims(now);
    let changed = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let header = |name: &str, value: Value| {
        let mut header = key.header();
        header[name] = value;
        header
    };
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().expect("claims").remove(name);
        claims
    };
    let good = key.token(&claims);
    let mut flipped = good.clone();
    let last = flipped.pop().expect("a signature");
    flipped.push(if last == 'A' { 'Q' } else { 'A' });
    let (message, _) = good.rsplit_once('.').expect("three parts");
    let none = json!({ "alg": "none", "typ": "at+jwt" });
    let confused = json!({ "alg": "HS256", "typ": "at+jwt", "kid": "k1" });
    let four = format!("{good}.x");
    let jwk = stranger.jwk();
    let tokens = [
        ("none", unsigned(&none, &claims, "")),
        ("None", unsigned(&json!({ "alg": "None", "typ": "at+jwt", "kid": "k1" }), &claims, "")),
        ("the public key for a secret", hs256(&key.public_bytes(), &confused, &claims)),
        ("the key set for a secret", hs256(jwk.to_string().as_bytes(), &confused, &claims)),
        ("somebody else's key", stranger.token(&claims)),
        ("a key it brings along", stranger.token_with(&header("jwk", jwk), &claims)),
        ("a key from elsewhere", stranger.token_with(&header("jku", json!("https://evil.example/jwks")), &claims)),
        ("a certificate from elsewhere", stranger.token_with(&header("x5u", json!("https://evil.example/c")), &claims)),
        ("an unknown kid", stranger.token_with(&header("kid", json!("../../etc/passwd")), &claims)),
        ("a critical extension", key.token_with(&header("crit", json!(["b64"])), &claims)),
        ("another algorithm", key.token_with(&header("alg", json!("RS256")), &claims)),
        ("another type", key.token_with(&header("typ", json!("dpop+jwt")), &claims)),
        ("expired", key.token(&changed("exp", json!(now - 1)))),
        ("never expiring", key.token(&without("exp"))),
        ("expiring in words", key.token(&changed("exp", json!("tomorrow")))),
        ("expiring in digits", key.token(&changed("exp", json!((now + 3600).to_string())))),
        ("not yet", key.token(&changed("nbf", json!(now + 600)))),
        ("for others", key.token(&changed("aud", json!("elsewhere")))),
        ("for nobody", key.token(&without("aud"))),
        ("by others", key.token(&changed("iss", json!("https://evil.example")))),
        ("by nearly us", key.token(&changed("iss", json!(format!("{ISSUER}/"))))),
        ("by nobody", key.token(&without("iss"))),
        ("a bit flipped", flipped),
        ("no signature", format!("{message}.")),
        ("two parts", message.to_owned()),
        ("four parts", four),
        ("padding", format!("{good}==")),
        ("no JSON", format!("{}.{}.{}", encode("{"), encode("}"), encode("x"))),
        (
            "deep JSON",
            key.token_raw(&format!("{{\"iss\":\"{ISSUER}\",\"x\":{}1{}}}", "[".repeat(3000), "]".repeat(3000))),
        ),
        ("twice the same claim", key.token_raw(&format!("{{\"iss\":\"{ISSUER}\",{}", &claims.to_string()[1..]))),
        ("noise", "x".repeat(5000)),
    ];
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        let answer = client.ask(request(Method::GET, "/", &[])).await;
        assert_eq!((answer.status.as_u16(), answer.header("www-authenticate").is_empty()), (401, false), "no token");
        for (what, token) in &tokens {
            let answer = client.ask(request(Method::GET, "/", &[("authorization", &format!("Bearer {token}"))])).await;
            assert_eq!(answer.status, 401, "{what}: {}", answer.text());
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what}: {:?}", answer.headers);
            assert!(!answer.text().contains(token.as_str()), "{what} was repeated");
        }
        for field in [format!("Basic {}", encode("ann:x")), format!("bearer  {good}x"), "Bearer".to_owned()] {
            let answer = client.ask(request(Method::GET, "/", &[("authorization", &field)])).await;
            assert_eq!(answer.status, 401, "{field}");
        }
        // Two of them: which one counts is nobody's to guess.
        let pair = [("authorization", &*format!("Bearer {good}")), ("authorization", "Bearer x")];
        assert!(matches!(client.ask(request(Method::GET, "/", &pair)).await.status.as_u16(), 400 | 401));
    }
    assert!(app.seen().is_empty(), "somebody was let in");
    let answer =
        gate.dial().h1().await.ask(request(Method::GET, "/", &[("authorization", &format!("Bearer {good}"))])).await;
    assert_eq!(answer.status, 200, "and the good one is good");
}

#[tokio::test]
async fn a_storm_of_unknown_kids_is_not_passed_on_to_the_issuer() {
    let app = Upstream::plain().await;
    let gate = Harness::builder().policy("app", SIGNED_IN, &[("app", &app)]).start().await;
    let now = rangegate::gateway::clock::now().millis() / 1000;
    let mut client = gate.dial().h2().await;
    for at in 0..100 {
        let mut header = gate.key.header();
        header["kid"] = json!(format!("k{}", at + 2));
        let token = format!("Bearer {}", gate.key.token_with(&header, &claims(now)));
        assert_eq!(client.ask(request(Method::GET, "/", &[("authorization", &token)])).await.status, 401);
    }
    assert!(gate.jwks.requests() <= 5, "{} fetches", gate.jwks.requests());
}

#[tokio::test]
async fn without_keys_nobody_is_known_and_nobody_waits_long() {
    let huge = format!("HTTP/1.1 200 OK\r\n\r\n{{\"keys\":[{}", "{},".repeat(2_000_000));
    let elsewhere = "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/jwks\r\nContent-Length: 0\r\n\r\n";
    for (what, behaviour) in [
        ("refuses", Behaviour::Refuse),
        ("hangs", Behaviour::Hang),
        ("is empty", Behaviour::Serve("{\"keys\":[]}".to_owned())),
        ("is no JSON", Behaviour::Serve("<html>".to_owned())),
        ("is huge", Behaviour::Raw(huge.into_bytes())),
        ("leads elsewhere", Behaviour::Raw(elsewhere.as_bytes().to_vec())),
        ("fails", Behaviour::Raw(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec())),
    ] {
        let app = Upstream::plain().await;
        let jwks = crate::issuer::JwksServer::start(behaviour).await;
        let url = jwks.url();
        let gate = Harness::builder()
            .policy("app", SIGNED_IN, &[("app", &app)])
            .settings(move |settings| settings.issuers[0].jwks = url)
            .start()
            .await;
        let token = format!("Bearer {}", gate.token("ann@corp.example"));
        let begun = std::time::Instant::now();
        let answer =
            gate.dial().http(Http::Two).await.ask(request(Method::GET, "/", &[("authorization", &token)])).await;
        assert!(matches!(answer.status.as_u16(), 401 | 503), "{what}: {answer:?}");
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{what}: {:?}", begun.elapsed());
        let record = gate.audit_record().await;
        assert_ne!(record["decision"]["outcome"], "forward", "{what}");
        assert!(app.seen().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn the_last_good_keys_stay() {
    let app = Upstream::plain().await;
    let gate = Harness::builder().policy("app", SIGNED_IN, &[("app", &app)]).start().await;
    let ask = async |token: String| {
        let fields = [("authorization", &*format!("Bearer {token}"))];
        gate.dial().h1().await.ask(request(Method::GET, "/", &fields)).await.status.as_u16()
    };
    assert_eq!(ask(gate.token("ann@corp.example")).await, 200);
    gate.jwks.behave(Behaviour::Serve("{\"keys\":[]}".to_owned()));
    // Somebody makes the gateway fetch them anew.
    let mut header = gate.key.header();
    header["kid"] = json!("unheard-of");
    let now = rangegate::gateway::clock::now().millis() / 1000;
    assert_eq!(ask(gate.key.token_with(&header, &claims(now))).await, 401);
    assert_eq!(ask(gate.token("bob@corp.example")).await, 200);
}
