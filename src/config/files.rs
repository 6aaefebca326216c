//! The files a configuration names: collected while it is lowered, looked at afterwards, all at once.

use crate::policy::diagnostic::{Diagnostic, Place};
use crate::policy::source::Value;
use crate::store::private_file::{Closed, read_closed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::{self, File};
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
}

impl Files {
    /// Paths are relative to `base`.
    pub fn below(base: &Path) -> Self {
        Self { base: base.to_owned(), named: Vec::new() }
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

    /// The faults of every path, each at the place where it is named.
    pub fn check(&self) -> Vec<Diagnostic> {
        self.named.iter().filter_map(|(path, place, kind)| check(path, place, *kind)).collect()
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
