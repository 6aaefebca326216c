//! The demo's files: a directory that is gone when the demo is, and the policies to decide by.

use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process;

/// A directory that only its owner can read, removed on drop.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// # Errors
    /// The temporary directory cannot be written.
    pub fn new() -> io::Result<Self> {
        for attempt in 0..100 {
            let name = match attempt {
                0 => format!("rangegate-{}", process::id()),
                _ => format!("rangegate-{}-{attempt}", process::id()),
            };
            let path = env::temp_dir().join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                // Left behind by a process that had this number before.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only its owner can read, whole or not at all, and returns its path.
    ///
    /// # Errors
    /// The disk is full or the directory gone.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> io::Result<PathBuf> {
        let path = self.at(name);
        let fresh = self.at(&format!("{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(contents.as_ref())?;
        fs::rename(&fresh, &path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the temporary directory's to keep.
        let _ = fs::remove_dir_all(&self.path);
    }
}

macro_rules! policies {
    ($($name:literal,)+) => {
        /// `policies/` as it was when this binary was built.
        const BUILT_IN: &[(&str, &[u8])] =
            &[$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/", $name))),)+];
    };
}

policies! {
    "api.toml",
    "baseline.toml",
    "console.toml",
    "keys.toml",
    "payroll.toml",
    "reports.toml",
    "wiki.toml",
    "geo/NOTICE",
    "geo/asns.mmdb",
    "geo/places.mmdb",
    "lists/anonymizers.txt",
    "lists/hosting.txt",
}

/// `policies/` below the working directory if all files are there, so that a reader can change them and see what
/// follows; else the built-in ones, written to the scratch directory.
///
/// # Errors
/// The scratch directory cannot be written.
pub fn policies(scratch: &Scratch) -> io::Result<PathBuf> {
    let here = PathBuf::from("policies");
    if BUILT_IN.iter().all(|(name, _)| here.join(name).is_file()) {
        return Ok(here);
    }
    let written = scratch.at("policies");
    for folder in ["geo", "lists"] {
        fs::create_dir_all(written.join(folder))?;
    }
    for (name, contents) in BUILT_IN {
        fs::write(written.join(name), contents)?;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::policy::load;
    use crate::policy::Context;

    #[test]
    fn the_built_in_policies_are_those_of_the_repository() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let mut found: Vec<String> = Vec::new();
        for part in ["", "geo", "lists"] {
            for entry in fs::read_dir(folder.join(part)).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&folder).unwrap().display().to_string();
                if path.is_file() && !name.ends_with(".md") {
                    found.push(name);
                }
            }
        }
        found.sort();
        let mut built_in: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        built_in.sort_unstable();
        assert_eq!(found, built_in);
    }

    #[test]
    fn a_scratch_directory_leaves_nothing() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        scratch.write("a", "b").unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn the_built_in_policies_compile() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let lists = ["hosting", "anonymous"].map(Into::into).to_vec();
        assert!(load(&folder, &Context { lists, ..Context::default() }).is_ok());
    }
}
