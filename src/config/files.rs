//! The files a configuration names: collected while it is lowered, looked at afterwards, all at once.

use crate::policy::diagnostic::{Diagnostic, Place};
use crate::policy::source::Value;
use crate::store::private_file::{Closed, read_closed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a path stands for, in the operator's words, and what follows when it is not there.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// PEM with at least one certificate; an error without.
    Certificates(&'static str),
    /// PEM with a private key, closed to others.
    Key(&'static str),
    /// A secret of another form, closed to others.
    Secret(&'static str, Closed),
    /// Must be readable.
    Needed(&'static str),
    /// What it would tell stays unknown until it is there: a warning.
    Wanted(&'static str),
    Directory(&'static str),
    /// Will be written: its directory must be there.
    Writable(&'static str),
}

#[derive(Debug)]
pub struct Files {
    base: PathBuf,
    named: Vec<(PathBuf, Place, Kind)>,
    /// What stands beside a file that is written, or is written where nothing was named.
    besides: Vec<(PathBuf, Place, &'static str)>,
}

impl Files {
    /// Paths are relative to `base`.
    pub fn below(base: &Path) -> Self {
        Self { base: base.to_owned(), named: Vec::new(), besides: Vec::new() }
    }

    pub fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// Reads a path and remembers to look at it.
    pub fn path(&mut self, value: Value<'_>, kind: Kind) -> Option<PathBuf> {
        let path = self.resolve(value.name()?);
        self.named.push((path.clone(), value.place(), kind));
        Some(path)
    }

    /// Remembers the configuration itself.
    pub fn itself(&mut self, path: &Path, place: Place) {
        self.named.push((path.to_owned(), place, Kind::Needed("configuration")));
    }

    /// Remembers a file that will be written though no setting has its name.
    pub fn written(&mut self, path: PathBuf, place: Place, what: &'static str) {
        self.besides.push((path, place, what));
    }

    /// The faults of every path, each at the place where it is named.
    pub fn check(&self) -> Vec<Diagnostic> {
        let each = self.named.iter().filter_map(|(path, place, kind)| check(path, place, *kind));
        each.chain(self.shared()).collect()
    }

    /// Every file that has two uses and is written for one of them: the two would destroy each other.
    fn shared(&self) -> Vec<Diagnostic> {
        let named = self.named.iter().map(|(path, place, kind)| Use::new(path, place, kind.what(), kind.is_written()));
        let besides = self.besides.iter().map(|(path, place, what)| Use::new(path, place, what, true));
        let mut uses: Vec<Use<'_>> = named.chain(besides).collect();
        uses.sort_by_key(|one| (one.place.start, one.place.end));
        let mut faults = Vec::new();
        for (index, second) in uses.iter().enumerate() {
            let collides = |first: &&Use<'_>| (first.written || second.written) && first.is(second);
            let Some(first) = uses.iter().take(index).find(collides) else { continue };
            // The list that the built-in authority writes is the one that listeners read.
            if first.what == REVOCATION_LIST && second.what == REVOCATION_LIST && first.written != second.written {
                continue;
            }
            let message = format!("the {} and the {} are one file", first.what, second.what);
            let fault = Diagnostic::error(second.place.clone(), message).label(format!("`{}`", second.path.display()));
            faults.push(fault.related(first.place.clone(), "named here").help("give each a file of its own"));
        }
        faults
    }
}

/// What both the settings of the authority and those of listeners call it.
pub const REVOCATION_LIST: &str = "revocation list";

/// A file and what it is used for.
struct Use<'a> {
    path: &'a Path,
    /// As far as it exists, without links and detours.
    real: PathBuf,
    /// Device and inode: other names of the same file.
    file: Option<(u64, u64)>,
    place: &'a Place,
    what: &'static str,
    written: bool,
}

impl<'a> Use<'a> {
    fn new(path: &'a Path, place: &'a Place, what: &'static str, written: bool) -> Self {
        let beside = || {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Some(fs::canonicalize(parent).ok()?.join(path.file_name()?))
        };
        let real = fs::canonicalize(path).ok().or_else(beside).unwrap_or_else(|| path.to_owned());
        let regular = fs::metadata(path).ok().filter(fs::Metadata::is_file);
        Self { path, real, file: regular.map(|found| (found.dev(), found.ino())), place, what, written }
    }

    fn is(&self, other: &Self) -> bool {
        self.real == other.real || (self.file.is_some() && self.file == other.file)
    }
}

impl Kind {
    const fn what(self) -> &'static str {
        match self {
            Self::Certificates(what)
            | Self::Key(what)
            | Self::Secret(what, _)
            | Self::Needed(what)
            | Self::Wanted(what)
            | Self::Directory(what)
            | Self::Writable(what) => what,
        }
    }

    const fn is_written(self) -> bool {
        matches!(self, Self::Writable(_))
    }
}

fn check(path: &Path, place: &Place, kind: Kind) -> Option<Diagnostic> {
    let error = |message: String, why: String| Some(Diagnostic::error(place.clone(), message).label(why));
    let warning = |message: String, why: String| Some(Diagnostic::warning(place.clone(), message).label(why));
    match kind {
        Kind::Certificates(what) => match fs::read(path) {
            Err(why) => error(unreadable(what), reason(path, &why)),
            Ok(pem) => match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
                Ok(found) if !found.is_empty() => None,
                Ok(_) => error(
                    format!("the {what} is no PEM certificate"),
                    format!("`{}` holds no certificate", path.display()),
                ),
                Err(why) => error(format!("the {what} is damaged"), format!("`{}`: {why}", path.display())),
            },
        },
        Kind::Key(what) => match read_closed(path, Closed::Group) {
            Err(why) => error(unusable(what), format!("`{}`: {why}", path.display())),
            // The parser's own words are left out: nothing of a key file is ever printed.
            Ok(pem) if PrivateKeyDer::from_pem_slice(&pem).is_err() => {
                error(format!("the {what} is no PEM private key"), format!("`{}` holds no private key", path.display()))
            }
            Ok(_) => None,
        },
        Kind::Secret(what, closed) => match read_closed(path, closed) {
            Err(why) => error(unusable(what), format!("`{}`: {why}", path.display())),
            Ok(_) => None,
        },
        Kind::Needed(what) => match openable(path) {
            Ok(()) => None,
            Err(why) => error(unreadable(what), reason(path, &why)),
        },
        Kind::Wanted(what) => match openable(path) {
            Ok(()) => None,
            Err(why) => {
                let fault = warning(unreadable(what), reason(path, &why))?;
                Some(fault.note("requirements that rest on it count as unknown, and unknown never passes"))
            }
        },
        Kind::Directory(what) => match fs::read_dir(path) {
            Ok(_) => None,
            Err(why) => error(unreadable(what), reason(path, &why)),
        },
        Kind::Writable(what) => match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) if !parent.is_dir() => {
                error(format!("the {what} has nowhere to stand"), format!("`{}` is no directory", parent.display()))
            }
            _ if path.is_dir() => {
                error(format!("the {what} cannot be written"), format!("`{}` is a directory", path.display()))
            }
            _ => None,
        },
    }
}

fn openable(path: &Path) -> std::io::Result<()> {
    if fs::metadata(path)?.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    File::open(path).map(drop)
}

fn unreadable(what: &str) -> String {
    format!("the {what} cannot be read")
}

fn unusable(what: &str) -> String {
    format!("the {what} cannot be used")
}

fn reason(path: &Path, why: &std::io::Error) -> String {
    format!("`{}`: {}", path.display(), crate::store::policy_files::in_words(why))
}
