//! Named lists of networks and autonomous systems: hosting, anonymizers, whatever the file says.

use std::path::PathBuf;

/// A list and its file: one prefix, address or `AS64500` a line; `#` begins a comment.
#[derive(Clone, Debug)]
pub struct ListSettings {
    pub name: String,
    pub path: PathBuf,
}
