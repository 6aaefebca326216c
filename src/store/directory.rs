//! Whether a directory takes new files, found out without leaving one there.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Whether this process may make the file `path` where it is to stand.
///
/// # Errors
/// What stands in the way. A file system that knows no files without a name (open(2), `O_TMPFILE`) is asked for the
/// permissions alone, which it looks at first.
pub fn takes_files(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match OpenOptions::new().write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(directory) {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL) => Ok(()),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_behind() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(takes_files(&dir.path().join("new")).is_ok());
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0);
        let none = takes_files(&dir.path().join("none/new")).expect_err("nowhere");
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }
}
