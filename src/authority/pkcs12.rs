//! A key and its certificates as one PKCS#12 file (RFC 7292), for browsers that take nothing else.
//!
//! Second best: the key leaves the place it was made in. Encrypted as OpenSSL 3, NSS and Windows do it: PBES2 with
//! AES-256 for the contents, HMAC-SHA-256 over all.

use super::der::{BMP_STRING, INTEGER, NULL, OCTET_STRING, OID, SET, context, element, integer, sequence};
use super::pbes2::{self, Random};
use aws_lc_rs::digest::{Context, SHA256, digest};
use aws_lc_rs::hmac;
use rustls::pki_types::CertificateDer;
use std::num::NonZeroU32;

/// For both passphrase schemes: what a browser computes while a person waits.
const ROUNDS: NonZeroU32 = NonZeroU32::new(100_000).expect("not zero");

const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x06];
const SHROUDED_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x02];
const CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03];
const X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14];
const LOCAL_KEY_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x15];
const HASH_SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

/// Why no file was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs12Fault {
    #[error("a passphrase for PKCS#12 has at least 8 characters, all of them ASCII: programs disagree about others")]
    Passphrase,
    #[error("there is no certificate to put in")]
    NoCertificate,
    #[error("the system has no randomness to give, or the cipher cannot be set up")]
    Cryptography,
}

impl From<aws_lc_rs::error::Unspecified> for Pkcs12Fault {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Cryptography
    }
}

/// The file's bytes: `key` in PKCS#8, the certificate that belongs to it first in `chain`, shown as `name`.
///
/// # Errors
/// The passphrase cannot be used, or the system fails.
pub fn pack(key: &[u8], chain: &[CertificateDer<'_>], name: &str, passphrase: &str) -> Result<Vec<u8>, Pkcs12Fault> {
    check_passphrase(passphrase)?;
    let leaf = chain.first().ok_or(Pkcs12Fault::NoCertificate)?;
    let attributes = attributes(name, digest(&SHA256, leaf).as_ref());
    let bags: Vec<_> = chain
        .iter()
        .enumerate()
        .map(|(at, der)| certificate_bag(der, if at == 0 { &attributes } else { &[] }))
        .collect();
    let certificates = sequence(&bags.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (algorithm, text) = pbes2::encrypt(key, passphrase.as_bytes(), ROUNDS, &Random::new()?)?;
    let shrouded = sequence(&[&algorithm, &element(OCTET_STRING, &[&text])]);
    let key_bag = sequence(&[&element(OID, &[SHROUDED_KEY]), &element(context(0), &[&shrouded]), &attributes]);
    let safe = sequence(&[&encrypted(&certificates, passphrase)?, &data(&sequence(&[&key_bag]))]);
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt)?;
    let version = element(INTEGER, &[&[3]]);
    Ok(sequence(&[&version, &data(&safe), &authentication(&safe, passphrase, &salt)]))
}

/// Whether [`pack`] will take it: asked before anything is done that cannot be undone.
///
/// # Errors
/// It is too short or not ASCII.
pub fn check_passphrase(passphrase: &str) -> Result<(), Pkcs12Fault> {
    if passphrase.len() < 8 || !passphrase.is_ascii() { Err(Pkcs12Fault::Passphrase) } else { Ok(()) }
}

/// `ContentInfo` of bytes in the clear.
fn data(content: &[u8]) -> Vec<u8> {
    sequence(&[&element(OID, &[DATA]), &element(context(0), &[&element(OCTET_STRING, &[content])])])
}

/// `ContentInfo` of bytes under the passphrase (RFC 5652 section 8).
fn encrypted(content: &[u8], passphrase: &str) -> Result<Vec<u8>, Pkcs12Fault> {
    let (algorithm, text) = pbes2::encrypt(content, passphrase.as_bytes(), ROUNDS, &Random::new()?)?;
    // The text is `[0]` in place of its own tag, primitive.
    let info = sequence(&[&element(OID, &[DATA]), &algorithm, &element(0x80, &[&text])]);
    let content = sequence(&[&integer(0), &info]);
    Ok(sequence(&[&element(OID, &[ENCRYPTED_DATA]), &element(context(0), &[&content])]))
}

fn certificate_bag(der: &[u8], attributes: &[u8]) -> Vec<u8> {
    let value = element(context(0), &[&element(OCTET_STRING, &[der])]);
    let bag = element(context(0), &[&sequence(&[&element(OID, &[X509]), &value])]);
    sequence(&[&element(OID, &[CERTIFICATE]), &bag, attributes])
}

/// The name people see, and what ties the key to its certificate. A set in DER is sorted.
fn attributes(name: &str, key_id: &[u8]) -> Vec<u8> {
    let utf16: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let attribute = |kind: &[u8], value: Vec<u8>| sequence(&[&element(OID, &[kind]), &element(SET, &[&value])]);
    let mut both = [
        attribute(FRIENDLY_NAME, element(BMP_STRING, &[&utf16])),
        attribute(LOCAL_KEY_ID, element(OCTET_STRING, &[key_id])),
    ];
    both.sort();
    element(SET, &both.each_ref().map(Vec::as_slice))
}

/// `MacData`.
fn authentication(safe: &[u8], passphrase: &str, salt: &[u8; 16]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &mac_key(passphrase, salt));
    let mac = hmac::sign(&key, safe);
    let hash = sequence(&[&element(OID, &[HASH_SHA256]), &element(NULL, &[])]);
    let info = sequence(&[&hash, &element(OCTET_STRING, &[mac.as_ref()])]);
    sequence(&[&info, &element(OCTET_STRING, &[salt]), &integer(ROUNDS.get())])
}

/// RFC 7292 appendix B.2 for 32 bytes of SHA-256: one block, so nothing is carried over.
fn mac_key(passphrase: &str, salt: &[u8; 16]) -> Vec<u8> {
    const BLOCK: usize = 64;
    const MAC: u8 = 3;
    let password: Vec<u8> = passphrase.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect();
    let filled = |bytes: &[u8]| {
        let whole = bytes.len().div_ceil(BLOCK) * BLOCK;
        bytes.iter().copied().cycle().take(whole).collect::<Vec<u8>>()
    };
    let mut first = Context::new(&SHA256);
    for part in [[MAC; BLOCK].as_slice(), &filled(salt), &filled(&password)] {
        first.update(part);
    }
    let mut hash = first.finish().as_ref().to_vec();
    for _ in 1..ROUNDS.get() {
        hash = digest(&SHA256, &hash).as_ref().to_vec();
    }
    hash
}
