//! The policy enforcement point: sockets in, one walk per request.

mod accept;
mod admission;
pub mod clock;
mod connection;
mod core;
mod drain;
pub mod guard;
mod http1;
mod http2;
mod listener;
mod local;
mod local_file;
mod operations;
mod part;
mod patience;
pub mod proxy_protocol;
mod reload;
mod request;
mod roster;
mod run;
pub mod sanitize;
pub mod settings;
mod shared;
mod socket;
mod succession;
mod timer;
mod tls;
mod vigil;
mod worker;

pub use reload::ConfigurationFile;
pub use run::{Gateway, Running};
pub use settings::Settings;
pub use shared::StartFault;
