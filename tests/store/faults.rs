//! What stands in the way of a store, and the words for it.

use crate::{NOW, Place, everything, on_both, put};
use rangegate::store::{
    CommitFault, Database, Expect, Kind, OpenFault, PostgresSettings, Store, StoreFault, StoreSettings,
};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

const FILE: &str = "RANGEGATE_TEST_FILL";

async fn fault_of(settings: &StoreSettings) -> OpenFault {
    match Store::open(settings).await {
        Ok(_) => panic!("it opened"),
        Err(fault) => fault,
    }
}

on_both! {
    a_newer_schema_is_refused,
    a_schema_that_was_made_otherwise_is_refused,
}

async fn a_newer_schema_is_refused(place: Place) {
    drop(place.open().await);
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'to come', TRUE, '', 0)";
    place.sql(newer).await;
    let fault = fault_of(&place.settings).await;
    assert!(matches!(fault, OpenFault::Newer { theirs: 9999, .. }), "{fault:?}");
    assert!(
        fault.to_string().contains("was written by a newer version (schema 9999, this version knows 1)"),
        "{fault}"
    );
}

async fn a_schema_that_was_made_otherwise_is_refused(place: Place) {
    drop(place.open().await);
    let checksum = if place.is_a_file() { "X'00'" } else { "'\\x00'" };
    place.sql(&format!("UPDATE _sqlx_migrations SET checksum = {checksum} WHERE version = 1")).await;
    let fault = fault_of(&place.settings).await;
    assert!(matches!(fault, OpenFault::Altered { version: 1, .. }), "{fault:?}");
    let told = "has a schema 1 that is not the one this version knows by that number: run the version that made it";
    assert!(fault.to_string().contains(told), "{fault}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told_as_such() {
    let place = Place::sqlite();
    let path = place.directory.path().join("store.db");
    fs::write(&path, "[store]\npath = \"the wrong file\"\n".repeat(100)).expect("written");
    let fault = fault_of(&place.settings).await;
    assert_eq!(fault.to_string(), format!("the store `{}`: the file is no database", path.display()));
    assert!(fs::read_to_string(&path).expect("read").starts_with("[store]"), "it is as it was");
}

#[tokio::test]
async fn another_programs_database_is_left_alone() {
    let place = Place::sqlite();
    place.sql("CREATE TABLE bookmarks (url TEXT)").await;
    let fault = fault_of(&place.settings).await;
    assert!(fault.to_string().ends_with("belongs to another program: it has tables, and none of ours"), "{fault}");
}

#[tokio::test]
async fn a_directory_that_is_missing_is_named() {
    let place = Place::sqlite();
    let path = place.directory.path().join("none/store.db");
    let fault = fault_of(&StoreSettings::sqlite(&path)).await;
    let expected = format!("the store `{}` cannot be opened: there is no such file or directory", path.display());
    assert_eq!(fault.to_string(), expected);
}

/// Pages overwritten at random: the store says that it is damaged, or what it gives is what was put in.
#[tokio::test]
async fn damage_is_told_and_never_believed() {
    let place = Place::sqlite();
    let path = place.directory.path().join("store.db");
    let store = place.open().await;
    let text = format!("\"{}\"", "x".repeat(300));
    let writes = (0..500).map(|n| put(Kind::Device, &n.to_string(), Expect::New, &text)).collect();
    store.commit(writes, NOW).await.expect("made");
    store.close().await;
    let whole = fs::read(&path).expect("read");
    let (mut told, mut found) = (0, 0);
    for page in (1..whole.len() / 4096).step_by(3) {
        fs::write(&path, &whole).expect("written");
        let file = fs::OpenOptions::new().write(true).open(&path).expect("opened");
        file.write_all_at(&[0x5a; 512], page as u64 * 4096).expect("damaged");
        match Store::open(&place.settings).await {
            Err(OpenFault::Database { fault: StoreFault::Corrupt(_), .. }) => told += 1,
            Err(fault) => panic!("{fault}"),
            Ok(store) => {
                match store.load(|document| assert!(document.body.len() == 302 || document.body.contains('Z'))).await {
                    Err(StoreFault::Corrupt(_)) => told += 1,
                    Err(fault) => panic!("{fault}"),
                    Ok(_) => {} // a page that nobody read: an index, say
                }
                match store.check(NOW).await {
                    Ok(checked) => found += usize::from(!checked.faults.is_empty()),
                    Err(StoreFault::Corrupt(_)) => found += 1,
                    Err(fault) => panic!("{fault}"),
                }
                store.close().await;
            }
        }
        for beside in ["store.db-wal", "store.db-shm"] {
            let _ = fs::remove_file(path.with_file_name(beside));
        }
    }
    assert!(told > 10 && found >= told, "{told} told, {found} found by a check");
}

/// Not a test of its own: opens the file it is given and fills it, in the place and the account the others chose.
#[tokio::test]
async fn filler() {
    let Ok(file) = std::env::var(FILE) else { return };
    let store = match Store::open(&StoreSettings::sqlite(&file)).await {
        Ok(store) => store,
        Err(fault) => return println!("open: {fault}"),
    };
    let text = format!("\"{}\"", "x".repeat(10_000));
    for n in 0..1_000 {
        let Err(fault) = store.commit(vec![put(Kind::Device, &n.to_string(), Expect::New, &text)], NOW).await else {
            continue;
        };
        // more often than there are connections: each one that met the fault must still serve, or be gone
        let mut written = n;
        for more in 0..20 {
            let write = put(Kind::Device, &format!("again {more}"), Expect::New, &text);
            match store.commit(vec![write], NOW).await {
                Ok(_) => written += 1, // the log was folded into the file, which makes some room
                Err(again) => assert_eq!(again.to_string(), fault.to_string()),
            }
        }
        println!("{written} written, then: {fault}; still {}", everything(&store).await.len());
        if fs::remove_file(Path::new(&file).with_file_name("ballast")).is_ok() {
            for more in 0..20 {
                let write = put(Kind::Device, &format!("room for {more}"), Expect::New, "{}");
                store.commit(vec![write], NOW).await.expect("there is room again");
            }
            println!("and {} with room", everything(&store).await.len());
        }
        return;
    }
    println!("never full");
}

fn filler_at(file: &Path, mut with: Command) -> String {
    let out = with
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", "faults::filler", "--nocapture", "--quiet"])
        .env(FILE, file)
        .stderr(Stdio::inherit())
        .output()
        .expect("it runs");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A file that may not grow; and a file system of one megabyte where the machine lets us mount one.
#[tokio::test]
async fn a_full_disk_is_told_and_takes_nothing_back() {
    let (written, said) = filled("sh", &[], "trap '' XFSZ; ulimit -f 1000; exec \"$@\"");
    assert!(said.contains("disk I/O error; the disk fails or is full"), "{said}");
    assert!(said.contains(&format!("{written} written, ")) && said.contains(&format!("; still {written}")), "{said}");

    if !Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success()) {
        return;
    }
    let ballast = "mount -t tmpfs -o size=1m tmpfs \"$0\" && head -c 500000 /dev/zero > \"$0/ballast\" && exec \"$@\"";
    let (written, said) = filled("unshare", &["-rm", "sh"], ballast);
    assert!(said.contains("the store cannot be written: the disk of the database is full"), "{said}");
    assert!(said.contains(&format!("; still {written}\n")), "what was acknowledged is still read: {said}");
    assert!(said.contains(&format!("and {} with room\n", written + 20)), "room serves again: {said}");
}

/// How many were acknowledged before the store at `$0` was full, and all that was said.
fn filled(program: &str, arguments: &[&str], script: &str) -> (usize, String) {
    let place = Place::sqlite();
    let small = place.directory.path().join("small");
    fs::create_dir(&small).expect("made");
    let mut with = Command::new(program);
    with.args(arguments).arg("-c").arg(script).arg(&small);
    let said = filler_at(&small.join("store.db"), with);
    let written = said.lines().find_map(|line| line.split_once(" written, then: ")?.0.parse().ok());
    let written = written.unwrap_or_else(|| panic!("it becomes full: {said}"));
    assert!(written > 10, "{said}");
    (written, said)
}

/// Root may write everything, so somebody else tries.
#[tokio::test]
async fn a_file_that_may_only_be_read_is_told() {
    let place = Place::sqlite();
    let file = place.directory.path().join("store.db");
    place.open().await.close().await;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).expect("closed");
    fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    let mut with = Command::new("env");
    if std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").expect("a process")) == 0 {
        with.uid(65_534).gid(65_534);
    }
    let said = filler_at(&file, with);
    let expected = format!("open: the store `{}` cannot be written: it is read-only for this process", file.display());
    assert!(said.contains(&expected), "{said}");
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    let cluster = crate::postgres::shared();
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = cluster.settings(&cluster.database());
    let Database::Postgres(postgres) = &mut settings.database else { unreachable!("it is a server") };
    postgres.password_file = Some(crate::postgres::wrong_password(directory.path()));
    let fault = fault_of(&settings).await.to_string();
    assert!(fault.contains("refuses the user or the password: password authentication failed"), "{fault}");
    assert!(!fault.contains("hunter2") && !format!("{settings:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_due() {
    let cluster = crate::postgres::shared();
    let mut settings = cluster.settings(&cluster.database());
    let Database::Postgres(postgres) = &mut settings.database else { unreachable!("it is a server") };
    postgres.url.push_str("?sslmode=verify-full");
    let fault = fault_of(&settings).await.to_string();
    assert!(
        fault.ends_with("the connection to the database cannot be made safe: server does not support TLS"),
        "{fault}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_in_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = |host: &str| format!("postgres://gate@{host}/gate?sslmode=disable");
    let nowhere = directory.path().display().to_string().replace('/', "%2F");
    // a listener that never answers
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port();
    for (host, words) in [
        (nowhere, "the database cannot be reached: there is no such file or directory"),
        ("127.0.0.1:1".to_owned(), "the database cannot be reached: "),
        (format!("127.0.0.1:{port}"), "the database"),
    ] {
        let postgres = PostgresSettings { url: url(&host), password_file: None, authority: None };
        let mut settings = StoreSettings::of(Database::Postgres(postgres));
        settings.timeout = std::time::Duration::from_millis(1_500);
        let fault = tokio::time::timeout(std::time::Duration::from_secs(10), fault_of(&settings)).await;
        let fault = fault.expect("in time").to_string();
        assert!(fault.contains(words), "{host}: {fault}");
    }
}

#[tokio::test]
async fn a_server_that_becomes_read_only_is_told() {
    let cluster = crate::postgres::shared();
    let database = cluster.database();
    let settings = cluster.settings(&database);
    Store::open(&settings).await.expect("it opens").close().await;
    let order = format!("ALTER DATABASE {database} SET default_transaction_read_only = on");
    assert!(cluster.sql("postgres", &order).status.success());
    match Store::open(&settings).await {
        Ok(store) => {
            let fault = store.commit(vec![put(Kind::Grant, "g", Expect::New, "{}")], NOW).await;
            let expected = CommitFault::Away("the database is read-only".to_owned());
            assert_eq!(fault, Err(expected));
        }
        Err(fault) => assert!(matches!(fault, OpenFault::ReadOnly { .. }), "{fault}"),
    }
}
