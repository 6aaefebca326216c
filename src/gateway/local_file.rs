//! The file of a Unix socket: put in place whole, and taken away again by whoever put it there.

use crate::store::directory::takes_files;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A listening socket at its path. Dropping it removes the file, unless somebody else's stands there by then.
#[derive(Debug)]
pub struct Placed {
    path: PathBuf,
    socket: UnixListener,
    /// Device and inode: which file is ours.
    file: (u64, u64),
}

impl Placed {
    /// Listens, sets the mode, and only then puts the socket where people look for it. A socket that nobody listens on,
    /// left by a crash, is replaced.
    ///
    /// # Errors
    /// `AddrInUse`: a gateway answers there. `AlreadyExists`: the path is something other than a socket.
    pub fn open(path: &Path, mode: u32) -> io::Result<Self> {
        Self::probe(path)?;
        match fs::symlink_metadata(path) {
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(io::Error::new(ErrorKind::AddrInUse, "a gateway is listening there already"));
            }
            _ => {}
        }
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}", std::process::id()));
        let hidden = path.with_file_name(name);
        // Left by a process of the same number.
        let _ = fs::remove_file(&hidden);
        let socket = UnixListener::bind(&hidden)?;
        let placed = fs::set_permissions(&hidden, Permissions::from_mode(mode))
            .and_then(|()| socket.set_nonblocking(true))
            .and_then(|()| fs::rename(&hidden, path))
            .and_then(|()| fs::symlink_metadata(path));
        match placed {
            Ok(found) => Ok(Self { path: path.to_owned(), socket, file: (found.dev(), found.ino()) }),
            Err(error) => {
                let _ = fs::remove_file(&hidden);
                Err(error)
            }
        }
    }

    /// Whether a socket may stand at the path, found out without making one. That a gateway answers there is not asked.
    ///
    /// # Errors
    /// `AlreadyExists`: the path is something other than a socket. Or the directory cannot be written.
    pub fn probe(path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                Err(io::Error::new(ErrorKind::AlreadyExists, "there is something else than a socket"))
            }
            _ => takes_files(path),
        }
    }

    pub fn listener(&self) -> io::Result<UnixListener> {
        self.socket.try_clone()
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        let ours = |found: &fs::Metadata| (found.dev(), found.ino()) == self.file;
        if fs::symlink_metadata(&self.path).as_ref().is_ok_and(ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_set_and_a_stale_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rangegate.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "what a crash leaves");
        let placed = Placed::open(&path, 0o660).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left lying about");
        drop(placed);
        assert!(!path.exists());
    }

    #[test]
    fn nobody_elses_file_is_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rangegate.sock");
        let first = Placed::open(&path, 0o600).unwrap();
        assert_eq!(Placed::open(&path, 0o600).unwrap_err().kind(), ErrorKind::AddrInUse);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "notes").unwrap();
        assert_eq!(Placed::open(&path, 0o600).unwrap_err().kind(), ErrorKind::AlreadyExists);
        drop(first);
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
    }
}
