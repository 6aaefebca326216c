//! One spelling for every path: what the policy matches is what the upstream gets.
//!
//! RFC 3986 section 6.2.2 calls percent-encoded unreserved characters equivalent to the characters. Frameworks go
//! further: they decode every octet of a segment before they route. So `:` and `%3A` must not be two paths to the
//! policy and one to the upstream; whatever may stand raw in a segment is written raw, and all else is written
//! `%XX` in upper case. The exception is `;`: raw it begins a parameter, encoded it is data, so each stays as it is.
//! Spellings that no two servers read alike are refused.

use crate::evidence::Malformed;

/// The canonical form of an absolute path without its query.
///
/// # Errors
/// `TargetForm` when it does not begin with `/`; `ControlByte` for control bytes, raw or encoded; `PathEncoding` for
/// `\`, `#`, raw non-ASCII bytes, bad or doubled percent-encoding, encoded slash, backslash or NUL, and encoded bytes
/// that are not UTF-8; `PathSegments` for dot segments, empty segments and parameters beside dots.
pub fn canonical(raw: &str) -> Result<String, Malformed> {
    if !raw.starts_with('/') {
        return Err(Malformed::TargetForm);
    }
    let mut out = String::with_capacity(raw.len());
    let mut beyond_ascii = false;
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => match (rest.next().and_then(hex), rest.next().and_then(hex)) {
                (Some(high), Some(low)) => match high << 4 | low {
                    b'/' | b'\\' | 0 => return Err(Malformed::PathEncoding),
                    // Encoded, it is data; raw, it begins a parameter.
                    b';' => {
                        out.push_str("%3B");
                        continue;
                    }
                    decoded => decoded,
                },
                _ => return Err(Malformed::PathEncoding),
            },
            b'\\' | b'#' | b'?' | 0x80.. => return Err(Malformed::PathEncoding),
            raw => raw,
        };
        match byte {
            0..=0x1f | 0x7f => return Err(Malformed::ControlByte),
            byte if stands_raw(byte) => out.push(char::from(byte)),
            byte => {
                beyond_ascii |= byte >= 0x80;
                out.push('%');
                out.push(char::from(DIGITS[usize::from(byte >> 4)]));
                out.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
    if doubled(&out) || (beyond_ascii && !utf8(&out)) {
        return Err(Malformed::PathEncoding);
    }
    if segments_have_one_reading(&out) { Ok(out) } else { Err(Malformed::PathSegments) }
}

/// Whether a query may be forwarded as it came: visible ASCII and no fragment.
pub fn query_is_clean(query: &str) -> bool {
    query.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'#')
}

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// `pchar` of RFC 3986 without percent-encoding, and the slash.
const fn stands_raw(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
                | b'/'
        )
}

/// `%25` before two hex digits: decoded twice it would be another path.
fn doubled(path: &str) -> bool {
    path.as_bytes().windows(5).any(|w| w.starts_with(b"%25") && w[3].is_ascii_hexdigit() && w[4].is_ascii_hexdigit())
}

/// Whether the encoded bytes are UTF-8; overlong forms of `/` and `.` are not.
fn utf8(path: &str) -> bool {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'%' => rest.next().and_then(hex).unwrap_or(0) << 4 | rest.next().and_then(hex).unwrap_or(0),
            byte => byte,
        });
    }
    std::str::from_utf8(&decoded).is_ok()
}

fn segments_have_one_reading(path: &str) -> bool {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if segment.is_empty() {
            if !last {
                return false;
            }
        } else if segment.starts_with(['.', ';', '%']) || segment.contains([';', '%']) {
            // `;x` alone is an empty segment to whoever drops parameters; `..;x` climbs there.
            let mut pieces = segment.split(';').flat_map(|piece| piece.split("%3B"));
            if segment.starts_with(';') || segment.starts_with("%3B") || pieces.any(|p| p == "." || p == "..") {
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equivalent_spellings_collapse() {
        for (raw, canon) in [
            ("/", "/"),
            ("/a/b/", "/a/b/"),
            ("/%61%2d%2E%5f%7E", "/a-._~"),
            ("/users/ann%40corp.example", "/users/ann@corp.example"),
            ("/runs/7%3aapprove", "/runs/7:approve"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a|b{c}[d]\"", "/a%7Cb%7Bc%7D%5Bd%5D%22"),
            ("/a%20b", "/a%20b"),
            ("/100%25", "/100%25"),
            ("/100%25-off", "/100%25-off"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/a%3bv", "/a%3Bv"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a..b", "/a..b"),
        ] {
            assert_eq!(canonical(raw).as_deref(), Ok(canon), "{raw}");
        }
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        use Malformed::{ControlByte, PathEncoding, PathSegments, TargetForm};
        for (raw, why) in [
            ("", TargetForm),
            ("*", TargetForm),
            ("a/b", TargetForm),
            ("/a%2fb", PathEncoding),
            ("/a%2Fb", PathEncoding),
            ("/a%5cb", PathEncoding),
            ("/a\\b", PathEncoding),
            ("/a#b", PathEncoding),
            ("/a%00b", PathEncoding),
            ("/a%", PathEncoding),
            ("/a%4", PathEncoding),
            ("/a%zz", PathEncoding),
            ("/a%+1", PathEncoding),
            ("/a%252fb", PathEncoding),
            ("/a%25%32%66b", PathEncoding),
            ("/a%c0%af", PathEncoding),
            ("/a%c0%ae%c0%ae/", PathEncoding),
            ("/a%ff", PathEncoding),
            ("/é", PathEncoding),
            ("/a\u{1}b", ControlByte),
            ("/a%0d%0ab", ControlByte),
            ("/a%7f", ControlByte),
            ("/a/../b", PathSegments),
            ("/a/%2e%2E/b", PathSegments),
            ("/a/.%2e", PathSegments),
            ("/./a", PathSegments),
            ("/a/.", PathSegments),
            ("//a", PathSegments),
            ("/a//", PathSegments),
            ("/a/..;/b", PathSegments),
            ("/a/..;x=1/b", PathSegments),
            ("/a/..%3b/b", PathSegments),
            ("/a/b;../c", PathSegments),
            ("/;/a", PathSegments),
            ("/a/;x", PathSegments),
        ] {
            assert_eq!(canonical(raw), Err(why), "{raw}");
        }
    }

    fn spelt() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[a-zA-Z0-9]{1,3}",
            2 => Just("/".to_owned()),
            1 => Just(".".to_owned()),
            1 => Just(";".to_owned()),
            2 => "%[0-9a-fA-F]{2}",
            1 => "[!-~]",
            1 => "\\PC",
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn canonical_is_a_fixed_point(raw in spelt()) {
            if let Ok(path) = canonical(&raw) {
                prop_assert_eq!(canonical(&path), Ok(path.clone()));
                prop_assert!(!path.contains("//"));
                prop_assert!(path.split('/').all(|s| s != "." && s != ".."));
                prop_assert!(path.bytes().all(|b| (0x21..0x7f).contains(&b)));
            }
        }

        /// An upstream that decodes every segment once sees no separator, dot segment or control byte the policy did not.
        #[test]
        fn decoding_once_adds_no_structure(raw in spelt()) {
            if let Ok(path) = canonical(&raw) {
                for segment in path.split('/') {
                    let mut decoded = Vec::new();
                    let mut rest = segment.bytes();
                    while let Some(b) = rest.next() {
                        decoded.push(if b == b'%' { hex(rest.next().unwrap()).unwrap() << 4 | hex(rest.next().unwrap()).unwrap() } else { b });
                    }
                    prop_assert!(!decoded.iter().any(|b| matches!(b, b'/' | b'\\' | 0..=0x1f | 0x7f)));
                    prop_assert!(decoded != b"." && decoded != b"..");
                }
            }
        }

        #[test]
        fn encoding_any_raw_character_changes_nothing(path in "/[a-zA-Z0-9._~!$&'()*+,=:@-]{0,12}", pick in any::<u16>()) {
            let at = 1 + usize::from(pick) % path.len();
            if at < path.len() {
                let encoded = format!("{}%{:02x}{}", &path[..at], path.as_bytes()[at], &path[at + 1..]);
                prop_assert_eq!(canonical(&encoded), canonical(&path));
            }
        }

        #[test]
        fn no_text_panics(raw in any::<String>()) {
            let _ = canonical(&raw);
        }
    }
}
