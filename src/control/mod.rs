//! The administrator: every change to what the gateway remembers goes through here, one method an action.

pub mod import;
