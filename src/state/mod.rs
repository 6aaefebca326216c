//! What the gateway remembers between requests: bounded views, swapped whole, read without locks.

pub mod devices;
pub mod emergency;
pub mod memory;
pub mod people;
pub mod policies;
pub mod registered;
pub mod shards;
pub mod sightings;
pub mod timings;
