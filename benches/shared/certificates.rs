//! An authority, the gateway's certificate and devices' certificates, all P-256 and made anew for every run.

use crate::Result;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber, date_time_ymd,
};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A client's certificate and key.
#[derive(Debug)]
pub struct Device {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Authority {
    pub fn new() -> Result<Self> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "bench authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = authority.self_signed(&key)?;
        Ok(Self { pem: certificate.pem(), certificate: certificate.der().clone(), issuer: Issuer::new(authority, key) })
    }

    /// Writes what a gateway of these hosts needs: `ca.pem`, `ca.crl` that revokes nothing, `server.pem`, `server.key`.
    pub fn write(&self, directory: &Path, hosts: &[&str]) -> Result<()> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut server = CertificateParams::new(hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>())?;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = server.signed_by(&key, &self.issuer)?;
        let revocations = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(3000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        fs::write(directory.join("ca.pem"), &self.pem)?;
        fs::write(directory.join("ca.crl"), revocations.signed_by(&self.issuer)?.pem()?)?;
        fs::write(directory.join("server.pem"), server.pem())?;
        fs::write(directory.join("server.key"), key.serialize_pem())?;
        fs::set_permissions(directory.join("server.key"), fs::Permissions::from_mode(0o600))?;
        Ok(())
    }

    pub fn device(&self, name: &str) -> Result<Device> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut device = CertificateParams::default();
        device.distinguished_name.push(DnType::CommonName, name);
        device.subject_alt_names = vec![SanType::URI(format!("urn:device:{name}").try_into()?)];
        device.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = device.signed_by(&key, &self.issuer)?;
        Ok(Device { chain: vec![certificate.der().clone()], key: key.serialize_der() })
    }

    /// Trusts this authority only, speaks TLS 1.3 only and resumes nothing. Without a device it shows no certificate.
    pub fn client(&self, provider: CryptoProvider, device: Option<&Device>) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut config = match device {
            Some(device) => config.with_client_auth_cert(device.chain.clone(), device.key())?,
            None => config.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl Device {
    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    /// Of the certificate, lower-case hex, as nginx's `$ssl_client_fingerprint`.
    pub fn sha1(&self) -> String {
        hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.chain[0]).as_ref())
    }

    /// Of the certificate.
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.chain[0])
    }
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

/// Lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
