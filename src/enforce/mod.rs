//! The decision, carried out: one `match` on the ruling.

pub mod answer;
pub mod assertion;
pub mod body;
pub mod dial;
pub mod fault;
pub mod forward;
pub mod headers;
pub mod health;
pub mod tunnel;
pub mod upstream;
pub mod websocket;
