//! Just-in-time access: who may ask for a role, who may approve, and what is held at a moment. Pure.
//!
//! A grant is one record (`grant.rs`). `ask` makes it; `step` is everything that people do to it later; `expire` is
//! what time does to it; `held` says what counts right now, `held_lately`
//! also what has just ended. Each takes the role *as it is today*: a role that was
//! removed opens nothing, a narrower one narrows what is already held.
//!
//! # Time
//!
//! A grant is held for `since ≤ now < until`, to the millisecond. Clocks step. A step forward ends grants early. A
//! step back must not bring one back:
//! - `expire` writes the end into the record, and an end that is written is final whatever the clock says;
//! - until it is written, whoever asks passes a `now` that never goes back (`sources/remembered.rs` does);
//! - no step of a record lies before an earlier one, and nobody can approve what by this clock was asked in the
//!   future, but for a minute that the clocks of two gateways may differ.

pub mod actor;
pub mod ask;
pub mod forget;
pub mod grant;
pub mod held;
pub mod refusal;
pub mod step;

pub use actor::Actor;
pub use ask::{Answer, Asking, ask};
pub use grant::{Approval, GrantRecord, GrantState};
pub use held::{held, held_lately, standing, told_until};
pub use refusal::Refusal;
pub use step::{Action, Parties, expire, step};
