//! A map of many parts, each swapped whole: read without a lock, and a change copies one small part.

use arc_swap::ArcSwap;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// With a million entries, a change copies a thousand.
const SHARDS: usize = 1024;

/// Changes are made by one thread at a time; readers see each part as it was before or after a change.
pub struct Shards<K, V, S = RandomState> {
    shards: Box<[ArcSwap<HashMap<K, V, S>>]>,
    hasher: S,
}

impl<K: Hash + Eq + Clone, V: Clone, S: BuildHasher + Clone + Default> Default for Shards<K, V, S> {
    fn default() -> Self {
        let hasher = S::default();
        let shards = (0..SHARDS).map(|_| ArcSwap::from_pointee(HashMap::with_hasher(hasher.clone()))).collect();
        Self { shards, hasher }
    }
}

impl<K: Hash + Eq + Clone, V: Clone, S: BuildHasher + Clone + Default> Shards<K, V, S> {
    /// What `read` makes of the value, while it surely stays.
    pub fn with<Q: Hash + Eq + ?Sized, T>(&self, key: &Q, read: impl FnOnce(&V) -> T) -> Option<T>
    where
        K: Borrow<Q>,
    {
        self.shards[self.place(key)].load().get(key).map(read)
    }

    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.with(key, V::clone)
    }

    /// Each change in turn; every part they concern is copied once and swapped once.
    pub fn change(&self, changes: impl IntoIterator<Item = (K, Change<V>)>) {
        let mut placed: Vec<_> = changes.into_iter().map(|(key, change)| (self.place(&key), key, change)).collect();
        placed.sort_by_key(|(place, ..)| *place); // stable: changes of one key keep their order
        let mut placed = placed.into_iter().peekable();
        while let Some((place, key, change)) = placed.next() {
            let mut part = HashMap::clone(&self.shards[place].load());
            apply(&mut part, key, change);
            while let Some((_, key, change)) = placed.next_if(|(next, ..)| *next == place) {
                apply(&mut part, key, change);
            }
            self.shards[place].store(Arc::new(part));
        }
    }

    /// What `each` is shown of every entry; a part that changes meanwhile is shown as it was or as it is.
    pub fn for_each(&self, mut each: impl FnMut(&K, &V)) {
        for shard in &self.shards {
            shard.load().iter().for_each(|(key, value)| each(key, value));
        }
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.load().len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A map of everything at once: no part is copied.
    pub fn build(entries: Filling<K, V, S>) -> Self {
        let shards = entries.parts.into_iter().map(ArcSwap::from_pointee).collect();
        Self { shards, hasher: entries.hasher }
    }

    /// High bits: the map within uses the low ones and the top seven.
    fn place<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        place(&self.hasher, key)
    }
}

/// What becomes of an entry.
pub enum Change<V> {
    Put(V),
    Remove,
}

/// A map that nobody reads yet.
pub struct Filling<K, V, S = RandomState> {
    parts: Vec<HashMap<K, V, S>>,
    hasher: S,
}

impl<K: Hash + Eq, V, S: BuildHasher + Clone + Default> Default for Filling<K, V, S> {
    fn default() -> Self {
        let hasher = S::default();
        Self { parts: (0..SHARDS).map(|_| HashMap::with_hasher(hasher.clone())).collect(), hasher }
    }
}

impl<K: Hash + Eq, V, S: BuildHasher + Clone + Default> Filling<K, V, S> {
    /// The part that a key belongs to.
    pub fn part(&mut self, key: &K) -> &mut HashMap<K, V, S> {
        let place = place(&self.hasher, key);
        &mut self.parts[place]
    }

    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.part(&key).insert(key, value)
    }
}

fn place<S: BuildHasher, Q: Hash + ?Sized>(hasher: &S, key: &Q) -> usize {
    (hasher.hash_one(key) >> 40) as usize % SHARDS
}

fn apply<K: Hash + Eq, V, S: BuildHasher>(part: &mut HashMap<K, V, S>, key: K, change: Change<V>) {
    match change {
        Change::Put(value) => drop(part.insert(key, value)),
        Change::Remove => drop(part.remove(&key)),
    }
}

impl<K, V, S> std::fmt::Debug for Shards<K, V, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shards")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map() {
        let map: Shards<String, u32> = Shards::default();
        map.change((0..5_000).map(|n| (n.to_string(), Change::Put(n))));
        map.change([
            ("7".to_owned(), Change::Remove),
            ("8".to_owned(), Change::Put(1)),
            ("8".to_owned(), Change::Put(2)),
        ]);
        assert_eq!((map.len(), map.get("7"), map.get("8"), map.get("4999")), (4_999, None, Some(2), Some(4_999)));
        let mut sum = 0;
        map.for_each(|_, value| sum += u64::from(*value));
        assert_eq!(sum, (0..5_000).sum::<u64>() - 7 - 8 + 2);

        let mut filling = Filling::default();
        for n in 0..5_000_u32 {
            filling.insert(n.to_string(), n);
        }
        let map = Shards::<String, u32>::build(filling);
        assert_eq!((map.len(), map.get("7"), map.get("x")), (5_000, Some(7), None));
    }
}
