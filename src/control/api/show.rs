//! How records look in answers: as the store has them, but for moments, which people read too.

use crate::control::administrator::Held;
use crate::control::moment;
use crate::evidence::Moment;
use serde::Serialize;
use serde_json::{Map, Value};

/// Members that hold a moment, wherever they stand.
const MOMENTS: [&str; 14] = [
    "at", "asked", "changed", "enrolled", "expires", "issued", "made", "not-after", "not-before", "revoked", "since", "until",
    "renew-after", "held-until",
];

/// A document with its version and when it was last changed.
pub fn held<T: Serialize>(held: &Held<T>) -> Value {
    let mut value = plain(&held.value);
    value["version"] = held.version.into();
    value["changed"] = moment::text(held.changed).into();
    value
}

/// A value whose moments are text.
pub fn plain(value: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(value).unwrap_or(Value::Object(Map::new()));
    put_into_words(&mut value);
    value
}

pub fn put_into_words(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                match value.as_i64() {
                    Some(millis) if MOMENTS.contains(&key.as_str()) => *value = moment::text(Moment(millis)).into(),
                    _ => put_into_words(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(put_into_words),
        _ => {}
    }
}
