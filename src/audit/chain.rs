//! Each line carries the hash of the line before it, so that none can be changed, dropped or moved unseen.
//!
//! A line is one JSON object that ends in `,"seq":N,"prev":"P","hash":"H"}`. `N` counts the lines of the log, from 1.
//! `P` is the hash of the line before, across files; the first line of all has 64 zeros. `H` is the SHA-256, in
//! lower-case hex, of the line from its first byte up to and including the closing quote of `P`. The chain is not keyed: whoever
//! can rewrite the whole log and its head can forge it, so keep a copy of the head elsewhere.

use super::pen::Pen;
use aws_lc_rs::digest::{Context, Digest, SHA256, digest};
use std::fmt;

/// A line's hash: 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Link([u8; 64]);

impl Link {
    /// What the first line of all continues.
    pub const GENESIS: Self = Self([b'0'; 64]);

    /// Reads 64 lower-case hex digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits: [u8; 64] = text.try_into().ok()?;
        digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')).then_some(Self(digits))
    }

    fn of(digest: &Digest) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [b'0'; 64];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(digest.as_ref()) {
            *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
        }
        Self(digits)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The end of a chain: the number and the hash of its last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Zero: no line yet.
    pub seq: u64,
    pub last: Link,
}

impl Chain {
    pub const EMPTY: Self = Self { seq: 0, last: Link::GENESIS };

    /// The number the next line will have.
    pub const fn next(&self) -> u64 {
        self.seq + 1
    }

    /// Ends the line that begins at `start` in `buffer` and lacks only what `seal` writes.
    pub fn seal(&mut self, buffer: &mut Vec<u8>, start: usize) {
        self.name(buffer);
        let hash = digest(&SHA256, buffer.get(start..).unwrap_or_default());
        self.close(buffer, Link::of(&hash));
    }

    /// The same for a line that begins with `prefix`.
    pub fn seal_after(&mut self, prefix: &Prefix, buffer: &mut Vec<u8>, start: usize) {
        self.name(buffer);
        let mut hash = prefix.hashed.clone();
        hash.update(buffer.get(start + prefix.text.len()..).unwrap_or_default());
        self.close(buffer, Link::of(&hash.finish()));
    }

    fn name(&self, buffer: &mut Vec<u8>) {
        Pen(buffer).raw(SEQ).number(self.next()).raw(PREV).raw(self.last.0).raw("\"");
    }

    fn close(&mut self, buffer: &mut Vec<u8>, hash: Link) {
        Pen(buffer).raw(HASH).raw(hash.0).raw("\"}\n");
        *self = Self { seq: self.next(), last: hash };
    }
}

/// What many lines begin with, hashed once.
pub struct Prefix {
    text: Vec<u8>,
    hashed: Context,
}

impl Prefix {
    pub fn new(text: Vec<u8>) -> Self {
        let mut hashed = Context::new(&SHA256);
        hashed.update(&text);
        Self { text, hashed }
    }

    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

const SEQ: &[u8] = br#","seq":"#;
const PREV: &[u8] = br#","prev":""#;
const HASH: &[u8] = br#","hash":""#;

/// A line taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// What was hashed.
    body: &'a [u8],
    pub seq: u64,
    pub prev: Link,
    pub hash: Link,
}

impl<'a> Sealed<'a> {
    /// Takes apart one line, given without its newline. None: it does not end as a line does.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_suffix(b"\"}")?;
        let (rest, hash) = rest.split_last_chunk::<64>()?;
        let body = rest.strip_suffix(HASH)?;
        let (rest, prev) = body.strip_suffix(b"\"")?.split_last_chunk::<64>()?;
        let rest = rest.strip_suffix(PREV)?;
        let (rest, digits) = rest.split_at(rest.iter().rposition(|byte| !byte.is_ascii_digit())? + 1);
        rest.ends_with(SEQ).then_some(())?;
        let seq = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some(Self { body, seq, prev: Link::parse(prev)?, hash: Link::parse(hash)? })
    }

    /// Whether the line is as it was written.
    pub fn intact(&self) -> bool {
        Link::of(&digest(&SHA256, self.body)) == self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(chain: &mut Chain, text: &str) -> Vec<u8> {
        let mut buffer = format!("{{\"text\":\"{text}\"").into_bytes();
        chain.seal(&mut buffer, 0);
        buffer
    }

    #[test]
    fn a_line_can_be_checked_with_sha256sum() {
        // printf '%s' '{"text":"a","seq":1,"prev":"'"$(printf '0%.0s' $(seq 64))"'"' | sha256sum
        let line = line(&mut Chain::EMPTY.clone(), "a");
        let sealed = Sealed::parse(line.trim_ascii_end()).expect("sealed");
        assert_eq!((sealed.seq, sealed.prev), (1, Link::GENESIS));
        assert_eq!(sealed.hash.as_str(), EXAMPLE);
        assert!(sealed.intact());
    }

    const EXAMPLE: &str = "0759a05da25e79cb100eeabef4e6d165f170de041f0994f1886e0afe85b6cc72";

    proptest! {
        #[test]
        fn a_prefix_makes_no_difference(prefix in "[a-z]{0,200}", rest in "[a-z]{0,200}") {
            let (mut whole, mut pieces) = (Chain::EMPTY, Chain::EMPTY);
            let (mut one, mut other) = (format!("{prefix}{rest}").into_bytes(), b"before".to_vec());
            whole.seal(&mut one, 0);
            let prefix = Prefix::new(prefix.into_bytes());
            other.extend_from_slice(prefix.text());
            other.extend_from_slice(rest.as_bytes());
            pieces.seal_after(&prefix, &mut other, "before".len());
            prop_assert_eq!(other.strip_prefix(b"before"), Some(&one[..]));
            prop_assert_eq!(whole, pieces);
        }

        #[test]
        fn no_byte_can_change(at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut line = line(&mut Chain::EMPTY.clone(), "something happened");
            line.pop();
            let at = at.index(line.len());
            prop_assume!(line[at] != with);
            line[at] = with;
            prop_assert!(!Sealed::parse(&line).is_some_and(|sealed| sealed.intact()));
        }

        #[test]
        fn any_bytes_are_taken_apart_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Sealed::parse(&bytes);
        }
    }
}
