//! Connections to either database, made safe, and the schema brought up to date.

use super::fault::{OpenFault, StoreFault};
use super::settings::{Database, StoreSettings};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AnyConnection, AnyPool, ConnectOptions, Connection, Executor};
use std::time::Duration;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// What differs between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    pub(super) fn of(database: &Database) -> Self {
        match database {
            Database::Sqlite(_) => Self::Sqlite,
            Database::Postgres(_) => Self::Postgres,
        }
    }

    /// SQLite must be told that a transaction will write: a lock that is upgraded later fails under contention.
    pub(super) const fn begin_writing(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }

    /// One snapshot for all its questions.
    pub(super) const fn begin_reading(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }
}

/// Connections are made when they are needed and checked before they are used.
pub(super) fn pool(options: AnyConnectOptions, dialect: Dialect, settings: &StoreSettings) -> AnyPool {
    sqlx::any::install_default_drivers();
    let millis = settings.timeout.as_millis();
    AnyPoolOptions::new()
        .max_connections(8)
        .acquire_timeout(settings.timeout)
        .idle_timeout(Duration::from_secs(600))
        .after_connect(move |connection, _| Box::pin(prepare(connection, dialect, millis)))
        .after_release(|connection, _| Box::pin(is_at_rest(connection)))
        .connect_lazy_with(options.disable_statement_logging())
}

/// Connects once, to see whether it can be done.
pub(super) async fn once(options: &AnyConnectOptions, dialect: Dialect) -> Result<(), sqlx::Error> {
    let mut connection = options.clone().disable_statement_logging().connect().await?;
    prepare(&mut connection, dialect, 10_000).await?;
    connection.close().await
}

async fn prepare(connection: &mut AnyConnection, dialect: Dialect, millis: u128) -> Result<(), sqlx::Error> {
    let orders: Vec<String> = match dialect {
        // FULL: a commit is on the disk before it is acknowledged, also in write-ahead mode.
        Dialect::Sqlite => vec![
            format!("PRAGMA busy_timeout = {millis}"),
            "PRAGMA journal_mode = WAL".to_owned(),
            "PRAGMA synchronous = FULL".to_owned(),
        ],
        Dialect::Postgres => vec![
            format!("SET statement_timeout = {millis}"),
            format!("SET lock_timeout = {millis}"),
            format!("SET idle_in_transaction_session_timeout = {}", 6 * millis),
            // A server whose default was loosened acknowledges before the disk has it.
            "SET synchronous_commit = on".to_owned(),
        ],
    };
    for order in orders {
        connection.execute(sqlx::AssertSqlSafe(order)).await?;
    }
    Ok(())
}

/// Whether a connection may be used again. SQLite itself takes back a transaction that met a full disk; the driver's own
/// attempt then fails, and it would count that transaction as open for ever.
async fn is_at_rest(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        connection.ping().await?; // behind the rollback that is under way
    }
    Ok(!connection.is_in_transaction())
}

/// Brings the schema forward, and refuses what a newer version left.
pub(super) async fn migrate(pool: &AnyPool, database: &Database) -> Result<(), OpenFault> {
    let outcome = match Dialect::of(database) {
        Dialect::Sqlite => migrate_sqlite(pool).await,
        // Under the server's advisory lock, so that of two gateways starting at once one waits.
        Dialect::Postgres => MIGRATIONS.run(pool).await,
    };
    let ours = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    outcome.map_err(|fault| match fault {
        MigrateError::VersionMissing(theirs) => OpenFault::Newer { database: database.to_string(), ours, theirs },
        MigrateError::VersionMismatch(version) => OpenFault::Altered { database: database.to_string(), version },
        MigrateError::Source(_) => OpenFault::Foreign { database: database.to_string() },
        fault => told(database, StoreFault::of_migration(&fault)),
    })
}

/// In one transaction that holds the write lock: SQLite has no advisory locks.
async fn migrate_sqlite(pool: &AnyPool) -> Result<(), MigrateError> {
    let mut transaction = pool.begin_with(Dialect::Sqlite.begin_writing()).await?;
    let foreign: i64 = sqlx::query_scalar(
        "SELECT (SELECT COUNT(*) FROM sqlite_master) * \
         (SELECT COUNT(*) = 0 FROM sqlite_master WHERE name = '_sqlx_migrations')",
    )
    .fetch_one(&mut *transaction)
    .await?;
    if foreign > 0 {
        return Err(MigrateError::Source("another program's tables".into()));
    }
    MIGRATIONS.run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await?;
    Ok(())
}

/// The fault of a database, with the database's name; a file that cannot be written is told as such.
pub(super) fn told(database: &Database, fault: StoreFault) -> OpenFault {
    let database = database.to_string();
    match fault {
        StoreFault::ReadOnly => OpenFault::ReadOnly { database },
        fault => OpenFault::Database { database, fault },
    }
}
