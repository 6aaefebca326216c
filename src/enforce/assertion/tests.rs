use super::*;
use crate::evidence::{Certificate, Device, DeviceStatus, Fact, Fault, Protocol, Request, Subject};
use crate::policy::{Mode, Origin, Outcome, Reason, Resource, Scheme, Sensitivity};
use crate::store::private_file::{self, PUBLIC, SECRET};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

const NOW: Moment = Moment(1_900_000_000_500);
const LIFETIME_MS: i64 = 60_000;

fn settings(key: Option<PathBuf>) -> AssertionSettings {
    AssertionSettings {
        header: "rangegate-assertion".into(),
        issuer: "https://gate.corp.example".into(),
        lifetime: Duration::from_millis(LIFETIME_MS as u64),
        key,
    }
}

fn subject() -> Subject {
    Subject {
        issuer: "https://id.corp.example".into(),
        id: "8f2c".into(),
        user: "ann@corp.example".into(),
        groups: vec!["payroll".into(), "staff".into()],
        assurance: vec!["passkey".into()],
        acr: Some("phr".into()),
        amr: Vec::new(),
        authenticated: Some(NOW.plus_millis(-90_000)),
        expires: NOW.plus_millis(3_600_000),
        bound_to: None,
    }
}

fn device(id: &str) -> Device {
    Device { id: id.into(), owner: None, class: "corporate".into(), status: DeviceStatus::Active }
}

fn certificate() -> Certificate {
    Certificate {
        sha256: "ab".repeat(32).into(),
        spki_sha256: "cd".repeat(32).into(),
        serial: "1f".into(),
        subject: "CN=ann-laptop".into(),
        issuer: "CN=devices".into(),
        sans: Vec::new(),
        not_before: Moment(0),
        not_after: NOW.plus_millis(86_400_000),
        class: None,
    }
}

fn evidence() -> Evidence {
    let request = Request {
        id: "01K7Q4W8ZC3M9T2XVB6HNE5RDA".into(),
        protocol: Protocol::Http11,
        method: "GET".into(),
        host: "payroll.corp.example".into(),
        path: "/".into(),
        upgrade: None,
        malformed: None,
    };
    Evidence {
        at: NOW,
        certificate: Fact::Known(Arc::new(certificate())),
        device: Fact::Known(Arc::new(device("ann-laptop"))),
        subject: Fact::Known(Arc::new(subject())),
        binding: Fact::Known(Binding::DeviceOnly),
        ..Evidence::absent(request)
    }
}

fn decision(resource: &str, policy: &str) -> Decision {
    let upstream = Origin { scheme: Scheme::Http, host: "10.0.4.7".into(), port: 80 };
    let resource = Resource {
        id: resource.into(),
        mode: Mode::Enforce,
        sensitivity: Sensitivity::High,
        owner: None,
        upstreams: Arc::new([upstream]),
        decoy: None,
    };
    Decision {
        policy: policy.into(),
        resource: Some(Arc::new(resource)),
        outcome: Outcome::Forward,
        would: Outcome::Forward,
        reason: Reason::AllMet,
        findings: Vec::new(),
    }
}

/// As an upstream does it: the key by `kid` from the published set, algorithm, issuer and audience fixed.
fn verify(token: &HeaderValue, jwks: &[u8]) -> Result<Value, String> {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let token = token.to_str().unwrap();
    let keys: JwkSet = serde_json::from_slice(jwks).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!(header.typ.as_deref(), Some("rangegate-assertion+jwt"));
    let key = keys.find(&header.kid.unwrap()).ok_or("unknown key")?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["payroll"]);
    validation.set_issuer(&["https://gate.corp.example"]);
    // The tests' time is not the machine's.
    validation.validate_exp = false;
    jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation)
        .map(|token| token.claims)
        .map_err(|why| why.to_string())
}

fn signer() -> Signer {
    Signer::load(&settings(None)).unwrap()
}

#[test]
fn an_upstream_verifies_it_by_the_published_keys() {
    let signer = signer();
    let value = signer.assertion(&mut AssertionCache::new(8), &evidence(), &decision("payroll", "00ff"), NOW).assertion;
    assert!(value.is_sensitive());
    let claims = verify(&value, &signer.jwks()).unwrap();
    let expected = serde_json::json!({
        "iss": "https://gate.corp.example", "aud": "payroll", "sub": "8f2c",
        "iat": 1_900_000_000, "exp": 1_900_000_060,
        "idp": "https://id.corp.example", "user": "ann@corp.example", "groups": ["payroll", "staff"],
        "acr": "phr", "auth_time": 1_899_999_910, "device": "ann-laptop", "binding": "device-only",
        "resource": "payroll", "policy": "00ff",
    });
    assert_eq!(claims, expected);
}

#[test]
fn it_does_not_verify_by_another_signers_keys_nor_when_changed() {
    let (signer, other) = (signer(), signer());
    let value = signer.assertion(&mut AssertionCache::new(8), &evidence(), &decision("payroll", "00ff"), NOW).assertion;
    assert_eq!(verify(&value, &other.jwks()).unwrap_err(), "unknown key");
    let text = value.to_str().unwrap();
    let (claims, signature) = text.rsplit_once('.').unwrap();
    let changed = format!("{}A.{signature}", &claims[..claims.len() - 1]);
    assert!(verify(&HeaderValue::from_str(&changed).unwrap(), &signer.jwks()).is_err());
}

#[test]
fn nobody_known_means_nobody_named() {
    let signer = signer();
    let mut evidence = evidence();
    evidence.subject = Fact::Invalid(Fault::TokenForged);
    evidence.device = Fact::Absent;
    evidence.binding = Fact::Absent;
    let value = signer.assertion(&mut AssertionCache::new(8), &evidence, &decision("payroll", "00ff"), NOW).assertion;
    let claims = verify(&value, &signer.jwks()).unwrap();
    for claim in ["sub", "user", "groups", "idp", "acr", "auth_time", "device", "binding"] {
        assert!(claims.get(claim).is_none(), "{claim}");
    }
}

#[test]
fn it_outlives_neither_token_nor_certificate() {
    let signer = signer();
    let exp = |evidence: &Evidence, now| {
        let value =
            signer.assertion(&mut AssertionCache::new(8), evidence, &decision("payroll", "00ff"), now).assertion;
        verify(&value, &signer.jwks()).unwrap()["exp"].as_i64().unwrap()
    };
    let mut token = evidence();
    token.subject = Fact::Known(Arc::new(Subject { expires: NOW.plus_millis(7_900), ..subject() }));
    assert_eq!(exp(&token, NOW), 1_900_000_008, "rounded down");
    let mut worn = evidence();
    worn.certificate = Fact::Known(Arc::new(Certificate { not_after: NOW.plus_millis(4_000), ..certificate() }));
    assert_eq!(exp(&worn, NOW), 1_900_000_004);
}

#[test]
fn it_is_said_again_for_half_its_life_and_then_anew() {
    let (signer, mut cache) = (signer(), AssertionCache::new(8));
    let decision = decision("payroll", "00ff");
    let mut say = |after| signer.assertion(&mut cache, &evidence(), &decision, NOW.plus_millis(after));
    let first = say(0);
    assert_eq!(say(LIFETIME_MS / 2 - 1), first);
    let second = say(LIFETIME_MS / 2);
    assert_ne!(second, first);
    assert_eq!(say(LIFETIME_MS / 2 + 1), second);
    assert_ne!(say(0), second, "the clock stepped back");
}

#[test]
fn it_is_not_said_again_once_the_token_is_over() {
    let (signer, mut cache) = (signer(), AssertionCache::new(8));
    let mut evidence = evidence();
    evidence.subject = Fact::Known(Arc::new(Subject { expires: NOW.plus_millis(5_000), ..subject() }));
    let decision = decision("payroll", "00ff");
    let first = signer.assertion(&mut cache, &evidence, &decision, NOW);
    assert_eq!(signer.assertion(&mut cache, &evidence, &decision, NOW.plus_millis(4_999)), first);
    let late = signer.assertion(&mut cache, &evidence, &decision, NOW.plus_millis(5_000));
    assert_ne!(late, first);
    assert_eq!(verify(&late.assertion, &signer.jwks()).unwrap()["exp"], 1_900_000_005);
}

#[test]
fn nothing_is_shared_between_premises() {
    let (signer, mut cache) = (signer(), AssertionCache::new(64));
    let base = evidence();
    let mut variants = vec![(base.clone(), decision("payroll", "00ff"))];
    let mut vary = |change: &dyn Fn(&mut Evidence)| {
        let mut evidence = base.clone();
        change(&mut evidence);
        variants.push((evidence, decision("payroll", "00ff")));
    };
    let subjects: [&dyn Fn(&mut Subject); 7] = [
        &|subject| subject.id = "9a01".into(),
        &|subject| subject.issuer = "https://other.example".into(),
        &|subject| subject.user = "bob@corp.example".into(),
        &|subject| subject.groups = vec!["staff".into()],
        &|subject| subject.acr = None,
        &|subject| subject.authenticated = None,
        &|subject| subject.expires = NOW.plus_millis(30_000),
    ];
    for change in subjects {
        let mut subject = subject();
        change(&mut subject);
        vary(&|evidence| evidence.subject = Fact::Known(Arc::new(subject.clone())));
    }
    vary(&|evidence| evidence.subject = Fact::Absent);
    vary(&|evidence| evidence.device = Fact::Known(Arc::new(device("bob-laptop"))));
    vary(&|evidence| evidence.device = Fact::Absent);
    vary(&|evidence| evidence.binding = Fact::Known(Binding::TokenAndDevice));
    vary(&|evidence| evidence.certificate = Fact::Absent);
    variants.push((base.clone(), decision("wiki", "00ff")));
    variants.push((base, decision("payroll", "00fe")));

    let mut said: Vec<HeaderValue> = Vec::new();
    for (evidence, decision) in &variants {
        let value = signer.assertion(&mut cache, evidence, decision, NOW).assertion;
        assert!(!said.contains(&value), "variant {} shares another's assertion", said.len());
        said.push(value);
    }
}

#[test]
fn equal_premises_from_other_allocations_share() {
    let (signer, mut cache) = (signer(), AssertionCache::new(8));
    let first = signer.assertion(&mut cache, &evidence(), &decision("payroll", "00ff"), NOW);
    assert_eq!(signer.assertion(&mut cache, &evidence(), &decision("payroll", "00ff"), NOW), first);
}

#[test]
fn the_cache_stays_within_its_bound() {
    let signer = signer();
    for capacity in [0, 1, 3] {
        let mut cache = AssertionCache::new(capacity);
        for i in 0..10 {
            let mut evidence = evidence();
            evidence.subject = Fact::Known(Arc::new(Subject { id: format!("{i}").into(), ..subject() }));
            signer.assertion(&mut cache, &evidence, &decision("payroll", "00ff"), NOW);
            assert!(cache.len() <= capacity);
        }
    }
}

#[test]
fn a_reload_keeps_the_old_key_published_and_the_made_key_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let key = |name: &str| {
        let path = directory.path().join(name);
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        private_file::create(&path, pair.serialize_pem().as_bytes(), SECRET).unwrap();
        path
    };
    let mut cache = AssertionCache::new(8);
    let decision = decision("payroll", "00ff");
    let made = signer();
    let by_made = made.assertion(&mut cache, &evidence(), &decision, NOW).assertion;

    let same = made.reload(&settings(None)).unwrap();
    assert_eq!(same.jwks(), made.jwks());

    let first = same.reload(&settings(Some(key("first.pem")))).unwrap();
    let by_first = first.assertion(&mut cache, &evidence(), &decision, NOW).assertion;
    assert_ne!(by_first, by_made, "a signer does not say again what another said");
    verify(&by_made, &first.jwks()).unwrap();
    verify(&by_first, &first.jwks()).unwrap();

    let mut last = first;
    for name in ["2", "3", "4", "5"] {
        last = last.reload(&settings(Some(key(name)))).unwrap();
    }
    let published: JwkSet = serde_json::from_slice(&last.jwks()).unwrap();
    assert_eq!(published.keys.len(), 1 + RETIRED);
}

#[test]
fn the_key_id_is_the_thumbprint() {
    let set: Value = serde_json::from_slice(&signer().jwks()).unwrap();
    let key = &set["keys"][0];
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, key["x"], key["y"]);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes());
    assert_eq!(key["kid"], BASE64URL.encode(digest));
    assert_eq!((&key["use"], &key["alg"], &key["kty"]), (&"sig".into(), &"ES256".into(), &"EC".into()));
    assert!(key.get("d").is_none(), "never the private part");
}

#[test]
fn a_bad_key_file_is_named_with_what_helps() {
    let directory = tempfile::tempdir().unwrap();
    let fault = |content: &str| {
        let path = directory.path().join("key.pem");
        private_file::replace(&path, content.as_bytes(), SECRET).unwrap();
        Signer::load(&settings(Some(path))).unwrap_err().to_string()
    };
    assert!(fault("").contains("key.pem` holds no PKCS#8 private key in PEM\n  help: "));
    let wrong = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    assert!(fault(&wrong).contains("key.pem` is not an ECDSA P-256 key\n  help: "));
    let missing = Signer::load(&settings(Some(directory.path().join("none.pem")))).unwrap_err().to_string();
    assert!(missing.starts_with("the assertion key `"), "{missing}");
    let open = directory.path().join("open.pem");
    private_file::create(&open, b"", PUBLIC).unwrap();
    let open = Signer::load(&settings(Some(open))).unwrap_err().to_string();
    assert!(open.contains("open.pem`: others may read it (mode 0644): `chmod 0600 "), "{open}");
}
