//! A bounded table that forgets what was not asked for lately.

use crate::store::Digest;
use crate::store::digest::DigestHasher;
use std::collections::HashMap;

/// Two generations of entries. What is asked for moves to the young one; when that is full, the old one is dropped.
/// So an entry survives at least `capacity / 2` newer ones, and finding costs no bookkeeping beyond the lookup.
pub(super) struct Recent<V> {
    young: HashMap<Digest, V, DigestHasher>,
    old: HashMap<Digest, V, DigestHasher>,
    half: usize,
}

impl<V: Clone> Recent<V> {
    /// At most `capacity` entries, and at least two.
    pub(super) fn new(capacity: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), half: (capacity / 2).max(1) }
    }

    pub(super) fn get(&mut self, name: &Digest) -> Option<V> {
        if let Some(value) = self.young.get(name) {
            return Some(value.clone());
        }
        let value = self.old.remove(name)?;
        self.insert(*name, value.clone());
        Some(value)
    }

    pub(super) fn insert(&mut self, name: Digest, value: V) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, value);
    }

    pub(super) fn remove(&mut self, name: &Digest) {
        self.young.remove(name);
        self.old.remove(name);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u32) -> Digest {
        Digest::of(&n.to_le_bytes())
    }

    #[test]
    fn it_never_grows_past_its_capacity_and_keeps_what_is_used() {
        let mut table = Recent::new(100);
        table.insert(name(0), 0);
        for n in 1..1000 {
            table.insert(name(n), n);
            assert_eq!(table.get(&name(0)), Some(0), "asked for each time, lost after {n}");
            assert!(table.len() <= 100, "{} entries", table.len());
        }
        assert_eq!(table.get(&name(1)), None, "never asked for");
        assert_eq!(table.get(&name(999)), Some(999));
        table.remove(&name(999));
        assert_eq!(table.get(&name(999)), None);
    }
}
