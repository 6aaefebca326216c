//! Files that a configuration names and that are replaced while it stays: certificates and authorities for upstreams,
//! authorities of key sets' servers. Followed without a signal, by real exchanges; what is faulty changes nothing.

use crate::client::{Client, request};
use crate::gateway::{Harness, PATIENCE, PKI, fingerprint, open_to_all};
use crate::issuer::{Behaviour, JwksServer, key_set};
use crate::pki::{Authority, Leaf, Wanted, file};
use crate::upstream::Upstream;
use http::Method;
use rangegate::gateway::clock;
use rangegate::store::Digest;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// Over TLS, answers every request with the fingerprint of the certificate that the connection was opened with.
async fn who_are_you() -> Upstream {
    let mut roots = RootCertStore::empty();
    roots.add(PKI.servers.certificate()).expect("a root");
    let provider = Arc::clone(&PKI.provider);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let server = PKI.servers.issue(&Wanted::server(&["127.0.0.1"], 201).around(clock::now()));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.expect("a verifier"))
        .with_single_cert(server.chain.clone(), server.key_der())
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Upstream::raw(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut tls) = acceptor.accept(stream).await else { return };
            let shown = tls.get_ref().1.peer_certificates().expect("one is required")[0].clone();
            let shown = Digest::of(&shown).hex();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{shown}", shown.len());
            let (mut head, mut piece) = (Vec::new(), [0; 1024]);
            while let Ok(read @ 1..) = tls.read(&mut piece).await {
                head.extend_from_slice(&piece[..read]);
                if head.ends_with(b"\r\n\r\n") {
                    head.clear();
                    if tls.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
    })
    .await
}

fn certificate(serial: u64) -> Leaf {
    PKI.servers.issue(&Wanted::client("gateway", serial).around(clock::now()))
}

fn put(gate: &Harness, leaf: &Leaf) {
    file(&gate.path(""), "ours.key", leaf.key_pem());
    file(&gate.path(""), "ours.pem", leaf.chain_pem());
}

/// Asks until the answer is this; every answer before it must be `meanwhile`.
async fn becomes(client: &mut Client, meanwhile: (u16, &str), expected: (u16, &str)) {
    let begun = Instant::now();
    loop {
        let answer = client.get("/").await;
        let is = |(status, text): (u16, &str)| answer.status == status && (status != 200 || answer.text() == text);
        if is(expected) {
            return;
        }
        assert!(is(meanwhile), "neither {meanwhile:?} nor {expected:?}: {answer:?}");
        assert!(begun.elapsed() < PATIENCE, "still {answer:?}, not {expected:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn refused(gate: &Harness, count: usize, told: &str) {
    let lines = gate.lines_where(count, |line| line["event"] == "source-rejected").await;
    assert!(lines.iter().any(|line| line["reason"].as_str().is_some_and(|why| why.contains(told))), "{lines:#?}");
}

#[tokio::test]
async fn certificates_and_authorities_for_upstreams_are_followed() {
    for exception in [false, true] {
        let app = who_are_you().await;
        let url = format!("https://{}", app.address);
        let (first, second) = (certificate(202), certificate(203));
        let (origin, ours) = (url.clone(), (first.key_pem(), first.chain_pem()));
        let gate = Harness::builder()
            .policy("app", &open_to_all("app", &url), &[])
            .settings(move |settings| {
                let at = settings.emergency.parent().expect("a directory").to_owned();
                let pair = (file(&at, "ours.pem", ours.1), file(&at, "ours.key", ours.0));
                if exception {
                    let mut own = settings.upstream.clone();
                    own.client_certificate = Some(pair);
                    settings.upstream_exceptions = vec![(origin, own)];
                } else {
                    settings.upstream.client_certificate = Some(pair);
                }
            })
            .start()
            .await;
        let (one, two) = (fingerprint(&first), fingerprint(&second));
        let mut client = gate.dial().h2().await;
        becomes(&mut client, (200, &one), (200, &one)).await;
        put(&gate, &second);
        becomes(&mut client, (200, &one), (200, &two)).await;
        // A pair may be seen half replaced, and is then refused until it is whole.
        let before = gate.lines().iter().filter(|line| line["event"] == "source-rejected").count();

        std::fs::write(gate.path("ours.pem"), "no certificate").expect("a file");
        refused(&gate, before + 1, "ours.pem").await;
        becomes(&mut client, (200, &two), (200, &two)).await;
        put(&gate, &second);
        gate.metrics_show("rangegate_reloads_total{kind=\"upstreams\",result=\"accepted\"} 2").await;

        // Nobody vouches for the upstream any more, and then somebody does again.
        file(&gate.path(""), "servers.pem", Authority::new("Elsewhere").pem());
        becomes(&mut client, (200, &two), (502, "")).await;
        file(&gate.path(""), "servers.pem", PKI.servers.pem());
        becomes(&mut client, (502, ""), (200, &two)).await;
    }
}

/// A gateway whose issuer's key set comes over TLS, from a server that nobody vouches for yet.
async fn unvouched() -> (Harness, JwksServer, Upstream) {
    let server = PKI.servers.issue(&Wanted::server(&["127.0.0.1"], 204).around(clock::now()));
    let server = JwksServer::start_tls(Behaviour::Refuse, server.chain.clone(), server.key_der()).await;
    let app = Upstream::plain().await;
    let policy =
        open_to_all("app", "$app").replace("cidr = \"127.0.0.0/8\"", "login = { user = \"ann@corp.example\" }");
    let address = server.address;
    let gate = Harness::builder()
        .policy("app", &policy, &[("app", &app)])
        .settings(move |settings| {
            let at = settings.emergency.parent().expect("a directory").to_owned();
            settings.issuers[0].jwks = format!("https://{address}/jwks");
            settings.issuers[0].jwks_ca = Some(file(&at, "login.pem", PKI.devices.pem()));
        })
        .start()
        .await;
    server.behave(Behaviour::Serve(key_set([&gate.key])));
    (gate, server, app)
}

/// Whether the token's signature is verified.
async fn believed(gate: &Harness) -> bool {
    let token = format!("Bearer {}", gate.token("ann@corp.example"));
    let answer = gate.dial().h2().await.ask(request(Method::GET, "/", &[("authorization", &token)])).await;
    answer.status == 200
}

async fn is_believed_soon(gate: &Harness) {
    let begun = Instant::now();
    while !believed(gate).await {
        assert!(begun.elapsed() < PATIENCE, "{:#?}", gate.lines());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn another_authority_of_a_key_sets_server_holds_with_the_configuration_read_again() {
    let (gate, _server, _app) = unvouched().await;
    assert!(!believed(&gate).await);
    // The settings are the same as before.
    gate.reload("configuration", || drop(file(&gate.path(""), "login.pem", PKI.servers.pem()))).await;
    is_believed_soon(&gate).await;
}

#[tokio::test]
async fn another_authority_of_a_key_sets_server_is_noticed() {
    let (gate, server, _app) = unvouched().await;
    assert!(!believed(&gate).await);
    file(&gate.path(""), "login.pem", PKI.servers.pem());
    gate.lines_where(1, |line| line["event"] == "reload" && line["detail"] == "issuers").await;
    is_believed_soon(&gate).await;
    // Without an authority the keys stay, and so does whoever vouched for them.
    file(&gate.path(""), "login.pem", "no certificate");
    refused(&gate, 1, "login.pem").await;
    assert!(believed(&gate).await);
    // The keys outlive the change of authority while their server is away.
    server.behave(Behaviour::Refuse);
    file(&gate.path(""), "login.pem", PKI.servers.pem());
    gate.lines_where(2, |line| line["event"] == "reload" && line["detail"] == "issuers").await;
    assert!(believed(&gate).await);
}
