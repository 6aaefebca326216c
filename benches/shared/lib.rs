//! What the benchmarks share: medians, an aligned table, what the machine was, and a large organisation.

#[cfg(feature = "memory")]
pub mod fleet;
pub mod machine;
pub mod spread;
pub mod table;

/// A benchmark that cannot measure says why and stops.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
