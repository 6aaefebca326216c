//! Just-in-time access: each rule by itself, and random histories held against a model that was written apart.

#[path = "access/model.rs"]
mod model;
#[path = "access/rules.rs"]
mod rules;
