//! The grammar of HTTP/1 heads, by bytes (RFC 9110 section 5, RFC 9112 section 3).

use crate::evidence::Malformed;

/// Reads `method SP target SP version`; true for HTTP/1.0. What hyper would refuse by itself, without a record in the
/// audit log, is refused here.
pub fn request_line(line: &[u8]) -> Result<bool, Malformed> {
    let method = line.iter().position(|b| !TOKEN[usize::from(*b)]).ok_or(Malformed::Syntax)?;
    let (method, [b' ', rest @ ..]) = line.split_at(method) else { return Err(Malformed::Syntax) };
    if method.is_empty() {
        return Err(Malformed::Syntax);
    }
    if method.len() > 32 {
        return Err(Malformed::Method);
    }
    let end = rest.iter().position(|b| *b == b' ').ok_or(Malformed::Syntax)?;
    let (target, version) = rest.split_at(end);
    let http_10 = match version {
        b" HTTP/1.1" => false,
        b" HTTP/1.0" => true,
        _ => return Err(Malformed::Syntax),
    };
    match target {
        [b'/', path @ ..] if path.iter().all(|b| TARGET[usize::from(*b)]) => Ok(http_10),
        [b'/', path @ ..] if path.contains(&b'\t') => Err(Malformed::ControlByte),
        [b'/', ..] => Err(Malformed::PathEncoding),
        b"" => Err(Malformed::Syntax),
        // Absolute and authority form are rare enough to be read twice.
        other if other.iter().all(|b| TARGET[usize::from(*b)]) && http::Uri::try_from(other).is_ok() => Ok(http_10),
        _ => Err(Malformed::TargetForm),
    }
}

pub fn decimal(digits: &[u8]) -> Option<u64> {
    // A zero in front is octal to somebody.
    if !(1..=18).contains(&digits.len()) || matches!(digits, [b'0', _, ..]) {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
}

/// `token` of RFC 9110 section 5.6.2.
pub const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x7f {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    table
};

/// What a target may hold: visible ASCII that is neither a fragment nor refused by hyper's parser in path or query.
const TARGET: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x21_u8;
    while byte < 0x7f {
        table[byte as usize] = !matches!(byte, b'#' | b'<' | b'>' | b'`' | b'"' | b'\\');
        byte += 1;
    }
    table
};

/// The first control byte but tab, from `from` on; eight bytes at a time.
pub fn find_control(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x80 * ONES;
    let mut at = from;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let delete = word ^ (0x7f * ONES);
        let low = word.wrapping_sub(0x20 * ONES) & !word;
        let hits = (low | (delete.wrapping_sub(ONES) & !delete)) & HIGHS;
        if hits == 0 {
            at += 8;
            continue;
        }
        // A borrow may mark bytes above a hit, never the lowest one.
        let first = at + (hits.trailing_zeros() / 8) as usize;
        if bytes[first] != b'\t' {
            return Some(first);
        }
        at = first + 1;
    }
    let tail = bytes.get(at..)?;
    tail.iter().position(|b| matches!(b, 0..0x20 | 0x7f) && *b != b'\t').map(|offset| at + offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A target that passes here is one hyper can read: else it would answer by itself and nobody would know.
    #[test]
    fn every_target_byte_that_passes_is_read_by_hyper() {
        for byte in (0..=255_u8).filter(|byte| TARGET[usize::from(*byte)]) {
            for target in [vec![b'/', byte], vec![b'/', b'?', byte]] {
                assert!(http::Uri::try_from(target.as_slice()).is_ok(), "{byte:#x}");
            }
        }
    }

    proptest! {
        #[test]
        fn control_bytes_are_found(bytes in proptest::collection::vec(prop::sample::select(b"\0\t\n\r\x1f !a\x7e\x7f\x80\x9f\xff".to_vec()), 0..40), from in 0_usize..40) {
            let expected = bytes.iter().enumerate().skip(from).find(|(_, b)| b.is_ascii_control() && **b != b'\t').map(|(at, _)| at);
            prop_assert_eq!(find_control(&bytes, from), expected);
        }
    }
}
