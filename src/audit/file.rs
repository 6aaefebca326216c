//! The log's files: the one being written, those rotated away, and the head that remembers the chain's end.
//!
//! Beside `audit.jsonl` stand `audit.head` (the number and hash of the last line, so that lines cut from
//! the end are missed), `audit.000000000001.jsonl` and so on (rotated files, named by their first line's
//! number, which no clock can disturb) and `audit.jsonl.torn` (what a crash left of unfinished lines).

use super::chain::{Chain, Link, Sealed};
use crate::evidence::Moment;
use crate::store::policy_files::in_words;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
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

/// No line is longer. What is longer was not written by a gateway.
pub const LONGEST_LINE: u64 = 1 << 20;

/// The head file's content, one JSON object padded with spaces to `HEAD_BYTES`.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head<'a> {
    seq: u64,
    hash: &'a str,
}

const HEAD_BYTES: usize = 128;

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
        let head_path = head_path(path);
        let head = options().open(&head_path).map_err(at(&head_path, "opened"))?;
        match head.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(at(&head_path, "locked")(error)),
        }
        let remembered = read_head(&head_path).map_err(at(&head_path, "read"))?;
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
        log.write_head(&chain).map_err(at(path, "written"))?;
        Ok(Opened { log, chain, repairs })
    }

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
        let start = self.read_start()?;
        let (_, rest) = start.split_once(r#""time":""#)?;
        let time: jiff::Timestamp = rest.split_once('"')?.0.parse().ok()?;
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
        if let Err(error) = self.write_head(chain) {
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

    fn write_head(&self, chain: &Chain) -> io::Result<()> {
        let mut text = serde_json::to_vec(&Head { seq: chain.seq, hash: chain.last.as_str() })?;
        text.resize(HEAD_BYTES - 1, b' ');
        text.push(b'\n');
        self.head.write_all_at(&text, 0)
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

    fn read_first_seq(&self) -> Option<u64> {
        seq(self.read_start()?.as_bytes())
    }

    fn read_start(&self) -> Option<String> {
        let mut start = [0; 128];
        let read = self.file.read_at(&mut start, 0).ok()?;
        Some(String::from_utf8_lossy(start.get(..read)?).into_owned())
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
    let remembered = lines.split(|byte| *byte == b'\n').rfind(|line| seq(line) == Some(head.seq));
    if remembered.and_then(Sealed::parse).is_some_and(|line| line.hash != head.last) {
        repairs.push(format!("line {} is not the one that was written", head.seq));
        return Chain { seq: last.seq, last: head.last };
    }
    last
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Readable by the group, so that a log shipper need not be root; by nobody else.
    options.read(true).write(true).create(true).truncate(false).mode(0o640);
    options
}

/// The end of the chain as the intact line `line` has it.
pub(super) fn last_line(line: &[u8]) -> Option<Chain> {
    let sealed = Sealed::parse(line)?;
    sealed.intact().then_some(Chain { seq: seq(line)?, last: sealed.hash })
}

/// The number of a line, from its beginning.
pub(super) fn seq(line: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"seq\":";
    let start = line.get(..line.len().min(128))?;
    let at = start.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let digits = line.get(at..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

/// Where the head of the log at `path` stands.
pub fn head_path(path: &Path) -> PathBuf {
    path.with_extension("head")
}

/// What the head file remembers. None: there is no head, or it is new. The inner error: it cannot be made out.
///
/// # Errors
/// Of the file system, other than that there is no such file.
pub fn read_head(path: &Path) -> io::Result<Result<Option<Chain>, ()>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(None)),
        Err(error) => return Err(error),
    };
    if text.is_empty() {
        return Ok(Ok(None));
    }
    let head = serde_json::from_slice::<Head<'_>>(text.get(..HEAD_BYTES).unwrap_or(&text)).ok();
    let chain = head.and_then(|head| Some(Chain { seq: head.seq, last: Link::parse(head.hash.as_bytes())? }));
    Ok(chain.map(Some).ok_or(()))
}

/// The rotated files of the log at `path`, oldest first, each with its first line's number.
///
/// # Errors
/// When the directory cannot be read.
pub fn rotated(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (stem, extension) = (path.file_stem(), path.extension());
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?.path();
        let inner = entry.file_stem().map(Path::new);
        let mark = inner.and_then(Path::extension).and_then(OsStr::to_str);
        if entry.extension() == extension
            && inner.and_then(Path::file_stem) == stem
            && let Some(seq) = mark.and_then(|mark| mark.split('-').next()).and_then(|digits| digits.parse().ok())
        {
            found.push((seq, entry));
        }
    }
    found.sort();
    Ok(found)
}

/// `audit.jsonl` with the mark `000000000001` is `audit.000000000001.jsonl`.
fn marked(path: &Path, mark: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or(OsStr::new("audit")).to_owned();
    name.push(".");
    name.push(mark);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
