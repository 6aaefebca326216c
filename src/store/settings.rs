//! Where durable state is kept: a SQLite file by default, PostgreSQL where several gateways share it.

use super::fault::OpenFault;
use super::policy_files::in_words;
use super::private_file::{Closed, read_closed};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sqlx::any::AnyConnectOptions;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    pub database: Database,
    /// How often the database is asked what changed, whatever notifications say.
    pub poll: Duration,
    /// No single question or transaction of ordinary size waits longer for its answer.
    pub timeout: Duration,
    /// How many changes the log keeps for those who were away; beyond it they load everything.
    pub history: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file, made when it is missing. Its directory must exist.
    Sqlite(PathBuf),
    Postgres(PostgresSettings),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSettings {
    /// `postgres://user@host:port/database`, without a password.
    pub url: String,
    /// Closed to others. Holds the password and nothing else; a line end after it does not count.
    pub password_file: Option<PathBuf>,
    /// PEM certificates that may vouch for the server, beside the public ones.
    pub authority: Option<PathBuf>,
}

impl StoreSettings {
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::of(Database::Sqlite(path.into()))
    }

    pub fn of(database: Database) -> Self {
        Self { database, poll: Duration::from_secs(1), timeout: Duration::from_secs(10), history: 100_000 }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "`{}`", path.display()),
            Self::Postgres(postgres) => write!(f, "`{}`", postgres.url),
        }
    }
}

impl Database {
    /// How the drivers want to be told.
    ///
    /// The result holds the password: it is never shown.
    pub(super) fn connect_options(&self) -> Result<AnyConnectOptions, OpenFault> {
        match self {
            Self::Sqlite(path) => sqlite(path),
            Self::Postgres(postgres) => postgres.connect_options(),
        }
    }
}

/// The file is made here so that only its owner can read it, and so that a missing directory is told as one.
fn sqlite(path: &Path) -> Result<AnyConnectOptions, OpenFault> {
    let fault = |why: &io::Error| OpenFault::File { path: path.to_owned(), why: in_words(why) };
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    match open.open(path) {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
            return Err(OpenFault::ReadOnly { database: Database::Sqlite(path.to_owned()).to_string() });
        }
        Err(error) => return Err(fault(&error)),
    }
    let name = path.to_str().ok_or_else(|| fault(&io::Error::other("its name is not UTF-8 text")))?;
    let absolute = std::path::absolute(name).map_err(|error| fault(&error))?;
    format!("sqlite://{}?mode=rw", percent_encoded(&absolute.to_string_lossy()))
        .parse()
        .map_err(|error: sqlx::Error| fault(&io::Error::other(error.to_string())))
}

impl PostgresSettings {
    /// The URL, if a store can be there. What is wrong with it is told without repeating it: it may hold a password.
    pub fn url(url: &str) -> Result<String, String> {
        let parsed: AnyConnectOptions = url.parse().map_err(|_| "it is no URL".to_owned())?;
        let parsed = parsed.database_url;
        if parsed.password().is_some() || parsed.query_pairs().any(|(key, _)| key == "password") {
            return Err("it holds a password, which belongs into a file of its own: `password-file`".to_owned());
        }
        if !matches!(parsed.scheme(), "postgres" | "postgresql") {
            return Err("only PostgreSQL is known".to_owned());
        }
        if parsed.username().is_empty() && !parsed.query_pairs().any(|(key, _)| key == "user") {
            return Err("it names no user".to_owned());
        }
        Ok(url.to_owned())
    }

    fn connect_options(&self) -> Result<AnyConnectOptions, OpenFault> {
        Self::url(&self.url).map_err(OpenFault::Url)?;
        let mut options: AnyConnectOptions = self.url.parse().map_err(|_| OpenFault::Url("it is no URL".to_owned()))?;
        let url = &mut options.database_url;
        if let Some(path) = &self.password_file {
            let password = password(path)?;
            url.set_password(Some(&percent_encoded(&password)))
                .map_err(|()| OpenFault::Url("it names no host".to_owned()))?;
        }
        let mut told = None;
        let mut near = match url.host_str() {
            None | Some("" | "localhost" | "127.0.0.1" | "[::1]") => true,
            Some(host) => host.starts_with('/') || host.to_ascii_lowercase().starts_with("%2f"),
        };
        for (key, value) in url.query_pairs() {
            match &*key {
                "sslmode" | "ssl-mode" => told = Some(value.into_owned()),
                "host" | "hostaddr" => near = value.starts_with('/'),
                _ => {}
            }
        }
        if let Some(authority) = &self.authority {
            // An authority that nothing is held against protects nobody, and whoever named it thinks otherwise.
            if let Some(mode) = told.as_deref().filter(|mode| !mode.starts_with("verify-")) {
                let why = format!("its `sslmode={mode}` verifies nothing, so that `authority` would have no effect");
                return Err(OpenFault::Url(why));
            }
            holds_certificates(authority)?;
            url.query_pairs_mut().append_pair("sslrootcert", &authority.to_string_lossy());
        }
        // What crosses a network is encrypted and its end verified, unless the URL itself says otherwise.
        if told.is_none() {
            let mode = if near && self.authority.is_none() { "prefer" } else { "verify-full" };
            url.query_pairs_mut().append_pair("sslmode", mode);
        }
        url.query_pairs_mut().append_pair("application_name", "rangegate");
        Ok(options)
    }
}

fn password(path: &Path) -> Result<String, OpenFault> {
    let fault = |why: String| OpenFault::PasswordFile { path: path.to_owned(), why };
    let bytes = read_closed(path, Closed::Group).map_err(fault)?;
    let text = String::from_utf8(bytes).map_err(|_| fault("it is no text".to_owned()))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(fault("it is empty".to_owned()));
    }
    Ok(password.to_owned())
}

/// The driver would take a file without any for no wish at all.
fn holds_certificates(path: &Path) -> Result<(), OpenFault> {
    let fault = |why: String| OpenFault::Authority { path: path.to_owned(), why };
    let text = std::fs::read(path).map_err(|error| fault(in_words(&error)))?;
    let mut certificates = CertificateDer::pem_slice_iter(&text).peekable();
    match certificates.peek() {
        None => Err(fault("it holds no certificate in PEM".to_owned())),
        Some(_) => certificates.try_for_each(|one| one.map(drop)).map_err(|error| fault(error.to_string())),
    }
}

/// RFC 3986 section 2.1; slashes stay, so that a path stays one.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::private_file::{self, PUBLIC, SECRET};

    fn postgres(url: &str) -> PostgresSettings {
        PostgresSettings { url: url.to_owned(), password_file: None, authority: None }
    }

    fn mode(settings: &PostgresSettings) -> String {
        let url = settings.connect_options().expect("good").database_url;
        url.query_pairs().find(|(key, _)| key == "sslmode").expect("always told").1.into_owned()
    }

    #[test]
    fn what_crosses_a_network_is_verified() {
        assert_eq!(mode(&postgres("postgres://gate@db.example/gate")), "verify-full");
        assert_eq!(mode(&postgres("postgres://gate@db.example/gate?sslmode=disable")), "disable");
        assert_eq!(mode(&postgres("postgres://gate@localhost:5433/gate")), "prefer");
        assert_eq!(mode(&postgres("postgres://gate@%2Frun%2Fpostgresql/gate")), "prefer");
        assert_eq!(mode(&postgres("postgres://gate@localhost/gate?host=db.example")), "verify-full");
        let dir = tempfile::tempdir().expect("a directory");
        let ca = dir.path().join("ca.pem");
        let by = |url: &str| PostgresSettings { authority: Some(ca.clone()), ..postgres(url) };
        let near = by("postgres://gate@localhost/g");
        assert!(near.connect_options().expect_err("missing").to_string().contains("no such file"));
        std::fs::write(&ca, "ca").expect("written");
        assert!(near.connect_options().expect_err("empty").to_string().contains("holds no certificate"));
        std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("written");
        assert_eq!(mode(&near), "verify-full");
        assert_eq!(mode(&by("postgres://gate@db/gate?sslmode=verify-ca")), "verify-ca");
        for unverified in ["disable", "allow", "prefer", "require"] {
            let fault = by(&format!("postgres://gate@db/gate?sslmode={unverified}")).connect_options();
            assert!(fault.expect_err("refused").to_string().contains("verifies nothing"), "{unverified}");
        }
    }

    #[test]
    fn a_password_comes_from_its_file_alone_and_is_never_told() {
        for url in [
            "postgres://gate:hunter2@db/gate",
            "postgres://gate@db/gate?password=hunter2",
            "hunter2",
            "mysql://gate@db/hunter2",
            "postgres://db/hunter2",
        ] {
            let fault = postgres(url).connect_options().expect_err("refused").to_string();
            assert!(!fault.contains("hunter2"), "{fault}");
        }
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("password");
        let with = PostgresSettings { password_file: Some(file.clone()), ..postgres("postgres://gate@db/gate") };
        assert!(with.connect_options().expect_err("missing").to_string().contains("no such file"));
        private_file::create(&file, b"\n", SECRET).expect("written");
        assert!(with.connect_options().expect_err("empty").to_string().contains("it is empty"));
        std::fs::write(&file, "a/b@c:d%é\r\n").expect("written");
        let url = with.connect_options().expect("good").database_url;
        assert_eq!(url.password(), Some("a%2Fb%40c%3Ad%25%C3%A9"));
        assert!(!format!("{with:?} {}", Database::Postgres(with.clone())).contains("a/b"));
        private_file::replace(&file, b"hunter2", PUBLIC).expect("written");
        let told = with.connect_options().expect_err("anybody may read it").to_string();
        assert!(told.contains("others may read it (mode 0644): `chmod 0600 /") && !told.contains("hunter2"), "{told}");
    }
}
