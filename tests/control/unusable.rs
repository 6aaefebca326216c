//! A store that cannot be used, as `serve` and `store check` tell of it: in words, and by how they end.

use crate::gateway::PKI;
use crate::pki::file;
use crate::postgres::{shared, wrong_password};
use rangegate::gateway::clock;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

/// A configuration that is good but for its store.
fn site(store: &str) -> tempfile::TempDir {
    let site = tempfile::tempdir().expect("a directory");
    let at = site.path();
    std::fs::set_permissions(at, PermissionsExt::from_mode(0o755)).expect("opened");
    std::fs::create_dir(at.join("policies")).expect("a directory");
    file(&at.join("policies"), "api.toml", include_str!("../../policies/api.toml"));
    file(at, "server.pem", PKI.server.chain_pem());
    file(at, "server.key", PKI.server.key_pem());
    file(at, "devices.pem", PKI.devices.pem());
    file(at, "devices.crl", PKI.devices.crl(&[], clock::now()));
    let config = format!(
        "listener = [{{ address = '127.0.0.1:0', certificate = [{{ chain = 'server.pem', key = 'server.key' }}], \
         trust = {{ authorities = ['devices.pem'], revocation-lists = ['devices.crl'] }} }}]\n\
         store = {store}\noperations = {{ address = '127.0.0.1:0' }}\naudit = {{ path = 'audit.jsonl' }}\n"
    );
    file(at, "rangegate.toml", config);
    site
}

const FILE: &str = "{ path = 'store.db' }";

fn command(at: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.arg("20").arg(env!("CARGO_BIN_EXE_rangegate")).args(args).arg("--config").arg(at.join("rangegate.toml"));
    command.env("NO_COLOR", "1");
    command
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Both commands end so and say so.
fn both(at: &Path, code: i32, words: &str) {
    for args in [&["serve"][..], &["store", "check"]] {
        let output = command(at, args).output().expect("it runs");
        let said = told(&output);
        assert!(said.contains(words), "{args:?}: {said}");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("OpenFault"), "{said}");
    }
}

/// An empty store.
fn made(at: &Path) {
    let output = command(at, &["store", "check"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

/// What somebody else does to the file.
fn sqlite(at: &Path, sql: &str) {
    let program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()";
    let done = Command::new("python3").args(["-c", program]).arg(at.join("store.db")).arg(sql).status();
    assert!(done.expect("python3 is installed").success());
}

#[test]
fn what_is_no_database() {
    let site = site(FILE);
    file(site.path(), "store.db", "not a database, by far\n".repeat(200));
    both(site.path(), 3, "the file is no database");
}

#[test]
fn a_damaged_database() {
    let site = site(FILE);
    made(site.path());
    sqlite(site.path(), "PRAGMA wal_checkpoint(TRUNCATE)");
    let path = site.path().join("store.db");
    let mut bytes = std::fs::read(&path).expect("a file");
    bytes[4096..].fill(0x5a);
    std::fs::write(&path, bytes).expect("damaged");
    both(site.path(), 3, "the database is damaged");
    both(site.path(), 3, "restore a backup");
}

#[test]
fn a_newer_version() {
    let site = site(FILE);
    made(site.path());
    sqlite(
        site.path(),
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'to come', TRUE, '', 0)",
    );
    both(site.path(), 2, "was written by a newer version (schema 9999");
}

#[test]
fn another_programs_database() {
    let site = site(FILE);
    sqlite(site.path(), "CREATE TABLE bookmarks (url TEXT)");
    both(site.path(), 2, "belongs to another program");
}

#[test]
fn a_file_that_may_only_be_read() {
    let site = site(FILE);
    made(site.path());
    std::fs::set_permissions(site.path().join("store.db"), PermissionsExt::from_mode(0o444)).expect("closed");
    // Root may write everything, so somebody else tries; the rest of the configuration is read first.
    let root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("a process")) == 0;
    if root {
        std::os::unix::fs::chown(site.path().join("server.key"), Some(65_534), Some(65_534)).expect("handed over");
    }
    for args in [&["serve"][..], &["store", "check"]] {
        let mut command = command(site.path(), args);
        if root {
            command.uid(65_534).gid(65_534);
        }
        let output = command.output().expect("it runs");
        let said = told(&output);
        assert!(said.contains("cannot be written: it is read-only for this process"), "{args:?}: {said}");
        assert_eq!(output.status.code(), Some(3), "{args:?}: {said}");
    }
}

#[test]
fn a_directory_that_is_missing() {
    let site = site("{ path = 'none/store.db' }");
    for args in [&["serve"][..], &["store", "check"]] {
        let output = command(site.path(), args).output().expect("it runs");
        let said = told(&output);
        assert!(
            said.contains("none` is no directory")
                || said.contains("none/store.db` cannot be opened: there is no such"),
            "{args:?}: {said}"
        );
        assert!(matches!(output.status.code(), Some(2 | 3)), "{args:?}: {said}");
    }
}

/// A file that may not grow stands for a disk that is full: an empty store does not even begin.
#[test]
fn no_room_to_begin() {
    let site = site(FILE);
    for args in [&["serve"][..], &["store", "check"]] {
        let mut limited = Command::new("sh");
        limited.args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$@\"", "sh", "timeout", "20"]);
        limited.arg(env!("CARGO_BIN_EXE_rangegate")).args(args);
        let output = limited.arg("--config").arg(site.path().join("rangegate.toml")).output().expect("it runs");
        let said = told(&output);
        assert!(said.contains("full"), "{args:?}: {said}");
        assert_eq!(output.status.code(), Some(3), "{args:?}: {said}");
    }
}

#[test]
fn a_wrong_password_and_a_server_that_is_not_there() {
    let cluster = shared();
    let passwords = tempfile::tempdir().expect("a directory");
    let wrong = wrong_password(passwords.path());
    let url = cluster.url(&cluster.database());
    let site = site(&format!("{{ url = '{url}', password-file = '{}' }}", wrong.display()));
    both(site.path(), 3, "refuses the user or the password");
    for args in [&["serve"][..], &["store", "check"]] {
        assert!(!told(&command(site.path(), args).output().expect("it runs")).contains("hunter2"));
    }
    let nowhere = passwords.path().display().to_string().replace('/', "%2F");
    let url = format!("postgres://gate@{nowhere}/gate");
    let site = self::site(&format!("{{ url = '{url}', password-file = '{}', timeout = '1s' }}", wrong.display()));
    both(site.path(), 3, "the database cannot be reached");
}
