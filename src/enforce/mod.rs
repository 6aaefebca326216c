//! The decision, carried out: one `match` on the ruling.

pub mod answer;
pub mod assertion;
pub mod forward;
pub mod headers;
pub mod upstream;
pub mod websocket;
