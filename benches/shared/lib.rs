//! What both benchmarks share: medians, an aligned table, and what the machine was.

pub mod machine;
pub mod spread;
pub mod table;

/// A benchmark that cannot measure says why and stops.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
