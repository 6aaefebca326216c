//! A connection to PostgreSQL over a network: encrypted, and with a server that an authority vouches for, or not made.

use crate::pki::{Authority, Wanted, file};
use crate::postgres::Cluster;
use crate::{NOW, everything, put};
use rangegate::store::{Database, Expect, Kind, OpenFault, PostgresSettings, Store, StoreFault, StoreSettings};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server whose certificate is for `localhost` alone, and the files of its authority and of another.
struct World {
    cluster: Cluster,
    database: String,
    authority: PathBuf,
    other: PathBuf,
    directory: TempDir,
}

impl World {
    fn new() -> Self {
        let now = rangegate::gateway::clock::now();
        let (ours, other) = (Authority::new("Databases"), Authority::new("Elsewhere"));
        let leaf = ours.issue(&Wanted::server(&["localhost"], 1).around(now));
        let cluster = Cluster::with_tls(&leaf.chain_pem(), &leaf.key_pem());
        let directory = tempfile::tempdir().expect("a directory");
        Self {
            database: cluster.database(),
            authority: file(directory.path(), "databases.pem", ours.pem()),
            other: file(directory.path(), "elsewhere.pem", other.pem()),
            cluster,
            directory,
        }
    }

    fn settings(&self, host: &str, mode: &str, authority: Option<&PathBuf>) -> StoreSettings {
        StoreSettings::of(Database::Postgres(PostgresSettings {
            url: self.cluster.url_by(host, &self.database) + mode,
            password_file: Some(self.cluster.password_file()),
            authority: authority.cloned(),
        }))
    }

    /// Of every connection that the gateway has: whether it is encrypted, and by what.
    fn connections(&self) -> Vec<String> {
        let asked = "SELECT ssl, version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'rangegate'";
        let out = self.cluster.sql(&self.database, asked);
        String::from_utf8(out.stdout).expect("text").lines().map(str::to_owned).collect()
    }

    /// The command, by a configuration that says the same.
    fn check(&self, authority: &str) -> (Option<i32>, String) {
        let url = self.cluster.url_by("localhost", &self.database);
        let text = format!(
            "[store]\nurl = \"{url}\"\npassword-file = \"{}\"\nauthority = \"{authority}\"\n",
            self.cluster.password_file().display()
        );
        let path = file(self.directory.path(), "rangegate.toml", text);
        let mut command = Command::new(env!("CARGO_BIN_EXE_rangegate"));
        let out =
            command.args(["store", "check", "--config"]).arg(path).env("NO_COLOR", "1").output().expect("it runs");
        let said = [out.stdout, out.stderr].concat();
        (out.status.code(), String::from_utf8(said).expect("text"))
    }
}

async fn refused(settings: &StoreSettings) -> String {
    match Store::open(settings).await {
        Ok(_) => panic!("it opened"),
        Err(OpenFault::Database { fault: StoreFault::Tls(why), .. }) => why,
        Err(fault) => panic!("{fault}"),
    }
}

#[tokio::test]
async fn a_server_that_the_authority_vouches_for_is_spoken_to_and_no_other() {
    let world = World::new();
    let ours = Some(&world.authority);
    for mode in ["", "?sslmode=verify-full"] {
        let store = Store::open(&world.settings("localhost", mode, ours)).await.expect("it opens");
        store.commit(vec![put(Kind::Grant, &format!("g{mode}"), Expect::New, "{}")], NOW).await.expect("written");
        // The one that listens for notifications comes a little later.
        let begun = Instant::now();
        while world.connections().len() < 2 {
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", world.connections());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let connections = world.connections();
        assert!(connections.iter().all(|one| one == "t|TLSv1.3"), "{connections:?}");
        store.close().await;
    }
    let store = Store::open(&world.settings("localhost", "?sslmode=verify-ca", ours)).await.expect("it opens");
    assert_eq!(everything(&store).await.len(), 2);
    store.close().await;

    let nobody = "no authority that is trusted here vouches for the server's certificate";
    for (host, mode, authority, why) in [
        ("localhost", "", Some(&world.other), nobody),
        ("localhost", "?sslmode=verify-ca", Some(&world.other), nobody),
        ("localhost", "?sslmode=verify-full", None, nobody),
        ("127.0.0.1", "", ours, "the server's certificate is for another name than the URL's"),
    ] {
        let told = refused(&world.settings(host, mode, authority)).await;
        assert!(told.starts_with(why), "{host} {mode}: {told}");
    }
    let said = world.check("elsewhere.pem");
    assert_eq!((said.0, said.1.contains(nobody)), (Some(3), true), "{said:?}");
    let said = world.check("databases.pem");
    // The records are none of ours, and that is all that is wrong.
    assert_eq!(
        (said.0, said.1.contains("NOT WHOLE"), said.1.contains("; 2 faults")),
        (Some(1), true, true),
        "{said:?}"
    );
    let said = world.check("rangegate.toml");
    assert_eq!((said.0, said.1.contains("rangegate.toml")), (Some(2), true), "{said:?}");
}
