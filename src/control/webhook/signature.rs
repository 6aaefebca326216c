//! How a call is signed: `t=<seconds>,v1=<hex>`, HMAC-SHA256 (RFC 2104) over `<seconds>.<body>`.
//!
//! The time is under the signature, so that a call that was overheard is worth nothing a few minutes later; until
//! then `call.rs` remembers it.

use crate::evidence::Moment;
use crate::store::digest::hex;
use crate::store::private_file::{Closed, read_closed};
use aws_lc_rs::hmac;
use std::path::Path;

/// The header field of notifications and of calls.
pub const SIGNATURE: &str = "rangegate-signature";

/// Shorter secrets could be guessed from one signed call.
pub const LEAST_SECRET: usize = 32;

/// The longest secret file, bytes.
const MOST_SECRET: usize = 4096;

/// How far the caller's clock may be from ours, seconds.
pub const TOLERANCE: u64 = 300;

/// Why a call is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    #[error("the signature is missing or is not `t=<seconds>,v1=<hex>`")]
    Missing,
    #[error("the signature is of another time: clocks may differ by five minutes")]
    Stale,
    #[error("the signature does not hold")]
    Forged,
}

/// # Errors
/// The file cannot be read, is open to others, or holds too little.
pub fn key(path: &Path) -> Result<hmac::Key, String> {
    let shown = path.display();
    let bytes = read_closed(path, Closed::Group).map_err(|why| format!("the secret `{shown}`: {why}"))?;
    let secret = bytes.trim_ascii();
    match secret.len() {
        LEAST_SECRET..=MOST_SECRET => Ok(hmac::Key::new(hmac::HMAC_SHA256, secret)),
        0..LEAST_SECRET => Err(format!(
            "the secret `{shown}` is shorter than {LEAST_SECRET} bytes: make one with `openssl rand -hex 32`"
        )),
        _ => Err(format!("the secret `{shown}` is longer than {MOST_SECRET} bytes")),
    }
}

/// The header's value.
pub fn sign(key: &hmac::Key, body: &[u8], now: Moment) -> String {
    let seconds = now.millis().div_euclid(1000);
    format!("t={seconds},v1={}", hex(tag(key, seconds, body).as_ref()))
}

/// When it was signed, seconds, and the digest, which is the same however it was written.
///
/// # Errors
/// Why it is not believed.
pub fn verify(key: &hmac::Key, signature: Option<&str>, body: &[u8], now: Moment) -> Result<(i64, Vec<u8>), Unsigned> {
    let (seconds, digest) = signature.and_then(parts).ok_or(Unsigned::Missing)?;
    let message = [format!("{seconds}.").as_bytes(), body].concat();
    hmac::verify(key, &message, &digest).map_err(|_| Unsigned::Forged)?;
    if now.millis().div_euclid(1000).abs_diff(seconds) > TOLERANCE {
        return Err(Unsigned::Stale);
    }
    Ok((seconds, digest))
}

fn tag(key: &hmac::Key, seconds: i64, body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{seconds}.").as_bytes());
    context.update(body);
    context.sign()
}

fn parts(signature: &str) -> Option<(i64, Vec<u8>)> {
    let (time, digest) = signature.trim().split_once(',')?;
    let seconds = time.strip_prefix("t=")?;
    if seconds.is_empty() || !seconds.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digest.trim_start().strip_prefix("v1=")?;
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = pairs.iter().map(|[high, low]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok());
    Some((seconds.parse().ok()?, bytes.collect::<Option<Vec<u8>>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::private_file::{PUBLIC, SECRET, replace};

    const NOW: Moment = Moment(1_800_000_000_999);

    fn secret(text: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())
    }

    #[test]
    fn what_was_signed_holds_for_a_while_and_nothing_else_does() {
        let key = secret("k");
        let signed = sign(&key, b"{}", NOW);
        let verified = |signature: &str, body: &[u8], now| verify(&key, Some(signature), body, now).map(drop);
        assert_eq!(verified(&signed, b"{}", NOW), Ok(()));
        assert_eq!(verified(&signed, b"{}", NOW.plus_millis(300_000)), Ok(()));
        assert_eq!(verified(&signed, b"{}", NOW.plus_millis(-300_000)), Ok(()));
        assert_eq!(verified(&signed, b"{}", NOW.plus_millis(301_000)), Err(Unsigned::Stale));
        assert_eq!(verified(&signed, b"{} ", NOW), Err(Unsigned::Forged));
        assert_eq!(verified(&sign(&secret("other"), b"{}", NOW), b"{}", NOW), Err(Unsigned::Forged));
        let moved = signed.replace("t=1800000000", "t=1800000001");
        assert_eq!(verified(&moved, b"{}", NOW), Err(Unsigned::Forged));
        let loud = signed.split_once("v1=").map(|(time, hex)| format!(" {time} v1={} ", hex.to_uppercase()));
        let tag = |signature: &str| verify(&key, Some(signature), b"{}", NOW);
        assert_eq!(tag(&loud.expect("a signature")), tag(&signed), "written otherwise it is the same call");
    }

    #[test]
    fn what_is_no_signature_is_none() {
        let signed = sign(&secret("k"), b"", NOW);
        for bad in ["", "t=,v1=", "v1=00", "t=1,v1=zz", "t=-1,v1=00", &signed[1..], &format!("{signed}0"), "t=1,v1=é"]
        {
            assert_eq!(verify(&secret("k"), Some(bad), b"", NOW), Err(Unsigned::Missing), "{bad}");
        }
        assert_eq!(verify(&secret("k"), None, b"", NOW), Err(Unsigned::Missing));
    }

    #[test]
    fn others_compute_the_same() {
        // printf '1800000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
        let signed = sign(&secret("0123456789abcdef0123456789abcdef"), br#"{"a":1}"#, NOW);
        assert_eq!(signed, "t=1800000000,v1=d40e555bc2c1dae21953757b24b165a171698880732ac310a5c8cf0ab751abf2");
    }

    #[test]
    fn a_secret_has_to_be_long_enough() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        for (text, good) in [("s".repeat(32) + "\n", true), ("s".repeat(31) + "\n\n", false), ("s".repeat(5000), false)]
        {
            replace(&path, text.as_bytes(), SECRET).expect("written");
            assert_eq!(key(&path).is_ok(), good, "{}", text.len());
        }
        replace(&path, "s".repeat(32).as_bytes(), PUBLIC).expect("written");
        let told = key(&path).expect_err("anybody may read it");
        assert!(told.contains("secret`: others may read it (mode 0644): `chmod 0600 /"), "{told}");
        assert!(key(&dir.path().join("none")).unwrap_err().contains("no such file"));
    }
}
