//! A map by text that can be filled and asked, and never walked: hash order cannot reach a decision.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// The hasher's key is fixed: the names in it are the policy author's, and requests only ask.
#[derive(Clone)]
pub struct Lookup<V>(HashMap<Box<str>, V, BuildHasherDefault<DefaultHasher>>);

impl<V> Default for Lookup<V> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

/// How many it holds; what it holds would come in hash order.
impl<V> fmt::Debug for Lookup<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lookup({})", self.0.len())
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
