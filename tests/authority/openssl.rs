//! `openssl` as a subprocess, in a directory of its own.

use rangegate::authority::{Authority, Curve, Made, make};
use rangegate::evidence::Moment;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;

pub const DAY: Duration = Duration::from_secs(86_400);

pub struct Bench(TempDir);

impl Bench {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn directory(&self) -> &Path {
        self.0.path()
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("a file")
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        crate::pki::file(self.directory(), name, contents)
    }

    /// Runs it here, whatever becomes of it.
    pub fn try_openssl(&self, line: &str) -> Output {
        let mut command = Command::new("openssl");
        command.args(line.split_whitespace()).current_dir(self.directory());
        // Nobody's own configuration counts.
        command.env("OPENSSL_CONF", "/dev/null").env("LC_ALL", "C");
        command.output().expect("openssl is installed")
    }

    /// What it printed, on both channels.
    pub fn openssl(&self, line: &str) -> String {
        let output = self.try_openssl(line);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(output.status.success(), "openssl {line}\n{text}");
        text
    }

    /// A key and a request signed with it, PEM.
    pub fn request(&self, key: &str, options: &str) -> Vec<u8> {
        self.openssl(&format!("genpkey {key} -out device.key"));
        self.openssl(&format!("req -new -key device.key -subj /O=Whoever/CN=whatever -out device.csr {options}"));
        self.read("device.csr")
    }
}

pub const P256: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";

/// A new authority and what it was made of.
pub fn authority(now: Moment) -> (Authority, Made) {
    let made = make("Example Corp devices", Curve::P256, DAY * 365, now).expect("made");
    (assemble(&made), made)
}

pub fn assemble(made: &Made) -> Authority {
    let key = rcgen::KeyPair::try_from(made.key.serialized_der()).expect("a key");
    Authority::assemble(made.certificate_pem.as_bytes(), key, DAY * 7).expect("assembled")
}
