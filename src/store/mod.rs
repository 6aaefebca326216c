//! Durable state behind one small interface. Today: a TOML file of devices.
//!
//! What the store hands on is plain data: `DeviceRecord`s. `state/devices.rs` indexes them, wherever they came from.

pub mod device;
pub mod digest;
pub mod document;
pub mod emergency;
pub mod policy_files;
pub mod registry;

pub use device::DeviceRecord;
pub use digest::Digest;
