//! The authority's key at rest: PKCS#8 under a passphrase, as `openssl pkcs8` reads it, for its owner alone.

use super::der::{OCTET_STRING, Reader, SEQUENCE, element, sequence};
use super::pbes2::{self, Random};
use super::pem;
use crate::store::private_file::{self, Closed, SECRET};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::path::Path;

const LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// Rounds of PBKDF2: a third of a second once at start, and for whoever guesses a passphrase, at each guess.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");

/// The shortest passphrase that is taken, bytes. The rounds do not make up for less.
const SHORTEST: usize = 8;

/// What opens the key file. Never shown.
pub struct Passphrase(Vec<u8>);

impl Passphrase {
    /// # Errors
    /// It is shorter than eight bytes.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() < SHORTEST {
            return Err(format!("a passphrase has at least {SHORTEST} characters"));
        }
        Ok(Self(text.as_bytes().to_vec()))
    }

    /// The first line of a file that only its owner and group may read: a systemd credential, say.
    ///
    /// # Errors
    /// As a sentence about the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let at = |why: String| format!("the passphrase file `{}`: {why}", path.display());
        let contents = private_file::read_closed(path, Closed::Group).map_err(at)?;
        let text = std::str::from_utf8(&contents).map_err(|_| at("it is no text".to_owned()))?;
        Self::new(text.lines().next().unwrap_or_default()).map_err(at)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// Why a key file cannot be used. Nothing of its content is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileFault {
    #[error("{0}")]
    File(String),
    #[error("expected a PEM section `{LABEL}` (PKCS#8): {0}")]
    Pem(pem::PemFault),
    #[error(
        "it cannot be opened: the passphrase is wrong, or the file is damaged, or not encrypted by PBKDF2 with \
         HMAC-SHA-256 and AES-256-CBC"
    )]
    Closed,
    #[error("the key in it is of another kind than P-256 or P-384")]
    Kind,
}

/// The text of a key file.
///
/// # Errors
/// The system has no randomness to give.
pub fn seal(key: &KeyPair, passphrase: &Passphrase) -> io::Result<String> {
    let random = Random::new().map_err(|_| io::Error::other("no randomness"))?;
    let (algorithm, text) = pbes2::encrypt(key.serialized_der(), passphrase.bytes(), ROUNDS, &random)
        .map_err(|_| io::Error::other("the cipher cannot be set up"))?;
    Ok(pem::encode(LABEL, &sequence(&[&algorithm, &element(OCTET_STRING, &[&text])])))
}

/// Writes a new key file. One that is there is not overwritten.
///
/// # Errors
/// It is there, or the directory cannot be written.
pub fn create(path: &Path, key: &KeyPair, passphrase: &Passphrase) -> io::Result<()> {
    private_file::create(path, seal(key, passphrase)?.as_bytes(), SECRET)
}

/// Reads a key file that only its owner may read.
///
/// # Errors
/// It is open to others, no such file, or the passphrase does not open it.
pub fn read(path: &Path, passphrase: &Passphrase) -> Result<KeyPair, KeyFileFault> {
    let text = private_file::read_closed(path, Closed::Owner).map_err(KeyFileFault::File)?;
    open(&text, passphrase)
}

/// Whether the file is one that `read` could open with the right passphrase, as far as can be told without.
///
/// # Errors
/// It is open to others, no such file, or no encrypted key.
pub fn probe(path: &Path) -> Result<(), KeyFileFault> {
    let text = private_file::read_closed(path, Closed::Owner).map_err(KeyFileFault::File)?;
    pem::decode(&text, &[LABEL]).map(drop).map_err(KeyFileFault::Pem)
}

fn open(text: &[u8], passphrase: &Passphrase) -> Result<KeyPair, KeyFileFault> {
    let der = pem::decode(text, &[LABEL]).map_err(KeyFileFault::Pem)?;
    let key = decrypt(&der, passphrase).ok_or(KeyFileFault::Closed)?;
    if ![&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384].contains(&key.algorithm()) {
        return Err(KeyFileFault::Kind);
    }
    Ok(key)
}

fn decrypt(der: &[u8], passphrase: &Passphrase) -> Option<KeyPair> {
    let mut outer = Reader::new(der);
    let mut info = outer.inside(SEQUENCE).filter(|_| outer.is_done())?;
    let mut algorithm = Reader::new(info.any()?.whole);
    let text = info.content(OCTET_STRING)?;
    let plain = pbes2::decrypt(&mut algorithm, text, passphrase.bytes())?;
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(plain)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_with_its_passphrase_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ca.key");
        let right = Passphrase::new("correct horse").expect("long enough");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
        create(&path, &key, &right).expect("written");
        assert!(create(&path, &key, &right).is_err(), "there already");
        assert_eq!(read(&path, &right).expect("opened").serialized_der(), key.serialized_der());
        let wrong = Passphrase::new("correct house").expect("long enough");
        assert_eq!(read(&path, &wrong).expect_err("another"), KeyFileFault::Closed);
        assert_eq!(
            open(key.serialize_pem().as_bytes(), &right).expect_err("in the clear"),
            KeyFileFault::Pem(pem::PemFault::Label("PRIVATE KEY".into()))
        );
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        assert_eq!(
            open(seal(&other, &right).expect("sealed").as_bytes(), &right).expect_err("another"),
            KeyFileFault::Kind
        );
        assert!(Passphrase::new("short").is_err());
        assert_eq!(format!("{right:?}"), "Passphrase(…)");
    }

    #[test]
    fn a_passphrase_is_the_first_line_of_a_closed_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("passphrase");
        private_file::create(&path, b"correct horse\r\nsecond line\n", 0o640).expect("written");
        assert_eq!(Passphrase::read(&path).expect("read").bytes(), b"correct horse");
        private_file::replace(&path, b"correct horse", 0o644).expect("written");
        assert!(Passphrase::read(&path).expect_err("open").contains("(mode 0644)"));
        private_file::replace(&path, b"\n", 0o600).expect("written");
        assert!(Passphrase::read(&path).expect_err("empty").contains("at least 8"));
    }
}
