//! The pages people meet.

pub mod pages;
