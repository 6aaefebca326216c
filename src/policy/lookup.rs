//! A map by text that can be filled and asked, and never walked: hash order cannot reach a decision.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// The hasher's key is fixed: the names in it are the policy author's, and requests only ask.
#[derive(Clone, Debug)]
pub struct Lookup<V>(HashMap<Box<str>, V, BuildHasherDefault<DefaultHasher>>);

impl<V> Default for Lookup<V> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<V> Lookup<V> {
    pub fn get(&self, name: &str) -> Option<&V> {
        self.0.get(name)
    }

    /// The value called `name`, made anew when there is none.
    pub fn entry(&mut self, name: &str) -> &mut V
    where
        V: Default,
    {
        self.0.entry(name.into()).or_default()
    }
}
