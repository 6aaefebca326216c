//! `kill -9` while it writes: what was acknowledged is there, whole; what was not is there whole or not at all.
//!
//! The writers are this test's own executable, started again with a place to write to in its environment.

use crate::postgres::Cluster;
use crate::{NOW, Place, claim, everything, put};
use rangegate::store::document::space;
use rangegate::store::{CommitFault, Database, Document, Expect, Kind, PostgresSettings, Store, StoreSettings};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const PLACE: &str = "RANGEGATE_TEST_WRITE_TO";
const NAME: &str = "RANGEGATE_TEST_WRITER";
const WRITERS: usize = 4;

/// Not a test of its own: what the others start. Writes until it is killed, and says after each change what it was.
#[tokio::test]
async fn writer() {
    let (Ok(place), Ok(name)) = (std::env::var(PLACE), std::env::var(NAME)) else { return };
    let store = Store::open(&settings(&place)).await.expect("it opens");
    let out = std::io::stdout();
    let mut version = 0;
    for n in 0_u64.. {
        let (id, pair) = (format!("{name}-{n}"), format!("{name}-{n}-pair"));
        let expect = if version == 0 { Expect::New } else { Expect::Version(version) };
        let writes = vec![
            put(Kind::Device, &id, Expect::New, &format!("\"{id}\"")),
            put(Kind::Device, &pair, Expect::New, &format!("\"{pair}\"")),
            claim(space::KEY, &id, Kind::Device, &id),
            put(Kind::Grant, &name, expect, &n.to_string()),
        ];
        match store.commit(writes, NOW).await {
            Ok(_) => version += 1,
            Err(CommitFault::Away(_)) => return, // the server is gone
            Err(fault) => panic!("{fault}"),
        }
        writeln!(out.lock(), "acknowledged {n}").expect("heard");
    }
}

fn settings(place: &str) -> StoreSettings {
    match place.split_once('|') {
        Some((url, password)) => StoreSettings::of(Database::Postgres(PostgresSettings {
            url: url.to_owned(),
            password_file: Some(password.into()),
            authority: None,
        })),
        None => StoreSettings::sqlite(place),
    }
}

fn start(place: &str, name: &str) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "crashes::writer", "--nocapture", "--quiet"])
        .env(PLACE, place)
        .env(NAME, name)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts again")
}

/// A writer that was started, and what it said so far.
struct Writer {
    name: String,
    process: Child,
    said: Lines<BufReader<ChildStdout>>,
    last: Option<u64>,
}

impl Writer {
    fn start(place: &str, name: String) -> Self {
        let mut process = start(place, &name);
        let said = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self { name, process, said, last: None }
    }

    /// Listens to the next acknowledgement. False: there is none to come.
    fn listen(&mut self) -> bool {
        for line in self.said.by_ref().map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("acknowledged ") {
                self.last = Some(number.parse().expect("a number"));
                return true;
            }
        }
        false
    }

    /// The last number acknowledged before it fell silent.
    fn last_word(mut self) -> (String, Option<u64>) {
        while self.listen() {}
        self.process.wait().expect("it ended");
        (self.name, self.last)
    }
}

/// As random as need be, and the same at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Kills writers at random moments, `rounds` times four, and looks at everything after each round.
async fn kill_writers(place: &str, rounds: usize) {
    let mut random = Random(7);
    let mut acknowledged = BTreeMap::new();
    let mut silent = 0;
    for round in 0..rounds {
        let writers: Vec<_> = (0..WRITERS).map(|n| Writer::start(place, format!("w{round}-{n}"))).collect();
        for (n, mut writer) in writers.into_iter().enumerate() {
            // One in four perhaps before it wrote at all, or in the very first opening of an empty database.
            if n > 0 {
                writer.listen();
            }
            tokio::time::sleep(Duration::from_millis(random.below(12))).await;
            writer.process.kill().expect("killed");
            match writer.last_word() {
                (name, Some(last)) => drop(acknowledged.insert(name, last)),
                (_, None) => silent += 1,
            }
        }
        let store = Store::open(&settings(place)).await.expect("it opens after any crash");
        hold(&acknowledged, &everything(&store).await);
        if round % 10 == 9 {
            let checked = store.check(NOW).await.expect("asked");
            let broken: Vec<_> = checked.faults.iter().filter(|fault| !fault.contains("cannot be read")).collect();
            let excused = |fault: &&&String| fault.contains("whose record does not name it");
            assert_eq!(broken.iter().find(|fault| !excused(fault)), None, "the database itself is whole");
        }
    }
    let total: u64 = acknowledged.values().map(|last| last + 1).sum();
    println!(
        "{} writers killed, {silent} of them before their first word; {total} changes acknowledged",
        rounds * WRITERS
    );
    assert!(acknowledged.len() >= 3 * rounds, "too few wrote anything: {}", acknowledged.len());
}

fn hold(acknowledged: &BTreeMap<String, u64>, all: &BTreeMap<(Kind, Arc<str>), Document>) {
    let body = |kind, id: &str| all.get(&(kind, Arc::from(id))).map(|document| &*document.body);
    for (name, last) in acknowledged {
        for n in 0..=*last {
            let (id, pair) = (format!("{name}-{n}"), format!("{name}-{n}-pair"));
            assert_eq!(body(Kind::Device, &id), Some(&*format!("\"{id}\"")), "acknowledged and lost");
            assert_eq!(body(Kind::Device, &pair), Some(&*format!("\"{pair}\"")), "half of a change");
        }
    }
    for ((kind, id), document) in all {
        if *kind == Kind::Grant {
            let last: u64 = document.body.parse().expect("a number");
            assert_eq!(document.version, last + 1);
            assert!(body(Kind::Device, &format!("{id}-{last}-pair")).is_some(), "half of a change");
            assert!(body(Kind::Device, &format!("{id}-{}", last + 1)).is_none(), "half of a change");
            if let Some(said) = acknowledged.get(&**id) {
                assert!(*said == last || *said + 1 == last, "{said} acknowledged, {last} there");
            }
        }
    }
}

#[tokio::test]
async fn two_hundred_killed_writers_lose_nothing_on_sqlite() {
    let place = Place::sqlite();
    let path = place.directory.path().join("store.db");
    kill_writers(path.to_str().expect("text"), 50).await;
}

#[tokio::test]
async fn two_hundred_killed_writers_lose_nothing_on_postgres() {
    let cluster = crate::postgres::shared();
    let database = cluster.database();
    let place = format!("{}|{}", cluster.url(&database), cluster.password_file().display());
    kill_writers(&place, 50).await;
}

#[tokio::test]
async fn a_killed_server_loses_nothing() {
    let mut cluster = Cluster::start(&[]);
    let database = cluster.database();
    let place = format!("{}|{}", cluster.url(&database), cluster.password_file().display());
    let mut random = Random(11);
    let mut acknowledged = BTreeMap::new();
    for round in 0..5 {
        let mut writers: Vec<_> = (0..WRITERS).map(|n| Writer::start(&place, format!("s{round}-{n}"))).collect();
        writers.iter_mut().for_each(|writer| assert!(writer.listen(), "it writes"));
        tokio::time::sleep(Duration::from_millis(random.below(50))).await;
        cluster.kill();
        for writer in writers {
            if let (name, Some(last)) = writer.last_word() {
                acknowledged.insert(name, last);
            }
        }
        cluster.run();
        let store = Store::open(&settings(&place)).await.expect("it opens after any crash");
        hold(&acknowledged, &everything(&store).await);
    }
    assert!(acknowledged.len() >= 20, "too few wrote anything: {}", acknowledged.len());
}
