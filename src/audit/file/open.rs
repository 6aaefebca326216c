//! Opening a log: what a crash left is repaired, and the chain goes on where it ended.

use super::names::suffixed;
use super::{LONGEST_LINE, LogFile, head};
use crate::audit::chain::{Chain, Sealed};
use crate::store::directory::takes_files;
use crate::store::policy_files::in_words;
use std::fs::{OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the audit log `{}` cannot be {doing}: {}", path.display(), in_words(error))]
    Io { path: PathBuf, doing: &'static str, error: io::Error },
    #[error(
        "the audit log `{}` is in use by another gateway\n  help: give each gateway a log of its own",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "the audit log's head `{}` cannot be made out\n  help: run `rangegate audit verify`, then move the head away",
        path.display()
    )]
    Head { path: PathBuf },
}

/// A log opened for writing, with the chain it continues.
#[derive(Debug)]
pub struct Opened {
    pub log: LogFile,
    pub chain: Chain,
    /// What was found wrong, in sentences; each becomes a line of the log.
    pub repairs: Vec<String>,
}

impl LogFile {
    /// Opens or creates the log at `path` and repairs what a crash left.
    ///
    /// # Errors
    /// When a file cannot be opened, read or repaired, or another process holds the log.
    pub fn open(path: &Path) -> Result<Opened, OpenError> {
        let at = |path: &Path, doing| {
            let path = path.to_owned();
            move |error| OpenError::Io { path, doing, error }
        };
        let head_path = head::path(path);
        let head = options().open(&head_path).map_err(at(&head_path, "opened"))?;
        match head.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(at(&head_path, "locked")(error)),
        }
        let remembered = head::read(&head_path).map_err(at(&head_path, "read"))?;
        let remembered = remembered.map_err(|()| OpenError::Head { path: head_path })?;

        let file = options().append(true).open(path).map_err(at(path, "opened"))?;
        let mut log = Self { path: path.to_owned(), file, head, committed: 0, ragged: false, first_seq: 0 };
        let mut repairs = Vec::new();
        let tail = log.settle_tail(&mut repairs).map_err(at(path, "repaired"))?;
        let chain = match tail {
            Tail::Empty => remembered.unwrap_or(Chain::EMPTY),
            Tail::Lines { last, lines } => resume(last, &lines, remembered, &mut repairs),
            Tail::Foreign => {
                let aside = log.set_aside("damaged").map_err(at(path, "set aside"))?;
                let (path, aside) = (path.display(), aside.display());
                repairs.push(format!("`{path}` did not end in an intact line and is now `{aside}`"));
                remembered.unwrap_or(Chain::EMPTY)
            }
        };
        log.first_seq = log.read_first_seq().unwrap_or_else(|| chain.next());
        head::write(&log.head, &chain).map_err(at(path, "written"))?;
        Ok(Opened { log, chain, repairs })
    }

    /// What `open` would say of the log at `path`, found out without making or changing a file. Whether another gateway
    /// holds it is not asked: it may be the very one.
    ///
    /// # Errors
    /// As `open`.
    pub fn probe(path: &Path) -> Result<(), OpenError> {
        let head_path = head::path(path);
        for file in [head_path.as_path(), path] {
            let opened = match OpenOptions::new().read(true).write(true).open(file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => takes_files(file),
                opened => opened.map(drop),
            };
            opened.map_err(|error| OpenError::Io { path: file.to_owned(), doing: "opened", error })?;
        }
        match head::read(&head_path) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(())) => Err(OpenError::Head { path: head_path }),
            Err(error) => Err(OpenError::Io { path: head_path, doing: "read", error }),
        }
    }

    /// Finds the last whole line; moves an unfinished one to the `.torn` file.
    fn settle_tail(&mut self, repairs: &mut Vec<String>) -> io::Result<Tail> {
        let length = self.file.metadata()?.len();
        let from = length.saturating_sub(2 * LONGEST_LINE);
        let mut end = Vec::new();
        self.file.seek(SeekFrom::Start(from))?;
        (&self.file).take(2 * LONGEST_LINE).read_to_end(&mut end)?;
        let whole = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (lines, torn) = end.split_at(whole);
        if whole == 0 && from > 0 {
            return Ok(Tail::Foreign);
        }
        self.committed = from + whole as u64;
        if last_line(torn).is_some() {
            // Only its newline is missing.
            self.file.write_all(b"\n")?;
            self.committed = length + 1;
            repairs.push(format!("the last line of `{}` lacked its end", self.path.display()));
            let last = last_line(torn);
            return Ok(last.map_or(Tail::Foreign, |last| Tail::Lines { last, lines: end }));
        }
        if !torn.is_empty() {
            let aside = suffixed(&self.path, ".torn");
            let mut store = options().append(true).open(&aside)?;
            store.write_all(torn)?;
            store.write_all(b"\n")?;
            store.sync_data()?;
            self.file.set_len(self.committed)?;
            repairs.push(format!(
                "{} bytes of an unfinished line were moved from `{}` to `{}`",
                torn.len(),
                self.path.display(),
                aside.display()
            ));
        }
        if lines.is_empty() {
            return Ok(Tail::Empty);
        }
        let last = lines.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().and_then(last_line);
        end.truncate(whole);
        Ok(last.map_or(Tail::Foreign, |last| Tail::Lines { last, lines: end }))
    }
}

enum Tail {
    Empty,
    /// The end of the chain as the file has it, and the last lines.
    Lines {
        last: Chain,
        lines: Vec<u8>,
    },
    /// Something no gateway wrote.
    Foreign,
}

/// Where the chain goes on: after the file's last line, unless the head knows better. What the head
/// remembers and the file lacks stays a visible break in the chain.
fn resume(last: Chain, lines: &[u8], head: Option<Chain>, repairs: &mut Vec<String>) -> Chain {
    let Some(head) = head else {
        repairs.push("the head was missing: lines cut from the end would not have been noticed".to_owned());
        return last;
    };
    if head.seq > last.seq {
        repairs.push(format!("lines {} to {} are missing from the end", last.next(), head.seq));
        return head;
    }
    // A crash between the lines and the head leaves the head behind, but never at another hash.
    let remembered =
        lines.split(|byte| *byte == b'\n').rev().filter_map(Sealed::parse).find(|line| line.seq == head.seq);
    if remembered.is_some_and(|line| line.hash != head.last) {
        repairs.push(format!("line {} is not the one that was written", head.seq));
        return Chain { seq: last.seq, last: head.last };
    }
    last
}

/// The end of the chain as the intact line `line` has it.
fn last_line(line: &[u8]) -> Option<Chain> {
    let sealed = Sealed::parse(line)?;
    sealed.intact().then_some(Chain { seq: sealed.seq, last: sealed.hash })
}

pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Readable by the group, so that a log shipper need not be root; by nobody else.
    options.read(true).write(true).create(true).truncate(false).mode(0o640);
    options
}
