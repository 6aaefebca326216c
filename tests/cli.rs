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
    let server = authority.issue(&pki::Wanted::server(&["gate.example"], 1).around(now));
    fs::create_dir(dir.path().join("policies")).expect("made");
    for (name, text) in [
        ("ca.pem", authority.pem()),
        ("server.pem", server.chain_pem()),
        ("server.key", server.key_pem()),
        ("ca.crl", authority.crl(&[], now)),
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
