//! What a round trip can and cannot prove. Pure arithmetic over measured values; `now` never enters.

pub mod distance;
pub mod feasibility;
pub mod relay;
pub mod rtt;

pub use distance::{Coordinates, Kilometres};
pub use rtt::Rtt;
