//! Files that hold secrets or that others rely on: written whole or not at all, never over something else by accident.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// For keys: the owner alone.
pub const SECRET: u32 = 0o600;
/// For certificates and revocation lists.
pub const PUBLIC: u32 = 0o644;

/// The largest file that is looked at, bytes.
const MOST: u64 = 1 << 20;

/// Writes a file that is not there yet.
///
/// # Errors
/// `AlreadyExists`, or the directory cannot be written.
pub fn create(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let written = file.write_all(contents).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

/// Writes a file, there or not: a reader finds the old content or the new, never a part of either, also after a crash.
///
/// # Errors
/// The directory cannot be written.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    // Left over by a process of the same number that was killed.
    let _ = fs::remove_file(&fresh);
    let written = create(&fresh, contents, mode).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written?;
    // The new name lasts only when the directory is on the disk as well.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Reads a file of at most one mebibyte that nobody in `forbidden` (bits of its mode) may touch.
///
/// # Errors
/// As a sentence about the file: it cannot be read, is too large, is no file, or is open to others.
pub fn read_closed(path: &Path, forbidden: u32) -> Result<Vec<u8>, String> {
    let words = |why: io::Error| crate::store::policy_files::in_words(&why);
    let file = File::open(path).map_err(words)?;
    // Asked of the open file, so that nothing can be put in its place in between.
    let metadata = file.metadata().map_err(words)?;
    if !metadata.is_file() {
        return Err("it is no ordinary file".to_owned());
    }
    let mode = metadata.mode() & 0o777;
    if mode & forbidden != 0 {
        return Err(format!("others may read it (mode {mode:04o}): `chmod {:04o}` closes it", mode & !forbidden));
    }
    let mut contents = Vec::new();
    file.take(MOST + 1).read_to_end(&mut contents).map_err(words)?;
    if contents.len() as u64 > MOST {
        return Err("it is larger than 1 MiB".to_owned());
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn nothing_is_overwritten_by_accident_and_nobody_else_reads_a_secret() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        create(&path, b"one", SECRET).expect("new");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(create(&path, b"two", SECRET).expect_err("there").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_closed(&path, 0o077).as_deref(), Ok(b"one".as_slice()));
        replace(&path, b"three", PUBLIC).expect("replaced");
        assert_eq!(fs::read(&path).expect("there"), b"three");
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
        for mode in [0o640, 0o604, 0o620, 0o611] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            let refused = read_closed(&path, 0o077).expect_err("open to others");
            assert!(refused.contains("`chmod 0600`") && refused.contains(&format!("{mode:04o}")), "{refused}");
        }
        assert_eq!(read_closed(dir.path(), 0o077), Err("it is no ordinary file".to_owned()));
        let large = dir.path().join("large");
        create(&large, &vec![0; (MOST + 1) as usize], SECRET).expect("new");
        assert_eq!(read_closed(&large, 0o077), Err("it is larger than 1 MiB".to_owned()));
    }
}
