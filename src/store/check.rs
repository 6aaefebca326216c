//! `rangegate store check`: whether a store is what it should be.

use super::device::DeviceRecord;
use super::document::{Document, Handle, Kind, handles_of, space};
use super::dump::{Counts, Item};
use super::durable::{Reach, Store};
use super::fault::StoreFault;
use super::invitation::Invitation;
use super::read::{self, in_time};
use crate::access::grant::GrantRecord;
use crate::evidence::Identity;
use serde::de::{DeserializeOwned, IgnoredAny};
use sqlx::Row;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
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
}

/// Faults that are told one by one.
const FAULTS: usize = 1000;

/// How long a database may look through its own pages.
const PATIENCE: Duration = Duration::from_secs(3600);

impl Store {
    /// Looks at every page, record and handle, as of one moment. The gateway runs on.
    ///
    /// # Errors
    /// The database gives no answer; what it answers and should not is in the result.
    pub async fn check(&self) -> Result<Checked, StoreFault> {
        let reach = self.reach();
        let task = self.runtime().spawn(async move { check(&reach).await });
        task.await.unwrap_or(Err(StoreFault::Closed))
    }
}

async fn check(reach: &Reach) -> Result<Checked, StoreFault> {
    let mut snapshot = in_time(reach.timeout, reach.pool.begin_with(reach.dialect.begin_reading())).await?;
    read::unhurried(reach, &mut snapshot).await?;
    let (revision, _) = in_time(reach.timeout, read::counter(&mut snapshot)).await?;
    let mut look = Look { checked: Checked { revision, ..Checked::default() }, ..Look::default() };
    if reach.dialect == super::connect::Dialect::Sqlite {
        let rows = in_time(PATIENCE, sqlx::query("PRAGMA integrity_check(100)").fetch_all(&mut *snapshot)).await?;
        for row in rows {
            let said: &str = row.try_get(0).map_err(|error| StoreFault::of(&error))?;
            if said != "ok" {
                look.fault(format!("the file: {said}"));
            }
        }
    }
    let look = std::sync::Mutex::new(look);
    read::items(reach, &mut snapshot, |batch| {
        let mut look = look.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        batch.into_iter().for_each(|item| look.at(item));
        std::future::ready(Ok(()))
    })
    .await?;
    Ok(look.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).finish())
}

#[derive(Default)]
struct Look {
    checked: Checked,
    /// Who should hold what, by what the records say.
    due: HashMap<(&'static str, Arc<str>), Holder>,
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

    fn document(&mut self, document: &Document) {
        *self.checked.kinds.entry(document.kind).or_default() += 1;
        let due = match document.kind {
            Kind::Identity => read_as(document, |record: &Identity| (Arc::clone(&record.user), handles_of(record))),
            Kind::Device => read_as(document, |record: &DeviceRecord| (Arc::clone(&record.id), record.handles())),
            Kind::Invitation => read_as(document, |record: &Invitation| (Arc::clone(&record.id), Vec::new())),
            Kind::Grant => read_as(document, |record: &GrantRecord| (Arc::clone(&record.id), Vec::new())),
            Kind::Delivery | Kind::Call | Kind::Revocation => {
                read_as(document, |_: &IgnoredAny| (Arc::clone(&document.id), Vec::new()))
            }
        };
        let name = format!("the {} `{}`", document.kind.word(), document.id);
        match due {
            Ok((id, handles)) => {
                if id != document.id {
                    self.fault(format!("{name} says that it is `{id}`"));
                }
                for Handle { space, value } in handles {
                    let holder = (document.kind, Arc::clone(&document.id));
                    let shown = format!("{space} `{value}`");
                    if let Some((kind, other)) = self.due.insert((space, value), holder) {
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
        let mut missing: Vec<_> = std::mem::take(&mut self.due).into_iter().collect();
        missing.sort();
        for ((space, value), (kind, id)) in missing {
            self.fault(format!("the {} `{id}` names {space} `{value}` and does not hold it", kind.word()));
        }
        self.checked
    }

    fn fault(&mut self, fault: String) {
        if self.checked.faults.len() < FAULTS {
            self.checked.faults.push(fault);
        }
    }
}

fn read_as<T: DeserializeOwned, U>(document: &Document, of: impl FnOnce(&T) -> U) -> Result<U, String> {
    serde_json::from_str(&document.body).map(|record| of(&record)).map_err(|error| error.to_string())
}
