//! Durable state behind one small interface. Today: a TOML file of devices.

pub mod emergency;
pub mod policy_files;
pub mod registry;
