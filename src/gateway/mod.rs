//! The policy enforcement point: sockets in, one walk per request.

pub mod clock;
pub mod guard;
pub mod proxy_protocol;
pub mod sanitize;
pub mod settings;
