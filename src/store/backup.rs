//! Backups while the gateway runs, and the way back, into either database.
//!
//! A backup of SQLite is a SQLite file; one of PostgreSQL is lines of JSON (`dump.rs`). Both restore into both, in
//! one transaction: afterwards everything is there or nothing was touched.

use super::commit::{in_rows, next_revision, placeholders};
use super::connect::Dialect;
use super::document::Revision;
use super::dump::{self, Counts, Item};
use super::durable::{Reach, Store};
use super::fault::{OpenFault, StoreFault};
use super::listen::CHANNEL;
use super::policy_files::in_words;
use super::read::{self, in_time};
use super::settings::StoreSettings;
use sqlx::AssertSqlSafe;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;

/// Why there is no backup, or no restored store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupFault {
    #[error("`{}` exists already", .0.display())]
    Exists(PathBuf),
    #[error("`{}` cannot be written: {why}", path.display())]
    Unwritable { path: PathBuf, why: String },
    #[error("`{}` cannot be restored: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
    #[error("the store is not empty: it holds {0} documents")]
    NotEmpty(u64),
    #[error(transparent)]
    Open(#[from] OpenFault),
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// How long a backup or a restore may take as a whole.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Items on their way, in batches of the size of one statement.
const QUEUE: usize = 16;

impl Store {
    /// Writes everything, as of one moment, to a file that does not exist yet. The gateway runs on.
    ///
    /// # Errors
    /// Then there is no such file.
    pub async fn backup(&self, to: &Path) -> Result<Counts, BackupFault> {
        let to = to.to_owned();
        let reach = self.reach();
        let task = self.runtime().spawn(async move {
            if to.exists() {
                return Err(BackupFault::Exists(to));
            }
            // Under its own name only when it is whole.
            let mut partial = to.clone().into_os_string();
            partial.push(".partial");
            let partial = PathBuf::from(partial);
            let outcome = match reach.dialect {
                Dialect::Sqlite => copy(&reach, &partial).await,
                Dialect::Postgres => lines(&reach, &partial).await,
            };
            let outcome = outcome.and_then(|counts| {
                let settled = fs::rename(&partial, &to).and_then(|()| sync_directory(&to));
                settled.map(|()| counts).map_err(|error| unwritable(&to, &error))
            });
            if outcome.is_err() {
                let _ = fs::remove_file(&partial);
            }
            outcome
        });
        task.await.unwrap_or(Err(StoreFault::Closed.into()))
    }

    /// Fills a store from a backup of either kind. What it holds is only given up when `replace` says so.
    ///
    /// # Errors
    /// Then the store is as it was.
    pub async fn restore(&self, from: &Path, replace: bool) -> Result<Counts, BackupFault> {
        let mut beginning = Vec::new();
        File::open(from)
            .and_then(|file| file.take(16).read_to_end(&mut beginning))
            .map_err(|error| unusable(from, in_words(&error)))?;
        if beginning.starts_with(b"SQLite format 3\0") {
            // A copy: an old backup is brought forward before it is read, and stays as it is.
            let scratch = Scratch::copy(from)?;
            let source = Store::open(&StoreSettings::sqlite(&scratch.path)).await.map_err(|fault| {
                let why = fault.to_string().replace(&*scratch.path.to_string_lossy(), &from.to_string_lossy());
                unusable(from, why)
            })?;
            let (items, arriving) = mpsc::channel(QUEUE);
            let reach = source.reach();
            let reading = source.runtime().spawn(async move { stream(&reach, items).await });
            let filling = fill(self, arriving, reading, replace);
            let counts = filling.await;
            drop(source);
            return counts;
        }
        // Looked through once before anything is touched.
        let open = |path: &Path| File::open(path).map(BufReader::new).map_err(|error| unusable(path, in_words(&error)));
        dump::read(open(from)?, |_| Ok(())).map_err(|why| unusable(from, why))?;
        let (items, arriving) = mpsc::channel(QUEUE);
        let (file, path) = (open(from)?, from.to_owned());
        let reading = self.runtime().spawn_blocking(move || {
            let mut batch = Vec::new();
            let read = dump::read(file, |item| {
                batch.push(item);
                if batch.len() < BATCH {
                    return Ok(());
                }
                items.blocking_send(std::mem::take(&mut batch)).map_err(io::Error::other)
            });
            let revision = read.map_err(|why| unusable(&path, why))?.0;
            items.blocking_send(batch).map_err(|_| StoreFault::Closed)?;
            Ok(revision)
        });
        fill(self, arriving, reading, replace).await
    }
}

/// Documents handed on at once.
const BATCH: usize = 1024;

type Reading = tokio::task::JoinHandle<Result<Revision, BackupFault>>;

/// Everything that arrives, in one transaction.
async fn fill(
    target: &Store,
    mut arriving: mpsc::Receiver<Vec<Item>>,
    reading: Reading,
    replace: bool,
) -> Result<Counts, BackupFault> {
    let reach = target.reach();
    let task = target.runtime().spawn(async move {
        let _turn = reach.writing.lock().await;
        let told = |error: sqlx::Error| BackupFault::from(StoreFault::of(&error));
        let mut transaction = reach.pool.begin_with(reach.dialect.begin_writing()).await.map_err(told)?;
        read::unhurried(&reach, &mut transaction).await?;
        let ours = next_revision(&mut transaction).await.map_err(told)?;
        let held: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM document").fetch_one(&mut *transaction).await.map_err(told)?;
        if held > 0 && !replace {
            return Err(BackupFault::NotEmpty(u64::try_from(held).unwrap_or_default()));
        }
        for table in ["document", "handle", "change", "sighting"] {
            let order = sqlx::query(AssertSqlSafe(format!("DELETE FROM {table}")));
            order.execute(&mut *transaction).await.map_err(told)?;
        }
        let mut counts = Counts::default();
        while let Some(batch) = arriving.recv().await {
            batch.iter().for_each(|item| counts.count(item));
            reach.handled.fetch_add(batch.len() as u64, Ordering::Relaxed);
            insert(&mut transaction, &batch).await?;
        }
        let theirs = reading.await.map_err(|_| StoreFault::Closed)??;
        // Beyond every number that anybody may have seen, and without a past: whoever follows loads everything.
        let revision = ours.max(i64::try_from(theirs.0).unwrap_or(i64::MAX - 1) + 1);
        sqlx::query("UPDATE counter SET revision = $1, reaches_back_to = $1 WHERE one = 1")
            .bind(revision)
            .execute(&mut *transaction)
            .await
            .map_err(told)?;
        if reach.dialect == Dialect::Postgres {
            let order = sqlx::query(AssertSqlSafe(format!("NOTIFY {CHANNEL}")));
            order.execute(&mut *transaction).await.map_err(told)?;
        }
        transaction.commit().await.map_err(told)?;
        Ok(counts)
    });
    match tokio::time::timeout(PATIENCE, task).await {
        Ok(done) => done.unwrap_or(Err(StoreFault::Closed.into())),
        Err(_) => Err(StoreFault::Slow(PATIENCE.as_secs()).into()),
    }
}

async fn insert(connection: &mut sqlx::AnyConnection, items: &[Item]) -> Result<(), BackupFault> {
    let told = |error: sqlx::Error| BackupFault::from(StoreFault::of(&error));
    let documents: Vec<_> = items
        .iter()
        .filter_map(|item| if let Item::Document(document) = item { Some(document) } else { None })
        .collect();
    for rows in in_rows(&documents) {
        let sql =
            format!("INSERT INTO document (kind, id, version, changed, body) VALUES {}", placeholders(rows.len(), 5));
        let mut insert = sqlx::query(AssertSqlSafe(sql));
        for row in rows {
            let version = i64::try_from(row.version).unwrap_or(i64::MAX);
            insert = insert.bind(row.kind.word()).bind(&*row.id).bind(version).bind(row.changed.0).bind(&*row.body);
        }
        insert.execute(&mut *connection).await.map_err(told)?;
    }
    let handles: Vec<_> = items.iter().filter(|item| matches!(item, Item::Handle { .. })).collect();
    for rows in in_rows(&handles) {
        let sql = format!("INSERT INTO handle (space, value, kind, id) VALUES {}", placeholders(rows.len(), 4));
        let mut insert = sqlx::query(AssertSqlSafe(sql));
        for row in rows {
            if let Item::Handle { space, value, kind, id } = row {
                insert = insert.bind(&**space).bind(&**value).bind(kind.word()).bind(&**id);
            }
        }
        insert.execute(&mut *connection).await.map_err(told)?;
    }
    for item in items {
        if let Item::Seen(seen) = item {
            let body = |sighting| serde_json::to_string(sighting).map_err(|error| StoreFault::Other(error.to_string()));
            sqlx::query("INSERT INTO sighting (device, first_body, last_at, last_body) VALUES ($1, $2, $3, $4)")
                .bind(&*seen.device)
                .bind(body(&seen.first)?)
                .bind(seen.last.at.0)
                .bind(body(&seen.last)?)
                .execute(&mut *connection)
                .await
                .map_err(told)?;
        }
    }
    Ok(())
}

/// Everything of a store, as of one moment.
async fn stream(reach: &Reach, items: mpsc::Sender<Vec<Item>>) -> Result<Revision, BackupFault> {
    let mut snapshot = in_time(reach.timeout, reach.pool.begin_with(reach.dialect.begin_reading())).await?;
    read::unhurried(reach, &mut snapshot).await?;
    let (revision, _) = in_time(reach.timeout, read::counter(&mut snapshot)).await?;
    read::items(reach, &mut snapshot, Err, |batch| {
        let items = items.clone();
        async move { items.send(batch).await.map_err(|_| StoreFault::Closed) }
    })
    .await?;
    in_time(reach.timeout, snapshot.commit()).await?;
    Ok(Revision(revision))
}

async fn copy(reach: &Reach, to: &Path) -> Result<Counts, BackupFault> {
    let told = |error: sqlx::Error| BackupFault::from(StoreFault::of(&error));
    let name = to.to_str().ok_or_else(|| unwritable(to, &io::Error::other("its name is not UTF-8 text")))?;
    create(to)?;
    let mut connection = in_time(reach.timeout, reach.pool.acquire()).await?;
    let order = sqlx::query("VACUUM INTO $1").bind(name).execute(&mut *connection);
    in_time(PATIENCE, order).await?;
    File::open(to).and_then(|file| file.sync_all()).map_err(|error| unwritable(to, &error))?;
    // Counted in the copy, which no longer changes.
    let options = StoreSettings::sqlite(to).database.connect_options()?;
    let copied = <sqlx::AnyConnection as sqlx::Connection>::connect_with(&options).await;
    let mut copied = copied.map_err(told)?;
    let mut counts = Counts::default();
    for (table, count) in
        [("document", &mut counts.documents), ("handle", &mut counts.handles), ("sighting", &mut counts.sightings)]
    {
        let number: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}")))
            .fetch_one(&mut copied)
            .await
            .map_err(told)?;
        *count = u64::try_from(number).unwrap_or_default();
    }
    sqlx::Connection::close(copied).await.map_err(told)?;
    Ok(counts)
}

async fn lines(reach: &Reach, to: &Path) -> Result<Counts, BackupFault> {
    let file = create(to)?;
    let told = |error: io::Error| unwritable(to, &error);
    let mut snapshot = in_time(reach.timeout, reach.pool.begin_with(reach.dialect.begin_reading())).await?;
    read::unhurried(reach, &mut snapshot).await?;
    let (revision, _) = in_time(reach.timeout, read::counter(&mut snapshot)).await?;
    let (items, mut arriving) = mpsc::channel::<Vec<Item>>(QUEUE);
    let writing = tokio::task::spawn_blocking(move || {
        let mut writer = dump::Writer::new(BufWriter::new(file), Revision(revision))?;
        while let Some(batch) = arriving.blocking_recv() {
            batch.into_iter().try_for_each(|item| writer.item(item))?;
        }
        let (out, counts) = writer.finish()?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(counts)
    });
    let read = read::items(reach, &mut snapshot, Err, |batch| {
        let items = items.clone();
        async move { items.send(batch).await.map_err(|_| StoreFault::Closed) }
    });
    let read = read.await;
    drop(items);
    // The writer's fault is the cause where both have one.
    let counts = writing.await.map_err(|_| StoreFault::Closed)?.map_err(told)?;
    read?;
    Ok(counts)
}

/// For its owner alone: it holds everything there is to know of everybody.
fn create(path: &Path) -> Result<File, BackupFault> {
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    open.open(path).map_err(|error| unwritable(path, &error))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all())
}

fn unwritable(path: &Path, error: &io::Error) -> BackupFault {
    BackupFault::Unwritable { path: path.to_owned(), why: in_words(error) }
}

fn unusable(path: &Path, why: String) -> BackupFault {
    BackupFault::Unusable { path: path.to_owned(), why }
}

/// A copy that goes when it is dropped, with what the database lays beside it.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn copy(from: &Path) -> Result<Self, BackupFault> {
        let mut name = from.as_os_str().to_owned();
        name.push(format!(".restoring-{}", std::process::id()));
        let scratch = Self { path: name.into() };
        create(&scratch.path)?;
        fs::copy(from, &scratch.path).map_err(|error| unwritable(&scratch.path, &error))?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            let mut name = self.path.as_os_str().to_owned();
            name.push(end);
            let _ = fs::remove_file(PathBuf::from(name));
        }
    }
}
