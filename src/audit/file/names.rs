//! How the log's files are named.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
pub fn marked(path: &Path, mark: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or(OsStr::new("audit")).to_owned();
    name.push(".");
    name.push(mark);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

pub fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
