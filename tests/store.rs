//! The store and what the gateway remembers of it, on both databases: races, crashes, absences and damage.

#[path = "support/pki.rs"]
mod pki;
#[path = "support/postgres.rs"]
mod postgres;

#[path = "store/backups.rs"]
mod backups;
#[path = "store/checks.rs"]
mod checks;
#[path = "store/crashes.rs"]
mod crashes;
#[path = "store/documents.rs"]
mod documents;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/following.rs"]
mod following;
#[path = "store/tls.rs"]
mod tls;

use rangegate::evidence::{Identity, IdentityStatus, Moment};
use rangegate::store::{Database, Document, Expect, Handle, Kind, Store, StoreSettings, Write};
use sqlx::Connection;
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;

const NOW: Moment = Moment(1_780_000_000_000);

/// Runs a test on both databases.
macro_rules! on_both {
    ($($name:ident,)*) => {
        mod on_sqlite { $(#[tokio::test] async fn $name() { super::$name(crate::Place::sqlite()).await; })* }
        mod on_postgres { $(#[tokio::test] async fn $name() { super::$name(crate::Place::postgres()).await; })* }
    };
}
pub(crate) use on_both;

/// An empty database.
struct Place {
    settings: StoreSettings,
    directory: TempDir,
}

impl Place {
    fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { settings: StoreSettings::sqlite(directory.path().join("store.db")), directory }
    }

    fn postgres() -> Self {
        let cluster = postgres::shared();
        let settings = cluster.settings(&cluster.database());
        Self { settings, directory: tempfile::tempdir().expect("a directory") }
    }

    /// What a stranger does to it.
    async fn sql(&self, sql: &str) {
        match &self.settings.database {
            Database::Sqlite(path) => {
                let url = format!("sqlite://{}?mode=rwc", path.display());
                sqlx::any::install_default_drivers();
                let mut connection = sqlx::AnyConnection::connect(&url).await.expect("it opens");
                sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect("done");
                connection.close().await.expect("closed");
            }
            Database::Postgres(postgres) => {
                let database = postgres.url.rsplit('/').next().expect("a name");
                let done = postgres::shared().sql(database, sql);
                assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            }
        }
    }

    fn is_a_file(&self) -> bool {
        matches!(self.settings.database, Database::Sqlite(_))
    }

    async fn open(&self) -> Store {
        Store::open(&self.settings).await.expect("it opens")
    }
}

fn put(kind: Kind, id: &str, expect: Expect, body: &str) -> Write {
    Write::Put { kind, id: id.into(), expect, body: body.to_owned() }
}

fn claim(space: &'static str, value: &str, kind: Kind, id: &str) -> Write {
    Write::Claim { handle: Handle::new(space, value), kind, id: id.into() }
}

fn identity(user: &str, aliases: &[&str], status: IdentityStatus) -> Identity {
    Identity {
        user: user.into(),
        person: user.into(),
        aliases: aliases.iter().map(|&alias| alias.into()).collect(),
        name: None,
        email: None,
        groups: None,
        employment: None,
        vendor: None,
        manager: None,
        home: None,
        proofing: None,
        status,
    }
}

fn body(record: &impl serde::Serialize) -> String {
    serde_json::to_string(record).expect("it serializes")
}

/// Everything, by kind and id.
async fn everything(store: &Store) -> BTreeMap<(Kind, Arc<str>), Document> {
    let mut all = BTreeMap::new();
    store
        .load(|document| drop(all.insert((document.kind, Arc::clone(&document.id)), document)))
        .await
        .expect("it loads");
    all
}
