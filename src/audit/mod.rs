//! One closed record for every request: opened before anything is looked up, closed when the last byte has gone.

pub mod chain;
pub mod record;
pub mod sink;

use std::path::PathBuf;
use std::time::Duration;

/// What becomes of a request whose record cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenUnwritable {
    #[default]
    Deny,
    Forward,
}

#[derive(Clone, Debug)]
pub struct AuditSettings {
    pub path: PathBuf,
    /// Rotate before the file grows past this many bytes.
    pub rotate_bytes: u64,
    /// Rotate when the file is this old.
    pub rotate_after: Duration,
    /// Rotated files kept; older ones are removed. None: all are kept.
    pub keep: Option<u32>,
    /// Records that may wait for the writer; beyond that the audit counts as unwritable.
    pub queue: usize,
    pub when_unwritable: WhenUnwritable,
    /// Flush to the disk (`fdatasync`) at least this often while records arrive. None: leave it to the kernel.
    pub sync_every: Option<Duration>,
}
