//! The command as people and scripts use it: what it prints, where, and how it ends.

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
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["gate.example".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    fs::create_dir(dir.path().join("policies")).expect("made");
    for (name, text) in [
        ("server.pem", certificate.pem()),
        ("server.key", key.serialize_pem()),
        ("ca.crl", String::new()),
        ("policies/console.toml", POLICY.to_owned()),
        ("rangegate.toml", CONFIG.to_owned()),
    ] {
        fs::write(dir.path().join(name), text).expect("written");
    }
    fs::set_permissions(dir.path().join("server.key"), fs::Permissions::from_mode(0o600)).expect("closed");
    dir
}

const CONFIG: &str = r#"
[[listener]]
address = "127.0.0.1:0"
certificate = [{ chain = "server.pem", key = "server.key" }]
trust = { authorities = ["server.pem"], revocation-lists = ["ca.crl"] }

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
    for command in ["serve", "demo", "check", "emergency", "completions", "version"] {
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
    assert!(stderr(&output).contains("rangegate.toml:3:1") && stderr(&output).contains("did you mean `address`"));
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
        ["the private key cannot be read", "warning: the geography database cannot be read", "unknown key `asn`"]
    {
        assert!(stdout(&output).contains(part), "{part} is missing in\n{}", stdout(&output));
    }
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&run(&["check", "--json", "--config", &config]))).expect("JSON");
    assert_eq!(json["ok"], false);
    let faults = json["faults"].as_array().expect("a list");
    assert_eq!(faults.len(), 3);
    assert_eq!((&faults[0]["line"], &faults[0]["severity"]), (&4.into(), &"error".into()));
    assert_eq!(faults[2]["suggestion"], "asns");
}
