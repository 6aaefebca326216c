//! What can go wrong with a database, in words that say what to mend.

use super::document::Kind;
use sqlx::migrate::MigrateError;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a store cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenFault {
    #[error("the store `{}` cannot be opened: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("the store {database} cannot be written: it is read-only for this process")]
    ReadOnly { database: String },
    /// The URL itself is not shown: it may hold a password that should not be there.
    #[error("the store's URL cannot be used: {0}; expected `postgres://user@host:5432/database`")]
    Url(String),
    #[error("the store's password file `{}` cannot be used: {why}", path.display())]
    PasswordFile { path: PathBuf, why: String },
    #[error("the store's authority `{}` cannot be used: {why}", path.display())]
    Authority { path: PathBuf, why: String },
    #[error(
        "the store {database} was written by a newer version (schema {theirs}, this version knows {ours}): run that version, or restore a backup made by this one"
    )]
    Newer { database: String, ours: i64, theirs: i64 },
    #[error(
        "the store {database} has a schema {version} that is not the one this version knows by that number: run the version that made it, or restore a backup into an empty store"
    )]
    Altered { database: String, version: i64 },
    #[error("{database} belongs to another program: it has tables, and none of ours")]
    Foreign { database: String },
    #[error("the store {database}: {fault}")]
    Database { database: String, fault: StoreFault },
}

/// Why the database gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// It may come back by itself.
    #[error("the database cannot be reached: {0}")]
    Away(String),
    #[error("the database did not answer within {0} seconds")]
    Slow(u64),
    #[error("the database server refuses the user or the password: {0}")]
    Credentials(String),
    #[error("the connection to the database cannot be made safe: {0}")]
    Tls(String),
    #[error("the disk of the database is full")]
    Full,
    #[error("the database is read-only")]
    ReadOnly,
    #[error("the file is no database")]
    NotADatabase,
    #[error("the database is damaged: {0}; restore a backup")]
    Corrupt(String),
    #[error("the {} `{id}` cannot be read: {why}", kind.word())]
    Unreadable { kind: Kind, id: Arc<str>, why: String },
    #[error("the store is closed")]
    Closed,
    #[error("the database says: {0}")]
    Other(String),
}

impl StoreFault {
    pub(super) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(fault) => {
                let code = fault.code().unwrap_or_default();
                // SQLSTATE has five characters, SQLite's extended codes have at most four digits.
                if code.len() == 5 { postgres(&code, fault.message()) } else { sqlite(&code, fault.message()) }
            }
            sqlx::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(fault) => Self::Tls(tls(fault)),
                None => Self::Away(super::policy_files::in_words(error)),
            },
            sqlx::Error::Tls(error) => Self::Tls(error.to_string()),
            sqlx::Error::PoolTimedOut => Self::Away("no connection in time".to_owned()),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Self::Closed,
            sqlx::Error::Migrate(fault) => Self::of_migration(fault),
            other => Self::Other(other.to_string()),
        }
    }

    /// SQLite keeps what was written last in files beside the database.
    pub(super) fn beside() -> Self {
        Self::Away("the file or a file beside it cannot be opened".to_owned())
    }

    pub(super) fn of_migration(fault: &MigrateError) -> Self {
        match fault {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Self::of(error),
            other => Self::Other(other.to_string()),
        }
    }
}

/// What is wrong with the server's certificate, and what to do about it.
fn tls(fault: &rustls::Error) -> String {
    use rustls::{CertificateError as Why, Error};
    match fault {
        Error::InvalidCertificate(Why::UnknownIssuer) => {
            "no authority that is trusted here vouches for the server's certificate; `authority` names a file with another"
                .to_owned()
        }
        Error::InvalidCertificate(Why::NotValidForName | Why::NotValidForNameContext { .. }) => {
            "the server's certificate is for another name than the URL's".to_owned()
        }
        Error::InvalidCertificate(Why::Expired | Why::ExpiredContext { .. }) => {
            "the server's certificate has expired".to_owned()
        }
        fault => fault.to_string(),
    }
}

/// <https://www.sqlite.org/rescode.html>: the primary code is in the low byte.
fn sqlite(code: &str, message: &str) -> StoreFault {
    match code.parse::<u32>().unwrap_or_default() & 0xff {
        5 | 6 => StoreFault::Away("another process holds the file".to_owned()),
        8 => StoreFault::ReadOnly,
        10 => StoreFault::Away(format!("{message}; the disk fails or is full")),
        11 => StoreFault::Corrupt(message.to_owned()),
        13 => StoreFault::Full,
        14 => StoreFault::beside(),
        26 => StoreFault::NotADatabase,
        _ => StoreFault::Other(message.to_owned()),
    }
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn postgres(code: &str, message: &str) -> StoreFault {
    match code {
        "28000" | "28P01" => StoreFault::Credentials(message.to_owned()),
        "53100" => StoreFault::Full,
        "25006" => StoreFault::ReadOnly,
        "XX001" | "XX002" => StoreFault::Corrupt(message.to_owned()),
        "55P03" | "57014" => StoreFault::Away(format!("it is busy ({message})")),
        _ => match code.get(..2) {
            Some("08" | "53" | "57" | "58") => StoreFault::Away(message.to_owned()),
            _ => StoreFault::Other(message.to_owned()),
        },
    }
}
