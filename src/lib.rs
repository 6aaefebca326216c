//! Rangegate: an inline zero-trust gateway that also asks how far away the hands are.
//!
//! One request takes one walk (`gateway/request.rs`):
//!
//! ```text
//! accept ─ TLS ─▶ sanitize ─▶ open record ─▶ gather ─▶ decide ─▶ write decision ─▶ enforce ─▶ close record
//!                   edge         audit       sources    policy       audit          enforce       audit
//! ```
//!
//! The modules stand in the order of their imports: each may use those above it, never those below.
#![deny(unsafe_code)]

// Pure: no async, socket, file, clock, randomness, environment or logging.
pub mod latency;
pub mod evidence;
pub mod policy;
pub mod access;

// Edge.
pub mod store;
pub mod state;
pub mod audit;
pub mod sources;
pub mod authority;
pub mod portal;
pub mod enforce;
pub mod control;
pub mod gateway;

// The command line.
pub mod config;
pub mod cli;
