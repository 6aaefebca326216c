//! One spelling for every host.
//!
//! A name's trailing dot means the same name (RFC 3986 section 3.2.2), but SNI never has it (RFC 6066 section 3) and
//! upstreams disagree about it; one is taken off, and what is left both decides and is forwarded.

use crate::evidence::Malformed;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A host and the port that was written behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// A lower-case name, a dotted IPv4 address, or a bracketed IPv6 address in RFC 5952 form.
    pub host: String,
    pub port: Option<u16>,
}

impl Authority {
    /// Reads `host[:port]` (RFC 3986 section 3.2 without userinfo).
    ///
    /// # Errors
    /// `HostMissing` when it is empty, `HostInvalid` otherwise.
    pub fn parse(raw: &str) -> Result<Self, Malformed> {
        if raw.is_empty() {
            return Err(Malformed::HostMissing);
        }
        read(raw).ok_or(Malformed::HostInvalid)
    }

    /// Whether `name` is a host without a port, spelt as `parse` spells it.
    pub fn is_canonical(name: &str) -> bool {
        Self::parse(name).is_ok_and(|parsed| parsed.port.is_none() && parsed.host == name)
    }

    /// Whether the host is an address: TLS sends no server name for those.
    pub fn is_address(&self) -> bool {
        self.host.starts_with('[') || self.host.parse::<Ipv4Addr>().is_ok()
    }
}

fn read(raw: &str) -> Option<Authority> {
    if let Some(rest) = raw.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(read_port(port)?),
            None if rest.is_empty() => None,
            None => return None,
        };
        return Some(Authority { host: format!("[{address}]"), port });
    }
    let (name, port) = match raw.split_once(':') {
        Some((name, port)) => (name, Some(read_port(port)?)),
        None => (raw, None),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > 253 || !name.as_bytes().split(|b| *b == b'.').all(is_label) {
        return None;
    }
    let mut host = name.to_owned();
    host.make_ascii_lowercase();
    // A last label that reads as a number makes the whole an address to some: then it must be one to all.
    let last = host.as_bytes().rsplit(|b| *b == b'.').next().unwrap_or_default();
    let numeric = last.iter().all(u8::is_ascii_digit)
        || last.strip_prefix(b"0x").is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return None;
    }
    Some(Authority { host, port })
}

/// Letters, digits, hyphen and, as internal networks have it, underscore; 1 to 63 of them.
fn is_label(label: &[u8]) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with(b"-")
        && !label.ends_with(b"-")
        && label.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn read_port(raw: &str) -> Option<u16> {
    let digits = (1..=5).contains(&raw.len()) && raw.bytes().all(|b| b.is_ascii_digit());
    if digits { raw.parse().ok().filter(|port| *port != 0) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings() {
        for (raw, host, port) in [
            ("payroll.corp.example", "payroll.corp.example", None),
            ("PayRoll.Corp.Example:8443", "payroll.corp.example", Some(8443)),
            ("payroll.corp.example.", "payroll.corp.example", None),
            ("payroll.corp.example.:443", "payroll.corp.example", Some(443)),
            ("a_b.example", "a_b.example", None),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
            ("192.0.2.1:80", "192.0.2.1", Some(80)),
            ("[2001:DB8:0:0::1]:443", "[2001:db8::1]", Some(443)),
            ("[::1]", "[::1]", None),
            ("localhost", "localhost", None),
        ] {
            assert_eq!(Authority::parse(raw), Ok(Authority { host: host.into(), port }), "{raw}");
        }
        assert_eq!(Authority::parse(""), Err(Malformed::HostMissing));
        for raw in [
            "user@payroll.example",
            "a:b@c",
            "a b",
            "a..b",
            "..",
            ".",
            ".a",
            "a.example..",
            "-a.example",
            "a-.example",
            "a:0",
            "a:",
            "a:+1",
            "a:65536",
            "a:000080",
            "a,b",
            "a/b",
            "a\\b",
            "a%2eb",
            "é.example",
            "*.example",
            "1",
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "01.2.3.4",
            "1.2.3.4.5",
            "256.1.1.1",
            "[::1",
            "[::1]x",
            "[::1%25eth0]",
            "[v1.a]",
            "::1",
            "[1.2.3.4]",
        ] {
            assert_eq!(Authority::parse(raw), Err(Malformed::HostInvalid), "{raw}");
        }
        assert!(Authority::parse(&format!("{}.example", "a".repeat(64))).is_err());
        assert!(Authority::parse(&["a"; 130].join(".")).is_err());
    }

    proptest! {
        #[test]
        fn parsing_is_a_fixed_point(raw in "[a-zA-Z0-9_.:\\[\\]-]{0,24}") {
            if let Ok(read) = Authority::parse(&raw) {
                let again = Authority::parse(&read.host).unwrap();
                prop_assert_eq!(&again.host, &read.host);
                prop_assert!(!read.host.ends_with('.'));
            }
        }

        #[test]
        fn no_text_panics(raw in any::<String>()) {
            let _ = Authority::parse(&raw);
        }
    }
}
