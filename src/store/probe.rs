//! Whether a store could be opened, found out without making, changing or calling anything.

use super::connect::{self, MIGRATIONS};
use super::directory;
use super::durable::Store;
use super::fault::{OpenFault, StoreFault};
use super::policy_files::in_words;
use super::settings::{Database, StoreSettings, percent_encoded};
use sqlx::any::AnyConnectOptions;
use sqlx::{ConnectOptions, Connection};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

/// How every SQLite file begins (<https://www.sqlite.org/fileformat.html>, section 1.2).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

impl Store {
    /// What `open` would say of the settings and of the files they name. A server is not called: that it is away is no
    /// fault of a configuration. Blocks.
    ///
    /// # Errors
    /// As `open`.
    pub fn probe(settings: &StoreSettings) -> Result<(), OpenFault> {
        match &settings.database {
            Database::Postgres(_) => settings.database.connect_options().map(drop),
            Database::Sqlite(path) => {
                let found = file(path, &settings.database)?;
                // What has not yet come into the file itself only a gateway may bring there.
                let unfinished = ["-wal", "-journal"].iter().any(|end| beside(path, end).is_some_and(|len| len > 0));
                if found && !unfinished { content(path, &settings.database) } else { Ok(()) }
            }
        }
    }
}

/// Whether there is anything in it; a file that is missing or empty becomes a store.
fn file(path: &Path, database: &Database) -> Result<bool, OpenFault> {
    let failed = |error: &io::Error| match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            OpenFault::ReadOnly { database: database.to_string() }
        }
        _ => OpenFault::File { path: path.to_owned(), why: in_words(error) },
    };
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return directory::takes_files(path).map(|()| false).map_err(|error| failed(&error));
        }
        Err(error) => return Err(failed(&error)),
    };
    // The write-ahead log stands beside it.
    if beside(path, "-wal").is_none() && directory::takes_files(path).is_err() {
        return Err(connect::told(database, StoreFault::beside()));
    }
    let mut start = Vec::new();
    (&mut file).take(MAGIC.len() as u64).read_to_end(&mut start).map_err(|error| failed(&error))?;
    // SQLite takes a single byte for nothing, too.
    match start.len() {
        0 | 1 => Ok(false),
        _ if start == MAGIC => Ok(true),
        _ => Err(connect::told(database, StoreFault::NotADatabase)),
    }
}

/// How long the file of this name beside the database is, if it is there.
fn beside(path: &Path, end: &str) -> Option<u64> {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    std::fs::metadata(name).ok().map(|found| found.len())
}

/// Reads the schema of a file that nobody has open, as if it could not change: so nothing appears beside it.
fn content(path: &Path, database: &Database) -> Result<(), OpenFault> {
    let Ok(absolute) = std::path::absolute(path) else { return Ok(()) };
    let url = format!("sqlite://{}?mode=ro&immutable=true", percent_encoded(&absolute.to_string_lossy()));
    let (Ok(options), Ok(runtime)) =
        (url.parse::<AnyConnectOptions>(), tokio::runtime::Builder::new_current_thread().enable_all().build())
    else {
        return Ok(());
    };
    match runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), schema(options)).await }) {
        Ok(Ok(Schema::Foreign)) => Err(OpenFault::Foreign { database: database.to_string() }),
        Ok(Ok(Schema::Ours(applied))) => ours(&applied, database),
        Ok(Err(error)) => match StoreFault::of(&error) {
            fault @ (StoreFault::NotADatabase | StoreFault::Corrupt(_)) => Err(connect::told(database, fault)),
            // Whatever else kept it from being read may be of this moment.
            _ => Ok(()),
        },
        Err(_) => Ok(()),
    }
}

enum Schema {
    Foreign,
    /// Numbers and checksums.
    Ours(Vec<(i64, Vec<u8>)>),
}

async fn schema(options: AnyConnectOptions) -> Result<Schema, sqlx::Error> {
    sqlx::any::install_default_drivers();
    let mut connection = options.disable_statement_logging().connect().await?;
    let count = |filter| format!("SELECT COUNT(*) FROM sqlite_master{filter}");
    let tables: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(count(""))).fetch_one(&mut connection).await?;
    let known: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(count(" WHERE name = '_sqlx_migrations'")))
        .fetch_one(&mut connection)
        .await?;
    let schema = match (tables, known) {
        (0, _) => Schema::Ours(Vec::new()),
        (_, 0) => Schema::Foreign,
        _ => Schema::Ours(
            sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations ORDER BY version")
                .fetch_all(&mut connection)
                .await?,
        ),
    };
    connection.close().await?;
    Ok(schema)
}

/// As the migrations themselves would find it.
fn ours(applied: &[(i64, Vec<u8>)], database: &Database) -> Result<(), OpenFault> {
    let ours = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    let known = |version| MIGRATIONS.iter().find(|migration| migration.version == version);
    let database = || database.to_string();
    if let Some((theirs, _)) = applied.iter().find(|(version, _)| known(*version).is_none()) {
        return Err(OpenFault::Newer { database: database(), ours, theirs: *theirs });
    }
    let altered = applied.iter().find(|(version, sum)| known(*version).is_some_and(|ours| *ours.checksum != **sum));
    altered.map_or(Ok(()), |(version, _)| Err(OpenFault::Altered { database: database(), version: *version }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probed(path: &Path) -> Result<(), String> {
        Store::probe(&StoreSettings::sqlite(path)).map_err(|fault| fault.to_string())
    }

    fn names(directory: &Path) -> Vec<String> {
        let name = |entry: io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name().into_string();
        std::fs::read_dir(directory).expect("a directory").map(|entry| name(entry).expect("text")).collect()
    }

    /// Runs against the file as whoever made it did.
    fn sqlite(path: &Path, orders: &str) {
        sqlx::any::install_default_drivers();
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut connection = sqlx::AnyConnection::connect(&url).await.expect("opened");
            sqlx::raw_sql(sqlx::AssertSqlSafe(orders.to_owned())).execute(&mut connection).await.expect("done");
            connection.close().await.expect("closed");
        });
    }

    #[test]
    fn what_is_missing_empty_or_a_store_is_good_and_nothing_is_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store.db");
        assert_eq!(probed(&path), Ok(()));
        assert!(names(dir.path()).is_empty());
        std::fs::write(&path, "").expect("written");
        assert_eq!(probed(&path), Ok(()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let store = runtime.block_on(Store::open(&StoreSettings::sqlite(&path))).expect("opened");
        assert_eq!(probed(&path), Ok(()), "while it is open");
        runtime.block_on(store.close());
        let (before, bytes) = (names(dir.path()), std::fs::read(&path).expect("there"));
        assert_eq!(probed(&path), Ok(()));
        assert_eq!((names(dir.path()), std::fs::read(&path).expect("there")), (before, bytes));
    }

    #[test]
    fn what_cannot_become_a_store_is_told_in_the_words_of_opening_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let both = |path: &Path, told: &str| {
            let probed = probed(path).expect_err("a fault");
            assert!(probed.contains(told), "{told} is missing in {probed}");
            let opened = runtime.block_on(Store::open(&StoreSettings::sqlite(path))).expect_err("refused");
            assert_eq!(probed, opened.to_string());
        };
        let text = dir.path().join("text.db");
        std::fs::write(&text, "{\"schema\":2,\"kind\":\"control\"}\n").expect("written");
        both(&text, "the file is no database");
        let foreign = dir.path().join("foreign.db");
        sqlite(&foreign, "CREATE TABLE bookmarks (url TEXT)");
        both(&foreign, "belongs to another program");
        let store = dir.path().join("store.db");
        runtime.block_on(async { Store::open(&StoreSettings::sqlite(&store)).await.expect("opened").close().await });
        sqlite(&store, "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1");
        both(&store, "is not the one this version knows");
        let newer = "INSERT INTO _sqlx_migrations SELECT 9999, 'x', installed_on, success, checksum, execution_time \
                     FROM _sqlx_migrations LIMIT 1";
        sqlite(&store, newer);
        both(&store, "written by a newer version (schema 9999");
        both(&dir.path().join("none/store.db"), "there is no such file or directory");
        both(dir.path(), "it is a directory");
    }
}
