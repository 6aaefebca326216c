//! Evidence in, decision out: pure and total. `decide.rs` decides; `compile.rs` reads the language of `policies/README.md`.

pub mod cases;
pub mod compile;
pub mod countries;
pub mod criteria;
pub mod criterion;
pub mod decide;
pub mod decision;
pub mod diagnostic;
pub mod explain;
pub mod given;
pub mod good_standing;
pub mod hosts;
pub mod lookup;
pub mod outcome;
pub mod reason;
pub mod requirement;
pub mod resource;
pub mod role;
pub mod seen;
pub mod segments;
pub mod source;

pub use compile::Context;
pub use criteria::rate::{Limit, LimitKey};
pub use decide::{Addressed, Needs, Policy};
pub use decision::{Decided, Decision, Finding, Permit, Remedy, Ruling, Scope, Verdict};
pub use outcome::Outcome;
pub use reason::Reason;
pub use resource::{Mode, Origin, Resource, Scheme, Sensitivity};
pub use role::Role;
pub use seen::Seen;
