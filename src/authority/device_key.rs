//! The public key of a device: all that is ever taken from what a device sends.

use super::der::{OID, Reader, SEQUENCE};
use super::request::RequestFault;
use super::roca;
use crate::store::Digest;
use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm,
};
use rustls::pki_types::alg_id;

/// Shorter moduli are refused: 2048 bits are worth 112 bits of work, which is below what every other key here is
/// worth (NIST SP 800-57 part 1, table 2). Longer ones cost the gateway at each handshake and add nothing.
const RSA_BITS: std::ops::RangeInclusive<usize> = 3072..=4096;

/// The only public exponent: what every key maker of the last twenty years uses. Anything else is old or made to break.
const RSA_EXPONENT: u32 = 65_537;

/// `id-ecPublicKey` (RFC 5480), with its tag.
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// What kinds of key a device may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    P256,
    P384,
    Ed25519,
    Rsa,
}

/// A public key that is good enough, and whose private half somebody proved to hold: [`super::request::read`] is the
/// only maker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceKey {
    kind: KeyKind,
    bytes: Vec<u8>,
    spki_sha256: Digest,
}

impl DeviceKey {
    /// Judges a `SubjectPublicKeyInfo` (RFC 5280 section 4.1), the element with its tag.
    pub(super) fn judge(spki: &[u8]) -> Result<Self, RequestFault> {
        let malformed = RequestFault::Malformed;
        let mut outer = Reader::new(spki);
        let mut inner = outer.inside(SEQUENCE).filter(|_| outer.is_done()).ok_or(malformed)?;
        let algorithm = inner.content(SEQUENCE).ok_or(malformed)?;
        let bytes = inner.bits().filter(|_| inner.is_done()).ok_or(malformed)?;
        let kind = kind(algorithm)?;
        match kind {
            KeyKind::P256 => point(bytes, 32)?,
            KeyKind::P384 => point(bytes, 48)?,
            KeyKind::Ed25519 if bytes.len() != 32 => return Err(malformed),
            KeyKind::Ed25519 => {}
            KeyKind::Rsa => modulus(bytes)?,
        }
        Ok(Self { kind, bytes: bytes.to_vec(), spki_sha256: Digest::of(spki) })
    }

    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// SHA-256 of the SubjectPublicKeyInfo: what the registry knows the key by.
    pub const fn digest(&self) -> Digest {
        self.spki_sha256
    }
}

impl PublicKeyData for DeviceKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Says how the key is written down; what it may sign with is not restricted by it.
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.kind {
            KeyKind::P256 => &PKCS_ECDSA_P256_SHA256,
            KeyKind::P384 => &PKCS_ECDSA_P384_SHA384,
            KeyKind::Ed25519 => &PKCS_ED25519,
            KeyKind::Rsa => &PKCS_RSA_SHA256,
        }
    }
}

/// The algorithm is compared byte by byte, parameters included: what is written into the certificate is then exactly
/// what was judged.
fn kind(algorithm: &[u8]) -> Result<KeyKind, RequestFault> {
    let known = [
        (alg_id::ECDSA_P256, KeyKind::P256),
        (alg_id::ECDSA_P384, KeyKind::P384),
        (alg_id::ED25519, KeyKind::Ed25519),
        (alg_id::RSA_ENCRYPTION, KeyKind::Rsa),
    ];
    match known.iter().find(|(id, _)| id.as_ref() == algorithm) {
        Some((_, kind)) => Ok(*kind),
        None if algorithm.starts_with(EC_PUBLIC_KEY) => Err(RequestFault::Curve),
        None if Reader::new(algorithm).content(OID).is_some() => Err(RequestFault::KeyKind),
        None => Err(RequestFault::Malformed),
    }
}

/// Uncompressed, so that one key has one digest. Whether it lies on the curve the signature shows.
fn point(bytes: &[u8], coordinate: usize) -> Result<(), RequestFault> {
    let whole = bytes.first() == Some(&4) && bytes.len() == 1 + 2 * coordinate;
    if whole { Ok(()) } else { Err(RequestFault::Point) }
}

/// `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn modulus(bytes: &[u8]) -> Result<(), RequestFault> {
    let malformed = RequestFault::Malformed;
    let mut outer = Reader::new(bytes);
    let mut inner = outer.inside(SEQUENCE).filter(|_| outer.is_done()).ok_or(malformed)?;
    let modulus = inner.digits().ok_or(malformed)?;
    let exponent = inner.digits().filter(|_| inner.is_done()).ok_or(malformed)?;
    let first = modulus.first().ok_or(malformed)?;
    let bits = modulus.len() * 8 - first.leading_zeros() as usize;
    if bits < *RSA_BITS.start() {
        return Err(RequestFault::RsaShort);
    }
    if bits > *RSA_BITS.end() {
        return Err(RequestFault::RsaLong);
    }
    let exponent = exponent.iter().fold(0u64, |number, digit| number.saturating_mul(256) + u64::from(*digit));
    if exponent != u64::from(RSA_EXPONENT) {
        return Err(RequestFault::RsaExponent);
    }
    if roca::has_small_factor(modulus) || roca::is_roca(modulus) {
        return Err(RequestFault::RsaKnownWeak);
    }
    Ok(())
}
