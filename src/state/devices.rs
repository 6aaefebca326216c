//! The devices the gateway knows: those of a TOML file, as one immutable index that is swapped whole, and those of the
//! store, which change one by one. Requests read both without a lock.

use super::registered::Registered;
use crate::evidence::{Certificate, Device, Fact, Fault};
use crate::store::digest::DigestHasher;
use crate::store::{Digest, Recognition};
use arc_swap::ArcSwapOption;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The file's index, or none when it has never been read, and the store's devices.
#[derive(Debug, Default)]
pub struct Devices {
    index: ArcSwapOption<DeviceIndex>,
    generation: AtomicU64,
    registered: Registered,
}

impl Devices {
    /// The registry could not be read: every lookup is `Unavailable` until `replace`.
    pub fn unavailable() -> Self {
        Self::default()
    }

    pub fn new(index: DeviceIndex) -> Self {
        let devices = Self::default();
        devices.replace(index);
        devices
    }

    /// From now on this index answers. A reload that failed does not call this: the last good index stays.
    pub fn replace(&self, index: DeviceIndex) {
        self.index.store(Some(Arc::new(index)));
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Grows with every change; what was found under an older generation must be looked up again.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire).wrapping_add(self.registered.generation())
    }

    /// The store's devices.
    pub fn registered(&self) -> &Registered {
        &self.registered
    }

    /// The device whose key, certificate or name this is. `Absent`: none is registered.
    /// `Invalid`: its handles belong to different devices.
    pub fn find(&self, certificate: &Certificate) -> Fact<Arc<Device>> {
        let filed = match &*self.index.load() {
            Some(index) => index.find(certificate),
            None => return Fact::Unavailable(Fault::RegistryUnavailable),
        };
        match (filed, self.registered.find(certificate)) {
            (Fact::Absent, registered) => registered,
            (filed, Fact::Absent) => filed,
            _ => Fact::Invalid(Fault::DeviceAmbiguous),
        }
    }

    /// The file's devices, for listings. None: it has never been read.
    pub fn filed(&self) -> Option<Arc<DeviceIndex>> {
        self.index.load_full()
    }

    /// How many devices are registered.
    pub fn len(&self) -> usize {
        self.index.load().as_ref().map_or(0, |index| index.records.len()) + self.registered.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Devices by handle.
#[derive(Debug, Default)]
pub struct DeviceIndex {
    /// In the order of their ids.
    records: Vec<Recognition>,
    keys: HashMap<Digest, Holder, DigestHasher>,
    certificates: HashMap<Digest, Holder, DigestHasher>,
    sans: HashMap<Arc<str>, Holder>,
}

/// Whose handle it is.
#[derive(Clone, Debug)]
enum Holder {
    One(Arc<Device>),
    /// Claimed by several devices: fails closed, for a store that let it happen.
    Several,
}

impl DeviceIndex {
    pub fn build(records: impl IntoIterator<Item = Recognition>) -> Self {
        let mut index = Self { records: records.into_iter().collect(), ..Self::default() };
        index.records.sort_by(|a, b| a.device.id.cmp(&b.device.id));
        for record in &index.records {
            for key in &record.keys {
                claim(&mut index.keys, *key, &record.device);
            }
            for certificate in &record.certificates {
                claim(&mut index.certificates, *certificate, &record.device);
            }
            for san in &record.sans {
                claim(&mut index.sans, Arc::clone(san), &record.device);
            }
        }
        index
    }

    /// The device of this id.
    pub fn get(&self, id: &str) -> Option<&Recognition> {
        let place = self.records.binary_search_by(|record| (*record.device.id).cmp(id)).ok()?;
        self.records.get(place)
    }

    /// Every device whose id comes after `after`, in the order of their ids.
    pub fn after(&self, after: &str) -> &[Recognition] {
        let begin = self.records.partition_point(|record| *record.device.id <= *after);
        self.records.get(begin..).unwrap_or_default()
    }

    fn find(&self, certificate: &Certificate) -> Fact<Arc<Device>> {
        let key = Digest::from_hex(&certificate.spki_sha256);
        let whole = Digest::from_hex(&certificate.sha256);
        let by_key = key.and_then(|digest| self.keys.get(&digest));
        let by_certificate = whole.and_then(|digest| self.certificates.get(&digest));
        let by_san = certificate.sans.iter().filter_map(|san| self.sans.get(san));

        let mut found: Option<&Arc<Device>> = None;
        for holder in by_key.into_iter().chain(by_certificate).chain(by_san) {
            match (holder, found) {
                (Holder::One(device), None) => found = Some(device),
                (Holder::One(device), Some(other)) if Arc::ptr_eq(device, other) => {}
                _ => return Fact::Invalid(Fault::DeviceAmbiguous),
            }
        }
        found.map_or(Fact::Absent, |device| Fact::Known(Arc::clone(device)))
    }
}

fn claim<K: Eq + Hash, S: BuildHasher>(table: &mut HashMap<K, Holder, S>, handle: K, device: &Arc<Device>) {
    match table.entry(handle) {
        Entry::Vacant(free) => {
            free.insert(Holder::One(Arc::clone(device)));
        }
        Entry::Occupied(mut taken) => {
            let same = matches!(taken.get(), Holder::One(other) if Arc::ptr_eq(other, device));
            if !same {
                taken.insert(Holder::Several);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{DeviceStatus, Moment};

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn record(id: &str, keys: &[&str], certificates: &[&str], sans: &[&str]) -> Recognition {
        Recognition {
            device: Arc::new(Device {
                id: id.into(),
                owner: None,
                class: "corporate".into(),
                status: DeviceStatus::Active,
            }),
            keys: keys.iter().map(|name| digest(name)).collect(),
            certificates: certificates.iter().map(|name| digest(name)).collect(),
            sans: sans.iter().map(|&san| san.into()).collect(),
        }
    }

    fn certificate(key: &str, whole: &str, sans: &[&str]) -> Certificate {
        Certificate {
            sha256: digest(whole).hex().into(),
            spki_sha256: digest(key).hex().into(),
            serial: "1".into(),
            subject: "".into(),
            issuer: "".into(),
            sans: sans.iter().map(|&san| san.into()).collect(),
            not_before: Moment(0),
            not_after: Moment(0),
            class: None,
        }
    }

    fn found(devices: &Devices, certificate: &Certificate) -> Fact<String> {
        devices.find(certificate).map(|device| device.id.to_string())
    }

    #[test]
    fn each_handle_alone_identifies() {
        let devices = Devices::new(DeviceIndex::build([
            record("laptop", &["k1", "k2"], &[], &[]),
            record("phone", &[], &["c3"], &[]),
            record("kiosk", &[], &[], &["uri:spiffe://corp/kiosk"]),
        ]));
        let known = |id: &str| Fact::Known(id.to_owned());
        assert_eq!(found(&devices, &certificate("k2", "c", &[])), known("laptop"));
        assert_eq!(found(&devices, &certificate("k", "c3", &[])), known("phone"));
        assert_eq!(found(&devices, &certificate("k", "c", &["dns:x", "uri:spiffe://corp/kiosk"])), known("kiosk"));
        assert_eq!(found(&devices, &certificate("k", "c", &["dns:x"])), Fact::Absent);
        assert_eq!(devices.len(), 3);
        let filed = devices.filed().expect("it was read");
        let ids = |after| filed.after(after).iter().map(|one| &*one.device.id).collect::<Vec<_>>();
        assert_eq!(
            (ids(""), ids("kiosk"), ids("phone")),
            (vec!["kiosk", "laptop", "phone"], vec!["laptop", "phone"], vec![])
        );
        assert_eq!(filed.get("phone").map(|one| one.certificates.clone()), Some(vec![digest("c3")]));
        assert!(filed.get("phon").is_none());
    }

    #[test]
    fn handles_of_different_devices_identify_neither() {
        let ambiguous = Fact::Invalid(Fault::DeviceAmbiguous);
        let devices = Devices::new(DeviceIndex::build([
            record("a", &["ka", "shared"], &[], &["uri:a"]),
            record("b", &["kb", "shared"], &[], &[]),
        ]));
        assert_eq!(found(&devices, &certificate("kb", "c", &["uri:a"])), ambiguous);
        assert_eq!(found(&devices, &certificate("shared", "c", &[])), ambiguous);
        assert_eq!(found(&devices, &certificate("shared", "c", &["uri:a"])), ambiguous);
        assert_eq!(found(&devices, &certificate("ka", "c", &["uri:a"])), Fact::Known("a".to_owned()));
    }

    #[test]
    fn a_registry_that_was_never_read_is_unavailable_and_a_reload_is_a_new_generation() {
        let devices = Devices::unavailable();
        let one = certificate("k", "c", &[]);
        assert_eq!(found(&devices, &one), Fact::Unavailable(Fault::RegistryUnavailable));
        let before = devices.generation();
        devices.replace(DeviceIndex::build([record("d", &["k"], &[], &[])]));
        assert_eq!(found(&devices, &one), Fact::Known("d".to_owned()));
        assert!(devices.generation() > before);
        devices.replace(DeviceIndex::default());
        assert_eq!(found(&devices, &one), Fact::Absent);
    }
}
