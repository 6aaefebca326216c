//! A new authority: a key of its own and a root certificate for it.

use super::issue::date;
use crate::evidence::Moment;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, Error, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SerialNumber,
};
use std::time::Duration;

/// What kind of key a new authority gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Curve {
    #[default]
    P256,
    P384,
}

/// A new authority, before it is written down.
pub struct Made {
    pub key: KeyPair,
    pub certificate_pem: String,
}

/// Makes a root that may sign certificates of devices and revocation lists, and no further authorities.
///
/// # Errors
/// The system has no randomness to give, or `name` cannot stand in a certificate.
pub fn make(name: &str, curve: Curve, lifetime: Duration, now: Moment) -> Result<Made, Error> {
    let key = KeyPair::generate_for(match curve {
        Curve::P256 => &PKCS_ECDSA_P256_SHA256,
        Curve::P384 => &PKCS_ECDSA_P384_SHA384,
    })?;
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| Error::RingUnspecified)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date(now.plus_millis(-60_000));
    params.not_after = date(now.plus_millis(i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX)));
    let certificate_pem = params.self_signed(&key)?.pem();
    Ok(Made { key, certificate_pem })
}
