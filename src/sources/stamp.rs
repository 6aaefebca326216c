//! Whether a file has changed since it was last read.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// What changes when a file is replaced or rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    /// The stamp of a regular file; anything else (a directory, a device that never ends) is an error.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { modified: metadata.modified().ok(), length: metadata.len(), inode: inode(&metadata) })
    }

    pub const fn length(self) -> u64 {
        self.length
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_metadata: &Metadata) -> u64 {
    0
}
