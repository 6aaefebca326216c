//! When and where devices are seen, gathered so that the store is not written at every connection.

use crate::evidence::Moment;
use crate::store::Sighting;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

/// A device is written this often at most, milliseconds.
const EVERY: u64 = 60_000;

/// A device unheard of for this long is no longer remembered here, milliseconds.
const FORGOTTEN: u64 = 10 * EVERY;

const SHARDS: usize = 16;

/// Devices remembered, in all shards together. Of further ones nothing is noted until there is room.
const MOST: usize = 131_072;

/// Bounded. A worker notes a sighting once per connection, not once per request.
#[derive(Debug)]
pub struct Sightings {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

type Shard = HashMap<Arc<str>, Pending>;

#[derive(Debug)]
struct Pending {
    latest: Sighting,
    /// When what was seen was last taken to be written.
    taken: Option<Moment>,
    fresh: bool,
}

impl Default for Sightings {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl Sightings {
    /// The device is here now.
    pub fn note(&self, device: &Arc<str>, sighting: Sighting) {
        let place = self.hasher.hash_one(device) as usize % SHARDS;
        let mut shard = self.shards[place].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pending) = shard.get_mut(device) {
            pending.latest = sighting;
            pending.fresh = true;
        } else if shard.len() < MOST / SHARDS {
            shard.insert(Arc::clone(device), Pending { latest: sighting, taken: None, fresh: true });
        }
    }

    /// What is due to be written at `now`, at most `most` of them.
    pub fn due(&self, now: Moment, most: usize) -> Vec<(Arc<str>, Sighting)> {
        let mut due = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (device, pending) in shard.iter_mut() {
                let ripe = pending.taken.is_none_or(|taken| taken.0.abs_diff(now.0) >= EVERY);
                if due.len() < most && pending.fresh && ripe {
                    pending.fresh = false;
                    pending.taken = Some(now);
                    due.push((Arc::clone(device), pending.latest.clone()));
                }
            }
            shard.retain(|_, pending| pending.fresh || pending.latest.at.0.abs_diff(now.0) < FORGOTTEN);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Sighting {
        Sighting { at: Moment(millis), address: None, place: None, network: None, round_trip: None }
    }

    #[test]
    fn a_device_is_written_once_a_minute_and_then_as_last_seen() {
        let sightings = Sightings::default();
        let laptop: Arc<str> = "laptop".into();
        sightings.note(&laptop, at(1));
        sightings.note(&laptop, at(2));
        assert_eq!(sightings.due(Moment(3), 10), [(Arc::clone(&laptop), at(2))]);
        assert_eq!(sightings.due(Moment(70_000), 10), [], "nothing new");
        sightings.note(&laptop, at(30_000));
        sightings.note(&laptop, at(40_000));
        assert_eq!(sightings.due(Moment(50_000), 10), [], "too soon");
        assert_eq!(sightings.due(Moment(60_003), 10), [(Arc::clone(&laptop), at(40_000))]);
    }

    #[test]
    fn the_table_is_bounded() {
        let sightings = Sightings::default();
        for n in 0..2 * MOST {
            sightings.note(&n.to_string().into(), at(0));
        }
        let due = sightings.due(Moment(0), usize::MAX).len();
        assert!(due <= MOST, "{due}");
        assert_eq!(sightings.due(Moment(FORGOTTEN as i64), usize::MAX).len(), 0);
        sightings.note(&"new".into(), at(FORGOTTEN as i64));
        assert_eq!(sightings.due(Moment(FORGOTTEN as i64), usize::MAX).len(), 1, "room was made");
    }
}
