//! A whole gateway on loopback for one test: files, keys, issuer, listeners on free ports, and its audit log.
//!
//! A test crate that includes this includes `pki`, `issuer`, `upstream` and `client` beside it, under these names.
//! Every gateway has its own directory and ports; certificates are shared by all tests of a process. Everything stops
//! when the harness is dropped.

#![allow(dead_code, reason = "each test crate uses a part")]

use crate::client::{Curl, Dial};
use crate::issuer::{JwksServer, SigningKey};
use crate::pki::{Authority, Leaf, Wanted, file};
use crate::upstream::Upstream;
use aws_lc_rs::digest;
use rangegate::audit::{AuditSettings, WhenUnwritable};
use rangegate::enforce::assertion::AssertionSettings;
use rangegate::enforce::upstream::UpstreamSettings;
use rangegate::evidence::Moment;
use rangegate::gateway::settings::{ClientCertificates, HeaderSettings, Limits, ListenerSettings, ServerCertificate};
use rangegate::gateway::{ConfigurationFile, Gateway, Running, Settings, clock};
use rangegate::portal::PortalSettings;
use rangegate::sources::certificate::{CrlPolicy, TrustSettings};
use rangegate::sources::geo::GeoSettings;
use rangegate::sources::timing::TimingSettings;
use rangegate::sources::token::{Assurance, IssuerSettings};
use rangegate::store::Digest;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long anything may take that is bound to happen.
pub const PATIENCE: Duration = Duration::from_secs(15);

pub const ISSUER: &str = "https://login.corp.example";

/// The keys of everybody, made once for a test process.
pub static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

pub struct Pki {
    pub servers: Authority,
    pub devices: Authority,
    /// `*.corp.example` and `corp.example`.
    pub server: Leaf,
    /// `ann-laptop`: active, corporate, ann@corp.example's.
    pub ann: Leaf,
    /// `bob-laptop`: active, personal, bob@corp.example's.
    pub bob: Leaf,
    /// `eve-laptop`: watched, corporate, eve@corp.example's.
    pub eve: Leaf,
    /// Good, and in no registry.
    pub stranger: Leaf,
    /// On the revocation list; otherwise good.
    pub revoked: Leaf,
    pub expired: Leaf,
    /// For servers.
    pub wrong_purpose: Leaf,
    /// From an authority that nobody trusts.
    pub foreign: Leaf,
    pub roots: Arc<RootCertStore>,
    pub provider: Arc<CryptoProvider>,
    upstream: Leaf,
}

const REVOKED: u64 = 66;

impl Pki {
    fn new() -> Self {
        let now = clock::now();
        let (servers, devices) = (Authority::new("Servers"), Authority::new("Devices"));
        let client = |name, serial| devices.issue(&Wanted::client(name, serial).around(now));
        let long_ago = Wanted::client("expired", 67).around(now.plus_millis(-30 * crate::pki::DAY));
        let wrong = Wanted { serial: 68, ..Wanted::server(&["laptop.corp.example"], 68).around(now) };
        let mut roots = RootCertStore::empty();
        roots.add(servers.certificate()).expect("a root");
        Self {
            server: servers.issue(&Wanted::server(&["*.corp.example", "corp.example"], 1).around(now)),
            upstream: servers.issue(&Wanted::server(&["127.0.0.1"], 2).around(now)),
            ann: client("ann", 11),
            bob: client("bob", 12),
            eve: client("eve", 13),
            stranger: client("stranger", 14),
            revoked: client("revoked", REVOKED),
            expired: devices.issue(&long_ago),
            wrong_purpose: devices.issue(&wrong),
            foreign: Authority::new("Elsewhere").issue(&Wanted::client("foreign", 69).around(now)),
            roots: Arc::new(roots),
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            servers,
            devices,
        }
    }

    pub fn upstream_config(&self) -> Arc<rustls::ServerConfig> {
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(self.upstream.chain.clone(), self.upstream.key_der())
            .expect("a certificate");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

pub fn fingerprint(leaf: &Leaf) -> String {
    Digest::of(leaf.chain.first().expect("a leaf")).hex()
}

/// One line of the device registry.
#[derive(Clone)]
pub struct Registered {
    pub id: &'static str,
    pub class: &'static str,
    pub status: &'static str,
    pub certificate: String,
}

/// Everybody, with this status for Ann's laptop.
pub fn everybody(ann: &'static str) -> Vec<Registered> {
    let device = |id, class, status, leaf| Registered { id, class, status, certificate: fingerprint(leaf) };
    vec![
        device("ann-laptop", "corporate", ann, &PKI.ann),
        device("bob-laptop", "personal", "active", &PKI.bob),
        device("eve-laptop", "corporate", "watched", &PKI.eve),
    ]
}

fn registry(devices: &[Registered]) -> String {
    let one = |Registered { id, class, status, certificate }: &Registered| {
        let owner = id.trim_end_matches("-laptop");
        format!(
            "[[device]]\nid = \"{id}\"\nowner = \"{owner}@corp.example\"\nclass = \"{class}\"\nstatus = \"{status}\"\ncertificates = [\"{certificate}\"]\n\n"
        )
    };
    devices.iter().map(one).collect()
}

/// Gives a resource that lets in whoever comes from loopback: for tests that are about what happens next.
pub fn open_to_all(id: &str, upstream: &str) -> String {
    format!(
        "[[resource]]\nid = \"{id}\"\nhosts = [\"{id}.corp.example\"]\nupstream = \"{upstream}\"\n\
         require = [{{ id = \"local\", that = {{ cidr = \"127.0.0.0/8\" }} }}]\n"
    )
}

type Change = Box<dyn FnOnce(&mut Settings)>;
type Meanwhile = Box<dyn FnOnce(&Path)>;

#[derive(Default)]
pub struct Builder {
    policies: Vec<(String, String)>,
    changes: Vec<Change>,
    meanwhile: Option<Meanwhile>,
}

impl Builder {
    /// A policy file. `upstreams` are put in for `$name`.
    pub fn policy(mut self, name: &str, text: &str, upstreams: &[(&str, &Upstream)]) -> Self {
        self.policies.push((format!("{name}.toml"), filled(text, upstreams)));
        self
    }

    /// `app.corp.example`, open to all, at this upstream.
    pub fn app(self, upstream: &Upstream) -> Self {
        let text = open_to_all("app", "$app");
        self.policy("app", &text, &[("app", upstream)])
    }

    /// Changes the settings, paths and listeners included, just before the gateway starts.
    pub fn settings(mut self, change: impl FnOnce(&mut Settings) + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    pub fn limits(self, change: impl FnOnce(&mut Limits) + 'static) -> Self {
        self.settings(|settings| change(&mut settings.limits))
    }

    /// What happens in the gateway's directory after it has read its files and before it serves.
    pub fn meanwhile(mut self, change: impl FnOnce(&Path) + 'static) -> Self {
        self.meanwhile = Some(Box::new(change));
        self
    }

    /// One more listener, like `direct` but for the change.
    pub fn listener(self, name: &'static str, change: impl FnOnce(&mut ListenerSettings) + 'static) -> Self {
        self.settings(move |settings| {
            let mut listener = settings.listeners[0].clone();
            name.clone_into(&mut listener.name);
            change(&mut listener);
            settings.listeners.push(listener);
        })
    }

    /// The listener `balanced`: loopback begins with a PROXY protocol header.
    pub fn balanced(self) -> Self {
        self.listener("balanced", |listener| {
            listener.proxy_protocol_from = vec!["127.0.0.0/8".parse().expect("a prefix")]
        })
    }

    /// The listener `required`: no handshake without a good client certificate.
    pub fn required(self) -> Self {
        self.listener("required", |listener| listener.client_certificates = ClientCertificates::Required)
    }

    /// # Panics
    /// When the gateway does not start; the message is the gateway's own.
    pub async fn start(self) -> Harness {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path();
        std::fs::create_dir(at.join("policies")).expect("a directory");
        for (name, text) in &self.policies {
            file(&at.join("policies"), name, text);
        }
        let now = clock::now();
        file(at, "server.pem", PKI.server.chain_pem());
        file(at, "server.key", PKI.server.key_pem());
        file(at, "servers.pem", PKI.servers.pem());
        file(at, "devices.pem", PKI.devices.pem());
        file(at, "devices.crl", PKI.devices.crl(&[REVOKED], now));
        file(at, "devices.toml", registry(&everybody("active")));
        file(at, "ann.pem", PKI.ann.chain_pem());
        file(at, "ann.key", PKI.ann.key_pem());
        let key = SigningKey::es256("k1");
        let jwks = JwksServer::serving([&key]).await;
        let mut settings = settings(at, &jwks);
        for change in self.changes {
            change(&mut settings);
        }
        let configuration = Configuration(Arc::new(Mutex::new(Ok(settings.clone()))));
        let file = configuration.file(directory.path());
        let gateway = Gateway::prepare(&settings).unwrap_or_else(|fault| panic!("{fault}")).following(file);
        if let Some(change) = self.meanwhile {
            change(directory.path());
        }
        let running = gateway.start().expect("a running gateway");
        Harness {
            listeners: settings.listeners.iter().map(|listener| listener.name.clone()).collect(),
            addresses: running.addresses().to_vec(),
            operations: running.operations(),
            running: Some(running),
            configuration,
            directory: Arc::new(directory),
            key,
            jwks,
        }
    }
}

fn filled(text: &str, upstreams: &[(&str, &Upstream)]) -> String {
    upstreams.iter().fold(text.to_owned(), |text, (name, upstream)| text.replace(&format!("${name}"), &upstream.url()))
}

fn settings(at: &Path, jwks: &JwksServer) -> Settings {
    let loopback: SocketAddr = ([127, 0, 0, 1], 0).into();
    let proof = |amr: &str| Assurance { acr: Vec::new(), amr: vec![amr.to_owned()] };
    Settings {
        listeners: vec![ListenerSettings {
            name: "direct".to_owned(),
            address: loopback,
            certificates: vec![ServerCertificate { chain: at.join("server.pem"), key: at.join("server.key") }],
            client_certificates: ClientCertificates::Requested,
            trust: TrustSettings {
                authorities: vec![at.join("devices.pem")],
                external: Vec::new(),
                crls: vec![at.join("devices.crl")],
                crl_missing: CrlPolicy::Deny,
                crl_expired: CrlPolicy::Deny,
            },
            proxy_protocol_from: Vec::new(),
            forwarders: Vec::new(),
        }],
        // Enough for answers under way when a test is over; tests about draining set their own.
        limits: Limits { drain_timeout: Duration::from_millis(50), ..Limits::default() },
        issuers: vec![IssuerSettings {
            issuer: ISSUER.to_owned(),
            audiences: vec!["rangegate".to_owned()],
            jwks: jwks.url(),
            jwks_ca: None,
            jwks_private: true,
            algorithms: vec!["ES256".to_owned()],
            types: Vec::new(),
            skew: Duration::ZERO,
            user_claim: "email".to_owned(),
            groups_claim: "groups".to_owned(),
            assurance: BTreeMap::from([("passkey".to_owned(), proof("hwk")), ("password".to_owned(), proof("pwd"))]),
            stale_for: Duration::from_secs(3600),
            refresh: Duration::from_secs(600),
            cooldown: Duration::from_secs(60),
        }],
        geo: GeoSettings::default(),
        lists: Vec::new(),
        timing: TimingSettings::default(),
        audit: AuditSettings {
            path: at.join("audit.jsonl"),
            rotate_bytes: 1 << 30,
            rotate_after: Duration::from_secs(86_400),
            keep: None,
            queue: 16_384,
            when_unwritable: WhenUnwritable::Deny,
            sync_every: None,
        },
        assertion: AssertionSettings {
            header: "rangegate-assertion".to_owned(),
            issuer: "https://gate.corp.example".to_owned(),
            lifetime: Duration::from_secs(60),
            key: None,
        },
        upstream: UpstreamSettings { ca: Some(at.join("servers.pem")), ..UpstreamSettings::default() },
        upstream_exceptions: Vec::new(),
        headers: HeaderSettings::default(),
        portal: PortalSettings {
            organisation: "Example Corp".to_owned(),
            support: Some("help@corp.example".to_owned()),
        },
        operations: loopback,
        policies: at.join("policies"),
        origins: BTreeMap::new(),
        devices: Some(at.join("devices.toml")),
        authority: None,
        store: None,
        emergency: at.join("emergency"),
        local: None,
        webhooks: Vec::new(),
        workers: 2.try_into().expect("two"),
    }
}

/// What the gateway finds when it reads its configuration again: settings, or what is wrong with them.
struct Configuration(Arc<Mutex<Result<Settings, String>>>);

impl Configuration {
    fn file(&self, directory: &Path) -> ConfigurationFile {
        let content = Arc::clone(&self.0);
        ConfigurationFile::new(directory.join("settings"), move || content.lock().expect("no panic").clone())
    }
}

/// A running gateway and all that belongs to it.
pub struct Harness {
    running: Option<Running>,
    configuration: Configuration,
    listeners: Vec<String>,
    addresses: Vec<SocketAddr>,
    operations: SocketAddr,
    directory: Arc<tempfile::TempDir>,
    /// The issuer's.
    pub key: SigningKey,
    pub jwks: JwksServer,
}

impl Harness {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A gateway in front of this upstream, open to all at `app.corp.example`.
    pub async fn open(upstream: &Upstream) -> Self {
        Self::builder().app(upstream).start().await
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn address(&self, listener: &str) -> SocketAddr {
        let index = self.listeners.iter().position(|name| name == listener).expect("a listener of that name");
        self.addresses[index]
    }

    /// A connection to `direct`, for `app.corp.example`, without a certificate.
    pub fn dial(&self) -> Dial {
        self.dial_to("direct")
    }

    pub fn dial_to(&self, listener: &str) -> Dial {
        Dial::new(self.address(listener))
    }

    pub fn curl(&self) -> Curl {
        Curl::new(self.address("direct"), &self.path("servers.pem"))
    }

    /// A token for this user, signed in a minute ago with a passkey, good for an hour.
    pub fn token(&self, user: &str) -> String {
        self.token_with(user, |_| {})
    }

    pub fn token_with(&self, user: &str, change: impl FnOnce(&mut Value)) -> String {
        let now = clock::now().millis() / 1000;
        let mut claims = json!({
            "iss": ISSUER, "aud": "rangegate", "sub": user, "email": user, "groups": ["staff"],
            "iat": now - 60, "auth_time": now - 60, "exp": now + 3600, "amr": ["hwk"],
        });
        change(&mut claims);
        self.key.token(&claims)
    }

    /// A token bound to a certificate (RFC 8705), good for an hour.
    pub fn bound_token(&self, user: &str, leaf: &Leaf) -> String {
        self.bound_token_until(user, leaf, Duration::from_secs(3600))
    }

    pub fn bound_token_until(&self, user: &str, leaf: &Leaf, lifetime: Duration) -> String {
        let bytes = digest::digest(&digest::SHA256, leaf.chain.first().expect("a leaf"));
        self.token_with(user, |claims| {
            claims["cnf"] = json!({ "x5t#S256": crate::issuer::encode(bytes) });
            claims["exp"] = json!(clock::now().millis() / 1000 + lifetime.as_secs() as i64);
        })
    }

    /// What the operations listener answers: status and body.
    pub async fn operations(&self, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(self.operations).await.expect("the operations listener");
        let head = format!("GET {path} HTTP/1.1\r\nHost: operations\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    /// Waits until the metrics hold this line.
    pub async fn metrics_show(&self, line: &str) {
        let begun = Instant::now();
        loop {
            let (_, metrics) = self.operations("/metrics").await;
            if metrics.lines().any(|shown| shown == line) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no `{line}` in\n{metrics}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Every line of the audit log so far.
    pub fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("audit.jsonl")).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }

    /// Long-lived exchanges that the log shows opened and not closed.
    pub fn lines_open(&self) -> usize {
        let lines = self.lines();
        let opened = lines.iter().filter(|line| line["event"] == "opened" && line["kind"] == "live").count();
        opened - lines.iter().filter(|line| line["kind"] == "request" && line["live"] == true).count()
    }

    /// Waits until the log holds `count` lines of this kind, and gives them.
    pub async fn lines_of(&self, kind: &str, count: usize) -> Vec<Value> {
        self.lines_where(count, |line| line["kind"] == kind).await
    }

    /// Waits until the log holds `count` such lines, and gives them.
    pub async fn lines_where(&self, count: usize, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let lines: Vec<_> = self.lines().into_iter().filter(&wanted).collect();
            if lines.len() >= count {
                return lines;
            }
            assert!(begun.elapsed() < PATIENCE, "{} of {count} lines came; all: {:#?}", lines.len(), self.lines());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until `count` requests have closed, and gives their records.
    pub async fn audit_records(&self, count: usize) -> Vec<Value> {
        self.lines_of("request", count).await
    }

    /// The record of the only request so far.
    pub async fn audit_record(&self) -> Value {
        let mut records = self.audit_records(1).await;
        assert_eq!(records.len(), 1, "{records:#?}");
        records.remove(0)
    }

    /// Makes a change and waits until the gateway has read it again and written `lines` about it: reloads and alerts
    /// whose text begins with `detail`.
    pub async fn reload(&self, detail: &str, change: impl FnOnce()) {
        let about = |line: &Value| {
            let text = line["detail"].as_str().or_else(|| line["reason"].as_str()).unwrap_or_default();
            matches!(line["kind"].as_str(), Some("control" | "alert")) && text.starts_with(detail)
        };
        let before = self.lines().into_iter().filter(about).count();
        change();
        self.running.as_ref().expect("a running gateway").reload();
        self.lines_where(before + 1, about).await;
    }

    /// Changes the configuration, tells nobody, and waits until the gateway has put it in force or refused it.
    /// The line of the audit log that says so.
    pub async fn reconfigure(&self, change: impl FnOnce(&mut Settings)) -> Value {
        let new = self.configuration.0.lock().expect("no panic").clone();
        self.set_configuration(new.map(|mut settings| {
            change(&mut settings);
            settings
        }))
        .await
    }

    /// As `reconfigure`. `Err`: what is wrong with the new file. The next `reconfigure` changes what was good before.
    pub async fn set_configuration(&self, content: Result<Settings, String>) -> Value {
        let about = |line: &Value| {
            let reloaded = line["event"] == "reload" && line["detail"] == "configuration";
            reloaded || line["event"] == "source-rejected"
        };
        let before = self.lines().into_iter().filter(about).count();
        let good = std::mem::replace(&mut *self.configuration.0.lock().expect("no panic"), content);
        let lines = before + 1;
        std::fs::write(self.path("settings"), format!("{lines}")).expect("a file");
        let mut said = self.lines_where(lines, about).await;
        let said = said.remove(before);
        if said["kind"] == "alert" {
            *self.configuration.0.lock().expect("no panic") = good;
        }
        said
    }

    pub async fn set_devices(&self, devices: &[Registered]) {
        self.reload("devices", || drop(file(self.directory.path(), "devices.toml", registry(devices)))).await;
    }

    pub async fn set_policy(&self, name: &str, text: &str, upstreams: &[(&str, &Upstream)]) {
        let text = filled(text, upstreams);
        self.reload("policies", || drop(file(&self.path("policies"), &format!("{name}.toml"), text))).await;
    }

    /// Puts something in a file that the gateway must refuse, and waits until it has.
    pub async fn set_faulty(&self, name: &str, text: &str) {
        let refused = |line: &Value| {
            line["kind"] == "alert" && line["event"].as_str().is_some_and(|event| event.ends_with("-rejected"))
        };
        let before = self.lines().into_iter().filter(refused).count();
        std::fs::write(self.path(name), text).expect("a file");
        self.running.as_ref().expect("a running gateway").reload();
        self.lines_where(before + 1, refused).await;
    }

    /// `observe`, `deny` or nothing.
    pub async fn set_emergency(&self, word: &str) {
        let path = self.path("emergency");
        let expected = if word.is_empty() { "off" } else { word };
        self.reload(expected, || match word {
            "" => std::fs::remove_file(path).expect("the switch was thrown"),
            word => std::fs::write(path, word).expect("a file"),
        })
        .await;
    }

    pub async fn revoke(&self, serials: &[u64]) {
        let list = PKI.devices.crl(serials, clock::now());
        self.reload("certificates", || drop(file(self.directory.path(), "devices.crl", list))).await;
    }

    /// Begins to stop; the handle is done when the gateway has stopped.
    pub fn stopping(&mut self) -> tokio::task::JoinHandle<()> {
        let running = self.running.take().expect("a running gateway");
        tokio::task::spawn_blocking(move || running.stop())
    }

    /// What ends the drain at once.
    pub fn hurry(&self) -> impl Fn() + Send + 'static + use<> {
        self.running.as_ref().expect("a running gateway").hurry()
    }

    /// Stops the gateway and gives the whole audit log.
    pub async fn stop(&mut self) -> Vec<Value> {
        self.stopping().await.expect("no panic");
        self.lines()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            // Not waited for: connections of the test end only with its runtime, which may be this very thread's.
            let directory = Arc::clone(&self.directory);
            std::thread::spawn(move || {
                running.stop();
                drop(directory);
            });
        }
    }
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Holds that each of `count` exchanges was cut within 50 ms after what it relied on had ended: milliseconds, somewhere
/// in its record. By what the log says of the time.
pub fn cut_on_time(gate: &Harness, count: usize, end: impl Fn(&Value) -> Value) {
    let lines = gate.lines();
    let cuts: Vec<_> = lines.iter().filter(|line| line["kind"] == "live" && line["event"] == "cut").collect();
    assert_eq!(cuts.len(), count, "{cuts:#?}");
    for cut in cuts {
        let of_it = |line: &&Value| line["kind"] == "request" && line["id"] == cut["id"];
        let record = lines.iter().find(of_it).expect("its record");
        let end = Moment(end(record).as_i64().unwrap_or_else(|| panic!("{record:#}")));
        let late = (0..=50).find(|late| cut["time"] == stamp(end.plus_millis(*late)));
        assert!(late.is_some(), "cut at {}, which ended {}", cut["time"], stamp(end));
    }
}

/// For comparisons in tests: the moment as the audit log writes it.
pub fn stamp(moment: Moment) -> String {
    String::from_utf8(rangegate::audit::calendar::rfc3339(moment).to_vec()).expect("ascii")
}
