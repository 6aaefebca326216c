//! Devices as they are read from documents, one by one or all at once.

use super::{Entry, Holder, OWN_NAME, Slot};
use crate::evidence::{Device, DeviceStatus};
use crate::state::shards::Filling;
use crate::store::Digest;
use crate::store::digest::DigestHasher;
use serde::Deserialize;
use serde::de::IgnoredAny;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::{HashSet, hash_map};
use std::sync::Arc;

/// Words that many devices share are kept once: classes for good, owners while everything is read.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) classes: Vec<Arc<str>>,
    owners: HashSet<Arc<str>>,
}

/// Organisations have a handful of classes; those beyond this are kept one by one.
const MOST_CLASSES: usize = 32;

impl Words {
    fn class(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.classes.iter().find(|known| &***known == word) {
            return Arc::clone(known);
        }
        let word: Arc<str> = word.into();
        if self.classes.len() < MOST_CLASSES {
            self.classes.push(Arc::clone(&word));
        }
        word
    }

    fn owner(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.owners.get(word) {
            return Arc::clone(known);
        }
        let word: Arc<str> = word.into();
        self.owners.insert(Arc::clone(&word));
        word
    }
}

/// Every device of a store, while it is read.
#[derive(Default)]
pub struct Building {
    pub(super) names: Filling<Arc<str>, Arc<Slot>>,
    pub(super) digests: Filling<u64, Holder, DigestHasher>,
    pub(super) sans: Filling<Arc<str>, Holder>,
    pub(super) words: Words,
    pub(super) unreadable: Vec<Arc<str>>,
}

impl Building {
    /// # Errors
    /// What is wrong with the body.
    pub fn put(&mut self, id: &Arc<str>, body: &str) -> Result<(), String> {
        match read_whole(id, body, &mut self.words) {
            Ok(entry) => {
                self.add(entry);
                Ok(())
            }
            Err(why) => {
                self.unreadable.push(Arc::clone(id));
                Err(why)
            }
        }
    }

    pub(super) fn add(&mut self, entry: Entry) {
        let entry = Arc::new(entry);
        let slot = Arc::new(Slot::new(Some(Arc::clone(&entry))));
        for digest in &entry.digests {
            hold(self.digests.part(&digest.prefix()).entry(digest.prefix()), &slot);
        }
        for san in &entry.sans {
            hold(self.sans.part(san).entry(Arc::clone(san)), &slot);
        }
        self.names.insert(Arc::clone(&entry.device.id), Arc::clone(&slot));
    }
}

fn hold<K>(entry: hash_map::Entry<'_, K, Holder>, slot: &Arc<Slot>) {
    match entry {
        hash_map::Entry::Vacant(free) => {
            free.insert(Holder::One(Arc::clone(slot)));
        }
        hash_map::Entry::Occupied(mut taken) => {
            let both = taken.get().clone().with(slot);
            taken.insert(both);
        }
    }
}

/// `DeviceRecord` with what nobody reads here left out; a test holds the two together.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Lean<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    owner: Option<Cow<'a, str>>,
    #[serde(borrow)]
    class: Cow<'a, str>,
    status: DeviceStatus,
    #[serde(borrow, default)]
    asset_tag: Option<Cow<'a, str>>,
    #[serde(default)]
    #[expect(dead_code, reason = "named so that unknown keys are refused")]
    enrolled: IgnoredAny,
    #[serde(default)]
    keys: SmallVec<[Digest; 2]>,
    #[serde(default)]
    certificates: SmallVec<[Digest; 2]>,
    #[serde(default, borrow)]
    sans: SmallVec<[Cow<'a, str>; 2]>,
    #[serde(default)]
    #[expect(dead_code, reason = "named so that unknown keys are refused")]
    history: IgnoredAny,
}

pub(super) fn read(id: &Arc<str>, body: &str, words: &mut Words) -> Result<Entry, String> {
    let entry = read_whole(id, body, words);
    words.owners.clear();
    entry
}

fn read_whole(id: &Arc<str>, body: &str, words: &mut Words) -> Result<Entry, String> {
    let lean: Lean<'_> = serde_json::from_str(body).map_err(|error| error.to_string())?;
    if lean.id != **id {
        return Err(format!("it says that it is `{}`", lean.id));
    }
    let own = |san: &str| san.strip_prefix(OWN_NAME) == Some(id);
    let own_name = lean.sans.iter().any(|san| own(san));
    Ok(Entry {
        device: Arc::new(Device {
            id: Arc::clone(id),
            owner: lean.owner.map(|owner| words.owner(&owner)),
            class: words.class(&lean.class),
            status: lean.status,
        }),
        asset_tag: lean.asset_tag.map(Into::into),
        keys: lean.keys.len(),
        digests: lean.keys.into_iter().chain(lean.certificates).collect(),
        sans: lean.sans.into_iter().filter(|san| !own(san)).map(Into::into).collect(),
        own_name,
        readable: true,
    })
}
