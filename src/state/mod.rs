//! What the gateway remembers between requests: bounded views, swapped whole, read without locks.

pub mod devices;
pub mod emergency;
pub mod policies;
pub mod timings;
