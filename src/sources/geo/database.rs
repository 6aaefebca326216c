//! One database file: read, aged, asked, read again.

use super::record::Found;
use crate::evidence::{Fault, Moment};
use crate::sources::stamp::Stamp;
use maxminddb::{MaxMindDbError, Reader};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A file and the last good content read from it.
pub struct Database {
    path: PathBuf,
    /// Of the file as last tried; `None` when there was none.
    stamp: Option<Stamp>,
    content: Result<Arc<Content>, Fault>,
    /// Why the last attempt failed, though older content may still be good.
    error: Option<String>,
}

struct Content {
    reader: Reader<Vec<u8>>,
    built: Moment,
}

/// What one database says of one address.
pub enum Answer<T> {
    Known(T, Moment),
    NotInIt,
    /// An IPv6 address and a database of IPv4.
    OtherFamily,
    Fault(Fault),
}

/// How one database is doing.
#[derive(Clone, Debug)]
pub struct DatabaseStatus {
    pub path: PathBuf,
    /// When the content in use was built; `None` when there is no content.
    pub built: Option<Moment>,
    /// What it says it is: `GeoLite2-City`, `DBIP-ASN-Lite`. Empty when there is no content.
    pub kind: String,
    /// Why the file cannot be read; older content may still be in use.
    pub error: Option<String>,
}

impl Database {
    pub fn load(path: &Path) -> Self {
        let stamp = Stamp::of(path);
        match stamp.as_ref().map_err(copy).map_err(MaxMindDbError::from).and_then(|_| Content::read(path)) {
            Ok(content) => {
                tracing::info!(path = %path.display(), built = content.built.millis(), "geography database loaded");
                Self { path: path.into(), stamp: stamp.ok(), content: Ok(Arc::new(content)), error: None }
            }
            Err(error) => {
                tracing::warn!(
                    path = %path.display(), %error,
                    "geography database cannot be read: requirements that need it are not met until it can",
                );
                let content = Err(fault(&error));
                Self { path: path.into(), stamp: stamp.ok(), content, error: Some(error.to_string()) }
            }
        }
    }

    /// The database read anew; `None` when the file has not changed since it was last tried.
    pub fn reloaded(&self) -> Option<Self> {
        if Stamp::of(&self.path).ok() == self.stamp {
            return None;
        }
        let new = Self::load(&self.path);
        match (&new.content, &self.content) {
            (Err(_), Ok(last_good)) => {
                tracing::warn!(
                    path = %self.path.display(), built = last_good.built.millis(),
                    "keeping the last good content of the geography database",
                );
                Some(Self { content: Ok(Arc::clone(last_good)), ..new })
            }
            _ => Some(new),
        }
    }

    /// A content older than `max_age` at `now` is a fault, whatever it holds.
    pub fn ask<T>(
        &self,
        address: IpAddr,
        now: Moment,
        max_age: Option<Duration>,
        read: fn(&Found<'_>) -> T,
    ) -> Answer<T> {
        let content = match &self.content {
            Ok(content) => content,
            Err(fault) => return Answer::Fault(*fault),
        };
        if address.is_ipv6() && content.reader.metadata().ip_version == 4 {
            return Answer::OtherFamily;
        }
        if max_age.is_some_and(|max_age| u128::from(now.since(content.built)) > max_age.as_millis()) {
            return Answer::Fault(Fault::DatabaseStale);
        }
        match content.reader.lookup(address) {
            Ok(found) if found.has_data() => Answer::Known(read(&found), content.built),
            Ok(_) => Answer::NotInIt,
            Err(_) => Answer::Fault(Fault::DatabaseCorrupt),
        }
    }

    pub fn status(&self) -> DatabaseStatus {
        DatabaseStatus {
            path: self.path.clone(),
            built: self.content.as_ref().ok().map(|content| content.built),
            kind: self
                .content
                .as_ref()
                .map(|content| content.reader.metadata().database_type.clone())
                .unwrap_or_default(),
            error: self.error.clone(),
        }
    }
}

impl Content {
    /// In memory rather than mapped: a mapped file that is truncated kills the process.
    fn read(path: &Path) -> Result<Self, MaxMindDbError> {
        let reader = Reader::open_readfile(path)?;
        let seconds = i64::try_from(reader.metadata().build_epoch).unwrap_or(i64::MAX);
        Ok(Self { reader, built: Moment(seconds.saturating_mul(1000)) })
    }
}

fn fault(error: &MaxMindDbError) -> Fault {
    match error {
        MaxMindDbError::Io(error) if error.kind() == io::ErrorKind::NotFound => Fault::DatabaseMissing,
        _ => Fault::DatabaseCorrupt,
    }
}

fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
