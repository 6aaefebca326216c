//! Facts that have names: one JSON object, in their order.

use super::Fact;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

pub fn serialize<S, C, T>(facts: &C, serializer: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    C: Deref<Target = [(Arc<str>, Fact<T>)]>,
    T: Serialize,
{
    serializer.collect_map(facts.iter().map(|(name, fact)| (name, fact)))
}

pub fn deserialize<'de, D, C, T>(deserializer: D) -> Result<C, D::Error>
where
    D: Deserializer<'de>,
    C: FromIterator<(Arc<str>, Fact<T>)>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_map(Named(PhantomData)).map(C::from_iter)
}

struct Named<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Named<T> {
    type Value = Vec<(Arc<str>, Fact<T>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of named facts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut facts = Vec::new();
        while let Some(entry) = map.next_entry()? {
            facts.push(entry);
        }
        Ok(facts)
    }
}
