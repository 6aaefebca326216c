//! Each line carries the hash of the line before it, so that none can be changed, dropped or moved unseen.
//!
//! A line is one JSON object that ends in `,"prev":"P","hash":"H"}`. `P` is the hash of the line before,
//! across files; the first line of all has 64 zeros. `H` is the SHA-256, in lower-case hex, of `P`
//! followed by the line up to and including the closing quote of `P`. The chain is not keyed: whoever
//! can rewrite the whole log and its head can forge it, so keep a copy of the head elsewhere.

use aws_lc_rs::digest::{Context, SHA256};
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

    fn of(previous: &Self, body: &[u8]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut context = Context::new(&SHA256);
        context.update(&previous.0);
        context.update(body);
        let mut digits = [b'0'; 64];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(context.finish().as_ref()) {
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

    /// Ends the line that begins at `start` in `buffer` and lacks only its last brace.
    pub fn seal(&mut self, buffer: &mut Vec<u8>, start: usize) {
        buffer.extend_from_slice(PREV);
        buffer.extend_from_slice(&self.last.0);
        buffer.push(b'"');
        let hash = Link::of(&self.last, buffer.get(start..).unwrap_or_default());
        buffer.extend_from_slice(HASH);
        buffer.extend_from_slice(&hash.0);
        buffer.extend_from_slice(b"\"}\n");
        *self = Self { seq: self.next(), last: hash };
    }
}

const PREV: &[u8] = br#","prev":""#;
const HASH: &[u8] = br#","hash":""#;

/// A line taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// What was hashed after `prev`.
    body: &'a [u8],
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
        rest.ends_with(PREV).then_some(())?;
        Some(Self { body, prev: Link::parse(prev)?, hash: Link::parse(hash)? })
    }

    /// Whether the line is as it was written.
    pub fn intact(&self) -> bool {
        Link::of(&self.prev, self.body) == self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(chain: &mut Chain, text: &str) -> Vec<u8> {
        let mut buffer = format!("{{\"seq\":{},\"text\":\"{text}\"", chain.next()).into_bytes();
        chain.seal(&mut buffer, 0);
        buffer
    }

    #[test]
    fn a_line_can_be_checked_with_sha256sum() {
        // printf '%s' "$(printf '0%.0s' $(seq 64))"'{"seq":1,"text":"a","prev":"'"$(printf '0%.0s' $(seq 64))"'"' | sha256sum
        let line = line(&mut Chain::EMPTY.clone(), "a");
        let sealed = Sealed::parse(line.trim_ascii_end()).expect("sealed");
        assert_eq!(sealed.prev, Link::GENESIS);
        assert_eq!(sealed.hash.as_str(), EXAMPLE);
        assert!(sealed.intact());
    }

    const EXAMPLE: &str = "3e78508a78b4fb7d6a6a7b13be9cac75d0d9fc475132c83b8e5485e972c580d4";

    proptest! {
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
