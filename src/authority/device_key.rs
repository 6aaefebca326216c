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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::der::{BIT_STRING, INTEGER, element, integer, sequence};

    fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
        sequence(&[&sequence(&[algorithm]), &element(BIT_STRING, &[&[0], key])])
    }

    fn rsa(modulus: &[u8], exponent: u32) -> Result<KeyKind, RequestFault> {
        let sign: &[u8] = if modulus.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
        let key = sequence(&[&element(INTEGER, &[sign, modulus]), &integer(exponent)]);
        DeviceKey::judge(&spki(alg_id::RSA_ENCRYPTION.as_ref(), &key)).map(|key| key.kind())
    }

    /// No key at all, but a number that nothing here finds fault with.
    fn innocent(bytes: usize) -> Vec<u8> {
        let mut modulus = vec![0xff; bytes];
        while roca::has_small_factor(&modulus) || roca::is_roca(&modulus) {
            let end = modulus.len() - 1;
            modulus[end] = modulus[end].wrapping_sub(2);
        }
        modulus
    }

    #[test]
    fn rsa_is_judged_by_length_exponent_and_known_weakness() {
        assert_eq!(rsa(&innocent(384), 65_537), Ok(KeyKind::Rsa));
        assert_eq!(rsa(&innocent(512), 65_537), Ok(KeyKind::Rsa));
        for bytes in [1, 64, 128, 256, 383] {
            assert_eq!(rsa(&innocent(bytes), 65_537), Err(RequestFault::RsaShort), "{bytes}");
        }
        // 3071 bits in 384 bytes.
        let mut just_short = innocent(384);
        just_short[0] = 0x7f;
        assert_eq!(rsa(&just_short, 65_537), Err(RequestFault::RsaShort));
        assert_eq!(rsa(&[&[1], innocent(512).as_slice()].concat(), 65_537), Err(RequestFault::RsaLong));
        for exponent in [0, 1, 3, 17, 65_536, 65_539, u32::MAX] {
            assert_eq!(rsa(&innocent(384), exponent), Err(RequestFault::RsaExponent), "{exponent}");
        }
        let mut even = innocent(384);
        even[383] &= 0xfe;
        assert_eq!(rsa(&even, 65_537), Err(RequestFault::RsaKnownWeak));
        assert_eq!(rsa(&[], 65_537), Err(RequestFault::Malformed));
    }

    #[test]
    fn points_are_whole_and_uncompressed() {
        let judge = |algorithm: &[u8], key: &[u8]| DeviceKey::judge(&spki(algorithm, key)).map(|key| key.kind());
        let point = |first: u8, length: usize| [&[first], vec![7; length].as_slice()].concat();
        let (p256, p384) = (alg_id::ECDSA_P256, alg_id::ECDSA_P384);
        assert_eq!(judge(&p256, &point(4, 64)), Ok(KeyKind::P256));
        assert_eq!(judge(&p384, &point(4, 96)), Ok(KeyKind::P384));
        for bad in [point(2, 32), point(3, 32), point(4, 63), point(4, 96), point(6, 64), vec![0], vec![]] {
            assert_eq!(judge(&p256, &bad), Err(RequestFault::Point), "{bad:x?}");
        }
        assert_eq!(judge(&alg_id::ED25519, &[7; 32]), Ok(KeyKind::Ed25519));
        assert_eq!(judge(&alg_id::ED25519, &[7; 31]), Err(RequestFault::Malformed));
        for curve in [alg_id::ECDSA_P256K1, alg_id::ECDSA_P521] {
            assert_eq!(judge(&curve, &point(4, 64)), Err(RequestFault::Curve));
        }
        assert_eq!(judge(&alg_id::ED448, &[7; 57]), Err(RequestFault::KeyKind));
        // Parameters where none belong.
        let odd = [alg_id::ED25519.as_ref(), &[5, 0]].concat();
        assert_eq!(judge(&odd, &[7; 32]), Err(RequestFault::KeyKind));
    }
}
