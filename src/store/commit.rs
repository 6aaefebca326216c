//! One transaction: all of its writes or none.

use super::connect::Dialect;
use super::document::{CommitFault, Expect, Handle, Kind, Revision, Write};
use super::durable::Reach;
use super::fault::StoreFault;
use super::listen::CHANNEL;
use super::read::in_time;
use super::sighting::Sighting;
use crate::evidence::Moment;
use sqlx::{AnyConnection, AssertSqlSafe, Row};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Rows written by one statement: some databases read long statements slowly and all count their parameters.
/// The largest that fits is taken, so that few different statements are prepared.
const ROWS: [usize; 3] = [64, 8, 1];

/// How many writes may take another second.
const WRITES_A_SECOND: u64 = 2_000;

pub(super) async fn commit(reach: &Reach, writes: Vec<Write>, now: Moment) -> Result<Revision, CommitFault> {
    let patience = reach.timeout + Duration::from_secs(writes.len() as u64 / WRITES_A_SECOND);
    let step = Step::of(&writes)?;
    let all = async {
        // Held until the end: SQLite's own lock serves whoever tries most often, and lets others starve.
        let _turn = match reach.dialect {
            Dialect::Sqlite => Some(reach.writing.lock().await),
            Dialect::Postgres => None,
        };
        let mut transaction = reach.pool.begin_with(reach.dialect.begin_writing()).await?;
        let connection = &mut *transaction;
        if reach.dialect == Dialect::Postgres && patience > reach.timeout {
            let order = format!("SET LOCAL statement_timeout = {}", patience.as_millis());
            sqlx::query(AssertSqlSafe(order)).execute(&mut *connection).await?;
        }
        let revision = next_revision(&mut *connection).await?;
        step.delete(&mut *connection).await?;
        step.release(&mut *connection).await?;
        step.put_new(&mut *connection, now).await?;
        step.put_changed(&mut *connection, now).await?;
        step.claim(&mut *connection).await?;
        step.log(&mut *connection, revision).await?;
        if reach.dialect == Dialect::Postgres {
            sqlx::query(AssertSqlSafe(format!("NOTIFY {CHANNEL}"))).execute(&mut *connection).await?;
        }
        transaction.commit().await?;
        Ok(Revision(u64::try_from(revision).unwrap_or_default()))
    };
    match tokio::time::timeout(patience, all).await {
        Ok(Ok(revision)) => Ok(revision),
        Ok(Err(Stop::Fault(fault))) => Err(fault),
        Ok(Err(Stop::Database(error))) => Err(CommitFault::Away(StoreFault::of(&error).to_string())),
        Err(_) => Err(CommitFault::Away(StoreFault::Slow(patience.as_secs()).to_string())),
    }
}

/// Forgets changes beyond those that are kept. Whoever is further behind loads everything.
pub(super) async fn prune(reach: &Reach) -> Result<(), StoreFault> {
    let _turn = reach.writing.lock().await;
    in_time(reach.timeout, async {
        let mut transaction = reach.pool.begin_with(reach.dialect.begin_writing()).await?;
        let oldest = sqlx::query("SELECT revision FROM change ORDER BY revision DESC LIMIT 1 OFFSET $1")
            .bind(i64::from(reach.history))
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(row) = oldest {
            let upto: i64 = row.try_get("revision")?;
            sqlx::query("UPDATE counter SET reaches_back_to = $1 WHERE one = 1 AND reaches_back_to < $1")
                .bind(upto)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("DELETE FROM change WHERE revision <= $1").bind(upto).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    })
    .await
}

pub(super) async fn sight(reach: &Reach, sightings: Vec<(Arc<str>, Sighting)>) -> Result<(), StoreFault> {
    let _turn = reach.writing.lock().await;
    let patience = reach.timeout + Duration::from_secs(sightings.len() as u64 / WRITES_A_SECOND);
    in_time(patience, async {
        let mut transaction = reach.pool.begin_with(reach.dialect.begin_writing()).await?;
        // In one order everywhere, so that two gateways cannot wait for each other.
        let mut sightings = sightings;
        sightings.sort_by(|a, b| a.0.cmp(&b.0));
        for (device, sighting) in &sightings {
            let body = serde_json::to_string(sighting).map_err(|error| sqlx::Error::Encode(error.into()))?;
            sqlx::query(
                "INSERT INTO sighting (device, first_body, last_at, last_body) VALUES ($1, $2, $3, $2) \
                 ON CONFLICT (device) DO UPDATE SET last_at = excluded.last_at, last_body = excluded.last_body \
                 WHERE sighting.last_at < excluded.last_at",
            )
            .bind(&**device)
            .bind(body)
            .bind(sighting.at.millis())
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await
    })
    .await
}

/// Why a transaction is given up.
pub(super) enum Stop {
    Fault(CommitFault),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<CommitFault> for Stop {
    fn from(fault: CommitFault) -> Self {
        Self::Fault(fault)
    }
}

/// Takes the lock that orders transactions, and the number.
pub(super) async fn next_revision(connection: &mut AnyConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("UPDATE counter SET revision = revision + 1 WHERE one = 1 RETURNING revision")
        .fetch_one(connection)
        .await
}

/// The writes by kind, each kind in its order.
#[derive(Default)]
struct Step<'a> {
    deleted: Vec<(Kind, &'a Arc<str>, u64)>,
    released: Vec<(&'a Handle, Kind, &'a Arc<str>)>,
    new: Vec<(Kind, &'a Arc<str>, &'a str)>,
    changed: Vec<(Kind, &'a Arc<str>, u64, &'a str)>,
    claimed: Vec<(&'a Handle, Kind, &'a Arc<str>)>,
    /// Every document that any write is about.
    touched: BTreeSet<(Kind, &'a Arc<str>)>,
}

impl<'a> Step<'a> {
    fn of(writes: &'a [Write]) -> Result<Self, CommitFault> {
        let mut step = Self::default();
        for write in writes {
            let (kind, id) = match write {
                Write::Put { kind, id, expect: Expect::New, body } => {
                    step.new.push((*kind, id, body));
                    (kind, id)
                }
                Write::Put { kind, id, expect: Expect::Version(version), body } => {
                    step.changed.push((*kind, id, *version, body));
                    (kind, id)
                }
                Write::Delete { kind, id, version } => {
                    step.deleted.push((*kind, id, *version));
                    (kind, id)
                }
                Write::Claim { handle, kind, id } => {
                    step.claimed.push((handle, *kind, id));
                    (kind, id)
                }
                Write::Release { handle, kind, id } => {
                    step.released.push((handle, *kind, id));
                    (kind, id)
                }
            };
            // One database keeps it and the other does not: neither shall.
            let handle = match write {
                Write::Claim { handle, .. } | Write::Release { handle, .. } => &*handle.value,
                _ => "",
            };
            if id.contains('\0') || handle.contains('\0') {
                return Err(CommitFault::Away("a name holds a NUL character".to_owned()));
            }
            step.touched.insert((*kind, id));
        }
        Ok(step)
    }

    async fn delete(&self, connection: &mut AnyConnection) -> Result<(), Stop> {
        for &(kind, id, version) in &self.deleted {
            let done = sqlx::query("DELETE FROM document WHERE kind = $1 AND id = $2 AND version = $3")
                .bind(kind.word())
                .bind(&**id)
                .bind(signed(version))
                .execute(&mut *connection)
                .await?;
            if done.rows_affected() != 1 {
                return Err(conflict(kind, id));
            }
            sqlx::query("DELETE FROM handle WHERE kind = $1 AND id = $2")
                .bind(kind.word())
                .bind(&**id)
                .execute(&mut *connection)
                .await?;
            if kind == Kind::Device {
                sqlx::query("DELETE FROM sighting WHERE device = $1").bind(&**id).execute(&mut *connection).await?;
            }
        }
        Ok(())
    }

    async fn release(&self, connection: &mut AnyConnection) -> Result<(), Stop> {
        for (handle, kind, id) in &self.released {
            sqlx::query("DELETE FROM handle WHERE space = $1 AND value = $2 AND kind = $3 AND id = $4")
                .bind(handle.space)
                .bind(&*handle.value)
                .bind(kind.word())
                .bind(&***id)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }

    async fn put_new(&self, connection: &mut AnyConnection, now: Moment) -> Result<(), Stop> {
        const INSERT: &str = "INSERT INTO document (kind, id, version, changed, body) VALUES ";
        for rows in in_rows(&self.new) {
            // How many it were is answer enough: a row for each would cost as much as the writing.
            let sql = format!("{INSERT}{} ON CONFLICT DO NOTHING", placeholders(rows.len(), 5));
            let mut insert = sqlx::query(AssertSqlSafe(sql));
            for (kind, id, body) in rows {
                insert = insert.bind(kind.word()).bind(&***id).bind(1_i64).bind(now.millis()).bind(*body);
            }
            if insert.execute(&mut *connection).await?.rows_affected() != rows.len() as u64 {
                return Err(self.conflict_among(rows, connection, now).await?);
            }
        }
        Ok(())
    }

    /// Which of these rows was there already: what stands there is not what was to be.
    async fn conflict_among(
        &self,
        rows: &[(Kind, &Arc<str>, &str)],
        connection: &mut AnyConnection,
        now: Moment,
    ) -> Result<Stop, sqlx::Error> {
        for (kind, id, body) in rows {
            let there = sqlx::query("SELECT version, changed, body FROM document WHERE kind = $1 AND id = $2")
                .bind(kind.word())
                .bind(&***id)
                .fetch_one(&mut *connection)
                .await?;
            let (version, changed): (i64, i64) = (there.try_get("version")?, there.try_get("changed")?);
            if (version, changed) != (1, now.millis()) || there.try_get::<&str, _>("body")? != *body {
                return Ok(conflict(*kind, id));
            }
        }
        // The very same, a moment ago; or one of them stood here twice.
        let (kind, id, _) = rows[0];
        Ok(conflict(kind, id))
    }

    async fn put_changed(&self, connection: &mut AnyConnection, now: Moment) -> Result<(), Stop> {
        for &(kind, id, version, body) in &self.changed {
            let done = sqlx::query(
                "UPDATE document SET version = version + 1, changed = $1, body = $2 \
                 WHERE kind = $3 AND id = $4 AND version = $5",
            )
            .bind(now.millis())
            .bind(body)
            .bind(kind.word())
            .bind(&**id)
            .bind(signed(version))
            .execute(&mut *connection)
            .await?;
            if done.rows_affected() != 1 {
                return Err(conflict(kind, id));
            }
        }
        Ok(())
    }

    async fn claim(&self, connection: &mut AnyConnection) -> Result<(), Stop> {
        const INSERT: &str = "INSERT INTO handle (space, value, kind, id) VALUES ";
        for rows in in_rows(&self.claimed) {
            let sql = format!("{INSERT}{} ON CONFLICT DO NOTHING", placeholders(rows.len(), 4));
            let mut insert = sqlx::query(AssertSqlSafe(sql));
            for (handle, kind, id) in rows {
                insert = insert.bind(handle.space).bind(&*handle.value).bind(kind.word()).bind(&***id);
            }
            if insert.execute(&mut *connection).await?.rows_affected() == rows.len() as u64 {
                continue;
            }
            // Somebody holds it: perhaps the very document that wants it, perhaps by an earlier row of these.
            for (handle, kind, id) in rows {
                let holder = sqlx::query("SELECT kind, id FROM handle WHERE space = $1 AND value = $2")
                    .bind(handle.space)
                    .bind(&*handle.value)
                    .fetch_one(&mut *connection)
                    .await?;
                let (held_kind, by): (&str, &str) = (holder.try_get("kind")?, holder.try_get("id")?);
                if held_kind != kind.word() || by != &***id {
                    return Err(CommitFault::Taken { handle: (*handle).clone(), by: by.into() }.into());
                }
            }
        }
        Ok(())
    }

    async fn log(&self, connection: &mut AnyConnection, revision: i64) -> Result<(), Stop> {
        let touched: Vec<_> = self.touched.iter().collect();
        for rows in in_rows(&touched) {
            let sql = format!("INSERT INTO change (revision, kind, id) VALUES {}", placeholders(rows.len(), 3));
            let mut insert = sqlx::query(AssertSqlSafe(sql));
            for (kind, id) in rows {
                insert = insert.bind(revision).bind(kind.word()).bind(&***id);
            }
            insert.execute(&mut *connection).await?;
        }
        Ok(())
    }
}

fn conflict(kind: Kind, id: &Arc<str>) -> Stop {
    CommitFault::Conflict { kind, id: Arc::clone(id) }.into()
}

/// Slices of the sizes in `ROWS`.
pub(super) fn in_rows<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = ROWS.into_iter().find(|size| *size <= items.len())?;
        let (rows, rest) = items.split_at(size);
        items = rest;
        Some(rows)
    })
}

/// `($1, $2), ($3, $4)` for two rows of two columns.
pub(super) fn placeholders(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let numbers: Vec<_> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", numbers.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

fn signed(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sliced_whole_and_numbered_through() {
        let items: Vec<usize> = (0..293).collect();
        let slices: Vec<_> = in_rows(&items).collect();
        assert_eq!(slices.concat(), items);
        let lengths: Vec<_> = slices.iter().map(|slice| slice.len()).collect();
        assert_eq!(lengths, [64, 64, 64, 64, 8, 8, 8, 8, 1, 1, 1, 1, 1]);
        assert_eq!(placeholders(2, 3), "($1, $2, $3), ($4, $5, $6)");
    }
}
