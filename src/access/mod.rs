//! Just-in-time access: who may ask for a role, who may approve, and what is held at a moment. Pure.

pub mod grant;
