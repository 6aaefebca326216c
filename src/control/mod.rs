//! The administrator: every change to what the gateway remembers goes through here, one method an action.
//!
//! ```text
//! read the store ─▶ pure step ─▶ commit, if nothing changed meanwhile ─▶ memory ─▶ audit line ─▶ who listens
//!       ▲                                    │ somebody else was first
//!       └────────────────────────────────────┘
//! ```
//!
//! `api/` puts it behind HTTP: a service of the gateway itself, reached on the ordinary walk and decided by policy.

pub mod administrator;
pub mod api;
pub mod devices;
pub mod enrolment;
mod fault;
pub mod forgetting;
pub mod grants;
pub mod identities;
pub mod import;
mod issuing;
pub mod live;
pub mod moment;
pub mod oneself;
mod to_its_end;
pub mod webhook;

pub use administrator::{Administrator, Who};
pub use fault::Fault;
pub use issuing::Issuing;
