//! What the store keeps, as the gateway knows it: no request waits for a database.
//!
//! `load` reads everything once; `follow` asks after every hint what changed. There is one path by which a change
//! arrives, `catch_up`, so changes cannot overtake each other: whoever commits calls it too, and then sees its own
//! change at once. While the database is away everything stays as it was, and its age grows.

use super::devices::Devices;
use super::people::{self, People};
use super::registered;
use super::sightings::Sightings;
use crate::access::grant::GrantRecord;
use crate::evidence::{Device, Fact, Fault, Identity, Moment};
use crate::store::{Change, Document, Kind, Revision, Since, Store, StoreFault};
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{mpsc, oneshot};

/// Bounded by what administrators register: nothing that a client sends adds to it.
pub struct Memory {
    devices: Arc<Devices>,
    people: ArcSwap<People>,
    sightings: Sightings,
    /// Whether there is a store at all.
    kept: bool,
    revision: AtomicU64,
    /// When it was last known to be current, as a `Moment`; `NEVER` before everything was read once.
    current: AtomicI64,
    /// Whoever applies changes; readers do not wait.
    turn: tokio::sync::Mutex<()>,
    hook: OnceLock<Hook>,
}

type Hook = Box<dyn Fn(&Since) + Send + Sync>;

const NEVER: i64 = i64::MIN;

/// Sightings written in one go.
const SIGHTINGS: usize = 500;

impl Memory {
    /// Nothing is kept in a database: there are the devices of a file, and no identities or grants.
    pub fn none(devices: Arc<Devices>) -> Self {
        Self::with(devices, false)
    }

    /// Knows nothing until `load`.
    pub fn new(devices: Arc<Devices>) -> Self {
        Self::with(devices, true)
    }

    fn with(devices: Arc<Devices>, kept: bool) -> Self {
        Self {
            devices,
            people: ArcSwap::default(),
            sightings: Sightings::default(),
            kept,
            revision: AtomicU64::new(0),
            current: AtomicI64::new(NEVER),
            turn: tokio::sync::Mutex::default(),
            hook: OnceLock::new(),
        }
    }

    /// The account that goes by this name, or has it for an alias. `Absent`: no record has it.
    /// `Unavailable`: nothing was read yet, or this record cannot be read.
    pub fn identity(&self, user: &str) -> Fact<Arc<Identity>> {
        match (self.kept, self.loaded()) {
            (false, _) => Fact::Absent,
            (true, false) => Fact::Unavailable(Fault::RegistryUnavailable),
            (true, true) => self.people.load().identity(user),
        }
    }

    /// What the account holds, and what it held until lately. By `user`, not by alias: ask `identity` first.
    pub fn grants(&self, user: &str) -> Arc<[Arc<GrantRecord>]> {
        self.people.load().grants(user)
    }

    pub fn grant(&self, id: &str) -> Option<Arc<GrantRecord>> {
        self.people.load().grant(id)
    }

    /// The store's device of this id; those of the registry file are not asked.
    pub fn device(&self, id: &str) -> Option<Arc<Device>> {
        self.devices.registered().get(id).map(|entry| Arc::clone(&entry.device))
    }

    /// Devices by their certificates, and the store's for listings (`registered`).
    pub fn devices(&self) -> &Arc<Devices> {
        &self.devices
    }

    /// Identities and grants, for listings.
    pub fn people(&self) -> Arc<People> {
        self.people.load_full()
    }

    /// Where workers note, once per connection, that a device was seen.
    pub fn sightings(&self) -> &Sightings {
        &self.sightings
    }

    /// How long ago all of it was last known to be current, milliseconds. `Absent`: nothing is kept.
    pub fn age(&self, now: Moment) -> Fact<u64> {
        match self.current.load(Ordering::Acquire) {
            _ if !self.kept => Fact::Absent,
            NEVER => Fact::Unavailable(Fault::RegistryUnavailable),
            // A clock that was stepped back makes it older, not younger.
            current => Fact::Known(now.0.abs_diff(current)),
        }
    }

    /// What has been applied.
    pub fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    /// What is to happen after every change, on the thread that applied it. To be called once.
    pub fn on_change(&self, hook: impl Fn(&Since) + Send + Sync + 'static) {
        let set = self.hook.set(Box::new(hook));
        debug_assert!(set.is_ok(), "there is one hook");
    }

    /// Reads everything. The documents are parsed on a thread of their own while they arrive.
    ///
    /// # Errors
    /// The database's; and the first record that cannot be read, when nothing was known before: a gateway does not
    /// start half-blind. Afterwards such a record is told of in the log, and what it was about is unknown.
    pub async fn load(&self, store: &Store, now: Moment) -> Result<(), StoreFault> {
        let _turn = self.turn.lock().await;
        self.load_in_turn(store, now).await
    }

    /// Applies what happened since, and says what it was. When it returns, everything that was committed before it
    /// was called is known.
    ///
    /// # Errors
    /// The database's; nothing was applied.
    pub async fn catch_up(&self, store: &Store, now: Moment) -> Result<Since, StoreFault> {
        let _turn = self.turn.lock().await;
        let since = if self.loaded() { store.since(self.revision()).await? } else { Since::Everything };
        match &since {
            Since::Changes(changes) => self.apply(changes, now),
            Since::Everything => self.load_in_turn(store, now).await?,
        }
        self.people.load().fade(now);
        self.current.store(now.0, Ordering::Release);
        if let Some(hook) = self.hook.get()
            && since != Since::Changes(Vec::new())
        {
            hook(&since);
        }
        Ok(since)
    }

    fn loaded(&self) -> bool {
        self.current.load(Ordering::Acquire) != NEVER
    }

    async fn load_in_turn(&self, store: &Store, now: Moment) -> Result<(), StoreFault> {
        let (batches, arriving) = mpsc::channel(16);
        let (done, building) = oneshot::channel();
        let thread = std::thread::Builder::new().name("store-parse".into());
        thread
            .spawn(move || drop(done.send(Box::new(Building::of(arriving)))))
            .map_err(|error| StoreFault::Other(format!("no thread can be started: {error}")))?;
        let revision = store.load_into(batches).await?;
        let building = building.await.map_err(|_| StoreFault::Other("reading it failed".to_owned()))?;
        if let Some(first) = building.faults.first().filter(|_| !self.loaded()) {
            return Err(first.clone());
        }
        building.faults.iter().for_each(tell);
        self.devices.registered().replace(building.devices);
        self.people.store(Arc::new(building.people.build(Some(&self.people.load()), now)));
        self.revision.store(revision.0, Ordering::Release);
        self.current.store(now.0, Ordering::Release);
        Ok(())
    }

    fn apply(&self, changes: &[Change], now: Moment) {
        let people = self.people.load();
        let devices = self.devices.registered();
        let identities = changes.iter().filter(|change| change.kind == Kind::Identity);
        let changed = identities.map(|change| (&change.id, change.document.as_ref().map(|document| &*document.body)));
        for (id, why) in people.put_identities(changed) {
            tell(&StoreFault::Unreadable { kind: Kind::Identity, id, why });
        }
        for Change { revision, kind, id, document } in changes {
            let body = document.as_ref().map(|document| &*document.body);
            let outcome = match (kind, body) {
                (Kind::Device, Some(body)) => devices.put(id, body),
                (Kind::Device, None) => {
                    devices.remove(id);
                    Ok(())
                }
                (Kind::Grant, Some(body)) => people.put_grant(id, body, now),
                (Kind::Grant, None) => {
                    people.remove_grant(id, now);
                    Ok(())
                }
                // Read from the store by whoever needs them.
                (Kind::Invitation | Kind::Delivery | Kind::Call | Kind::Revocation, _) => Ok(()),
                // Together, before this.
                (Kind::Identity, _) => Ok(()),
            };
            if let Err(why) = outcome {
                tell(&StoreFault::Unreadable { kind: *kind, id: Arc::clone(id), why });
            }
            self.revision.store(revision.0, Ordering::Release);
        }
    }
}

fn tell(fault: &StoreFault) {
    tracing::error!("{fault}; what it is about counts as unknown (`rangegate store check` names all such records)");
}

/// Follows the store until it is closed, and writes down what was seen of devices. `clock` tells the time.
pub async fn follow(store: Store, memory: Arc<Memory>, clock: impl Fn() -> Moment) {
    let mut news = store.news();
    let mut away = false;
    while news.next().await {
        let now = clock();
        let outcome = match memory.catch_up(&store, now).await {
            Ok(_) => {
                let due = memory.sightings.due(now, SIGHTINGS);
                if due.is_empty() { Ok(()) } else { store.sight(due).await }
            }
            Err(fault) => Err(fault),
        };
        match outcome {
            Ok(()) if away => tracing::info!("the store is back"),
            Err(ref fault) if !away => {
                tracing::error!("{fault}; decisions rest on what is known, nothing new is granted");
            }
            _ => {}
        }
        away = outcome.is_err();
    }
}

/// Everything a store holds, on its way into memory.
#[derive(Default)]
struct Building {
    devices: registered::Building,
    people: people::Building,
    faults: Vec<StoreFault>,
}

/// Records that cannot be read are named up to this number.
const FAULTS: usize = 100;

impl Building {
    fn of(mut arriving: mpsc::Receiver<Vec<Document>>) -> Self {
        let mut building = Self::default();
        while let Some(batch) = arriving.blocking_recv() {
            batch.iter().for_each(|document| building.put(document));
        }
        building
    }

    fn put(&mut self, document: &Document) {
        let Document { kind, id, body, .. } = document;
        let outcome = match kind {
            Kind::Identity => self.people.put_identity(id, body),
            Kind::Device => self.devices.put(id, body),
            Kind::Grant => self.people.put_grant(id, body),
            Kind::Invitation | Kind::Delivery | Kind::Call | Kind::Revocation => Ok(()),
        };
        if let Err(why) = outcome
            && self.faults.len() < FAULTS
        {
            self.faults.push(StoreFault::Unreadable { kind: *kind, id: Arc::clone(id), why });
        }
    }
}
