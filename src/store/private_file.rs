//! Files that hold secrets or that others rely on: written whole or not at all, never over something else by accident,
//! and read only where nobody else may read them.

use super::policy_files::in_words;
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

/// Who may do what with a file that holds a secret. None of them may do more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its owner alone: what Rangegate wrote itself.
    Owner,
    /// Its group may read it: what is given to the gateway, which runs as nobody in particular and reads keys as a
    /// member of their group. The access list of a systemd credential shows as a group's right, too.
    Group,
}

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

/// Reads a file of at most one mebibyte that holds a secret: the one way in which Rangegate reads them all.
///
/// # Errors
/// As a sentence about the file, with nothing of its content: it cannot be read, is too large, is no file, or is open
/// to others.
pub fn read_closed(path: &Path, closed: Closed) -> Result<Vec<u8>, String> {
    let words = |why: io::Error| in_words(&why);
    let file = File::open(path).map_err(words)?;
    // Asked of the open file, so that nothing can be put in its place in between.
    let metadata = file.metadata().map_err(words)?;
    if !metadata.is_file() {
        return Err("it is no ordinary file".to_owned());
    }
    let (mode, also) = (metadata.mode() & 0o777, closed.also());
    if mode & closed.forbidden() != 0 {
        let may = if mode & closed.forbidden() & 0o044 != 0 { "read" } else { "change" };
        let path = path.display();
        return Err(format!("others may {may} it (mode {mode:04o}): `chmod 0600 {path}` closes it{also}"));
    }
    let mut contents = Vec::new();
    file.take(MOST + 1).read_to_end(&mut contents).map_err(words)?;
    if contents.len() as u64 > MOST {
        return Err("it is larger than 1 MiB".to_owned());
    }
    Ok(contents)
}

impl Closed {
    /// Bits of a mode.
    const fn forbidden(self) -> u32 {
        match self {
            Self::Owner => 0o077,
            Self::Group => 0o037,
        }
    }

    const fn also(self) -> &'static str {
        match self {
            Self::Owner => "",
            Self::Group => " (0640, if the gateway reads it as a member of its group)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn refused(path: &Path, mode: u32, closed: Closed) -> Option<String> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
        read_closed(path, closed).err()
    }

    #[test]
    fn nothing_is_overwritten_by_accident() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        create(&path, b"one", SECRET).expect("new");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(create(&path, b"two", SECRET).expect_err("there").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_closed(&path, Closed::Owner).as_deref(), Ok(b"one".as_slice()));
        replace(&path, b"three", PUBLIC).expect("replaced");
        assert_eq!(fs::read(&path).expect("there"), b"three");
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
    }

    #[test]
    fn a_secret_is_not_read_where_others_may_read_or_change_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        create(&path, b"hunter2", SECRET).expect("new");
        for mode in [0o400, 0o600, 0o700] {
            assert_eq!((refused(&path, mode, Closed::Owner), refused(&path, mode, Closed::Group)), (None, None));
        }
        // A key of a group, and a credential's access list.
        for mode in [0o640, 0o440] {
            assert_eq!(refused(&path, mode, Closed::Group), None, "{mode:o}");
            assert!(refused(&path, mode, Closed::Owner).is_some(), "{mode:o}");
        }
        for mode in [0o644, 0o604, 0o444, 0o660, 0o620, 0o602, 0o641, 0o650, 0o777] {
            for closed in [Closed::Owner, Closed::Group] {
                let told = refused(&path, mode, closed).expect("open to others");
                let (shown, close) = (format!("(mode {mode:04o})"), format!("`chmod 0600 {}`", path.display()));
                assert!(told.contains(&shown) && told.contains(&close) && !told.contains("hunter2"), "{told}");
            }
        }
        assert!(refused(&path, 0o660, Closed::Group).is_some_and(|told| told.starts_with("others may change it")));
        assert!(refused(&path, 0o644, Closed::Group).is_some_and(|told| told.starts_with("others may read it")));
        // The file behind a link counts.
        std::os::unix::fs::symlink("key", dir.path().join("link")).expect("a link");
        assert!(refused(&path, 0o600, Closed::Group).is_none());
        assert!(read_closed(&dir.path().join("link"), Closed::Group).is_ok());
        assert!(refused(&path, 0o644, Closed::Group).is_some());
        assert!(read_closed(&dir.path().join("link"), Closed::Group).is_err());
    }

    #[test]
    fn a_secret_is_a_file_of_ordinary_size() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(read_closed(dir.path(), Closed::Owner), Err("it is no ordinary file".to_owned()));
        let large = dir.path().join("large");
        create(&large, &vec![0; (MOST + 1) as usize], SECRET).expect("new");
        assert_eq!(read_closed(&large, Closed::Owner), Err("it is larger than 1 MiB".to_owned()));
        assert!(read_closed(&dir.path().join("none"), Closed::Owner).is_err_and(|why| why.contains("no such file")));
    }
}
