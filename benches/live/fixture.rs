//! What the gateway is given: certificates of everybody, a policy, settings. Made anew for every run.

use aws_lc_rs::digest::{SHA256, digest};
use rangegate_benches::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

pub const HOST: &str = "chat.bench.example";

/// One person's device.
pub struct Device {
    pub owner: String,
    /// SHA-256 of the certificate, lower-case hex.
    pub fingerprint: String,
    pub connector: TlsConnector,
}

/// Writes the gateway's files into `directory`; the devices are not registered anywhere yet.
pub fn make(directory: &Path, people: usize) -> Result<Vec<Device>> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "bench authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = authority.self_signed(&key)?;
    let issuer = Issuer::new(authority, key);
    let server_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut server = CertificateParams::new(vec![HOST.to_owned()])?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(3000, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    fs::write(directory.join("ca.pem"), certificate.pem())?;
    fs::write(directory.join("ca.crl"), list.signed_by(&issuer)?.pem()?)?;
    fs::write(directory.join("server.pem"), server.signed_by(&server_key, &issuer)?.pem())?;
    fs::write(directory.join("server.key"), server_key.serialize_pem())?;
    fs::set_permissions(directory.join("server.key"), fs::Permissions::from_mode(0o600))?;
    (0..people).map(|number| device(number, certificate.der(), &issuer)).collect()
}

fn device(number: usize, authority: &CertificateDer<'static>, issuer: &Issuer<'_, KeyPair>) -> Result<Device> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut wanted = CertificateParams::default();
    wanted.distinguished_name.push(DnType::CommonName, format!("laptop-{number}"));
    wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = wanted.signed_by(&key, issuer)?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    let sum = digest(&SHA256, certificate.der());
    let fingerprint = sum.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let connector = TlsConnector::from(Arc::new(config));
    Ok(Device { owner: format!("person-{number}@bench.example"), fingerprint, connector })
}

/// All but the store, the socket and the number of connections is the default. The rotated audit file is small.
pub fn settings(address: SocketAddr, operations: SocketAddr) -> String {
    format!(
        r#"
[[listener]]
address = "{address}"
client-certificates = "requested"
[[listener.certificate]]
chain = "server.pem"
key = "server.key"
[listener.trust]
authorities = ["ca.pem"]
revocation-lists = ["ca.crl"]
[limits]
connections-per-address = 8192
drain-timeout = "1s"
[store]
path = "store.db"
[control]
socket = "rangegate.sock"
[audit]
path = "audit.jsonl"
rotate-size = "64MiB"
keep = 1
[portal]
organisation = "Bench"
[operations]
address = "{operations}"
"#
    )
}

/// What each exchange is decided on. `version` is told by a comment only: everything has to be decided again.
pub fn policy(upstream: SocketAddr, version: u32) -> String {
    format!(
        r#"# {version}
[[resource]]
id = "chat"
hosts = ["{HOST}"]
upstream = "http://{upstream}"

  [[resource.require]]
  id = "company-device"
  that = {{ device = {{ known = true, class = ["corporate"] }} }}
  [[resource.require]]
  id = "local"
  that = {{ cidr = "127.0.0.0/8" }}
  [[resource.require]]
  id = "near"
  that = {{ rtt = {{ below = "10s" }} }}
  [[resource.require]]
  id = "not-too-often"
  that = {{ rate = {{ limit = 100000000, per = "1s", by = "device" }} }}
"#
    )
}
