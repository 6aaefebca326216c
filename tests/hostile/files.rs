//! What the gateway needs from the disk is gone, broken or full while it serves.

use crate::client::get;
use crate::gateway::Harness;
use crate::mmdb::{Writer, nested};
use crate::pki::file;
use crate::upstream::Upstream;
use rangegate::audit::verify;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A small file system, where the test may have one; else a directory whose log can be led to `/dev/full`.
struct Disk {
    directory: tempfile::TempDir,
    mounted: bool,
}

impl Disk {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(directory.path()).output();
        Self { mounted: mount.is_ok_and(|output| output.status.success()), directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn fill(&self) {
        if self.mounted {
            let mut piece = 64 * 1024;
            let mut at = 0;
            // Down to the last byte.
            while piece > 0 {
                if std::fs::write(self.path(&format!("filler-{at}")), vec![b'x'; piece]).is_err() {
                    piece /= 2;
                }
                at += 1;
            }
        } else {
            std::fs::rename(self.path("audit.jsonl"), self.path("aside")).expect("a log");
            std::os::unix::fs::symlink("/dev/full", self.path("audit.jsonl")).expect("a link");
        }
    }

    fn free(&self) {
        if self.mounted {
            let entries = std::fs::read_dir(self.directory.path()).expect("a directory").flatten();
            for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("filler")) {
                std::fs::remove_file(entry.path()).expect("a file");
            }
        } else {
            std::fs::remove_file(self.path("audit.jsonl")).expect("a link");
            std::fs::rename(self.path("aside"), self.path("audit.jsonl")).expect("a log");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(self.directory.path()).status();
        }
    }
}

#[tokio::test]
async fn with_a_full_disk_nobody_is_let_in_unrecorded() {
    let disk = Disk::new();
    let app = Upstream::plain().await;
    let log = disk.path("audit.jsonl");
    let audit = log.clone();
    let mut gate = Harness::builder().app(&app).settings(|settings| settings.audit.path = audit).start().await;
    let mut client = gate.dial().h2().await;
    assert_eq!(client.get("/before").await.status, 200);
    disk.fill();
    let begun = Instant::now();
    let mut asked = 0;
    // What is open when the disk fills has its place in memory.
    while client.get("/filling").await.status == 200 {
        assert!(begun.elapsed() < Duration::from_secs(10), "requests are let in still");
        asked += 1;
    }
    let let_in = app.seen().len();
    for _ in 0..20 {
        let answer = client.get("/full").await;
        assert_eq!(answer.status, 503);
    }
    assert_eq!((app.seen().len(), gate.operations("/readyz").await.0), (let_in, 503));
    disk.free();
    let begun = Instant::now();
    loop {
        let answer = client.get("/after").await;
        if answer.status == 200 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it does not recover: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(gate.operations("/readyz").await.0, 200);
    gate.stop().await;
    let text = std::fs::read_to_string(&log).expect("a log");
    let count = |path: &str| text.matches(&format!("\"path\":\"{path}\"")).count();
    assert_eq!(
        (count("/before"), count("/filling"), count("/full")),
        (1, asked + 1, 20),
        "every request is in the log"
    );
    assert_eq!(text.matches("\"outcome\":\"forward\"").count(), app.seen().len());
    let report = verify::verify(&verify::Log::gather(&[log]).expect("the log")).expect("a verdict");
    assert!(report.faults.is_empty(), "{:?}", report.faults);
}

const SOMEWHERE: &str = "[[resource]]\nid = \"app\"\nhosts = [\"app.corp.example\"]\nupstream = \"$app\"\n\
    [[resource.route]]\nmatch = [\"* /anywhere\"]\nrequire = [{ id = \"local\", that = { cidr = \"127.0.0.0/8\" } }]\n\
    [[resource.route]]\nmatch = [\"* /home\"]\nrequire = [{ id = \"home\", that = { country = [\"US\"] } }]\n\
    [[resource.route]]\nmatch = [\"* /not-abroad\"]\nrequire = [{ id = \"not-abroad\", that = { not = { country = [\"CN\"] } } }]\n";

fn database(country: &str) -> Vec<u8> {
    let built = rangegate::gateway::clock::now().millis() / 1000 - 3600;
    let place = nested(country, "AZ", "Phoenix", 33.4484, -112.074);
    Writer::both_families(built.unsigned_abs()).with("127.0.0.0/8", &place).bytes()
}

fn put(path: &Path, bytes: &[u8]) {
    let directory = path.parent().expect("a directory");
    std::fs::rename(file(directory, "new.mmdb", bytes), path).expect("a file");
}

#[tokio::test]
async fn without_geography_only_rules_that_need_it_deny_and_the_last_good_one_stays() {
    let app = Upstream::plain().await;
    let gate = Harness::builder()
        .policy("app", SOMEWHERE, &[("app", &app)])
        .settings(|settings| {
            let path = settings.policies.with_file_name("places.mmdb");
            settings.geo.places = vec![path];
        })
        .start()
        .await;
    let path = gate.path("places.mmdb");
    let ask = async || {
        // Looked up once a connection: what is new shows on the next.
        let mut client = gate.dial().h1().await;
        let mut statuses = Vec::new();
        for path in ["/anywhere", "/home", "/not-abroad"] {
            statuses.push(client.get(path).await.status.as_u16());
        }
        statuses
    };
    let settled = async |what: &str, expected: &[u16]| {
        let begun = Instant::now();
        loop {
            let statuses = ask().await;
            if statuses == expected {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{what}: {statuses:?}, not {expected:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (all, without, abroad) = ([200, 200, 200], [200, 403, 403], [200, 403, 403]);
    let good = database("US");
    settled("missing from the beginning", &without).await;
    let mut refused = 0;
    for (what, bytes) in [("empty", &[][..]), ("zeros", &[0; 4096]), ("cut in half", &good[..good.len() / 2])] {
        put(&path, bytes);
        refused += 1;
        gate.lines_where(refused, |line| line["event"] == "source-rejected").await;
        assert_eq!(ask().await, without, "{what}");
    }
    put(&path, &good);
    settled("good", &all).await;
    // From here on there is a last good one.
    std::fs::remove_file(&path).expect("a file");
    gate.lines_where(refused + 1, |line| line["event"] == "source-rejected").await;
    assert_eq!(ask().await, all);
    put(&path, &good[..good.len() / 2]);
    gate.lines_where(refused + 2, |line| line["event"] == "source-rejected").await;
    assert_eq!(ask().await, all);
    put(&path, &database("CN"));
    settled("abroad", &abroad).await;
    // The tree is garbage, the metadata at the end sound.
    let mut lying = good.clone();
    lying[..200].fill(0xff);
    put(&path, &lying);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        let statuses = ask().await;
        assert!(statuses[0] == 200 && statuses[1] != 200, "{statuses:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    put(&path, &good);
    settled("good in the end", &all).await;
}

#[tokio::test]
async fn broken_files_are_refused_and_the_last_good_ones_serve_on() {
    let app = Upstream::plain().await;
    let gate = Harness::open(&app).await;
    let serves = async || gate.dial().h2().await.ask(get("/")).await.status == 200;
    let rejected = |line: &serde_json::Value| line["event"] == "source-rejected";
    for name in ["server.pem", "devices.pem", "devices.crl", "devices.toml"] {
        let path = gate.path(name);
        let good = std::fs::read(&path).expect("a file");
        for broken in ["x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "[[device]\n\0\n"] {
            let before = gate.lines().iter().filter(|line| rejected(line)).count();
            gate.reload("", || std::fs::write(&path, broken).expect("a file")).await;
            gate.lines_where(before + 1, rejected).await;
            assert!(serves().await, "{name}");
        }
        std::fs::write(&path, good).expect("a file");
    }
    assert!(serves().await);
}
