//! Encryption under a passphrase as PKCS#5 has it (RFC 8018): PBKDF2 with HMAC-SHA-256, then AES-256-CBC.
//!
//! One scheme is written and only that scheme is read, so that nobody can talk a reader into a weaker one. OpenSSL 3,
//! NSS and the systems' key stores have the same as their default.

use super::der::{NULL, OCTET_STRING, OID, Reader, SEQUENCE, element, integer, sequence};
use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{iv::FixedLength, pbkdf2};
use std::num::NonZeroU32;

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];

/// What a reader is willing to compute: some ten seconds.
const MOST_ROUNDS: u32 = 20_000_000;

/// Salt and initialization vector: 32 random bytes, never used twice.
pub(super) struct Random(pub(super) [u8; 32]);

impl Random {
    /// # Errors
    /// The system has no randomness to give.
    pub(super) fn new() -> Result<Self, Unspecified> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

/// The `AlgorithmIdentifier` that tells how to decrypt, and the ciphertext.
///
/// # Errors
/// The cipher cannot be set up: never seen.
pub(super) fn encrypt(
    plain: &[u8],
    passphrase: &[u8],
    rounds: NonZeroU32,
    random: &Random,
) -> Result<(Vec<u8>, Vec<u8>), Unspecified> {
    let (salt, iv) = random.0.split_at(16);
    let key = UnboundCipherKey::new(&AES_256, &derive(passphrase, salt, rounds))?;
    let mut text = plain.to_vec();
    let context = EncryptionContext::Iv128(FixedLength::try_from(iv)?);
    PaddedBlockEncryptingKey::cbc_pkcs7(key)?.less_safe_encrypt(&mut text, context)?;
    Ok((algorithm(salt, rounds, iv), text))
}

/// None: another scheme, a wrong passphrase, or damaged. Nobody can tell the last two apart.
pub(super) fn decrypt(algorithm: &mut Reader<'_>, text: &[u8], passphrase: &[u8]) -> Option<Vec<u8>> {
    let (salt, rounds, iv) = parameters(algorithm)?;
    let key = UnboundCipherKey::new(&AES_256, &derive(passphrase, salt, rounds)).ok()?;
    let mut plain = text.to_vec();
    let context = DecryptionContext::Iv128(FixedLength::try_from(iv).ok()?);
    let plain = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?.decrypt(&mut plain, context).ok()?;
    Some(plain.to_vec())
}

fn derive(passphrase: &[u8], salt: &[u8], rounds: NonZeroU32) -> [u8; 32] {
    let mut key = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, passphrase, &mut key);
    key
}

fn algorithm(salt: &[u8], rounds: NonZeroU32, iv: &[u8]) -> Vec<u8> {
    let hash = sequence(&[&element(OID, &[HMAC_SHA256]), &element(NULL, &[])]);
    let kdf = sequence(&[&element(OCTET_STRING, &[salt]), &integer(rounds.get()), &hash]);
    let kdf = sequence(&[&element(OID, &[PBKDF2]), &kdf]);
    let cipher = sequence(&[&element(OID, &[AES_256_CBC]), &element(OCTET_STRING, &[iv])]);
    sequence(&[&element(OID, &[PBES2]), &sequence(&[&kdf, &cipher])])
}

fn parameters<'a>(outer: &mut Reader<'a>) -> Option<(&'a [u8], NonZeroU32, &'a [u8])> {
    let mut scheme = outer.inside(SEQUENCE)?;
    (scheme.content(OID)? == PBES2).then_some(())?;
    let mut both = scheme.inside(SEQUENCE)?;
    let mut kdf = both.inside(SEQUENCE)?;
    (kdf.content(OID)? == PBKDF2).then_some(())?;
    let mut kdf = kdf.inside(SEQUENCE)?;
    let salt = kdf.content(OCTET_STRING)?;
    let rounds = NonZeroU32::new(kdf.number()?).filter(|rounds| rounds.get() <= MOST_ROUNDS)?;
    // The key's length may be said or not.
    if let Some(length) = kdf.clone().number() {
        (length == 32).then_some(())?;
        kdf.number()?;
    }
    (kdf.inside(SEQUENCE)?.content(OID)? == HMAC_SHA256).then_some(())?;
    let mut cipher = both.inside(SEQUENCE)?;
    (cipher.content(OID)? == AES_256_CBC).then_some(())?;
    Some((salt, rounds, cipher.content(OCTET_STRING)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_passphrase_opens_and_nothing_else_does() {
        let rounds = NonZeroU32::new(1000).expect("many");
        let (algorithm, text) = encrypt(b"secret", b"right", rounds, &Random([7; 32])).expect("a cipher");
        assert!(!text.windows(6).any(|window| window == b"secret"));
        let open = |passphrase: &[u8]| decrypt(&mut Reader::new(&algorithm), &text, passphrase);
        assert_eq!(open(b"right").as_deref(), Some(b"secret".as_slice()));
        assert_ne!(open(b"wrong").as_deref(), Some(b"secret".as_slice()));
        for at in 0..algorithm.len() {
            let mut turned = algorithm.clone();
            turned[at] ^= 0x40;
            // Whatever is turned, reading ends: a huge number of rounds is not computed.
            let _ = parameters(&mut Reader::new(&turned));
            let _ = parameters(&mut Reader::new(&algorithm[..at]));
        }
    }
}
