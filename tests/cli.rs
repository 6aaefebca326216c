//! The command as people and scripts use it: what it prints, where, and how it ends.

#[path = "support/pki.rs"]
mod pki;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn rangegate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rangegate"));
    command.args(args).env_remove("RANGEGATE_LOG").env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    rangegate(args).output().expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("not killed")
}

/// A directory with everything `check` looks at.
fn site() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let now = rangegate::gateway::clock::now();
    let authority = pki::Authority::new("devices");
    let later = now.plus_millis(30 * pki::DAY);
    let server = pki::Wanted::server(&["gate.example"], 1).around(now);
    let server = authority.issue(&pki::Wanted { not_after: later, ..server });
    fs::create_dir(dir.path().join("policies")).expect("made");
    for (name, text) in [
        ("ca.pem", authority.pem()),
        ("server.pem", server.chain_pem()),
        ("server.key", server.key_pem()),
        ("ca.crl", authority.crl_between(&[], now.plus_millis(-pki::HOUR), later)),
        (
            "devices.toml",
            "[[device]]\nid = 'ann-laptop'\nclass = 'corporate'\nsan = 'uri:spiffe://corp/ann'\n".to_owned(),
        ),
        ("policies/console.toml", POLICY.to_owned()),
        ("rangegate.toml", CONFIG.to_owned()),
    ] {
        fs::write(dir.path().join(name), text).expect("written");
    }
    fs::set_permissions(dir.path().join("server.key"), fs::Permissions::from_mode(0o600)).expect("closed");
    dir
}

const CONFIG: &str = r#"
devices = "devices.toml"
[[listener]]
address = "127.0.0.1:0"
certificate = [{ chain = "server.pem", key = "server.key" }]
trust = { authorities = ["ca.pem"], revocation-lists = ["ca.crl"] }

[audit]
path = "audit.jsonl"
"#;

const POLICY: &str = r#"
[[resource]]
id = "console"
hosts = ["console.example"]
upstream = "http://127.0.0.1:9"

  [[resource.require]]
  id = "home"
  that = { country = ["US"] }

[[test]]
name = "at home the console opens"
given = { country = "US" }
request = "GET https://console.example/"
expect = "forward"
"#;

fn config_of(dir: &Path) -> String {
    dir.join("rangegate.toml").display().to_string()
}

#[test]
fn help_is_for_people_and_names_the_exit_codes() {
    let help = run(&["--help"]);
    assert_eq!(code(&help), 0);
    for part in ["Exit codes:", "Examples:", "serve", "demo", "check", "emergency", "completions"] {
        assert!(stdout(&help).contains(part), "{part}");
    }
    for command in ["serve", "demo", "check", "policy", "replay", "audit", "emergency", "completions", "version"] {
        let help = run(&[command, "--help"]);
        assert_eq!((code(&help), stderr(&help)), (0, String::new()), "{command}");
    }
    let wrong = run(&["serv"]);
    assert_eq!((code(&wrong), stdout(&wrong)), (2, String::new()));
    assert!(stderr(&wrong).contains("serve"), "a near command is suggested: {}", stderr(&wrong));
}

#[test]
fn a_reader_who_leaves_early_is_no_failure() {
    for args in [&["version"][..], &["completions", "bash"], &["--help"], &["serve", "--help"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = rangegate(args).stdout(writer).output().expect("the binary runs");
        assert_eq!((code(&output), stderr(&output)), (0, String::new()), "{args:?}");
    }
    let line = format!("{} completions bash | head -n 1", env!("CARGO_BIN_EXE_rangegate"));
    let output = Command::new("sh").args(["-c", &line]).output().expect("a shell");
    assert_eq!((stdout(&output).lines().count(), stderr(&output)), (1, String::new()));
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let output = rangegate(&["version"]).stdout(full).output().expect("the binary runs");
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("cannot be written"));
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&run(&["completions", shell]));
        for command in ["serve", "check", "emergency"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    assert_eq!(code(&run(&["completions", "tea"])), 2);
}

#[test]
fn the_version_is_machine_readable_too() {
    let version: serde_json::Value = serde_json::from_str(&stdout(&run(&["version", "--json"]))).expect("JSON");
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["policy-schema"], 1);
    assert!(stdout(&run(&["version"])).contains("X25519MLKEM768"));
}

#[test]
fn the_emergency_switch_works_beside_a_broken_configuration() {
    let dir = site();
    let config = config_of(dir.path());
    fs::write(&config, "emergency = 'switch'\nlistener = 7\n").expect("written");
    let deny = run(&["emergency", "deny", "--config", &config]);
    assert_eq!(code(&deny), 0, "{}", stderr(&deny));
    assert_eq!(fs::read_to_string(dir.path().join("switch")).expect("written"), "deny\n");
    assert_eq!(code(&run(&["emergency", "off", "--config", &config])), 0);
    assert_eq!(fs::read_to_string(dir.path().join("switch")).expect("written"), "off\n");

    fs::write(&config, "emergency = ").expect("written");
    let lost = run(&["emergency", "deny", "--config", &config]);
    assert_eq!(code(&lost), 2);
    assert!(stderr(&lost).contains("--file"), "{}", stderr(&lost));
    let nowhere = dir.path().join("none/switch").display().to_string();
    assert_eq!(code(&run(&["emergency", "deny", "--file", &nowhere])), 3);
}

#[test]
fn serve_refuses_a_faulty_configuration_with_its_places() {
    let dir = site();
    let config = config_of(dir.path());
    fs::write(&config, CONFIG.replace("address", "adress")).expect("written");
    let output = run(&["serve", "--config", &config]);
    assert_eq!((code(&output), stdout(&output)), (2, String::new()));
    assert!(stderr(&output).contains("rangegate.toml:4:1") && stderr(&output).contains("did you mean `address`"));
    let filter = run(&["serve", "--config", &config, "--log", "a=b=c"]);
    assert_eq!(code(&filter), 2);
    assert!(stderr(&filter).contains("`a=b=c` is no log filter (--log)"));
}

#[test]
fn colours_are_for_terminals_unless_asked_for() {
    let dir = site();
    fs::write(config_of(dir.path()), "x = 1").expect("written");
    let check = |more: &[&str]| {
        let config = config_of(dir.path());
        let mut args = vec!["check", "--config", &config];
        args.extend(more);
        stdout(&run(&args))
    };
    assert!(!check(&[]).contains('\u{1b}'));
    assert!(check(&["--color", "always"]).contains('\u{1b}'));
    assert!(!check(&["--color", "never"]).contains('\u{1b}'));
}

#[test]
fn check_finds_every_fault_of_every_file() {
    let dir = site();
    let config = config_of(dir.path());
    fs::write(&config, format!("{CONFIG}\n[geo]\nplaces = ['none.mmdb']\nasn = []\n")).expect("written");
    fs::remove_file(dir.path().join("server.key")).expect("removed");
    let output = run(&["check", "--config", &config]);
    assert_eq!(code(&output), 2);
    for part in
        ["the private key cannot be used", "warning: the geography database cannot be read", "unknown key `asn`"]
    {
        assert!(stdout(&output).contains(part), "{part} is missing in\n{}", stdout(&output));
    }
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&run(&["check", "--json", "--config", &config]))).expect("JSON");
    assert_eq!(json["ok"], false);
    let faults = json["faults"].as_array().expect("a list");
    assert_eq!(faults.len(), 3);
    assert_eq!((&faults[0]["line"], &faults[0]["severity"]), (&5.into(), &"error".into()));
    assert_eq!(faults[2]["suggestion"], "asns");
}

#[test]
fn a_good_site_is_counted() {
    let dir = site();
    let output = run(&["check", "--config", &config_of(dir.path())]);
    assert_eq!(stdout(&output), "ok: 1 resource, 1 requirement, 0 roles, 1 test, 1 device\n");
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
}

#[test]
fn check_finds_what_would_keep_the_gateway_from_starting() {
    let dir = site();
    let config = config_of(dir.path());
    fs::write(dir.path().join("ca.crl"), "").expect("written");
    fs::write(dir.path().join("geo.mmdb"), "not a database").expect("written");
    fs::write(&config, format!("{CONFIG}\n[geo]\nplaces = ['geo.mmdb']\n")).expect("written");
    let output = run(&["check", "--config", &config]);
    assert_eq!(code(&output), 2, "{}", stdout(&output));
    for part in ["ca.crl", "warning: this is no geography database", "geo.mmdb"] {
        assert!(stdout(&output).contains(part), "{part} is missing in\n{}", stdout(&output));
    }
}

const SECTIONS: &str = "[operations]\naddress = '127.0.0.1:0'\n[store]\npath = 'store.db'\n\
    [control]\nsocket = 'gate.sock'\n\
    [authority]\ncertificate = 'own.pem'\nkey = 'own.key'\npassphrase = 'passphrase'\nrevocation-list = 'own.crl'\n\
    [[webhook]]\nname = 'chat'\nurl = 'http://127.0.0.1:9/'\nsecret = 'chat.secret'\nevents = ['*']\n";

/// A site with every file that `serve` opens.
fn whole_site() -> tempfile::TempDir {
    use rangegate::authority::{Passphrase, create_key_file};
    let dir = site();
    let (curve, lifetime) = (rangegate::authority::Curve::P256, std::time::Duration::from_secs(86_400 * 30));
    let now = rangegate::gateway::clock::now();
    let made = rangegate::authority::make("Devices", curve, lifetime, now).expect("made");
    pki::file(dir.path(), "own.pem", &made.certificate_pem);
    let passphrase = Passphrase::new("correct horse").expect("long enough");
    create_key_file(&dir.path().join("own.key"), &made.key, &passphrase).expect("written");
    pki::file(dir.path(), "passphrase", "correct horse\n");
    pki::file(dir.path(), "chat.secret", "s".repeat(32));
    fs::write(config_of(dir.path()), format!("{CONFIG}{SECTIONS}")).expect("written");
    dir
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_whole_site_is_good_and_checking_it_leaves_nothing_behind() {
    let dir = whole_site();
    let before = names(dir.path());
    let check = || run(&["check", "--config", &config_of(dir.path())]);
    let good = "ok: 1 resource, 1 requirement, 0 roles, 1 test, 1 device\n";
    assert_eq!(stdout(&check()), good);
    assert_eq!(names(dir.path()), before);
    // Another gateway holds the log and the socket: no fault of the configuration.
    let _log = rangegate::audit::file::LogFile::open(&dir.path().join("audit.jsonl")).expect("opened");
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("gate.sock")).expect("bound");
    assert_eq!(stdout(&check()), good);
    // The passphrase may be in the environment of the service alone.
    let text = format!("{CONFIG}{SECTIONS}").replace("passphrase = 'passphrase'\n", "");
    fs::write(config_of(dir.path()), text).expect("written");
    let sealed = check();
    assert_eq!(code(&sealed), 0);
    assert!(stdout(&sealed).contains("warning: the authority's key was not opened"), "{}", stdout(&sealed));
    pki::file(dir.path(), "own.key", "no key");
    assert_eq!(code(&check()), 2, "that much is seen without it");
}

/// What keeps the gateway from starting is told by `check` in the same words.
#[test]
fn check_refuses_what_serve_refuses() {
    type Change = fn(&Path);
    let cases: [(&str, Change); 9] = [
        ("does not fit its key", |at| drop(pki::file(at, "server.key", rcgen_key()))),
        ("names no host", |at| {
            let now = rangegate::gateway::clock::now();
            let nameless = pki::Authority::new("servers").issue(&pki::Wanted::server(&[], 7).around(now));
            pki::file(at, "server.pem", nameless.chain_pem());
            pki::file(at, "server.key", nameless.key_pem());
        }),
        ("webhook `chat`", |at| drop(pki::file(at, "chat.secret", "short"))),
        ("the authority's key", |at| drop(pki::file(at, "own.key", rcgen_key()))),
        ("another key's certificate", |at| drop(fs::copy(at.join("ca.pem"), at.join("own.pem")))),
        ("the passphrase is wrong", |at| drop(pki::file(at, "passphrase", "correct house\n"))),
        ("the file is no database", |at| drop(pki::file(at, "store.db", "a text that is longer than a header\n"))),
        ("cannot be made out", |at| drop(pki::file(at, "audit.head", "{}"))),
        ("there is something else than a socket", |at| drop(pki::file(at, "gate.sock", "notes"))),
    ];
    let all = whole_site();
    for (words, change) in cases {
        let dir = whole_site();
        change(dir.path());
        let config = config_of(dir.path());
        let check = run(&["check", "--config", &config]);
        assert_eq!(code(&check), 2, "{words}: {}", stdout(&check));
        let serve = Command::new("timeout")
            .args(["20", env!("CARGO_BIN_EXE_rangegate"), "serve", "--config", &config])
            .env("NO_COLOR", "1")
            .output()
            .expect("it runs");
        assert!([2, 3].contains(&code(&serve)), "{words}: {}", stderr(&serve));
        let said = stderr(&serve);
        let said = said.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or_else(|| panic!("{said}"));
        assert!(said.contains(words), "{words} is missing in\n{said}");
        assert!(stdout(&check).contains(said), "{said}\nis missing in\n{}", stdout(&check));
        if !words.contains("key") && !words.contains("passphrase") {
            change(all.path());
        }
    }
    let together = run(&["check", "--config", &config_of(all.path())]);
    assert!(stdout(&together).ends_with("5 faults found\n"), "{}", stdout(&together));
}

fn rcgen_key() -> String {
    rcgen::KeyPair::generate().expect("a key").serialize_pem()
}

#[test]
fn a_log_that_cannot_be_written_is_found_before_it_has_to_be() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    let dir = site();
    let log = dir.path().join("log");
    fs::create_dir(&log).expect("made");
    fs::write(config_of(dir.path()), CONFIG.replace("audit.jsonl", "log/audit.jsonl")).expect("written");
    // Root may write everywhere, so somebody else asks.
    let root = fs::metadata("/proc/self").expect("a process").uid() == 0;
    if root {
        chown(dir.path().join("server.key"), Some(65_534), Some(65_534)).expect("handed over");
        chown(&log, Some(65_534), Some(65_534)).expect("handed over");
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    for (mode, expected) in [(0o755, 0), (0o555, 2)] {
        fs::set_permissions(&log, fs::Permissions::from_mode(mode)).expect("set");
        let mut check = rangegate(&["check", "--config", &config_of(dir.path())]);
        if root {
            check.uid(65_534).gid(65_534);
        }
        let output = check.output().expect("it runs");
        assert_eq!(code(&output), expected, "{}", stdout(&output));
        let told = "audit.head` cannot be opened: permission is denied";
        assert_eq!(stdout(&output).contains(told), expected == 2, "{}", stdout(&output));
        assert!(names(&log).is_empty());
    }
}

#[test]
fn what_ends_soon_or_has_ended_is_warned_of() {
    let dir = site();
    let now = rangegate::gateway::clock::now();
    let authority = pki::Authority::new("devices");
    let server = authority.issue(&pki::Wanted::server(&["gate.example"], 1).around(now));
    for (name, text) in [
        ("ca.pem", authority.pem()),
        ("ca.crl", authority.crl_between(&[], now.plus_millis(-3 * pki::DAY), now.plus_millis(-pki::DAY))),
        ("server.pem", server.chain_pem()),
        ("server.key", server.key_pem()),
    ] {
        pki::file(dir.path(), name, text);
    }
    let output = run(&["check", "--config", &config_of(dir.path())]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    for part in [
        "warning: the revocation list expired at ",
        "ca.crl",
        "without a list that is good no client certificate of its issuer is accepted",
        "warning: the server certificate expires within a day, at ",
        "server.pem",
    ] {
        assert!(stdout(&output).contains(part), "{part} is missing in\n{}", stdout(&output));
    }
    // A newer one of the same issuer counts.
    let newer = authority.crl_between(&[], now.plus_millis(-pki::DAY), now.plus_millis(9 * pki::DAY));
    fs::write(dir.path().join("newer.crl"), newer).expect("written");
    fs::write(config_of(dir.path()), CONFIG.replace("\"ca.crl\"", "\"ca.crl\", \"newer.crl\"")).expect("written");
    let output = run(&["check", "--config", &config_of(dir.path())]);
    assert!(!stdout(&output).contains("revocation list"), "{}", stdout(&output));
    // A device's own certificate is nobody's authority.
    fs::write(dir.path().join("ca.pem"), server.chain_pem()).expect("written");
    let output = run(&["check", "--config", &config_of(dir.path())]);
    assert_eq!(code(&output), 2);
    assert!(stdout(&output).contains("no certificate in this file is an authority's (CA:TRUE)"), "{}", stdout(&output));
}

#[test]
fn check_looks_into_policies_and_lists_beside_a_faulty_configuration() {
    let dir = site();
    let config = config_of(dir.path());
    let lists = "[[list]]\nname = 'hosting'\npath = 'hosting.txt'\n";
    fs::write(&config, format!("{}\n{lists}", CONFIG.replace("127.0.0.1:0", "nowhere"))).expect("written");
    fs::write(dir.path().join("hosting.txt"), "# hosting\n192.0.2.0/24\nbanana\n").expect("written");
    fs::write(dir.path().join("policies/console.toml"), POLICY.replace("hosts", "hots")).expect("written");
    fs::write(dir.path().join("devices.toml"), "[[device]]\nid = 'x'\nclas = 'corporate'\n").expect("written");
    let output = run(&["check", "--config", &config]);
    assert_eq!(code(&output), 2);
    let found = stdout(&output);
    for part in [
        "rangegate.toml:4:11",
        "devices.toml:3:1",
        "hosting.txt:3:1",
        "console.toml:4:1",
        "did you mean `hosts`",
        "faults found",
    ] {
        assert!(found.contains(part), "{part} is missing in\n{found}");
    }
}

#[test]
fn a_test_that_fails_is_the_answer_no() {
    let dir = site();
    let policies = dir.path().join("policies");
    let test = |more: &[&str]| {
        let dir = policies.display().to_string();
        let mut args = vec!["policy", "test", &dir];
        args.extend(more);
        run(&args)
    };
    let holds = test(&[]);
    assert_eq!((code(&holds), stdout(&holds).as_str()), (0, "ok    at home the console opens\n1 test, 0 failed\n"));

    let one = run(&["policy", "test", &policies.join("console.toml").display().to_string()]);
    assert_eq!((code(&one), stdout(&one)), (0, stdout(&holds)), "a single file is a policy too");

    fs::write(policies.join("console.toml"), POLICY.replace("country = \"US\"", "country = \"FR\"")).expect("written");
    let fails = test(&[]);
    assert_eq!(code(&fails), 1);
    for part in [
        "FAIL  at home the console opens",
        "console.toml:12:8",
        "expected forward, got deny",
        "home         resource  unmet",
    ] {
        assert!(stdout(&fails).contains(part), "{part} is missing in\n{}", stdout(&fails));
    }
    let check = run(&["check", "--config", &config_of(dir.path())]);
    assert_eq!(code(&check), 1);
    assert!(stdout(&check).contains("this test fails") && stdout(&check).ends_with("1 of 1 test failed\n"));

    fs::write(policies.join("console.toml"), POLICY.replace("that", "taht")).expect("written");
    let faulty = test(&[]);
    assert_eq!((code(&faulty), stdout(&faulty)), (2, String::new()));
    assert!(stderr(&faulty).contains("did you mean `that`"), "{}", stderr(&faulty));
    assert_eq!(code(&run(&["policy", "test", "/nonexistent"])), 2);
}

#[test]
fn a_decision_is_explained() {
    let dir = site();
    let policies = dir.path().join("policies").display().to_string();
    let explain = |more: &[&str]| {
        let mut args = vec!["policy", "explain", "--policies", &policies];
        args.extend(more);
        run(&args)
    };
    let request = ["--request", "GET https://console.example/"];
    let table = explain(&[&request[..], &["--given", "country = \"FR\""]].concat());
    assert_eq!((code(&table), stderr(&table)), (0, String::new()));
    for part in ["REQUIREMENT", "home         resource  unmet    FR", "outcome   deny"] {
        assert!(stdout(&table).contains(part), "{part} is missing in\n{}", stdout(&table));
    }
    let colored = explain(&[&request[..], &["--given", "country=US", "--color", "always"]].concat());
    assert!(stdout(&colored).contains("\u{1b}[32mforward\u{1b}[0m"), "{}", stdout(&colored));
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&explain(&[&request[..], &["--json"]].concat()))).expect("JSON");
    assert_eq!((&json["outcome"], &json["resource"]), (&"deny".into(), &"console".into()));

    let typo = explain(&[&request[..], &["--given", "contry = \"US\""]].concat());
    assert_eq!(code(&typo), 2);
    assert!(stderr(&typo).contains("did you mean `country`"));
    let request = explain(&["--request", "console.example"]);
    assert_eq!(code(&request), 2);
    assert!(stderr(&request).contains("`console.example` is not a request"));
}

#[test]
fn the_readme_shows_what_is_really_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    let (_, shown) = readme.split_once("\n$ rangegate policy explain").expect("the command");
    let (shown, _) = shown.split_once("\n```").expect("its end");
    let (command, printed) = shown.split_once("\nrequest ").expect("what it prints");
    let binary = env!("CARGO_BIN_EXE_rangegate");
    let command = format!("'{binary}' policy explain{command}");
    let output = Command::new("sh").args(["-c", &command]).current_dir(root).output().expect("a shell");
    assert_eq!(stdout(&output).trim_end(), format!("request {printed}"), "{}", stderr(&output));
}

#[test]
fn logs_that_are_not_there_are_the_callers_fault() {
    let dir = site();
    let nowhere = dir.path().join("none.jsonl").display().to_string();
    let policies = dir.path().join("policies").display().to_string();
    for args in [&["audit", "verify", &nowhere][..], &["replay", &nowhere, "--policy", &policies], &["audit", "verify"]]
    {
        let output = run(args);
        assert_eq!((code(&output), stdout(&output)), (2, String::new()), "{args:?}");
        assert!(stderr(&output).starts_with("error: "), "{}", stderr(&output));
    }
}

#[test]
fn a_store_is_backed_up_checked_and_restored() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (config, backup) = (at("rangegate.toml"), at("store.backup"));
    fs::write(&config, "[store]\npath = 'store.db'\n[[listener]]\nwhatever = 'else is wrong'\n").expect("written");
    let store = |args: &[&str]| run(&[&["store"], args, &["--config", &config]].concat());

    let checked = store(&["check"]);
    assert_eq!(code(&checked), 0, "{}", stderr(&checked));
    let expected = format!("whole: `{}` at revision 0: empty; 0 faults\n", at("store.db"));
    assert_eq!(stdout(&checked), expected);
    let made = store(&["backup", &backup]);
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    assert_eq!(stdout(&made), format!("backed up to `{backup}`: 0 documents, 0 handles, 0 sightings\n"));
    let again = store(&["backup", &backup]);
    assert_eq!((code(&again), stderr(&again)), (2, format!("error: `{backup}` exists already\n")));
    let restored = store(&["restore", &backup, "--json"]);
    assert_eq!(code(&restored), 0, "{}", stderr(&restored));
    assert_eq!(stdout(&restored), "{\"documents\":0,\"handles\":0,\"sightings\":0}\n");

    fs::write(&backup, "something else").expect("written");
    let refused = store(&["restore", &backup]);
    let expected = format!("error: `{backup}` cannot be restored: it is no backup of a store\n");
    assert_eq!((code(&refused), stderr(&refused)), (2, expected));
    fs::write(&config, "[store]\nurl = 'postgres://gate:hunter2@db/gate'\n").expect("written");
    let told = stderr(&store(&["check"]));
    assert!(told.contains("it holds a password") && !told.contains("hunter2"), "{told}");
    fs::write(&config, "workers = 1\n").expect("written");
    let none = store(&["check"]);
    assert_eq!(code(&none), 2);
    assert!(stderr(&none).contains("the configuration has no `[store]`"), "{}", stderr(&none));
}
