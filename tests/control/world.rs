//! A gateway with a store, an authority and a socket, and the people of a small company.

use crate::client::{Answer, Client};
use crate::gateway::{Builder, Harness, PKI};
use crate::pki::{Leaf, file};
use crate::upstream::{Body, Upstream, channel, data, full, ok};
use http::{Method, Request};
use rangegate::authority::{Authority, AuthoritySettings, Passphrase, create_key_file, make};
use rangegate::gateway::clock;
use rangegate::gateway::settings::LocalSettings;
use rangegate::store::{Database, Kind, Store, StoreSettings};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const API: &str = "gate.corp.example";

const POLICY: &str = r##"
[[resource]]
id = "payroll"
hosts = ["payroll.corp.example"]
upstream = "$app"
require = [{ id = "local", that = { cidr = "127.0.0.0/8" } }]

  [[resource.route]]
  match = ["GET /runs/**"]
  require = [{ id = "approver", that = { grant = "payroll-approver" } }]

  [[resource.route]]
  match = ["GET /twice/**"]
  require = [{ id = "two", that = { grant = "two-of-them" } }]

[[role]]
id = "payroll-approver"
opens = "payroll"
longest = "1h"
reason-pattern = "PAY-####*"
approvers = { group = "payroll-leads" }

[[role]]
id = "two-of-them"
opens = "payroll"
longest = "1h"
reason = "optional"
approvers = { group = "payroll-leads" }
approvals = 2
"##;

/// Ann works, Bob and Eve lead; `ann.admin` is Ann's second account.
pub const PEOPLE: &str = "user,person,aliases,groups,manager\n\
    ann@corp.example,p-ann,ann.lee@corp.example,staff,eve@corp.example\n\
    ann.admin@corp.example,p-ann,,payroll-leads,\n\
    bob@corp.example,p-bob,,staff;payroll-leads,eve@corp.example\n\
    eve@corp.example,p-eve,,staff;payroll-leads,\n";

pub struct World {
    pub gate: Harness,
    _app: Upstream,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub async fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let app = Upstream::http1(|request| async move {
            match request.uri().path() {
                path if path.ends_with("/slow") => http::Response::new(never_ending()),
                _ => ok("payroll"),
            }
        })
        .await;
        let builder = Harness::builder()
            .policy("payroll", POLICY, &[("app", &app)])
            .policy("api", include_str!("../../policies/api.toml"), &[])
            .settings(|settings| {
                let at = settings.devices.as_ref().and_then(|path| path.parent()).expect("a directory").to_owned();
                let store = StoreSettings::of(Database::Sqlite(at.join("store.db")));
                settings.store = Some(StoreSettings { timeout: Duration::from_secs(1), ..store });
                let path = at.join("rangegate.sock");
                settings.local = Some(LocalSettings { path, mode: 0o600, people: Vec::new() });
                let authority = authority(&at);
                for listener in &mut settings.listeners {
                    listener.trust.authorities.push(authority.certificate.clone());
                    listener.trust.crls.push(authority.revocation_list.clone());
                }
                settings.authority = Some(authority);
            });
        let gate = change(builder).start().await;
        Self { gate, _app: app }
    }

    /// With everybody imported.
    pub async fn peopled() -> Self {
        let world = Self::new().await;
        world.people().await;
        world
    }

    /// Imports everybody.
    pub async fn people(&self) {
        let (status, told) = self.owner("POST", "/v1/identities", Sent::Text("text/csv", PEOPLE)).await;
        assert_eq!((status, &told["added"]), (200, &json!(4)), "{told}");
    }

    /// Whether everything in the store is what `rangegate store check` takes it for.
    pub async fn is_whole(&self) {
        let database = Database::Sqlite(self.gate.path("store.db"));
        let store = Store::open(&StoreSettings::of(database)).await.expect("the store");
        let checked = store.check(clock::now()).await.expect("an answer");
        assert!(checked.faults.is_empty(), "{:#?}", checked.faults);
        for kind in [Kind::Identity, Kind::Device, Kind::Invitation, Kind::Grant] {
            assert!(checked.kinds.contains_key(&kind), "there was no {} to look at", kind.word());
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.gate.path("rangegate.sock")
    }

    /// Asks over the Unix socket, with a real curl: status and JSON.
    pub async fn owner(&self, method: &str, path: &str, sent: Sent<'_>) -> (u16, Value) {
        let (status, body, _) = self.owner_with(method, path, sent, &[]).await;
        (status, body)
    }

    /// The same, with these fields; also gives the `ETag`.
    pub async fn owner_with(&self, method: &str, path: &str, sent: Sent<'_>, fields: &[&str]) -> (u16, Value, String) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "600", "--request", method, "--include"]);
        command.arg("--unix-socket").arg(self.socket());
        for field in fields {
            command.args(["--header", field]);
        }
        match sent {
            Sent::Nothing => {}
            Sent::Json(value) => {
                command.args(["--header", "Content-Type: application/json", "--data-binary", &value.to_string()]);
            }
            Sent::Text(kind, text) => {
                command.args(["--header", &format!("Content-Type: {kind}"), "--header", "Expect:"]);
                let body = self.gate.path("body");
                std::fs::write(&body, text).expect("a file");
                command.arg("--data-binary").arg(format!("@{}", body.display()));
            }
        }
        command.arg(format!("http://localhost{path}"));
        let output =
            tokio::task::spawn_blocking(move || command.output().expect("curl is installed")).await.expect("it ran");
        let text = String::from_utf8(output.stdout).expect("text");
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap_or_default().to_owned();
        (status, serde_json::from_str(body).unwrap_or(Value::Null), etag)
    }

    /// A person on their device, talking to the API over TLS.
    pub async fn person(&self, user: &str, leaf: &Leaf) -> Person<'_> {
        let client = self.gate.dial().sni(API).certificate(leaf).h1().await;
        Person { client, token: self.gate.bound_token(user, leaf), world: self }
    }

    pub async fn ann(&self) -> Person<'_> {
        self.person("ann@corp.example", &PKI.ann).await
    }

    pub async fn bob(&self) -> Person<'_> {
        self.person("bob@corp.example", &PKI.bob).await
    }

    /// On a device of the store: the laptop of the registry is watched.
    pub async fn eve(&self) -> Person<'_> {
        self.registered("eve@corp.example").await
    }

    /// Somebody with a device that is registered for them now.
    pub async fn registered(&self, user: &str) -> Person<'_> {
        let certificates = [crate::gateway::fingerprint(&PKI.stranger)];
        let device = json!({ "class": "corporate", "owner": user, "certificates": certificates });
        let (status, device) = self.owner("POST", "/v1/devices", Sent::Json(device)).await;
        assert_eq!(status, 201, "{device}");
        self.person(user, &PKI.stranger).await
    }

    /// What the audit has of this action, once it is there.
    pub async fn admin_lines(&self, action: &str, count: usize) -> Vec<Value> {
        self.gate.lines_where(count, |line| line["kind"] == "admin" && line["action"] == action).await
    }
}

/// What goes along with a request.
pub enum Sent<'a> {
    Nothing,
    Json(Value),
    Text(&'a str, &'a str),
}

pub struct Person<'w> {
    pub client: Client,
    pub token: String,
    pub world: &'w World,
}

impl Person<'_> {
    pub async fn ask(&mut self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.ask_with(method, path, body, &[]).await
    }

    pub async fn ask_with(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
        fields: &[(&str, &str)],
    ) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {}", self.token));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(full(body.to_string())),
            None => request.body(full("")),
        };
        self.client.ask(request.expect("a request")).await
    }

    /// Status and JSON.
    pub async fn get(&mut self, path: &str) -> (u16, Value) {
        read(&self.ask(Method::GET, path, None).await)
    }

    pub async fn post(&mut self, path: &str, body: Value) -> (u16, Value) {
        read(&self.ask(Method::POST, path, Some(body)).await)
    }

    /// Asks for a role, and gives the grant's id.
    pub async fn asks_for(&mut self, role: &str) -> String {
        let (status, grant) = self.post("/v1/grants", json!({ "role": role, "reason": "PAY-1234: run 7" })).await;
        assert_eq!(status, 201, "{grant}");
        grant["id"].as_str().expect("an id").to_owned()
    }

    /// What payroll answers to a request that needs the role. 0: nothing, for the role ended while it was under way.
    pub async fn uses_payroll(&self, leaf: &Leaf) -> u16 {
        let mut client = self.world.gate.dial().sni("payroll.corp.example").certificate(leaf).h1().await;
        let request = Request::get("/runs/7").header("authorization", format!("Bearer {}", self.token));
        let answer = client.send(request.body(full("")).expect("a request")).await;
        answer.map_or(0, |answer| answer.status().as_u16())
    }
}

pub fn read(answer: &Answer) -> (u16, Value) {
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

/// An answer that has begun and does not end.
pub fn never_ending() -> Body {
    let (sender, body) = channel();
    tokio::spawn(async move {
        // Until nobody reads any more.
        let _ = sender.send(data("first")).await;
        sender.closed().await;
    });
    body
}

/// A new authority in this directory, with its first list.
pub fn authority(at: &Path) -> AuthoritySettings {
    let (now, year) = (clock::now(), Duration::from_secs(365 * 86_400));
    let made = make("Devices of Corp", Default::default(), year, now).expect("an authority");
    let passphrase = Passphrase::new("correct horse battery staple").expect("a passphrase");
    let settings = AuthoritySettings {
        certificate: file(at, "authority.pem", &made.certificate_pem),
        key: at.join("authority.key"),
        passphrase: Some(file(at, "passphrase", "correct horse battery staple\n")),
        revocation_list: at.join("authority.crl"),
        lifetime: Duration::from_secs(86_400),
        list_lifetime: Duration::from_secs(86_400),
    };
    create_key_file(&settings.key, &made.key, &passphrase).expect("a key file");
    let authority = Authority::load(&settings, &passphrase).expect("an authority");
    let list = authority.revocation_list(&[], 1, now, settings.list_lifetime).expect("a list");
    list.publish(&settings.revocation_list).expect("published");
    settings
}
