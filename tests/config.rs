//! The configuration file: the example is complete, the defaults are safe, and every fault is found at once.

use rangegate::audit::WhenUnwritable;
use rangegate::config::{Config, Report};
use rangegate::gateway::settings::ClientCertificates;
use rangegate::policy::diagnostic;
use rangegate::sources::certificate::CrlPolicy;
use std::fs;
use std::path::Path;

const EXAMPLE: &str = include_str!("../rangegate.example.toml");

const MINIMAL: &str = r#"
devices = "devices.toml"

[[listener]]
address = "0.0.0.0:8443"
certificate = [{ chain = "server.pem", key = "server.key" }]
trust = { authorities = ["ca.pem"], revocation-lists = ["ca.crl"] }

[[issuer]]
issuer = "https://login.example"
audiences = ["rangegate"]
jwks = "https://login.example/keys"

[audit]
path = "audit.jsonl"
"#;

fn parse(text: &str) -> Result<Config, Report> {
    Config::parse(text, Path::new("/etc/rangegate/rangegate.toml"))
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|report| panic!("{}", report.render(false)))
}

fn faults(text: &str) -> String {
    lines(&parse(text).expect_err("the text has faults"))
}

fn lines(report: &Report) -> String {
    diagnostic::lines(&report.diagnostics, &report.sources).replace("/etc/rangegate/rangegate.toml:", "")
}

/// `MINIMAL` with one more section.
fn with(section: &str) -> String {
    format!("{MINIMAL}\n{section}\n")
}

#[test]
fn a_minimal_file_is_short_and_its_defaults_are_safe() {
    assert!(MINIMAL.lines().count() <= 20);
    let config = good(MINIMAL);
    let listener = &config.settings.listeners[0];
    assert_eq!(listener.name, "0.0.0.0:8443");
    assert_eq!(listener.client_certificates, ClientCertificates::Requested);
    assert_eq!((listener.trust.crl_missing, listener.trust.crl_expired), (CrlPolicy::Deny, CrlPolicy::Deny));
    assert!(listener.proxy_protocol_from.is_empty() && listener.forwarders.is_empty());
    assert_eq!(config.settings.issuers[0].algorithms, ["ES256", "RS256"]);
    assert_eq!(config.settings.audit.when_unwritable, WhenUnwritable::Deny);
    assert!(config.settings.operations.ip().is_loopback());
    assert_eq!(config.settings.policies, Path::new("/etc/rangegate/policies"));
    assert_eq!(config.settings.devices.as_deref(), Some(Path::new("/etc/rangegate/devices.toml")));
    assert_eq!(config.settings.emergency, Path::new("/etc/rangegate/emergency"));
    assert!(config.warnings.diagnostics.is_empty());
}

#[test]
fn the_example_is_good_and_the_defaults_it_shows_are_the_defaults() {
    good(EXAMPLE);
    let shown: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let (all, default) = (good(&shown), good(MINIMAL));
    assert_eq!(format!("{:?}", all.settings.limits), format!("{:?}", default.settings.limits));
    assert_eq!(all.settings.operations, default.settings.operations);
    let issuer = |config: &Config| {
        let issuer = config.settings.issuers[0].clone();
        (issuer.skew, issuer.stale_for, issuer.refresh, issuer.cooldown, issuer.algorithms, issuer.types)
    };
    assert_eq!(issuer(&all), issuer(&default));
    let audit = |config: &Config| {
        let audit = config.settings.audit.clone();
        (audit.rotate_bytes, audit.rotate_after, audit.queue, audit.when_unwritable, audit.sync_every)
    };
    assert_eq!(audit(&all), audit(&default));
    let upstream = |config: &Config| {
        let upstream = config.settings.upstream.clone();
        (upstream.connect_timeout, upstream.header_timeout, upstream.idle_timeout, upstream.pool)
    };
    assert_eq!(upstream(&all), upstream(&default));
    let authority = |text: &str| {
        let authority = good(text).settings.authority.expect("a built-in authority");
        (authority.lifetime, authority.list_lifetime)
    };
    assert_eq!(authority(&shown), authority(EXAMPLE));
    assert_eq!(good(MINIMAL).settings.authority, None);
    let assertion = |config: &Config| {
        let assertion = config.settings.assertion.clone();
        (assertion.header, assertion.issuer, assertion.lifetime)
    };
    assert_eq!(assertion(&all), assertion(&default));
    let store = all.settings.store.expect("shown");
    let usual = rangegate::store::StoreSettings::sqlite("/etc/rangegate/store.db");
    assert_eq!(format!("{store:?}"), format!("{usual:?}"));
}

/// The keys the code asks for, found in its text: a key nobody can read about does not exist.
#[test]
fn every_key_is_in_the_example() {
    let code = [
        include_str!("../src/config.rs"),
        include_str!("../src/config/authority.rs"),
        include_str!("../src/config/identity.rs"),
        include_str!("../src/config/listener.rs"),
        include_str!("../src/config/service.rs"),
        include_str!("../src/config/store.rs"),
    ];
    let askings =
        ["required(\"", "optional(\"", ".or(\"", ".list(\"", ".table(\"", ".tables(\"", "peers(&mut table, \""];
    let mut found = 0;
    for line in code.iter().flat_map(|text| text.lines()) {
        for after in askings.iter().flat_map(|asking| line.split(asking).skip(1)) {
            let key = after.split('"').next().unwrap_or_default();
            found += 1;
            let mentioned = EXAMPLE.lines().any(|line| {
                let at_start = line.trim_start_matches(['#', '[']).strip_prefix(key);
                at_start.is_some_and(|rest| rest.trim_start().starts_with(['=', ']', '.']))
                    || [format!(".{key}]"), format!("{{ {key} = "), format!(", {key} = ")]
                        .iter()
                        .any(|form| line.contains(form))
            });
            assert!(mentioned, "`{key}` is not in rangegate.example.toml");
        }
    }
    assert!(found > 60, "only {found} keys were found in the code");
}

#[test]
fn all_faults_of_a_file_are_reported_at_once() {
    let text = r#"
operations = { adress = "127.0.0.1:1" }
workers = 0

[[listener]]
address = "localhost:8443"
certificates = []
client-certificates = "require"

[[issuer]]
issuer = "https://login.example"
audiences = []
jwks = "http://login.example/keys"
algorithms = ["none", "HS256", "es256"]
skew = "5m"

[gateway]
latitude = 152

[audit]
rotate-size = 10
"#;
    let expected = "\
2:16: unknown key `adress` (not a key of `operations`)
3:11: `workers` is out of range (expected 1 to 1024)
5:1: nobody may vouch for this listener's clients (`trust` is missing)
6:11: `localhost:8443` is not an address and port (expected an IP address and a port, such as `0.0.0.0:8443` or `[::]:8443`)
7:1: unknown key `certificates` (not a key of `listener`)
8:23: `client-certificates` cannot be `require` (expected one of \"requested\", \"required\", \"off\")
12:13: `audiences` is empty (expected at least one)
13:8: a key set may not come over plain http (whoever sits on the way could put in a key of theirs; https, or http to this machine)
14:15: `none` cannot be an algorithm here (signs nothing: anybody could write such a token)
14:23: `HS256` cannot be an algorithm here (a shared secret: whoever can verify such a token could have written it)
14:32: `es256` cannot be an algorithm here
15:8: `skew` is out of range (expected at most 60s)
17:1: `longitude` is missing (`gateway` needs `longitude`)
18:12: `latitude` is out of range (expected -90 to 90)
20:1: `path` is missing (`audit` needs `path`)
21:15: `rotate-size` takes a size, not a number (expected a size in quotes, such as \"64KiB\")
";
    assert_eq!(faults(text), expected);
    let shown = parse(text).expect_err("faults").render(false);
    for near in ["`address`", "`certificate`", "`\"required\"`", "`\"ES256\"`"] {
        assert!(shown.contains(&format!("did you mean {near}")), "{near} is not suggested in\n{shown}");
    }
}

#[test]
fn what_must_be_there_is_missed() {
    assert_eq!(
        faults(""),
        "1:1: `audit` is missing (this file needs `audit`)\n1:1: `listener` is missing (this file needs `listener`)\n"
    );
    assert!(faults("listener = []\n[audit]\npath = 'a'").contains("1:1: `listener` is empty"));
    assert!(
        faults("[listener]\naddress = '0.0.0.0:1'\n[audit]\npath = 'a'").contains("`listener` is a list of tables")
    );
}

#[test]
fn names_and_addresses_are_distinct() {
    let found = faults(&with(
        "[[listener]]\naddress = '0.0.0.0:8443'\ncertificate = [{ chain = 'a', key = 'b' }]\nclient-certificates = 'off'",
    ));
    assert!(found.contains("two listeners stand at `0.0.0.0:8443` (again here)"), "{found}");
    assert!(found.contains("two listeners are called `0.0.0.0:8443` (again here)"), "{found}");
    let found = faults(&with("[[list]]\nname = 'a'\npath = 'x'\n[[list]]\nname = 'a'\npath = 'y'"));
    assert!(found.contains("two lists are called `a`"), "{found}");
}

#[test]
fn a_trust_that_lets_everybody_speak_is_warned_of() {
    let open = "proxy-protocol-from = ['0.0.0.0/0', '10.0.0.0/8']\nforwarders = ['::/0']\ntrust =";
    let found = lines(&good(&MINIMAL.replace("trust =", open)).warnings);
    assert_eq!(found.lines().count(), 2, "{found}");
    assert!(found.contains("7:24: warning: `proxy-protocol-from` lists the whole Internet"), "{found}");

    let found = lines(&good(&MINIMAL.replace(", revocation-lists = [\"ca.crl\"]", "")).warnings);
    assert!(found.contains("without a revocation list no client certificate is accepted here"), "{found}");

    let found = lines(&good(&with("[operations]\naddress = '0.0.0.0:9400'")).warnings);
    assert!(found.contains("health and metrics are open to the network"), "{found}");
}

#[test]
fn key_sets_come_by_a_way_nobody_can_write_on() {
    let at = |address: &str| MINIMAL.replace("https://login.example/keys", address);
    for fine in ["https://a.example/k", "http://127.0.0.1:9/k", "http://[::1]:9/k", "http://localhost/k"] {
        good(&at(fine));
    }
    for bad in
        ["http://10.0.0.1/k", "http://localhost.example/k", "file:///etc/k", "/keys", "", "http://127.0.0.1.example/k"]
    {
        assert!(parse(&at(bad)).is_err(), "{bad}");
    }
}

#[test]
fn a_password_in_an_address_is_refused_and_not_shown() {
    let report = parse(&MINIMAL.replace("https://login", "https://me:hunter2@login")).expect_err("refused");
    assert!(report.render(false).contains("holds a user or password"));
    assert!(!report.render(true).contains("hunter2") && !lines(&report).contains("hunter2"));
}

#[test]
fn an_upstream_that_differs_takes_the_rest_from_all() {
    let config = good(&with(
        "[upstream]\npool = 7\n[[upstream.exception]]\norigin = 'https://slow.example'\nheader-timeout = '9m'",
    ));
    let (origin, settings) = &config.settings.upstream_exceptions[0];
    assert_eq!(origin, "https://slow.example:443");
    assert_eq!((settings.header_timeout.as_secs(), settings.pool), (540, 7));
    let twice = "[[upstream.exception]]\norigin = 'http://a'\n[[upstream.exception]]\norigin = 'http://a:80'";
    assert!(faults(&with(twice)).contains("two exceptions are called `http://a:80`"));
    for bad in ["a.example", "ftp://a", "http://me:pw@a", "http://a/path", "rangegate:assertion-keys"] {
        assert!(parse(&with(&format!("[[upstream.exception]]\norigin = '{bad}'"))).is_err(), "{bad}");
    }
}

#[test]
fn headers_that_carry_the_message_are_not_ours_to_use() {
    for bad in ["Host", "authorization", "a b", "transfer-encoding"] {
        assert!(parse(&with(&format!("[assertion]\nheader = '{bad}'"))).is_err(), "{bad}");
    }
    assert_eq!(good(&with("[headers]\nidentity = ['X-User']")).settings.headers.identity, ["x-user"]);
}

#[test]
fn files_that_are_missing_or_damaged_are_named_where_they_are_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("rangegate.toml");
    fs::write(&path, with("[geo]\nplaces = ['city.mmdb']")).expect("written");
    fs::write(dir.path().join("server.key"), "-----BEGIN PRIVATE KEY-----\nhunter2\n").expect("written");
    close(&dir.path().join("server.key"), 0o600);
    fs::write(dir.path().join("ca.pem"), "no certificate").expect("written");
    let report = Config::load(&path).expect_err("files are missing");
    let found = lines(&report).replace(&format!("{}/", dir.path().display()), "");
    let expected = "\
rangegate.toml:2:11: the device registry cannot be read (`devices.toml`: there is no such file or directory)
rangegate.toml:6:26: the certificate chain cannot be read (`server.pem`: there is no such file or directory)
rangegate.toml:6:46: the private key is no PEM private key (`server.key` holds no private key)
rangegate.toml:7:26: the client authority is no PEM certificate (`ca.pem` holds no certificate)
rangegate.toml:7:57: the revocation list cannot be read (`ca.crl`: there is no such file or directory)
rangegate.toml:18:11: warning: the geography database cannot be read (`city.mmdb`: there is no such file or directory)
";
    assert_eq!(found, expected);
    assert!(!report.render(false).contains("hunter2"));
    let nowhere = Config::load(&dir.path().join("none.toml")).expect_err("no file");
    assert!(lines(&nowhere).contains("the file cannot be read: there is no such file or directory"));
}

#[test]
fn a_file_that_is_written_has_one_use() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("ca.crl"), "").expect("written");
    std::os::unix::fs::symlink("ca.crl", dir.path().join("link")).expect("a link");
    fs::hard_link(dir.path().join("ca.crl"), dir.path().join("twin")).expect("a link");
    let told = |text: &str| {
        let path = dir.path().join("rangegate.toml");
        fs::write(&path, text).expect("written");
        let report = Config::load(&path).expect_err("other files are missing");
        let lines = lines(&report);
        let one: Vec<_> = lines.lines().filter(|line| line.contains(" are one file")).collect();
        one.join("\n").replace(&format!("{}/", dir.path().display()), "")
    };
    let (audit, head) = ("path = \"audit.jsonl\"", "path = \"audit.head\"");
    assert_eq!(told(MINIMAL), "");
    let store = "[store]\npath = './audit.jsonl'";
    assert_eq!(told(&with(store)), "rangegate.toml:18:8: the audit log and the store are one file (`./audit.jsonl`)");
    for (text, expected) in [
        (with("[store]\npath = 'audit.head'"), "the audit log's head and the store"),
        (MINIMAL.replace(audit, head), "the audit log and the audit log's head"),
        (format!("emergency = 'audit.jsonl'\n{MINIMAL}"), "the emergency file and the audit log"),
        (MINIMAL.replace(audit, "path = 'emergency'"), "the emergency file and the audit log"),
        (MINIMAL.replace(audit, "path = 'rangegate.toml'"), "the configuration and the audit log"),
        (MINIMAL.replace(audit, "path = 'devices.toml'"), "the device registry and the audit log"),
        (MINIMAL.replace(audit, "path = 'link'"), "the revocation list and the audit log"),
        (MINIMAL.replace(audit, "path = 'twin'"), "the revocation list and the audit log"),
        (MINIMAL.replace(audit, "path = 'rangegate.sock'") + "[control]\n", "the audit log and the socket"),
        (with("[control]\nsocket = 's'\n[store]\npath = 's'"), "the socket and the store"),
    ] {
        assert!(told(&text).contains(expected), "{expected} is missing in\n{}\nfor\n{text}", told(&text));
    }
    // What the built-in authority writes is what listeners read.
    let own = "[authority]\ncertificate = 'own.pem'\nkey = 'own.key'\nrevocation-list = 'ca.crl'";
    assert_eq!(told(&with(own)), "");
}

#[test]
fn no_two_stand_at_one_address() {
    for (section, expected) in [
        (
            "[operations]\naddress = '0.0.0.0:8443'",
            "18:1: a listener and `[operations]` stand at one address: `0.0.0.0:8443`",
        ),
        ("[operations]\naddress = '127.0.0.1:8443'", "stand at one address: `127.0.0.1:8443`"),
        (
            "[[listener]]\naddress = '10.0.0.1:8443'\ncertificate = [{ chain = 'a', key = 'b' }]\nclient-certificates = 'off'",
            "two listeners stand at one address: `0.0.0.0:8443` and `10.0.0.1:8443`",
        ),
    ] {
        let found = faults(&with(section));
        assert!(found.contains(expected), "{expected} is missing in\n{found}");
    }
    let found = faults(&MINIMAL.replace("0.0.0.0:8443", "127.0.0.1:9400"));
    assert!(found.contains("4:1: a listener and `[operations]` stand at one address: `127.0.0.1:9400`"), "{found}");
    good(&MINIMAL.replace("0.0.0.0:8443", "10.0.0.1:9400"));
    good(&with("[operations]\naddress = '[::1]:8443'"));
    good(&(MINIMAL.replace("8443", "0") + "[operations]\naddress = '127.0.0.1:0'\n"));
}

#[test]
fn a_complete_directory_loads_without_a_word() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["gate.example".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    for (name, text) in [
        ("server.pem", certificate.pem()),
        ("ca.pem", certificate.pem()),
        ("server.key", key.serialize_pem()),
        ("ca.crl", String::new()),
        ("devices.toml", String::new()),
        ("rangegate.toml", MINIMAL.to_owned()),
    ] {
        fs::write(dir.path().join(name), text).expect("written");
    }
    // Its group may read it: the gateway runs as nobody in particular.
    for mode in [0o600, 0o640] {
        close(&dir.path().join("server.key"), mode);
        let config = Config::load(&dir.path().join("rangegate.toml"));
        let config = config.unwrap_or_else(|report| panic!("{}", report.render(false)));
        assert!(config.warnings.diagnostics.is_empty(), "{}", config.warnings.render(false));
        assert_eq!(config.settings.listeners[0].certificates[0].chain, dir.path().join("server.pem"));
    }
}

/// Every file of a configuration that holds a secret, one rule for all.
#[test]
fn secrets_that_anybody_may_read_are_refused_where_they_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["gate.example".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let secrets = [
        ("server.key", "private key"),
        ("assertion.key", "assertion key"),
        ("upstream.key", "key for upstreams"),
        ("password", "store's password file"),
        ("ca.key", "authority's key"),
        ("passphrase", "authority's passphrase"),
        ("chat.secret", "webhook's secret"),
    ];
    for (name, _) in secrets {
        fs::write(dir.path().join(name), key.serialize_pem()).expect("written");
    }
    for name in ["server.pem", "ca.pem", "ca.crl", "devices.toml"] {
        let text = if name.ends_with(".pem") { certificate.pem() } else { String::new() };
        fs::write(dir.path().join(name), text).expect("written");
    }
    let sections = "[store]\nurl = 'postgres://gate@db.example/gate'\npassword-file = 'password'\n\
        [assertion]\nkey = 'assertion.key'\n\
        [upstream]\nclient-certificate = { chain = 'server.pem', key = 'upstream.key' }\n\
        [authority]\ncertificate = 'ca.pem'\nkey = 'ca.key'\npassphrase = 'passphrase'\nrevocation-list = 'own.crl'\n\
        [[webhook]]\nname = 'chat'\nurl = 'https://chat.example/'\nsecret = 'chat.secret'\nevents = ['*']\n";
    fs::write(dir.path().join("rangegate.toml"), with(sections)).expect("written");
    let told = |mode| {
        secrets.iter().for_each(|(name, _)| close(&dir.path().join(name), mode));
        match Config::load(&dir.path().join("rangegate.toml")) {
            Ok(config) => lines(&config.warnings),
            Err(report) => lines(&report),
        }
    };
    assert_eq!(told(0o600), "");
    let group = told(0o640);
    assert_eq!(group.lines().count(), 1, "what was made here is its owner's alone: {group}");
    assert!(group.contains("the authority's key cannot be used"), "{group}");
    let anybody = told(0o644);
    for (name, what) in secrets {
        let path = dir.path().join(name);
        let expected = format!(
            "the {what} cannot be used (`{path}`: others may read it (mode 0644): `chmod 0600 {path}` closes it",
            path = path.display()
        );
        assert!(anybody.lines().any(|line| line.contains(&expected)), "{expected}\nis missing in\n{anybody}");
    }
    assert_eq!(anybody.lines().count(), secrets.len(), "{anybody}");
}

fn close(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
}

#[test]
fn deep_nesting_is_refused_and_not_a_crash() {
    for text in [
        format!("x = {}", "[".repeat(100_000)),
        format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("x = {}", "{a=".repeat(100_000)),
        format!("{} = 1", vec!["a"; 100_000].join(".")),
        format!("[{}]", vec!["a"; 100_000].join(".")),
        format!("[[{}]]", vec!["a"; 100_000].join(".")),
    ] {
        let report = parse(&text).expect_err("not a configuration");
        assert!(!report.render(false).is_empty());
    }
}

proptest::proptest! {
    /// Whatever stands in the file, the answer is a configuration or a report that can be shown.
    #[test]
    fn no_text_can_do_worse_than_be_reported(
        at in 0..EXAMPLE.len(),
        remove in 0..40usize,
        insert in "[\\[\\]{}=\"'#,.\\\\\n a-z0-9\u{e9}\u{0}-]{0,12}",
    ) {
        let start = EXAMPLE.floor_char_boundary(at);
        let end = EXAMPLE.ceil_char_boundary((at + remove).min(EXAMPLE.len()));
        let text = format!("{}{insert}{}", &EXAMPLE[..start], &EXAMPLE[end..]);
        if let Err(report) = parse(&text) {
            proptest::prop_assert!(report.has_errors());
            proptest::prop_assert!(report.render(true).len() > 20);
            proptest::prop_assert!(!lines(&report).is_empty());
        }
    }
}

#[test]
fn authorities_of_others_reach_every_listener_that_asks() {
    let external = "\n[[authority.external]]\nname = \"Acme\"\ncertificates = [\"acme.pem\"]\nclass = \"vendor\"\n";
    let config = good(&format!("{MINIMAL}{external}"));
    assert_eq!(config.settings.authority, None, "none of our own");
    let trust = &config.settings.listeners[0].trust;
    assert_eq!(
        trust.external.iter().map(|authority| (&*authority.name, &*authority.class)).collect::<Vec<_>>(),
        [("Acme", "vendor")]
    );
    assert!(config.settings.listeners[0].files().iter().any(|file| file.ends_with("acme.pem")), "watched for changes");
    let twice = format!("{MINIMAL}{external}{external}");
    let report = Config::parse(&twice, Path::new("/etc/rangegate/rangegate.toml")).expect_err("twice");
    assert!(report.render(false).contains("two external authorities are called `Acme`"), "{}", report.render(false));
    let bare = format!("{MINIMAL}\n[authority]\ncertificate-lifetime = \"91d\"\n");
    let report = Config::parse(&bare, Path::new("/etc/rangegate/rangegate.toml")).expect_err("bare").render(false);
    for expected in ["`certificate`", "`key`", "`revocation-list`", "`certificate-lifetime` is out of range"] {
        assert!(report.contains(expected), "{expected} in\n{report}");
    }
}

#[test]
fn the_store_is_a_file_or_a_server() {
    assert!(good(MINIMAL).settings.store.is_none());
    let file = good(&with("[store]\npath = 'store.db'\npoll = '200ms'")).settings.store.expect("named");
    assert_eq!(file.poll, std::time::Duration::from_millis(200));
    assert_eq!(file.database.to_string(), "`/etc/rangegate/store.db`");
    let server = "[store]\nurl = 'postgres://gate@db.example/gate'\npassword-file = 'password'\nauthority = 'ca.pem'";
    let server = good(&with(server)).settings.store.expect("named");
    assert_eq!(server.database.to_string(), "`postgres://gate@db.example/gate`");

    for (section, expected) in [
        ("[store]", "one of `path`, `url` is needed"),
        ("[store]\npath = 'a'\nurl = 'postgres://gate@db/gate'", "`path`"),
        ("[store]\npath = 'a'\npassword-file = 'b'", "`password-file`"),
        ("[store]\npath = 'a'\nauthority = 'b'", "`authority`"),
        ("[store]\nurl = 'mysql://gate@db/gate'", "the store's `url` cannot be used (only PostgreSQL is known)"),
        ("[store]\nurl = 'postgres://db/gate'", "it names no user"),
        ("[store]\npath = 'a'\npoll = '1ms'", "`poll` is out of range"),
        ("[store]\npath = 'a'\ntimeout = '1h'", "`timeout` is out of range"),
        ("[store]\npath = 'a'\ncolour = 'red'", "unknown key `colour`"),
        ("store = 'a'", "`store`"),
    ] {
        let found = faults(&with(section));
        assert!(found.contains(expected), "{section}\n{found}");
    }
}

#[test]
fn a_password_in_the_configuration_is_refused_and_not_shown() {
    let report = parse(&with("[store]\nurl = 'postgres://gate:hunter2@db.example/gate'")).expect_err("refused");
    let shown = report.render(false) + &lines(&report);
    assert!(shown.contains("it holds a password"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
