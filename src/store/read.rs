//! Questions to the database.

use super::commit::in_rows;
use super::document::{Change, Document, Kind, Revision, Since};
use super::dump::Item;
use super::durable::Reach;
use super::fault::StoreFault;
use super::sighting::Seen;
use crate::evidence::Moment;
use futures_util::TryStreamExt;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;

/// More changes than this are not listed: loading everything is cheaper and bounded.
pub(super) const MOST_CHANGES: usize = 20_000;

/// Documents handed on at once by `load`.
const BATCH: usize = 1024;

/// A load that brings nothing for so many times the ordinary timeout has died.
const PATIENCE: u32 = 6;

pub(super) async fn get(reach: &Reach, kind: Kind, id: &str) -> Result<Option<Document>, StoreFault> {
    let question = sqlx::query("SELECT kind, id, version, changed, body FROM document WHERE kind = $1 AND id = $2")
        .bind(kind.word())
        .bind(id);
    let row = in_time(reach.timeout, question.fetch_optional(&reach.pool)).await?;
    row.map(|row| document(&row)).transpose()
}

pub(super) async fn get_all(reach: &Reach, kind: Kind, ids: &[Arc<str>]) -> Result<Vec<Document>, StoreFault> {
    let mut found = Vec::new();
    for ids in in_rows(ids) {
        let places: Vec<_> = (2..=ids.len() + 1).map(|place| format!("${place}")).collect();
        let sql = format!(
            "SELECT kind, id, version, changed, body FROM document WHERE kind = $1 AND id IN ({})",
            places.join(", ")
        );
        let question = sqlx::query(AssertSqlSafe(sql)).bind(kind.word());
        let question = ids.iter().fold(question, |question, id| question.bind(&**id));
        let rows = in_time(reach.timeout, question.fetch_all(&reach.pool)).await?;
        for row in &rows {
            found.push(document(row)?);
        }
    }
    Ok(found)
}

pub(super) async fn holder(reach: &Reach, space: &str, value: &str) -> Result<Option<Document>, StoreFault> {
    let question = sqlx::query(
        "SELECT d.kind, d.id, d.version, d.changed, d.body FROM handle h \
         JOIN document d ON d.kind = h.kind AND d.id = h.id WHERE h.space = $1 AND h.value = $2",
    )
    .bind(space)
    .bind(value);
    let row = in_time(reach.timeout, question.fetch_optional(&reach.pool)).await?;
    row.map(|row| document(&row)).transpose()
}

pub(super) async fn list(reach: &Reach, kind: Kind, after: &str, limit: u32) -> Result<Vec<Document>, StoreFault> {
    let question = sqlx::query(
        "SELECT kind, id, version, changed, body FROM document WHERE kind = $1 AND id > $2 ORDER BY id LIMIT $3",
    )
    .bind(kind.word())
    .bind(after)
    .bind(i64::from(limit));
    let rows = in_time(reach.timeout, question.fetch_all(&reach.pool)).await?;
    rows.iter().map(document).collect()
}

/// Everything, as one snapshot has it.
pub(super) async fn load(reach: &Reach, batches: mpsc::Sender<Vec<Document>>) -> Result<Revision, StoreFault> {
    let patience = reach.timeout * PATIENCE;
    let mut snapshot = in_time(reach.timeout, reach.pool.begin_with(reach.dialect.begin_reading())).await?;
    unhurried(reach, &mut snapshot).await?;
    let (revision, _) = in_time(reach.timeout, counter(&mut snapshot)).await?;
    let mut rows = sqlx::query("SELECT kind, id, version, changed, body FROM document").fetch(&mut *snapshot);
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(row) = in_time(patience, rows.try_next()).await? {
        batch.push(document(&row)?);
        if batch.len() == BATCH {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            batches.send(full).await.map_err(|_| StoreFault::Closed)?;
        }
    }
    drop(rows);
    batches.send(batch).await.map_err(|_| StoreFault::Closed)?;
    in_time(reach.timeout, snapshot.commit()).await?;
    Ok(Revision(revision))
}

/// A long answer is not a late one: inside this transaction only our own patience counts.
pub(super) async fn unhurried(reach: &Reach, connection: &mut AnyConnection) -> Result<(), StoreFault> {
    if reach.dialect == super::connect::Dialect::Postgres {
        let order = sqlx::query("SET LOCAL statement_timeout = 0");
        in_time(reach.timeout, order.execute(connection)).await?;
    }
    Ok(())
}

pub(super) async fn since(reach: &Reach, after: Revision) -> Result<Since, StoreFault> {
    in_time(reach.timeout, async {
        let mut snapshot = reach.pool.begin_with(reach.dialect.begin_reading()).await?;
        let (revision, reaches_back_to) = counter(&mut snapshot).await?;
        if after.0 == revision {
            return Ok(Ok(Since::Changes(Vec::new())));
        }
        // After a restore the counter may stand before us: what we know is of another history.
        if after.0 > revision || after.0 < reaches_back_to {
            return Ok(Ok(Since::Everything));
        }
        let rows = sqlx::query(
            "SELECT c.revision, c.kind AS c_kind, c.id AS c_id, d.kind, d.id, d.version, d.changed, d.body FROM \
             (SELECT MAX(revision) AS revision, kind, id FROM change WHERE revision > $1 GROUP BY kind, id LIMIT $2) c \
             LEFT JOIN document d ON d.kind = c.kind AND d.id = c.id ORDER BY c.revision, c.kind, c.id",
        )
        .bind(i64::try_from(after.0).unwrap_or(i64::MAX))
        .bind(MOST_CHANGES as i64 + 1)
        .fetch_all(&mut *snapshot)
        .await?;
        snapshot.commit().await?;
        if rows.len() > MOST_CHANGES {
            return Ok(Ok(Since::Everything));
        }
        Ok(rows.iter().map(change).collect::<Result<_, _>>().map(Since::Changes))
    })
    .await?
}

pub(super) async fn sightings(reach: &Reach, devices: Vec<Arc<str>>) -> Result<Vec<Seen>, StoreFault> {
    let mut seen = Vec::new();
    for device in devices {
        let question =
            sqlx::query("SELECT device, first_body, last_body FROM sighting WHERE device = $1").bind(&*device);
        if let Some(row) = in_time(reach.timeout, question.fetch_optional(&reach.pool)).await? {
            seen.push(sighting(&row)?);
        }
    }
    Ok(seen)
}

pub(super) fn sighting(row: &AnyRow) -> Result<Seen, StoreFault> {
    let device = text(row, "device")?;
    let body = |column| {
        let unreadable = |error: serde_json::Error| StoreFault::Unreadable {
            kind: Kind::Device,
            id: Arc::clone(&device),
            why: format!("its sighting is damaged ({error})"),
        };
        serde_json::from_str(row.try_get(column).map_err(|error| StoreFault::of(&error))?).map_err(unreadable)
    };
    Ok(Seen { first: body("first_body")?, last: body("last_body")?, device: Arc::clone(&device) })
}

/// Documents, then handles, then sightings, in batches. `odd` is told of each row that cannot be read, and whether to
/// go on is its word.
pub(super) async fn items<F: Future<Output = Result<(), StoreFault>>>(
    reach: &Reach,
    snapshot: &mut AnyConnection,
    mut odd: impl FnMut(StoreFault) -> Result<(), StoreFault>,
    mut each: impl FnMut(Vec<Item>) -> F,
) -> Result<(), StoreFault> {
    type Read = fn(&AnyRow) -> Result<Item, StoreFault>;
    let questions: [(&'static str, Read); 3] = [
        ("SELECT kind, id, version, changed, body FROM document", |row| document(row).map(Item::Document)),
        ("SELECT space, value, kind, id FROM handle", |row| {
            let (space, value) = (text(row, "space")?.as_ref().to_owned(), text(row, "value")?.as_ref().to_owned());
            Ok(Item::Handle { space, value, kind: kind(row, "kind")?, id: text(row, "id")? })
        }),
        ("SELECT device, first_body, last_body FROM sighting", |row| sighting(row).map(Item::Seen)),
    ];
    for (question, read) in questions {
        let mut rows = sqlx::query(question).fetch(&mut *snapshot);
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(row) = in_time(reach.timeout * PATIENCE, rows.try_next()).await? {
            reach.handled.fetch_add(1, Ordering::Relaxed);
            match read(&row) {
                Ok(item) => batch.push(item),
                Err(fault) => odd(fault)?,
            }
            if batch.len() == BATCH {
                each(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))).await?;
            }
        }
        drop(rows);
        each(batch).await?;
    }
    Ok(())
}

/// The revision, and how far back the log of changes reaches.
pub(super) async fn counter(connection: &mut AnyConnection) -> Result<(u64, u64), sqlx::Error> {
    let row = sqlx::query("SELECT revision, reaches_back_to FROM counter WHERE one = 1").fetch_one(connection).await?;
    Ok((unsigned(row.try_get("revision")?), unsigned(row.try_get("reaches_back_to")?)))
}

/// The answer, or that it did not come in time.
pub(super) async fn in_time<T>(
    patience: Duration,
    question: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreFault> {
    match tokio::time::timeout(patience, question).await {
        Ok(answer) => answer.map_err(|error| StoreFault::of(&error)),
        Err(_) => Err(StoreFault::Slow(patience.as_secs())),
    }
}

fn change(row: &AnyRow) -> Result<Change, StoreFault> {
    let known: Option<String> = row.try_get("body").map_err(|error| StoreFault::of(&error))?;
    Ok(Change {
        revision: Revision(number(row, "revision")?),
        kind: kind(row, "c_kind")?,
        id: text(row, "c_id")?,
        document: known.map(|_| document(row)).transpose()?,
    })
}

pub(super) fn document(row: &AnyRow) -> Result<Document, StoreFault> {
    Ok(Document {
        kind: kind(row, "kind")?,
        id: text(row, "id")?,
        version: number(row, "version")?,
        changed: Moment(row.try_get("changed").map_err(|error| StoreFault::of(&error))?),
        body: text(row, "body")?,
    })
}

fn kind(row: &AnyRow, column: &str) -> Result<Kind, StoreFault> {
    let word: &str = row.try_get(column).map_err(|error| StoreFault::of(&error))?;
    Kind::of(word).ok_or_else(|| StoreFault::Corrupt(format!("it holds documents of the unknown kind `{word}`")))
}

fn text(row: &AnyRow, column: &str) -> Result<Arc<str>, StoreFault> {
    let text: &str = row.try_get(column).map_err(|error| StoreFault::of(&error))?;
    Ok(text.into())
}

fn number(row: &AnyRow, column: &str) -> Result<u64, StoreFault> {
    row.try_get(column).map(unsigned).map_err(|error| StoreFault::of(&error))
}

/// Only we write these columns, and never below zero.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
