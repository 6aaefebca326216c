//! The head: the number and hash of the log's last line, in a file beside it.

use crate::audit::chain::{Chain, Link};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The head file's content, one JSON object padded with spaces to `HEAD_BYTES`.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head<'a> {
    seq: u64,
    hash: &'a str,
}

const HEAD_BYTES: usize = 128;

/// Where the head of the log at `path` stands.
pub fn path(path: &Path) -> PathBuf {
    path.with_extension("head")
}

/// Overwrites the head.
///
/// # Errors
/// Of the file system.
pub fn write(file: &File, chain: &Chain) -> io::Result<()> {
    let mut text = serde_json::to_vec(&Head { seq: chain.seq, hash: chain.last.as_str() })?;
    text.resize(HEAD_BYTES - 1, b' ');
    text.push(b'\n');
    file.write_all_at(&text, 0)
}

/// What the head file remembers. None: there is no head, or it is new. The inner error: it cannot be made out.
///
/// # Errors
/// Of the file system, other than that there is no such file.
pub fn read(path: &Path) -> io::Result<Result<Option<Chain>, ()>> {
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
