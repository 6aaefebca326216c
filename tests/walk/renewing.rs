//! Files that a configuration names and that are replaced while it stays, by real exchanges.

use crate::client::request;
use crate::gateway::{Harness, PATIENCE, PKI, open_to_all};
use crate::issuer::{Behaviour, JwksServer, key_set};
use crate::pki::{Wanted, file};
use crate::upstream::Upstream;
use http::Method;
use rangegate::gateway::clock;
use std::time::Instant;

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
