//! What both gateways are given: certificates, a fleet of devices, networks and their countries, a bearer token.
//!
//! Made anew in a temporary directory for every run; nothing of it is worth keeping.

use crate::token::{Signer, USER};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rangegate_benches::Result;
use rangegate_benches::certificates::{Authority, Device, hex, sha256};
use std::path::{Path, PathBuf};

/// The host whose resource asks for a device, a place and a near client.
pub const CONSOLE: &str = "console.bench.example";
/// The host whose resource asks for a bound, signed-in person too.
pub const PAYROLL: &str = "payroll.bench.example";
/// What `GET /kib` answers.
pub const BODY: usize = 1024;
/// Registered beside the one in use.
const OTHER_DEVICES: usize = 999;
/// Beside the one the clients come from.
const OTHER_NETWORKS: u32 = 4_000;

#[derive(Debug)]
pub struct Fixture {
    pub directory: PathBuf,
    pub authority: Authority,
    /// On the list of devices.
    pub ann: Person,
    /// From the same authority, but on no list.
    pub stranger: Device,
    /// From another authority.
    pub foreign: Device,
    /// SHA-1 and SHA-256 of certificates on the list that nobody uses, in hex.
    pub others: Vec<(String, String)>,
    /// Networks in CIDR notation and their countries.
    pub networks: Vec<(String, &'static str)>,
    pub signer: Signer,
}

/// Somebody's device and a token that is bound to it.
#[derive(Debug)]
pub struct Person {
    pub device: Device,
    pub bearer: String,
}

impl Fixture {
    /// Writes `ca.pem`, `ca.crl`, `server.pem` and `server.key` into `directory`.
    pub fn make(directory: &Path) -> Result<Self> {
        let authority = Authority::new()?;
        authority.write(directory, &[CONSOLE, PAYROLL])?;
        let device = authority.device("ann-laptop")?;
        let signer = Signer::new()?;
        Ok(Self {
            directory: directory.to_owned(),
            ann: Person { bearer: signer.bearer(USER, &device.sha256())?, device },
            stranger: authority.device("unlisted")?,
            foreign: Authority::new()?.device("ann-laptop")?,
            authority,
            others: (0..OTHER_DEVICES).map(other_device).collect(),
            networks: networks(),
            signer,
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn other_device(number: usize) -> (String, String) {
    let name = format!("device-{number}");
    (hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, name.as_bytes()).as_ref()), hex(&sha256(name.as_bytes())))
}

/// Loopback lies in DE. The others are spread over 10.0.0.0 to 13.255.255.255 in /18s, one country after the other.
fn networks() -> Vec<(String, &'static str)> {
    const COUNTRIES: [&str; 8] = ["AT", "BE", "CH", "CN", "DE", "FR", "RU", "US"];
    let mut networks = vec![("127.0.0.0/8".to_owned(), "DE")];
    for (number, country) in (0..OTHER_NETWORKS).zip(COUNTRIES.iter().cycle()) {
        let address = std::net::Ipv4Addr::from_bits((10 << 24) + (number << 14));
        networks.push((format!("{address}/18"), country));
    }
    networks
}
