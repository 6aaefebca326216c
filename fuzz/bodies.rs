//! What each fuzz target does with its bytes. Also run by `tests/fuzz_smoke.rs` on every ordinary test run.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};
use rangegate::authority::{Authority, Curve, make, request};
use rangegate::evidence::{Fact, Moment};
use rangegate::gateway::guard::framing::Framing;
use rangegate::gateway::proxy_protocol::{self, Proxied, Step};
use rangegate::gateway::sanitize::{Arrival, client, host, path, sanitize as read_head};
use rangegate::policy::source::Source;
use rangegate::policy::{Context, Policy, diagnostic};
use rangegate::sources::jwks::KeySet;
use rangegate::sources::token::{IssuerSettings, LastToken, TokenCache, Tokens};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

/// An HTTP/1 connection: the first byte says in what pieces it comes.
pub fn guard(data: &[u8]) {
    let Some((size, bytes)) = data.split_first() else { return };
    let mut whole = Framing::new(1024, 20);
    let at_once = whole.advance(bytes);
    if let Ok(passed) = at_once {
        assert!(passed <= bytes.len());
    }
    let mut cut = Framing::new(1024, 20);
    let (mut passed, mut shown) = (0, 0);
    let in_pieces = loop {
        if shown == bytes.len() {
            break Ok(passed);
        }
        shown = (shown + usize::from(*size).max(1)).min(bytes.len());
        match cut.advance(&bytes[passed..shown]) {
            Ok(more) => passed += more,
            Err(violation) => break Err(violation.malformed),
        }
    };
    assert_eq!(at_once.as_ref().map_err(|violation| violation.malformed).copied(), in_pieces);
    if let Err(violation) = at_once
        && let Some((_, head)) = violation.head
    {
        let mut strict = Framing::new(usize::MAX, usize::MAX);
        assert_eq!(strict.advance(&head), Ok(head.len()), "{}", head.escape_ascii());
    }
}

/// A head, one part a line: the TLS name, the version (`0`, `1` or `2`), method, target, then `name: value` lines.
pub fn sanitize(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut text = || lines.next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let (sni, version, method, target) = (text(), text(), text(), text());
    let _ = path::canonical(target);
    let version = match version {
        "0" => Version::HTTP_10,
        "2" => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    let Ok(mut request) = Request::builder().version(version).method(method).uri(target).body(()) else { return };
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = line.get(colon + 1..).unwrap_or_default().trim_ascii_start();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value)) {
            request.headers_mut().append(name, value);
        }
    }
    let forwarders = ["192.0.2.0/24".parse().expect("a network")];
    let arrival = Arrival {
        sni: (!sni.is_empty()).then_some(sni),
        sni_is_canonical: host::Authority::is_canonical(sni),
        local: false,
        peer: "192.0.2.1".parse().expect("an address"),
        proxied: None,
        forwarders: &forwarders,
        violation: None,
        header_count: 100,
        header_bytes: 16 * 1024,
    };
    let head = read_head(String::new(), request.into_parts().0, &arrival);
    if head.request.malformed.is_some() {
        return;
    }
    let canonical = &head.request.path;
    assert_eq!(path::canonical(canonical).as_ref(), Ok(canonical));
    assert!(!canonical.contains("//") && canonical.split('/').all(|segment| segment != "." && segment != ".."));
    assert_eq!(head.target.path(), canonical);
    assert!(sni.is_empty() || sni == head.request.host);
}

/// The beginning of a connection from a balancer.
pub fn proxy_header(data: &[u8]) {
    let mut taken = 0;
    let proxied = loop {
        match proxy_protocol::examine(&data[..taken]) {
            Ok(Step::Done(proxied)) => break proxied,
            Ok(Step::Read(more)) if more > 0 && taken + more <= data.len() => taken += more,
            Ok(Step::Read(more)) => return assert!(more > 0, "never asks for nothing"),
            Err(_) => return,
        }
    };
    // The rest as what a forwarder says, which counts only when the header's source is listed.
    let mut headers = HeaderMap::new();
    for line in data[taken..].split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append("x-forwarded-for", value.clone());
            headers.append("forwarded", value);
        }
    }
    let peer = "198.51.100.1".parse().expect("an address");
    let unlisted = client::client_address(peer, Some(&proxied), &[], &headers);
    match &proxied {
        Proxied::Client { source, .. } => assert_eq!(unlisted.address, Fact::Known(source.ip().to_canonical())),
        Proxied::Local => assert_eq!(unlisted.address, Fact::Known(peer)),
        Proxied::Unknown => assert!(unlisted.address.known().is_none()),
    }
    let everybody = ["0.0.0.0/0".parse().expect("a network"), "::/0".parse().expect("a network")];
    let _ = client::client_address(peer, Some(&proxied), &everybody, &headers);
}

/// An `Authorization` value when no key is known, and a key set.
pub fn token(data: &[u8]) {
    use jsonwebtoken::Algorithm;
    let _ = KeySet::read(data, &[Algorithm::ES256, Algorithm::RS256, Algorithm::PS256, Algorithm::EdDSA]);
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append("authorization", value);
        }
    }
    let (runtime, tokens) = tokens();
    let _context = runtime.enter();
    let cache = TokenCache::new(8);
    let last = LastToken::default();
    let mut asking = std::pin::pin!(tokens.subject(&cache, &last, &headers, Moment(1_800_000_000_000)));
    // Once is enough: what comes later waits for keys that never come.
    if let Poll::Ready(fact) = asking.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        assert!(fact.known().is_none(), "nobody vouched for it");
    }
}

fn tokens() -> &'static (tokio::runtime::Runtime, Arc<Tokens>) {
    static TOKENS: OnceLock<(tokio::runtime::Runtime, Arc<Tokens>)> = OnceLock::new();
    TOKENS.get_or_init(|| {
        let issuer = IssuerSettings {
            issuer: "https://login.example".into(),
            audiences: vec!["rangegate".into()],
            jwks: "http://127.0.0.1:9/jwks".into(),
            jwks_ca: None,
            jwks_private: false,
            algorithms: vec!["ES256".into(), "RS256".into()],
            types: Vec::new(),
            skew: Duration::from_secs(60),
            user_claim: "email".into(),
            groups_claim: "groups".into(),
            assurance: Default::default(),
            stale_for: Duration::from_secs(3600),
            refresh: Duration::from_secs(600),
            cooldown: Duration::from_secs(60),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        (runtime, Tokens::new(vec![issuer]).unwrap_or_else(|_| panic!("the issuer is well configured")))
    })
}

/// A request for a certificate, PEM or DER, and what is issued when it is a good one.
pub fn csr(data: &[u8]) {
    let Ok(key) = request::read(data) else { return };
    assert!(data.len() <= request::LONGEST);
    assert_eq!(request::read(data), Ok(key.clone()));
    let now = Moment(1_800_000_000_000);
    let authority = authority(now);
    let (one, other) = (authority.issue(&key, "d_1", now), authority.issue(&key, "d_1", now));
    let (one, other) = (one.expect("issued"), other.expect("issued"));
    assert_eq!(one.spki_sha256, key.digest());
    assert_eq!((&one.san, one.not_after), (&other.san, other.not_after));
    assert_ne!(one.serial, other.serial);
}

fn authority(now: Moment) -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let year = Duration::from_secs(365 * 86_400);
        let made = make("fuzz", Curve::P256, year, now).expect("made");
        Authority::assemble(made.certificate_pem.as_bytes(), made.key, Duration::from_secs(86_400)).expect("assembled")
    })
}

/// One policy file.
pub fn policy_source(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let sources = [Source::new("fuzz.toml", text)];
    if let Err(faults) = Policy::compile(&sources, &Context::default()) {
        assert!(diagnostic::has_errors(&faults));
        assert!(!diagnostic::render(&faults, &sources, false).is_empty());
    }
}
