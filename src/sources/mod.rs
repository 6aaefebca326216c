//! Policy information points: each fills one part of `Evidence`, and says so when it cannot.

pub mod binding;
pub mod certificate;
pub mod endpoint;
pub mod gather;
pub mod geo;
pub mod handshake;
pub mod jwks;
pub mod lists;
pub mod place;
pub mod quota;
pub mod recall;
mod recent;
mod sighted;
pub mod stamp;
pub mod timing;
pub mod token;
pub mod transport;
