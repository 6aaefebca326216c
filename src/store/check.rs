//! `rangegate store check`: whether a store is what it should be.

use super::call::Call;
use super::connect::Dialect;
use super::delivery::Delivery;
use super::device::{DeviceRecord, IssuedCertificate};
use super::document::{Document, Handle, Kind, handles_of, space, submission_of};
use super::dump::{Counts, Item};
use super::durable::{Reach, Store};
use super::fault::StoreFault;
use super::invitation::Invitation;
use super::read::{self, in_time};
use super::revocation::Revoked;
use crate::access::grant::GrantRecord;
use crate::evidence::{Identity, Moment};
use serde::de::DeserializeOwned;
use sqlx::{AnyConnection, Row};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub revision: u64,
    pub counts: Counts,
    /// Documents by kind.
    pub kinds: BTreeMap<Kind, u64>,
    /// One sentence each, the first thousand.
    pub faults: Vec<String>,
    /// How many there are.
    pub fault_count: u64,
}

/// Faults that are told one by one.
const FAULTS: usize = 1000;

/// How long a database may look through its own pages.
const PATIENCE: Duration = Duration::from_secs(3600);

impl Store {
    /// Looks at every record, handle and sighting, as of one moment, and at every page of a file; a server looks after
    /// its own. The gateway runs on.
    ///
    /// # Errors
    /// The database gives no answer, or cannot read its own pages; what it answers and should not is in the result.
    pub async fn check(&self, now: Moment) -> Result<Checked, StoreFault> {
        let reach = self.reach();
        let task = self.runtime().spawn(async move { check(&reach, now).await });
        task.await.unwrap_or(Err(StoreFault::Closed))
    }
}

async fn check(reach: &Reach, now: Moment) -> Result<Checked, StoreFault> {
    let mut snapshot = in_time(reach.timeout, reach.pool.begin_with(reach.dialect.begin_reading())).await?;
    read::unhurried(reach, &mut snapshot).await?;
    let mut look =
        Look { now, checked: Checked::default(), due: HashMap::new(), ended: HashMap::new(), listed: HashSet::new() };
    look.numbers(reach, &mut snapshot).await?;
    if reach.dialect == Dialect::Sqlite {
        let rows = in_time(PATIENCE, sqlx::query("PRAGMA integrity_check(100)").fetch_all(&mut *snapshot)).await?;
        for row in rows {
            let said: &str = row.try_get(0).map_err(|error| StoreFault::of(&error))?;
            if said != "ok" {
                look.fault(format!("the file: {said}"));
            }
        }
    }
    let look = Mutex::new(look);
    let odd = |fault: StoreFault| {
        lock(&look).fault(fault.to_string());
        Ok(())
    };
    let each = |batch: Vec<Item>| {
        batch.into_iter().for_each(|item| lock(&look).at(item));
        std::future::ready(Ok(()))
    };
    read::items(reach, &mut snapshot, odd, each).await?;
    Ok(look.into_inner().unwrap_or_else(PoisonError::into_inner).finish())
}

/// Nobody else waits for it: what is handed on is handed on one after the other.
fn lock(look: &Mutex<Look>) -> MutexGuard<'_, Look> {
    look.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Look {
    now: Moment,
    checked: Checked,
    /// Who should hold what, by what the records say.
    due: HashMap<(&'static str, Arc<str>), Holder>,
    /// Serial numbers that devices' histories have as revoked, and whose they were.
    ended: HashMap<Arc<str>, Arc<str>>,
    /// Those that revocation lists are made from.
    listed: HashSet<Arc<str>>,
}

type Holder = (Kind, Arc<str>);

impl Look {
    /// Documents come first, then handles, then sightings.
    fn at(&mut self, item: Item) {
        self.checked.counts.count(&item);
        match item {
            Item::Document(document) => self.document(&document),
            Item::Handle { space, value, kind, id } => self.handle(&space, &value, kind, &id),
            Item::Seen(_) => {}
        }
    }

    /// The revision, and the log of changes that has to end with it.
    async fn numbers(&mut self, reach: &Reach, snapshot: &mut AnyConnection) -> Result<(), StoreFault> {
        let counter = sqlx::query("SELECT revision, reaches_back_to FROM counter WHERE one = 1");
        let Some(row) = in_time(reach.timeout, counter.fetch_optional(&mut *snapshot)).await? else {
            self.fault("the counter of revisions is missing: nothing can be written".to_owned());
            return Ok(());
        };
        let number = |column| row.try_get::<i64, _>(column).map_err(|error| StoreFault::of(&error));
        let (revision, reaches_back_to) = (number("revision")?, number("reaches_back_to")?);
        self.checked.revision = u64::try_from(revision).unwrap_or_default();
        if !(0..=revision).contains(&reaches_back_to) {
            self.fault(format!(
                "the log of changes begins after revision {reaches_back_to}, and {revision} is the last"
            ));
        }
        let strays = sqlx::query_scalar("SELECT COUNT(*) FROM change WHERE revision <= $1 OR revision > $2")
            .bind(reaches_back_to)
            .bind(revision);
        let strays: i64 = in_time(PATIENCE, strays.fetch_one(&mut *snapshot)).await?;
        if strays > 0 {
            let span = format!("after {reaches_back_to} and up to {revision}");
            self.fault(format!("the log of changes has {strays} entries that are not of revisions {span}"));
        }
        Ok(())
    }

    fn document(&mut self, document: &Document) {
        *self.checked.kinds.entry(document.kind).or_default() += 1;
        let due = match document.kind {
            Kind::Identity => read_as(document, |record: &Identity| (Arc::clone(&record.user), handles_of(record))),
            Kind::Device => read_as(document, |record: &DeviceRecord| {
                // One that has ended by itself need not be listed any more, and is forgotten some time after.
                let listed = |issued: &&IssuedCertificate| issued.revoked.is_some() && issued.not_after > self.now;
                let ended = record.history.iter().filter(listed);
                self.ended.extend(ended.map(|issued| (Arc::clone(&issued.serial), Arc::clone(&record.id))));
                (Arc::clone(&record.id), record.handles())
            }),
            Kind::Invitation => read_as(document, |record: &Invitation| (Arc::clone(&record.id), Vec::new())),
            Kind::Grant => read_as(document, |record: &GrantRecord| {
                (Arc::clone(&record.id), submission_of(record).into_iter().collect())
            }),
            // Neither says its own id.
            Kind::Delivery => read_as(document, |_: &Delivery| (Arc::clone(&document.id), Vec::new())),
            Kind::Call => read_as(document, |_: &Call| (Arc::clone(&document.id), Vec::new())),
            Kind::Revocation => read_as(document, |record: &Revoked| {
                self.listed.insert(Arc::clone(&record.serial));
                (Arc::clone(&record.serial), Vec::new())
            }),
        };
        let name = format!("the {} `{}`", document.kind.word(), document.id);
        if document.version == 0 {
            self.fault(format!("{name} has no version"));
        }
        match due {
            Ok((id, handles)) => {
                if id != document.id {
                    self.fault(format!("{name} says that it is `{id}`"));
                }
                for Handle { space, value } in handles {
                    let holder = (document.kind, Arc::clone(&document.id));
                    let shown = format!("{space} `{value}`");
                    let before = self.due.insert((space, value), holder);
                    // One that names a thing twice holds it once.
                    if let Some((kind, other)) =
                        before.filter(|(kind, id)| (*kind, id) != (document.kind, &document.id))
                    {
                        self.fault(format!("{name} and the {} `{other}` both claim {shown}", kind.word()));
                    }
                }
            }
            Err(why) => self.fault(format!("{name} cannot be read: {why}")),
        }
    }

    fn handle(&mut self, space: &str, value: &str, kind: Kind, id: &str) {
        let holder = format!("the {} `{id}`", kind.word());
        let Some(space) = space::ALL.into_iter().find(|known| *known == space) else {
            return self.fault(format!("{holder} holds `{value}` in the unknown space `{space}`"));
        };
        match self.due.remove(&(space, Arc::from(value))) {
            Some((due_kind, due)) if due_kind == kind && *due == *id => {}
            Some((due_kind, due)) => self
                .fault(format!("{space} `{value}` is held by {holder} and belongs to the {} `{due}`", due_kind.word())),
            None => self.fault(format!("{space} `{value}` is held by {holder}, whose record does not name it")),
        }
    }

    fn finish(mut self) -> Checked {
        let listed = std::mem::take(&mut self.listed);
        let mut ended: Vec<_> =
            std::mem::take(&mut self.ended).into_iter().filter(|(serial, _)| !listed.contains(serial)).collect();
        ended.sort();
        for (serial, device) in ended {
            self.fault(format!(
                "the device `{device}` has its certificate `{serial}` as revoked, and no list will name it"
            ));
        }
        let mut missing: Vec<_> = std::mem::take(&mut self.due).into_iter().collect();
        missing.sort();
        for ((space, value), (kind, id)) in missing {
            self.fault(format!("the {} `{id}` names {space} `{value}` and does not hold it", kind.word()));
        }
        self.checked
    }

    fn fault(&mut self, fault: String) {
        self.checked.fault_count += 1;
        if self.checked.faults.len() < FAULTS {
            self.checked.faults.push(fault);
        }
    }
}

fn read_as<T: DeserializeOwned, U>(document: &Document, of: impl FnOnce(&T) -> U) -> Result<U, String> {
    serde_json::from_str(&document.body).map(|record| of(&record)).map_err(|error| error.to_string())
}
