//! The store's devices: a million of them, found by key, certificate or name, each changed by itself.
//!
//! Of a document only what decisions and listings read is kept. A device stands in one slot for as long as it is
//! registered, so that a change of its status is one atomic store. The tables of handles lead to slots and are not
//! trusted: a handle counts when the device in the slot claims it too, so a stale entry leads nowhere.

mod building;

pub use building::Building;
use building::{Words, read};

use super::shards::{Change, Shards};
use crate::evidence::{Certificate, Device, Fact, Fault};
use crate::store::Digest;
use crate::store::digest::DigestHasher;
use arc_swap::{ArcSwap, ArcSwapOption};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How the built-in authority names a device in its certificate: found by the device's id, without a table.
pub const OWN_NAME: &str = "uri:urn:rangegate:device:";

/// Found without a lock; changed by one thread at a time.
#[derive(Debug, Default)]
pub struct Registered {
    tables: ArcSwap<Tables>,
    words: Mutex<Words>,
    generation: AtomicU64,
}

/// What is kept of a device.
#[derive(Debug)]
pub struct Entry {
    pub device: Arc<Device>,
    pub asset_tag: Option<Arc<str>>,
    /// Digests of keys, then of certificates.
    digests: SmallVec<[Digest; 1]>,
    keys: usize,
    /// Without its own name.
    sans: Box<[Arc<str>]>,
    own_name: bool,
    /// The latest document could not be read: this is how it was before.
    readable: bool,
}

#[derive(Debug, Default)]
struct Tables {
    names: Shards<Arc<str>, Arc<Slot>>,
    /// Of keys and certificates alike, by their first eight bytes.
    digests: Shards<u64, Holder, DigestHasher>,
    sans: Shards<Arc<str>, Holder>,
}

/// None: the device was removed.
type Slot = ArcSwapOption<Entry>;

/// Who claims a handle, or one that begins like it.
#[derive(Clone, Debug)]
enum Holder {
    One(Arc<Slot>),
    Several(Arc<Vec<Arc<Slot>>>),
}

impl Registered {
    /// As `Devices::find`, of the store's devices alone.
    pub fn find(&self, certificate: &Certificate) -> Fact<Arc<Device>> {
        let tables = self.tables.load();
        let mut found = Found::default();
        if let Some(key) = Digest::from_hex(&certificate.spki_sha256) {
            tables.digests.with(&key.prefix(), |holder| {
                holder.slots().iter().for_each(|slot| found.meet(slot, |entry| entry.keys().contains(&key)));
            });
        }
        if let Some(whole) = Digest::from_hex(&certificate.sha256) {
            tables.digests.with(&whole.prefix(), |holder| {
                let claims = |entry: &Entry| entry.certificates().contains(&whole);
                holder.slots().iter().for_each(|slot| found.meet(slot, claims));
            });
        }
        for san in &certificate.sans {
            match san.strip_prefix(OWN_NAME) {
                // Most often its key has found it already.
                Some(id) if found.is(|entry| entry.own_name && *entry.device.id == *id) => {}
                Some(id) => {
                    tables.names.with(id, |slot| found.meet(slot, |entry| entry.own_name));
                }
                None => {
                    let claims = |entry: &Entry| entry.sans.contains(san);
                    tables.sans.with(san, |holder| holder.slots().iter().for_each(|slot| found.meet(slot, claims)));
                }
            }
        }
        match found.one {
            _ if found.several => Fact::Invalid(Fault::DeviceAmbiguous),
            Some((_, entry)) if !entry.readable => Fact::Unavailable(Fault::RegistryUnavailable),
            Some((_, entry)) => Fact::Known(Arc::clone(&entry.device)),
            None => Fact::Absent,
        }
    }

    /// The device of this id.
    pub fn get(&self, id: &str) -> Option<Arc<Entry>> {
        self.tables.load().names.with(id, |slot| slot.load_full()).flatten()
    }

    /// Every device, in no order.
    pub fn for_each(&self, mut each: impl FnMut(&Arc<Entry>)) {
        self.tables.load().names.for_each(|_, slot| {
            if let Some(entry) = slot.load_full() {
                each(&entry);
            }
        });
    }

    pub fn len(&self) -> usize {
        self.tables.load().names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in a document's body.
    ///
    /// # Errors
    /// What is wrong with it. A device known before stays found by its handles, as one that nothing is known of.
    pub fn put(&self, id: &Arc<str>, body: &str) -> Result<(), String> {
        let taken = self.take_in(id, body);
        self.changed();
        taken
    }

    fn take_in(&self, id: &Arc<str>, body: &str) -> Result<(), String> {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let tables = self.tables.load();
        let slot = tables.names.get(&**id);
        let before = slot.as_ref().and_then(|slot| slot.load_full());
        let entry = match read(id, body, &mut words) {
            Ok(entry) => Arc::new(entry),
            Err(why) => {
                if let (Some(slot), Some(before)) = (&slot, before) {
                    slot.store(Some(Arc::new(before.unreadable())));
                }
                return Err(why);
            }
        };
        match (slot, before) {
            (Some(slot), Some(before)) => {
                let gained = |before: &Entry| {
                    let digests = entry.digests.iter().filter(|digest| !before.digests.contains(digest)).copied();
                    let sans = entry.sans.iter().filter(|san| !before.sans.contains(san)).cloned();
                    (digests.collect::<Vec<_>>(), sans.collect::<Vec<_>>())
                };
                let (digests, sans) = gained(&before);
                tables.lead(&digests, &sans, &slot);
                slot.store(Some(Arc::clone(&entry)));
                let lost = before.digests.iter().filter(|digest| !entry.digests.contains(digest)).copied();
                let lost_sans = before.sans.iter().filter(|san| !entry.sans.contains(san)).cloned();
                tables.forget(&lost.collect::<Vec<_>>(), &lost_sans.collect::<Vec<_>>(), &slot);
            }
            _ => {
                let slot = Arc::new(Slot::new(Some(Arc::clone(&entry))));
                tables.lead(&entry.digests, &entry.sans, &slot);
                tables.names.change([(Arc::clone(&entry.device.id), Change::Put(slot))]);
            }
        }
        Ok(())
    }

    /// The device is registered no longer.
    pub fn remove(&self, id: &str) {
        let _words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let tables = self.tables.load();
        let Some(slot) = tables.names.get(id) else { return };
        if let Some(entry) = slot.swap(None) {
            tables.forget(&entry.digests, &entry.sans, &slot);
            tables.names.change([(Arc::clone(&entry.device.id), Change::Remove)]);
        }
        self.changed();
    }

    /// From now on these and no others. Those that cannot be read now and were known before stay known as such.
    pub fn replace(&self, mut building: Building) {
        for id in std::mem::take(&mut building.unreadable) {
            if let Some(before) = self.get(&id) {
                building.add(before.unreadable());
            }
        }
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let Building { names, digests, sans, words: used, .. } = building;
        words.classes = used.classes;
        self.tables.store(Arc::new(Tables {
            names: Shards::build(names),
            digests: Shards::build(digests),
            sans: Shards::build(sans),
        }));
        drop(words);
        self.changed();
    }

    /// Grows with every change, once the change can be found.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }
}

/// Whom the handles of one certificate lead to.
#[derive(Default)]
struct Found {
    one: Option<(Arc<Slot>, Arc<Entry>)>,
    several: bool,
}

impl Found {
    /// A handle leads to this slot; it counts when the device there claims it.
    fn meet(&mut self, slot: &Arc<Slot>, claims: impl Fn(&Entry) -> bool) {
        if self.one.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, slot)) {
            return;
        }
        if let Some(entry) = slot.load_full().filter(|entry| claims(entry)) {
            self.several |= self.one.is_some();
            self.one = Some((Arc::clone(slot), entry));
        }
    }

    fn is(&self, so: impl Fn(&Entry) -> bool) -> bool {
        self.one.as_ref().is_some_and(|(_, entry)| so(entry))
    }
}

impl Entry {
    fn keys(&self) -> &[Digest] {
        self.digests.get(..self.keys).unwrap_or_default()
    }

    fn certificates(&self) -> &[Digest] {
        self.digests.get(self.keys..).unwrap_or_default()
    }

    fn unreadable(&self) -> Self {
        Self {
            device: Arc::clone(&self.device),
            asset_tag: self.asset_tag.clone(),
            digests: self.digests.clone(),
            keys: self.keys,
            sans: self.sans.clone(),
            own_name: self.own_name,
            readable: false,
        }
    }
}

impl Holder {
    fn slots(&self) -> &[Arc<Slot>] {
        match self {
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Several(slots) => slots,
        }
    }

    fn with(self, slot: &Arc<Slot>) -> Self {
        if self.slots().iter().any(|known| Arc::ptr_eq(known, slot)) {
            return self;
        }
        Self::Several(Arc::new(self.slots().iter().chain([slot]).cloned().collect()))
    }

    fn without(&self, slot: &Arc<Slot>) -> Option<Self> {
        let mut rest: Vec<_> = self.slots().iter().filter(|known| !Arc::ptr_eq(known, slot)).cloned().collect();
        match rest.len() {
            0 => None,
            1 => rest.pop().map(Self::One),
            _ => Some(Self::Several(Arc::new(rest))),
        }
    }
}

impl Tables {
    fn lead(&self, digests: &[Digest], sans: &[Arc<str>], slot: &Arc<Slot>) {
        let holder = |known: Option<Holder>| match known {
            Some(known) => known.with(slot),
            None => Holder::One(Arc::clone(slot)),
        };
        for digest in digests {
            let prefix = digest.prefix();
            self.digests.change([(prefix, Change::Put(holder(self.digests.get(&prefix))))]);
        }
        for san in sans {
            self.sans.change([(Arc::clone(san), Change::Put(holder(self.sans.get(san))))]);
        }
    }

    fn forget(&self, digests: &[Digest], sans: &[Arc<str>], slot: &Arc<Slot>) {
        let rest = |known: Option<Holder>| match known.and_then(|known| known.without(slot)) {
            Some(rest) => Change::Put(rest),
            None => Change::Remove,
        };
        for digest in digests {
            let prefix = digest.prefix();
            self.digests.change([(prefix, rest(self.digests.get(&prefix)))]);
        }
        for san in sans {
            self.sans.change([(Arc::clone(san), rest(self.sans.get(san)))]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{DeviceStatus, Moment};
    use crate::store::{DeviceRecord, IssuedCertificate};

    fn full() -> DeviceRecord {
        let (key, certificate) = (Digest::of(b"k"), Digest::of(b"c"));
        let (issued, not_after) = (Moment(1), Moment(2));
        DeviceRecord {
            id: "d_1".into(),
            owner: Some("zoë \"z\"".into()),
            class: "corporate".into(),
            status: DeviceStatus::Watched,
            asset_tag: Some("INV-1".into()),
            enrolled: Some(Moment(1)),
            keys: vec![key],
            certificates: vec![certificate],
            sans: vec!["dns:d1.corp".into(), format!("{OWN_NAME}d_1").into(), format!("{OWN_NAME}d_2").into()],
            history: vec![IssuedCertificate {
                sha256: certificate,
                spki: key,
                serial: "7".into(),
                issued,
                not_after,
                revoked: Some(Moment(3)),
            }],
        }
    }

    #[test]
    fn what_is_kept_is_what_the_record_says() {
        let record = full();
        let body = serde_json::to_string(&record).expect("it serializes");
        assert_eq!(serde_json::from_str::<DeviceRecord>(&body).expect("it reads back"), record);
        let entry = read(&record.id, &body, &mut Words::default()).expect("good");
        assert_eq!(*entry.device, record.device());
        assert_eq!((entry.keys(), entry.certificates()), (&*record.keys, &*record.certificates));
        assert_eq!(entry.asset_tag, record.asset_tag);
        // its own name needs no table; another's, should it ever stand there, is no name of its own
        assert!(entry.own_name);
        assert_eq!(*entry.sans, [Arc::clone(&record.sans[0]), Arc::clone(&record.sans[2])]);
        for strange in
            [body.replace("asset-tag", "asset-tags"), body.replace("d_1", "d_3"), body.replace("watched", "x")]
        {
            assert!(read(&record.id, &strange, &mut Words::default()).is_err(), "{strange}");
        }
    }

    #[test]
    fn handles_that_only_begin_alike_are_kept_apart() {
        let mut digits = Digest::of(b"k").hex();
        let one = Digest::from_hex(&digits).expect("hex");
        digits.replace_range(60.., "0000");
        let other = Digest::from_hex(&digits).expect("hex");
        assert_eq!(one.prefix(), other.prefix());
        let registered = Registered::default();
        for (id, key) in [("a", one), ("b", other)] {
            let record =
                DeviceRecord { id: id.into(), keys: vec![key], certificates: Vec::new(), sans: Vec::new(), ..full() };
            registered.put(&record.id, &serde_json::to_string(&record).expect("it serializes")).expect("good");
        }
        let found = |key: Digest| {
            let certificate = Certificate {
                sha256: "".into(),
                spki_sha256: key.hex().into(),
                serial: "1".into(),
                subject: "".into(),
                issuer: "".into(),
                sans: Vec::new(),
                not_before: Moment(0),
                not_after: Moment(0),
                class: None,
            };
            registered.find(&certificate).map(|device| device.id.to_string())
        };
        assert_eq!((found(one), found(other)), (Fact::Known("a".into()), Fact::Known("b".into())));
        registered.remove("a");
        assert_eq!((found(one), found(other)), (Fact::Absent, Fact::Known("b".into())));
    }
}
