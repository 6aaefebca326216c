//! What both gateways are given: certificates, a fleet of devices, networks and their countries, a bearer token.
//!
//! Made anew in a temporary directory for every run; nothing of it is worth keeping.

use crate::token::{Signer, USER};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rangegate_benches::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
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

/// A client's certificate and key.
#[derive(Debug)]
pub struct Device {
    pub chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Device {
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    /// Lower-case hex, as nginx's `$ssl_client_fingerprint`.
    pub fn sha1(&self) -> String {
        hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.chain[0]).as_ref())
    }

    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.chain[0])
    }
}

#[derive(Debug)]
pub struct Fixture {
    pub directory: PathBuf,
    pub authority: CertificateDer<'static>,
    /// Ann's, on the list of devices.
    pub known: Device,
    /// Bound to it.
    pub bearer: String,
    /// From the same authority, but on no list.
    pub stranger: Device,
    /// SHA-1 and SHA-256 of certificates on the list that nobody uses, in hex.
    pub others: Vec<(String, String)>,
    /// Networks in CIDR notation and their countries.
    pub networks: Vec<(String, &'static str)>,
    pub signer: Signer,
    issuer: Issuer<'static, KeyPair>,
}

/// Somebody with a device and a token of their own.
#[derive(Debug)]
pub struct Person {
    pub user: String,
    pub device: Device,
    pub bearer: String,
}

impl Fixture {
    /// Writes `ca.pem`, `ca.crl`, `server.pem` and `server.key` into `directory`.
    pub fn make(directory: &Path) -> Result<Self> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "bench authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = authority.self_signed(&key)?;
        let issuer = Issuer::new(authority, key);

        let server_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut server = CertificateParams::new(vec![CONSOLE.to_owned(), PAYROLL.to_owned()])?;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = server.signed_by(&server_key, &issuer)?;

        let revocations = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(3000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        fs::write(directory.join("ca.pem"), certificate.pem())?;
        fs::write(directory.join("ca.crl"), revocations.signed_by(&issuer)?.pem()?)?;
        fs::write(directory.join("server.pem"), server.pem())?;
        fs::write(directory.join("server.key"), server_key.serialize_pem())?;
        fs::set_permissions(directory.join("server.key"), fs::Permissions::from_mode(0o600))?;

        let known = device("ann-laptop", &issuer)?;
        let signer = Signer::new()?;
        Ok(Self {
            directory: directory.to_owned(),
            authority: certificate.der().clone(),
            bearer: signer.bearer(USER, &known.sha256())?,
            known,
            stranger: device("unlisted", &issuer)?,
            others: (0..OTHER_DEVICES).map(other_device).collect(),
            networks: networks(),
            signer,
            issuer,
        })
    }

    /// That many people beside Ann.
    pub fn people(&self, count: usize) -> Result<Vec<Person>> {
        let person = |number| {
            let user = format!("person-{number}@bench.example");
            let device = device(&format!("laptop-{number}"), &self.issuer)?;
            let bearer = self.signer.bearer(&user, &device.sha256())?;
            Ok(Person { user, device, bearer })
        };
        (0..count).map(person).collect()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn device(name: &str, issuer: &Issuer<'_, KeyPair>) -> Result<Device> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut device = CertificateParams::default();
    device.distinguished_name.push(DnType::CommonName, name);
    device.subject_alt_names = vec![SanType::URI(format!("urn:device:{name}").try_into()?)];
    device.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = device.signed_by(&key, issuer)?;
    Ok(Device { chain: vec![certificate.der().clone()], key: key.serialize_der() })
}

fn other_device(number: usize) -> (String, String) {
    let name = format!("device-{number}");
    (hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, name.as_bytes()).as_ref()), hex(&sha256(name.as_bytes())))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
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

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
