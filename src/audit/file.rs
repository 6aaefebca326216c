//! The log's files: the one being written, those rotated away, and the head that remembers the chain's end.
//!
//! Beside `audit.jsonl` stand `audit.head` (the number and hash of the last line, so that lines cut from
//! the end are missed), `audit.000000000001.jsonl` and so on (rotated files, named by their first line's
//! number, which no clock can disturb) and `audit.jsonl.torn` (what a crash left of unfinished lines).

pub mod head;
mod names;
mod open;

pub use names::rotated;
pub use open::{OpenError, Opened};

use super::chain::{Chain, Sealed};
use super::line::TIME;
use crate::evidence::Moment;
use names::marked;
use open::options;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// No line is longer. What is longer was not written by a gateway.
pub const LONGEST_LINE: u64 = 1 << 20;

/// A file begins with a line that the writer made itself; those are much shorter.
const FIRST_LINE: usize = 64 << 10;

/// The file being written.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    head: File,
    /// Bytes of whole lines; anything beyond is an unfinished write.
    committed: u64,
    /// A write failed and what it left is still to be cut off.
    ragged: bool,
    /// The number of the file's first line; of the line that will be first while it is empty.
    first_seq: u64,
}

impl LogFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of whole lines in the file.
    pub const fn len(&self) -> u64 {
        self.committed
    }

    pub const fn is_empty(&self) -> bool {
        self.committed == 0
    }

    /// When the file's first line was written.
    pub fn first_moment(&self) -> Option<Moment> {
        let line = self.first_line()?;
        let at = line.windows(TIME.len()).rposition(|window| window == TIME.as_bytes())?;
        let time = line.get(at + TIME.len()..)?.split(|byte| *byte == b'"').next()?;
        let time: jiff::Timestamp = std::str::from_utf8(time).ok()?.parse().ok()?;
        Some(Moment(time.as_millisecond()))
    }

    /// Appends whole lines, of which `chain` is the end. After an error none of them is in the file, and
    /// the same lines may be appended again.
    ///
    /// # Errors
    /// Of the file system: disk full, file gone, quota.
    pub fn append(&mut self, lines: &[u8], chain: &Chain) -> io::Result<()> {
        self.cut_ragged()?;
        if let Err(error) = self.file.write_all(lines) {
            self.ragged = true;
            // If this fails too, the next append tries again before it writes.
            let _ = self.cut_ragged();
            return Err(error);
        }
        self.committed += lines.len() as u64;
        // The lines stand. A head that lags is what a crash leaves too, so it is no reason to fail.
        if let Err(error) = head::write(&self.head, chain) {
            tracing::warn!(%error, path = %self.path.display(), "the audit log's head was not written");
        }
        Ok(())
    }

    /// Makes everything appended survive a power cut.
    ///
    /// # Errors
    /// Of the file system; then what was appended since the last sync may be lost in a power cut.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        self.head.sync_data()
    }

    /// Renames the file after its first line and begins a new one; `next_seq` will be its first line.
    /// Returns the rotated file's name.
    ///
    /// # Errors
    /// When the file cannot be renamed; then writing goes on in it. When no new file can be created; then
    /// the log is unwritable until one can be.
    pub fn rotate(&mut self, next_seq: u64) -> io::Result<PathBuf> {
        let aside = self.set_aside_as(&format!("{:012}", self.first_seq))?;
        self.first_seq = next_seq;
        Ok(aside)
    }

    /// Removes the oldest rotated files until `keep` are left.
    ///
    /// # Errors
    /// Of the file system.
    pub fn prune(&self, keep: u32) -> io::Result<()> {
        let rotated = rotated(&self.path)?;
        let surplus = rotated.len().saturating_sub(keep as usize);
        rotated.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }

    /// Whether the path no longer names the file being written, or somebody else shortened it.
    pub fn disturbed(&self) -> bool {
        let (Ok(here), Ok(there)) = (self.file.metadata(), fs::metadata(&self.path)) else { return true };
        (here.dev(), here.ino()) != (there.dev(), there.ino()) || (here.is_file() && here.len() < self.committed)
    }

    /// Opens whatever is at the path now and appends to it from here on; `next_seq` will be the first line.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn reopen(&mut self, next_seq: u64) -> io::Result<()> {
        self.file = options().append(true).open(&self.path)?;
        self.committed = self.file.metadata()?.len();
        self.ragged = false;
        self.first_seq = self.read_first_seq().unwrap_or(next_seq);
        Ok(())
    }

    fn cut_ragged(&mut self) -> io::Result<()> {
        if self.ragged && self.file.metadata()?.is_file() {
            self.file.set_len(self.committed)?;
        }
        self.ragged = false;
        Ok(())
    }

    fn read_first_seq(&self) -> Option<u64> {
        Some(Sealed::parse(&self.first_line()?)?.seq)
    }

    /// Without its newline.
    fn first_line(&self) -> Option<Vec<u8>> {
        let mut start = vec![0; FIRST_LINE];
        let read = self.file.read_at(&mut start, 0).ok()?;
        start.truncate(read);
        start.truncate(start.iter().position(|byte| *byte == b'\n')?);
        Some(start)
    }

    fn set_aside(&mut self, word: &str) -> io::Result<PathBuf> {
        let first = self.read_first_seq().unwrap_or(0);
        self.set_aside_as(&format!("{first:012}-{word}"))
    }

    /// Renames the file to `stem.mark.ext` and begins a new one.
    fn set_aside_as(&mut self, mark: &str) -> io::Result<PathBuf> {
        let mut aside = marked(&self.path, mark);
        let mut again = 1;
        while aside.symlink_metadata().is_ok() {
            aside = marked(&self.path, &format!("{mark}-{again}"));
            again += 1;
        }
        fs::rename(&self.path, &aside)?;
        // The old handle stays in place until the new file exists: a failure here is seen as a
        // disturbance and mended by `reopen`.
        self.file = options().append(true).open(&self.path)?;
        self.committed = 0;
        self.ragged = false;
        if let Some(directory) = self.path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            // Best effort: after a power cut the file may have its old name, which the chain survives.
            let _ = File::open(directory).and_then(|directory| directory.sync_all());
        }
        Ok(aside)
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        // In so many words: a process forked meanwhile still has the handle open until it becomes another.
        let _ = self.head.unlock();
    }
}
