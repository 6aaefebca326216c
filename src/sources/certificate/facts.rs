//! What a certificate says of itself.

use super::names;
use crate::evidence::{Certificate, Moment};
use crate::store::Digest;
use crate::store::digest::hex;
use std::net::IpAddr;
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// Longest certificate and most names looked at: they are copied into evidence and audit records.
const MAX_DER: usize = 32 * 1024;
const MAX_SANS: usize = 100;

/// A certificate's own words. Nothing here is verified.
pub(super) struct Read {
    pub(super) certificate: Certificate,
    /// It says that it is a certificate authority.
    pub(super) authority: bool,
    /// Its key may sign a handshake: no key usage, or `digitalSignature` (RFC 8446 section 4.4.2.2).
    pub(super) may_sign: bool,
}

/// None for whatever is not one whole, well-formed certificate.
pub(super) fn read(der: &[u8]) -> Option<Read> {
    if der.len() > MAX_DER {
        return None;
    }
    let (rest, parsed) = X509Certificate::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let authority = parsed.basic_constraints().ok()?.is_some_and(|extension| extension.value.ca);
    let may_sign = parsed.key_usage().ok()?.is_none_or(|extension| extension.value.digital_signature());
    Some(Read {
        certificate: Certificate {
            sha256: Digest::of(der).hex().into(),
            spki_sha256: Digest::of(parsed.public_key().raw).hex().into(),
            serial: serial(parsed.raw_serial()),
            subject: names::text(parsed.subject()).into(),
            issuer: names::text(parsed.issuer()).into(),
            sans: sans(&parsed)?,
            not_before: moment(parsed.validity().not_before),
            not_after: moment(parsed.validity().not_after),
            class: None,
        },
        authority,
        may_sign,
    })
}

/// The serial number alone, for a certificate that is going to be refused.
pub(super) fn read_serial(der: &[u8]) -> Option<Arc<str>> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    Some(serial(parsed.raw_serial()))
}

fn serial(bytes: &[u8]) -> Arc<str> {
    let digits = hex(bytes);
    match digits.trim_start_matches('0') {
        "" => "0".into(),
        digits => digits.into(),
    }
}

fn sans(parsed: &X509Certificate<'_>) -> Option<Vec<Arc<str>>> {
    let Some(extension) = parsed.subject_alternative_name().ok()? else { return Some(Vec::new()) };
    let names = &extension.value.general_names;
    if names.len() > MAX_SANS {
        return None;
    }
    let mut sans = Vec::with_capacity(names.len());
    for name in names {
        match name {
            GeneralName::DNSName(name) => sans.push(plain("dns:", name)?),
            GeneralName::URI(uri) => sans.push(plain("uri:", uri)?),
            GeneralName::RFC822Name(address) => sans.push(plain("email:", address)?),
            GeneralName::IPAddress(bytes) => sans.push(format!("ip:{}", address(bytes)?).into()),
            GeneralName::Invalid(..) => return None,
            // Kinds that policies and the registry have no word for.
            _ => {}
        }
    }
    Some(sans)
}

/// Names without control characters: they are compared, shown and logged.
fn plain(kind: &str, name: &str) -> Option<Arc<str>> {
    (!name.chars().any(char::is_control)).then(|| format!("{kind}{name}").into())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(Into::into)
}

pub(super) fn moment(time: ASN1Time) -> Moment {
    Moment(time.timestamp().saturating_mul(1000))
}
