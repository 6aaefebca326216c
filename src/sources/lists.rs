//! Named lists of networks and autonomous systems: hosting, anonymizers, whatever the file says.

mod set;

pub use set::{ListFault, Set};

use super::stamp::Stamp;
use crate::evidence::{Asn, Fact, Fault};
use arc_swap::ArcSwap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A list and its file: one prefix, address or `AS64500` a line; `#` begins a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSettings {
    pub name: String,
    pub path: PathBuf,
}

/// All lists as they are now, sorted by name; lookups take no lock.
pub struct Lists {
    loaded: ArcSwap<Loaded>,
    /// Held while reloading, so that two reloads cannot undo each other.
    reloading: Mutex<()>,
}

struct Loaded {
    lists: Vec<Arc<List>>,
    generation: u64,
}

impl Lists {
    /// Reads every list. One with a fault is a warning here and `Unavailable` in each lookup, never an error.
    pub fn load(settings: &[ListSettings]) -> Self {
        let mut lists: Vec<_> =
            settings.iter().map(|list| Arc::new(List::load(Arc::from(&*list.name), &list.path))).collect();
        lists.sort_by(|a, b| a.name.cmp(&b.name));
        Self { loaded: ArcSwap::from_pointee(Loaded { lists, generation: 0 }), reloading: Mutex::new(()) }
    }

    /// For every list: is the address on it, or its autonomous system? A few binary searches, however long the lists.
    pub fn memberships(&self, address: IpAddr, asn: &Fact<Asn>) -> Vec<(Arc<str>, Fact<bool>)> {
        let loaded = self.loaded.load();
        loaded.lists.iter().map(|list| (Arc::clone(&list.name), list.has(address.to_canonical(), asn))).collect()
    }

    /// For every list: not on it, for there is no address that could be.
    pub fn none(&self) -> Vec<(Arc<str>, Fact<bool>)> {
        self.loaded.load().lists.iter().map(|list| (Arc::clone(&list.name), Fact::Known(false))).collect()
    }

    /// For every list the same fault: the address is not known.
    pub fn unknown(&self, fault: Fault) -> Vec<(Arc<str>, Fact<bool>)> {
        self.loaded.load().lists.iter().map(|list| (Arc::clone(&list.name), Fact::Unavailable(fault))).collect()
    }

    /// Reads again what changed on disk; true when anything did. A list that has become faulty keeps its last good
    /// content, with a warning.
    pub fn reload_if_changed(&self) -> bool {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.loaded.load_full();
        let mut changed = false;
        let reloaded = |list: &Arc<List>| match list.reloaded() {
            Some(list) => {
                changed = true;
                Arc::new(list)
            }
            None => Arc::clone(list),
        };
        let lists = before.lists.iter().map(reloaded).collect();
        if changed {
            self.loaded.store(Arc::new(Loaded { lists, generation: before.generation + 1 }));
        }
        changed
    }

    /// What is wrong with each list that could not be read when it was last tried.
    pub fn faults(&self) -> Vec<String> {
        self.loaded.load().lists.iter().filter_map(|list| list.error.clone()).collect()
    }

    /// Grows with every reload: what was looked up under an older one is out of date.
    pub fn generation(&self) -> u64 {
        self.loaded.load().generation
    }
}

struct List {
    name: Arc<str>,
    path: PathBuf,
    /// Of the file as last tried; `None` when there was none.
    stamp: Option<Stamp>,
    /// The last good content; `None` when there never was any.
    set: Option<Arc<Set>>,
    /// The first fault of the last attempt, though older content may still be good.
    error: Option<String>,
}

impl List {
    fn load(name: Arc<str>, path: &Path) -> Self {
        let stamp = Stamp::of(path).ok();
        let (set, error) = match Set::read(path) {
            Ok(set) => {
                tracing::info!(list = &*name, path = %path.display(), entries = set.len(), "network list loaded");
                (Some(Arc::new(set)), None)
            }
            Err(faults) => {
                for fault in &faults {
                    tracing::warn!(list = &*name, "{fault}");
                }
                (None, faults.first().map(ToString::to_string))
            }
        };
        Self { name, path: path.into(), stamp, set, error }
    }

    /// The list read anew; `None` when the file has not changed since it was last tried.
    fn reloaded(&self) -> Option<Self> {
        if Stamp::of(&self.path).ok() == self.stamp {
            return None;
        }
        let mut new = Self::load(Arc::clone(&self.name), &self.path);
        if new.set.is_none() && self.set.is_some() {
            tracing::warn!(list = &*self.name, path = %self.path.display(), "keeping the last good network list");
            new.set.clone_from(&self.set);
        }
        Some(new)
    }

    fn has(&self, address: IpAddr, asn: &Fact<Asn>) -> Fact<bool> {
        match &self.set {
            Some(set) => set.has(address, asn),
            None => Fact::Unavailable(Fault::ListUnavailable),
        }
    }
}
