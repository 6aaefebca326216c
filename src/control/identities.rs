//! Identities: one at a time, and many from a file.

use super::administrator::{About, Administrator, Held, Step, Who, difference, held, put};
use super::fault::Fault;
use super::import::Rows;
use super::import::patch::{Packed, Patch, fit};
use super::oneself::Oneself;
use crate::audit::AdminOutcome;
use crate::audit::shortened::length;
use crate::evidence::{Fact, Identity};
use crate::store::document::handles_of;
use crate::store::{CommitFault, Handle, Kind, Write};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is to become of an identity.
#[derive(Clone, Debug)]
pub enum Change {
    /// All of it: what is not named is taken away.
    Replace(Patch),
    /// What is named.
    Merge(Patch),
}

/// What an import did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Imported {
    pub dry_run: bool,
    pub rows: u64,
    pub added: u64,
    pub changed: u64,
    pub unchanged: u64,
    /// What differs, as far as there is room.
    pub changes: Vec<Value>,
    /// Who was put out by it.
    #[serde(skip)]
    suspended: Suspended,
}

/// So many, and the first of them by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Suspended {
    count: usize,
    users: Vec<Arc<str>>,
}

/// How far the imports have come that are under way: those who wait for one want to know.
#[derive(Debug, Default)]
pub struct Importing {
    rows: AtomicU64,
    written: AtomicU64,
}

impl Importing {
    /// Rows that are to be written, and those that are; all of them together. None: there is no import.
    pub fn progress(&self) -> Option<(u64, u64)> {
        let (rows, written) = (self.rows.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed));
        (rows > 0).then_some((rows, written.min(rows)))
    }
}

/// One import among them, for as long as it lasts, however it ends.
struct UnderWay<'i> {
    importing: &'i Importing,
    rows: u64,
    written: u64,
}

impl<'i> UnderWay<'i> {
    fn begin(importing: &'i Importing, rows: u64) -> Self {
        importing.rows.fetch_add(rows, Ordering::Relaxed);
        Self { importing, rows, written: 0 }
    }

    fn wrote(&mut self, rows: u64) {
        self.written += rows;
        self.importing.written.fetch_add(rows, Ordering::Relaxed);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.importing.rows.fetch_sub(self.rows, Ordering::Relaxed);
        self.importing.written.fetch_sub(self.written, Ordering::Relaxed);
    }
}

/// Identities written by one transaction: a long one would keep everybody else waiting for as long.
const BATCH: usize = 5000;
/// Differences that are told one by one in the answer. The audit log has all.
const TOLD: usize = 1000;
/// Of those an import suspends, so many are named to whoever is notified, and so many in a sentence.
const NAMED: (usize, usize) = (100, 10);
/// Lines given to the audit log before it is waited for: a small part of its queue, so that requests find their place.
const LINES: usize = 500;
/// Bytes of added identities in one line of the audit log, unless one alone has more.
const ADDED: usize = 64 << 10;

/// What became of one row.
struct Row {
    user: Arc<str>,
    /// None: it is new.
    before: Option<Value>,
    after: Value,
}

impl Administrator {
    /// The identity of this account, or of the account that has this alias.
    pub async fn identity(&self, name: &str) -> Result<Held<Identity>, Fault> {
        let user = match self.memory.identity(name) {
            Fact::Known(identity) => Arc::clone(&identity.user),
            _ => name.into(),
        };
        self.read(Kind::Identity, &user).await?.ok_or(Fault::NotFound("identity of this name"))
    }

    /// The own name of the account that goes by this one; the same, where no record has it.
    pub fn account(&self, name: &Arc<str>) -> Arc<str> {
        match self.memory.identity(name) {
            Fact::Known(identity) => Arc::clone(&identity.user),
            _ => Arc::clone(name),
        }
    }

    /// Makes or changes one that is not the record of whoever acts. `check` is asked about the version there is.
    pub async fn set_identity(
        &self,
        who: &Who,
        oneself: &Oneself,
        user: &Arc<str>,
        change: &Change,
        check: impl Fn(Option<u64>) -> Result<(), Fault>,
    ) -> Result<(Held<Identity>, bool), Fault> {
        let about = About::new("identity-set", Kind::Identity, user);
        self.act(who, about, async |now| {
            let known = self.read::<Identity>(Kind::Identity, user).await?;
            let version = known.as_ref().map(|known| known.version);
            check(version)?;
            let merged = match change {
                Change::Replace(patch) => patch.onto(user, None),
                Change::Merge(patch) => patch.onto(user, known.as_ref().map(|known| &known.value)),
            };
            let merged = merged.map_err(|faults| Fault::unfit("identity", first(faults)))?;
            if let Some(known) = known.as_ref().filter(|known| known.value == merged) {
                return Ok(Step::nothing((known.clone(), false)));
            }
            let before = known.as_ref().map(|known| &known.value);
            oneself.check(before, &merged)?;
            let (told_before, told_after) = told(before, &merged);
            let result = Held { value: merged.clone(), version: version.unwrap_or(0) + 1, changed: now };
            Ok(Step {
                writes: writes(user, version, before, &merged),
                before: told_before,
                after: Some(told_after),
                reason: None,
                result: (result, version.is_none()),
            })
        })
        .await
    }

    /// Brings every identity of a file in. When the store goes away in the middle, what was written stays and is on
    /// record; the same file again does the rest.
    pub async fn import(&self, who: &Who, oneself: &Oneself, rows: Rows, dry_run: bool) -> Result<Imported, Fault> {
        if let Some((user, fault)) = rows.own {
            let about = About::new("identity-import", Kind::Identity, &user);
            return Err(self.failed(who, about, fault));
        }
        let mut imported = Imported { dry_run, rows: rows.count, unchanged: rows.same, ..Imported::default() };
        let ended = self.import_all(who, oneself, rows.patches, dry_run, &mut imported).await;
        if !dry_run && imported.added + imported.changed > 0 {
            let about = About { action: "identity-import", target: format!("{} identities", imported.rows) };
            let told = imported.told() + if ended.is_err() { "; then it broke off" } else { "" };
            let after = (imported.suspended.count > 0).then(|| json!({ "suspended": imported.suspended }));
            self.did_so(self.line(who, about, AdminOutcome::Done, Some(told.into()), None, after)).await;
        }
        ended.map(|()| imported)
    }

    async fn import_all(
        &self,
        who: &Who,
        oneself: &Oneself,
        patches: Vec<(Arc<str>, Packed)>,
        dry_run: bool,
        imported: &mut Imported,
    ) -> Result<(), Fault> {
        let mut under_way = UnderWay::begin(&self.importing, patches.len() as u64);
        let mut patches = patches.into_iter();
        loop {
            let batch: Vec<_> = patches.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(());
            }
            if !self.audit.writable() {
                return Err(Fault::Unrecorded);
            }
            self.import_batch(who, oneself, &batch, dry_run, imported).await?;
            under_way.wrote(batch.len() as u64);
        }
    }

    async fn import_batch(
        &self,
        who: &Who,
        oneself: &Oneself,
        batch: &[(Arc<str>, Packed)],
        dry_run: bool,
        imported: &mut Imported,
    ) -> Result<(), Fault> {
        let about = || About { action: "identity-import", target: format!("{} identities", batch.len()) };
        for _ in 0..8 {
            let known = self.known(batch).await?;
            let mut outcome = Imported { changes: Vec::new(), ..imported.clone() };
            let (mut all, mut rows) = (Vec::new(), Vec::new());
            for (user, patch) in batch {
                let known = known.get(user);
                let before = known.map(|known| &known.value);
                let merged =
                    patch.unpacked().onto(user, before).map_err(|faults| Fault::unfit("identity", first(faults)))?;
                match before {
                    Some(before) if *before == merged => {
                        outcome.unchanged += 1;
                        continue;
                    }
                    Some(_) => outcome.changed += 1,
                    None => outcome.added += 1,
                }
                // The file was read by what was known here; another gateway may know more.
                oneself.check(before, &merged).map_err(|fault| self.failed(who, about(), fault))?;
                let (told_before, after) = told(before, &merged);
                rows.push(Row { user: Arc::clone(user), before: told_before, after });
                all.extend(writes(user, known.map(|known| known.version), before, &merged));
            }
            let committed = match dry_run || all.is_empty() {
                true => Ok(()),
                false => self.store.commit(all, (self.clock)()).await.map(drop),
            };
            match committed {
                Ok(()) => {
                    self.learn().await;
                    let mut changes = std::mem::take(&mut imported.changes);
                    let room = TOLD.saturating_sub(changes.len());
                    changes.extend(rows.iter().take(room).map(Row::shown));
                    rows.iter().filter(|row| row.suspends()).for_each(|row| outcome.suspended.add(&row.user));
                    *imported = Imported { changes, ..outcome };
                    if !dry_run {
                        self.tell(who, rows).await;
                    }
                    return Ok(());
                }
                Err(CommitFault::Conflict { .. }) => {}
                Err(fault) => return Err(self.failed(who, about(), fault.into())),
            }
        }
        Err(self.failed(who, about(), Fault::Busy))
    }

    /// Puts on record what became of each row.
    ///
    /// Who is changed has a line of their own, the same as if it had been done by hand: whoever asks what happened to
    /// somebody looks for their name and finds all of it. Those who are new have no history yet to be told apart from,
    /// and there may be a million of them: they share lines, each with all that was said of them.
    async fn tell(&self, who: &Who, rows: Vec<Row>) {
        let (mut added, mut room, mut lines) = (Map::new(), ADDED, 0);
        for Row { user, before, after } in rows {
            if before.is_some() {
                let about = About::new("identity-set", Kind::Identity, &user);
                self.audit.admin(self.line(who, about, AdminOutcome::Done, None, before, Some(after)));
                lines += 1;
            } else {
                let length = user.len() + length(&after);
                if length > room && !added.is_empty() {
                    self.tell_added(who, std::mem::take(&mut added));
                    (room, lines) = (ADDED, lines + 1);
                }
                room = room.saturating_sub(length);
                added.insert(user.to_string(), after);
            }
            if lines >= LINES {
                self.audit.written().await;
                lines = 0;
            }
        }
        if !added.is_empty() {
            self.tell_added(who, added);
        }
        self.audit.written().await;
    }

    fn tell_added(&self, who: &Who, added: Map<String, Value>) {
        let about = About { action: "identity-add", target: format!("{} identities", added.len()) };
        self.audit.admin(self.line(who, about, AdminOutcome::Done, None, None, Some(added.into())));
    }

    /// What the store has of these accounts.
    async fn known(&self, batch: &[(Arc<str>, Packed)]) -> Result<HashMap<Arc<str>, Held<Identity>>, Fault> {
        let users = batch.iter().map(|(user, _)| Arc::clone(user)).collect();
        let documents = self.store.get_all(Kind::Identity, users).await?;
        documents.iter().map(|document| Ok((Arc::clone(&document.id), held(document)?))).collect()
    }
}

impl Imported {
    /// A sentence for people.
    fn told(&self) -> String {
        let Suspended { count, users } = &self.suspended;
        let mut told = format!("{} added, {} changed", self.added, self.changed);
        if *count > 0 {
            let named: Vec<&str> = users.iter().take(NAMED.1).map(AsRef::as_ref).collect();
            told += &format!(", {count} suspended: {}", named.join(", "));
        }
        match count - users.len().min(NAMED.1) {
            0 => told,
            more => format!("{told} and {more} more"),
        }
    }
}

impl Suspended {
    fn add(&mut self, user: &Arc<str>) {
        self.count += 1;
        if self.users.len() < NAMED.0 {
            self.users.push(Arc::clone(user));
        }
    }
}

impl Row {
    /// It says what differs.
    fn suspends(&self) -> bool {
        self.after.get("status").is_some_and(|status| status == "suspended")
    }

    fn shown(&self) -> Value {
        json!({ "user": self.user, "before": self.before, "after": self.after })
    }
}

/// The document, and the names it takes and gives back.
fn writes(user: &Arc<str>, version: Option<u64>, before: Option<&Identity>, after: &Identity) -> Vec<Write> {
    let (had, has) = (before.map(handles_of).unwrap_or_default(), handles_of(after));
    let mut writes = vec![put(Kind::Identity, user, version, after)];
    let gone = had.iter().filter(|handle| !has.contains(handle));
    writes.extend(gone.map(|handle: &Handle| Write::Release {
        handle: handle.clone(),
        kind: Kind::Identity,
        id: Arc::clone(user),
    }));
    let new = has.iter().filter(|handle| !had.contains(handle));
    writes.extend(new.map(|handle| Write::Claim {
        handle: handle.clone(),
        kind: Kind::Identity,
        id: Arc::clone(user),
    }));
    writes
}

fn told(before: Option<&Identity>, after: &Identity) -> (Option<Value>, Value) {
    match before {
        Some(before) => {
            let (before, after) = difference(before, after);
            (Some(before), after)
        }
        None => (None, serde_json::to_value(after).unwrap_or_default()),
    }
}

/// Whether this can be somebody's account at all, on record or not; `path` is the member that names it.
pub fn check_user(path: &str, user: &str) -> Result<(), Fault> {
    fit(path, user).map_err(|why| Fault::unfit("name", why))
}

fn first(faults: Vec<(String, String)>) -> String {
    faults.into_iter().next().map(|(_, why)| why).unwrap_or_default()
}
