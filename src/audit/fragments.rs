//! JSON that many records share, kept ready: what is known of a connection, certificate, device, person and network.
//!
//! These are behind `Arc`s that live as long as a connection or a token does, so the same value is written again and
//! again. An entry keeps its `Arc`, so that no other value can come to stand at its address.

use super::line::Visible;
use super::record::Connection;
use crate::evidence::{Certificate, Device, Fact, Network, Subject};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::Arc;

/// Values kept of each kind; a gateway with more connections than this writes some of them anew.
const KEPT: usize = 1024;

#[derive(Default)]
pub struct Fragments {
    pub connections: Shelf<Connection>,
    pub certificates: Shelf<Certificate>,
    pub devices: Shelf<Device>,
    pub subjects: Shelf<Subject>,
    pub networks: Shelf<Network>,
}

/// The texts of one kind, by the address of their values.
pub struct Shelf<T>(HashMap<usize, (Arc<T>, Box<RawValue>)>);

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Serialize> Shelf<T> {
    /// The value's JSON.
    pub fn text(&mut self, value: &Arc<T>) -> &RawValue {
        let address = Arc::as_ptr(value).addr();
        if self.0.len() >= KEPT && !self.0.contains_key(&address) {
            self.0.clear();
        }
        &self.0.entry(address).or_insert_with(|| (Arc::clone(value), raw(&**value))).1
    }

    /// The fact with its value's JSON.
    pub fn fact<'s>(&'s mut self, fact: &Fact<Arc<T>>) -> Fact<&'s RawValue> {
        fact.as_ref().map(|value| self.text(value))
    }
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    let mut text = Vec::with_capacity(512);
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, Visible);
    value.serialize(&mut serializer).expect("plain values, and memory takes all");
    let text = String::from_utf8(text).expect("JSON is UTF-8");
    RawValue::from_string(text).expect("it was written as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::DeviceStatus;

    fn device(id: &str) -> Arc<Device> {
        Arc::new(Device { id: id.into(), owner: None, class: "corporate".into(), status: DeviceStatus::Active })
    }

    #[test]
    fn a_value_keeps_its_own_text_however_many_come_and_go() {
        let mut shelf = Shelf::default();
        let kept = device("kept");
        for number in 0..3 * KEPT {
            // Dropped at once: its address would be free for the next, did the shelf not hold it.
            let passing = device(&format!("passing-{number}"));
            assert_eq!(shelf.text(&passing).get(), raw(&*passing).get());
            assert_eq!(shelf.text(&kept).get(), raw(&*kept).get());
            assert!(shelf.0.len() <= KEPT);
        }
    }
}
