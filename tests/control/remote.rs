//! The commands from another machine: over TLS, with this device's certificate and its person's token.

use crate::commands::{rangegate, write};
use crate::gateway::{PKI, fingerprint};
use crate::pki::{Leaf, Wanted};
use crate::world::{Sent, World};
use aws_lc_rs::digest;
use rangegate::gateway::clock;
use rangegate::gateway::settings::ServerCertificate;
use serde_json::{Value, json};

/// A gateway that goes by `localhost`, for that is where the commands find it.
pub async fn world() -> World {
    let world = World::with(|builder| {
        let policy = include_str!("../../policies/api.toml").replace("gate.corp.example", "localhost");
        builder.policy("api", &policy, &[]).required().settings(|settings| {
            let at = settings.devices.as_ref().and_then(|path| path.parent()).expect("a directory").to_owned();
            let leaf = PKI.servers.issue(&Wanted::server(&["localhost"], 3).around(clock::now()));
            let chain = crate::pki::file(&at, "localhost.pem", leaf.chain_pem());
            let key = crate::pki::file(&at, "localhost.key", leaf.key_pem());
            for listener in &mut settings.listeners {
                listener.certificates.push(ServerCertificate { chain: chain.clone(), key: key.clone() });
            }
        })
    })
    .await;
    let kiosk = json!({ "id": "kiosk-1", "class": "kiosk", "keys": ["ab".repeat(32)] });
    assert_eq!(world.owner("POST", "/v1/devices", Sent::Json(kiosk)).await.0, 201);
    world
}

/// Somebody at their own device, which is registered.
pub struct Remote<'w> {
    world: &'w World,
    /// What every command of theirs ends in.
    pub ends: Vec<String>,
}

impl<'w> Remote<'w> {
    pub async fn new(world: &'w World, name: &str, group: &str, serial: u64) -> Self {
        let leaf = PKI.devices.issue(&Wanted::client(name, serial).around(clock::now()));
        let user = format!("{name}@corp.example");
        let device = json!({ "id": format!("{name}-laptop"), "class": "corporate", "owner": user, "certificates": [fingerprint(&leaf)] });
        let (status, told) = world.owner("POST", "/v1/devices", Sent::Json(device)).await;
        assert_eq!(status, 201, "{told}");
        let file = |end: &str, text: &str| write(&world.gate.path(&format!("{name}.{end}")), text);
        let (cert, key) = (file("pem", &leaf.chain_pem()), file("key", &leaf.key_pem()));
        let token = file("token", &token(world, &user, group, &leaf));
        let ends = ["--cert", &cert, "--key", &key, "--token-file", &token].map(str::to_owned).to_vec();
        Self { world, ends }
    }

    pub async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let ends: Vec<&str> = self.ends.iter().map(String::as_str).collect();
        at(self.world, "direct", "servers.pem", args, &ends).await
    }
}

/// One command at this listener, whose authority is said to be this one.
pub async fn at(world: &World, listener: &str, ca: &str, args: &[&str], ends: &[&str]) -> (i32, String, String) {
    let url = format!("https://localhost:{}", world.gate.address(listener).port());
    let ca = world.gate.path(ca);
    let way = ["--url", &url, "--ca", ca.to_str().expect("utf-8")];
    let all: Vec<&str> = args.iter().chain(&way).chain(ends).copied().collect();
    rangegate(&all).await
}

/// Bound to the certificate, and signed in a minute ago with a passkey.
fn token(world: &World, user: &str, group: &str, leaf: &Leaf) -> String {
    let bytes = digest::digest(&digest::SHA256, leaf.chain.first().expect("a leaf"));
    world.gate.token_with(user, |claims| {
        claims["groups"] = json!([group]);
        claims["cnf"] = json!({ "x5t#S256": crate::issuer::encode(bytes) });
    })
}

#[tokio::test]
async fn an_operator_administers_and_an_auditor_only_looks() {
    let world = world().await;
    let olga = Remote::new(&world, "olga", "rangegate-operators", 31).await;
    let otto = Remote::new(&world, "otto", "rangegate-auditors", 32).await;
    for person in [&olga, &otto] {
        let (exit, out, err) = person.run(&["device", "list"]).await;
        assert_eq!(exit, 0, "{err}");
        assert!(out.contains("kiosk-1") && out.contains("olga-laptop") && out.contains("otto-laptop"), "{out}");
    }
    let (exit, out, err) = olga.run(&["device", "suspend", "kiosk-1", "--reason", "lobby closed", "--json"]).await;
    let kiosk: Value = serde_json::from_str(&out).unwrap_or_default();
    assert_eq!((exit, &kiosk["status"]), (0, &json!("suspended")), "{out}{err}");
    let lines = world.admin_lines("device-suspend", 1).await;
    assert_eq!(lines[0]["actor"]["user"], "olga@corp.example", "{lines:?}");
    assert_eq!(lines[0]["actor"]["device"], "olga-laptop");

    let (exit, out, err) = otto.run(&["device", "resume", "kiosk-1"]).await;
    assert_eq!((exit, &*out), (1, ""), "{err}");
    assert!(err.contains("may not") && err.contains("in the audit log: "), "{err}");
    let (_, kiosk) = world.owner("GET", "/v1/devices/kiosk-1", Sent::Nothing).await;
    assert_eq!(kiosk["status"], "suspended");

    // The gateway's no is 1, what was typed is 2.
    for (args, expected, told) in [
        (&["device", "show", "nobodys"][..], 1, "there is no device of this id"),
        (&["device", "transfer", "kiosk-1", "--to", "", "--reason", "x"][..], 1, "`to` is empty"),
        (&["device", "list", "--status", "lost"][..], 2, "`status` cannot be `lost`"),
        (&["device", "suspend"][..], 2, "Usage"),
    ] {
        let (exit, _, err) = olga.run(args).await;
        assert_eq!((exit, err.contains(told)), (expected, true), "{args:?}: {err}");
    }
}

#[tokio::test]
async fn who_is_not_known_or_does_not_know_the_gateway_is_told_what_to_do() {
    let world = world().await;
    let olga = Remote::new(&world, "olga", "rangegate-operators", 33).await;
    let list = ["device", "list"];
    // Asked for and not shown: the request is decided. Required and not shown: there is no request.
    let (exit, _, err) = at(&world, "direct", "servers.pem", &list, &[]).await;
    assert_eq!((exit, err.contains("say who you are: `--token-file`")), (1, true), "{err}");
    let (exit, _, err) = at(&world, "required", "servers.pem", &list, &[]).await;
    assert_eq!((exit, err.contains("--cert")), (3, true), "{err}");
    let ends: Vec<&str> = olga.ends.iter().map(String::as_str).collect();
    let (exit, _, err) = at(&world, "required", "servers.pem", &list, &ends).await;
    assert_eq!(exit, 0, "{err}");

    // Another authority's gateway, another name's, and nobody's.
    let (exit, _, err) = at(&world, "direct", "devices.pem", &list, &ends).await;
    assert_eq!(
        (exit, err.contains("no authority that is trusted here"), err.contains("--ca")),
        (3, true, true),
        "{err}"
    );
    let port = world.gate.address("direct").port();
    let elsewhere = |url: String| {
        let ca = world.gate.path("servers.pem").to_str().expect("utf-8").to_owned();
        let ends = &ends;
        async move { rangegate(&[&["device", "list", "--url", &url, "--ca", &ca], &ends[..]].concat()).await }
    };
    let (exit, _, err) = elsewhere(format!("https://127.0.0.1:{port}")).await;
    assert_eq!((exit, err.contains("has no certificate for `127.0.0.1`")), (3, true), "{err}");
    let (exit, _, err) = elsewhere("https://localhost:1".to_owned()).await;
    assert_eq!((exit, err.contains("cannot connect to `localhost`")), (3, true), "{err}");
    // Without `--ca` the system's authorities count, of which the gateway's is none.
    let url = format!("https://localhost:{port}");
    let (exit, _, err) = rangegate(&[&["device", "list", "--url", &url], &ends[..]].concat()).await;
    assert!((exit, err.contains("--ca")) == (3, true) || exit == 2, "{err}");

    // What is wrong here is told before anybody is asked.
    let mixed = world.gate.path("ann.key");
    let mixed = [ends[0], ends[1], "--key", mixed.to_str().expect("utf-8")];
    let (exit, _, err) = at(&world, "direct", "servers.pem", &list, &mixed).await;
    assert_eq!((exit, err.contains("certificate and key")), (2, true), "{err}");
    let gone = [&ends[..5], &["/none"]].concat();
    let (exit, _, err) = at(&world, "direct", "servers.pem", &list, &gone).await;
    assert_eq!((exit, err.contains("the token `/none` cannot be read")), (2, true), "{err}");
    let (exit, _, err) = at(&world, "direct", "servers.pem", &list, &ends[..2]).await;
    assert_eq!((exit, err.contains("--key")), (2, true), "{err}");
    let (exit, _, err) = rangegate(&["grant", "list", "--url", "http://gate.corp.example"]).await;
    assert_eq!((exit, err.contains("is not an https URL")), (2, true), "{err}");
}
