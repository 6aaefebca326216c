//! The story that `rangegate demo` plays against itself.

pub mod consoles;
