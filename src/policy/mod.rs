//! Evidence in, decision out: pure and total.

pub mod decision;
pub mod diagnostic;
pub mod outcome;
pub mod reason;
pub mod resource;
pub mod source;

pub use decision::{Decision, Finding, Permit, Remedy, Ruling, Scope, Verdict};
pub use outcome::Outcome;
pub use reason::Reason;
pub use resource::{Mode, Origin, Resource, Scheme};
