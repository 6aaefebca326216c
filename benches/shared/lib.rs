//! What the benchmarks share: certificates and settings of a gateway, its process, a large organisation; medians, an
//! aligned table, and what the machine was.

pub mod certificates;
#[cfg(feature = "memory")]
pub mod fleet;
pub mod machine;
pub mod process;
pub mod settings;
pub mod spread;
pub mod table;

/// A benchmark that cannot measure says why and stops.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
