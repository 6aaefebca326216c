//! A throw-away certificate authority: it vouches for the gateway, for laptops, and for one laptop no longer.

use crate::evidence::Moment;
use crate::store::Digest;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, Error,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData as _, RevokedCertParams,
    SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

const HOUR: i64 = 3_600_000;
/// How long everything here is good for. Nobody keeps a demo running that long.
const LIFETIME: i64 = 30 * 24 * HOUR;

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    now: Moment,
}

/// A certificate and its key.
#[derive(Debug)]
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    pub certificate_pem: String,
    key: KeyPair,
    /// Its authority's number for it; 0 when that is another authority.
    serial: u64,
}

impl Authority {
    /// # Errors
    /// The system has no randomness to give.
    pub fn new(now: Moment) -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Rangegate demo");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = validity(now);
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?, now })
    }

    pub fn certificate(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn server(&self, names: &[&str], serial: u64) -> Result<Identity, Error> {
        let names = names.iter().map(|name| Ok(SanType::DnsName((*name).try_into()?)));
        let names = names.collect::<Result<_, Error>>()?;
        self.issue("gateway", names, ExtendedKeyUsagePurpose::ServerAuth, serial)
    }

    pub fn device(&self, name: &str, serial: u64) -> Result<Identity, Error> {
        let uri = format!("device:{name}");
        let names = vec![SanType::URI(uri.as_str().try_into()?)];
        self.issue(name, names, ExtendedKeyUsagePurpose::ClientAuth, serial)
    }

    /// The revocation list, PEM.
    pub fn revoking(&self, revoked: &[&Identity]) -> Result<String, Error> {
        let (this_update, next_update) = validity(self.now);
        let revoked_certs = revoked.iter().map(|identity| RevokedCertParams {
            serial_number: SerialNumber::from(identity.serial),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer)?.pem()
    }

    fn issue(
        &self,
        name: &str,
        names: Vec<SanType>,
        purpose: ExtendedKeyUsagePurpose,
        serial: u64,
    ) -> Result<Identity, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(serial.into());
        params.subject_alt_names = names;
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = validity(self.now);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate: certificate.der().clone(), certificate_pem: certificate.pem(), key, serial })
    }
}

impl Identity {
    /// Of a certificate that somebody else issued: the first of `pem`.
    ///
    /// # Errors
    /// `pem` holds no certificate.
    pub fn issued(pem: &str, key: KeyPair) -> Result<Self, rustls::pki_types::pem::Error> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())?;
        Ok(Self { certificate, certificate_pem: pem.to_owned(), key, serial: 0 })
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// What the device registry calls it by: SHA-256 of the public key, hex.
    pub fn key_digest(&self) -> String {
        Digest::of(&self.key.subject_public_key_info()).hex()
    }

    /// What a token is bound by: `x5t#S256` (RFC 8705 section 3.1).
    pub fn thumbprint(&self) -> String {
        BASE64URL.encode(digest(&SHA256, &self.certificate))
    }
}

/// From an hour ago, for clocks that differ.
fn validity(now: Moment) -> (OffsetDateTime, OffsetDateTime) {
    let date = |moment: Moment| OffsetDateTime::from_unix_timestamp(moment.millis() / 1000);
    let from = date(now.plus_millis(-HOUR)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let until = date(now.plus_millis(LIFETIME)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    (from, until)
}
