//! The PROXY protocol header, versions 1 and 2, from balancers that are listed to send it.
//!
//! Source: "The PROXY protocol, versions 1 & 2" (haproxy.org, 2020/03/05). Never a byte behind the header is read, so
//! that TLS begins where it should. Only for listed peers: from them the header must come, from others it must not.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What the balancer says of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// The addresses of the connection that the balancer accepted.
    Client { source: SocketAddr, destination: SocketAddr },
    /// The balancer itself connects, to see whether somebody answers.
    Local,
    /// The balancer does not know, or the client came over no IP socket.
    Unknown,
}

#[derive(Debug, Error)]
pub enum ProxyHeaderError {
    #[error("the peer closed before it said anything")]
    Silent,
    #[error("the peer closed before its proxy header was complete")]
    Truncated,
    #[error("the peer did not begin with a proxy header")]
    Missing,
    #[error("the proxy header is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("the proxy header has version {0}, not 1 or 2")]
    Version(u8),
    #[error("the proxy header has an unknown command or address family")]
    Family,
    #[error("the proxy header's addresses cannot be read")]
    Address,
    #[error("the proxy header's extensions are cut off")]
    Extension,
    #[error("the proxy header cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Whether a connection that began with these bytes began with a header of either version.
pub fn begins(opening: &[u8]) -> bool {
    opening.starts_with(b"PROXY ") || opening.starts_with(V2_SIGNATURE)
}

/// Reads exactly one header. The caller bounds the time.
///
/// # Errors
/// Any error means the connection must be closed: nothing is known about it.
pub async fn read<R: AsyncRead + Unpin>(from: &mut R) -> Result<Proxied, ProxyHeaderError> {
    let mut header = Vec::with_capacity(V1_LIMIT);
    loop {
        match examine(&header)? {
            Step::Done(proxied) => return Ok(proxied),
            Step::Read(more) => {
                let mut had = header.len();
                header.resize(had + more, 0);
                while had < header.len() {
                    match from.read(&mut header[had..]).await {
                        // A balancer's health check ends so, or by a reset.
                        Ok(0) | Err(_) if had == 0 => return Err(ProxyHeaderError::Silent),
                        Ok(0) => return Err(ProxyHeaderError::Truncated),
                        Ok(read) => had += read,
                        Err(e) => return Err(e.into()),
                    }
                }
            }
        }
    }
}

/// What a header of which these bytes are known needs next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// At least this many bytes more: reading them never goes beyond the header.
    Read(usize),
    /// The bytes are the whole header.
    Done(Proxied),
}

/// Looks at the beginning of a header, as far as it has been read by following `Step::Read`.
///
/// # Errors
/// As soon as the bytes cannot begin a header.
pub fn examine(header: &[u8]) -> Result<Step, ProxyHeaderError> {
    // The shortest of all headers is `PROXY UNKNOWN\r\n`: 12 bytes are safe and tell the versions apart.
    let Some(signature) = header.first_chunk::<12>() else { return Ok(Step::Read(12 - header.len())) };
    if signature == V2_SIGNATURE {
        version_2(header)
    } else if signature.starts_with(b"PROXY ") {
        version_1(header)
    } else {
        Err(ProxyHeaderError::Missing)
    }
}

/// The longest version 1 line, by the specification.
const V1_LIMIT: usize = 107;
/// The longest version 2 header behind its 16 fixed bytes; extensions may carry a certificate's names.
const V2_LIMIT: usize = 4096;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

fn version_1(header: &[u8]) -> Result<Step, ProxyHeaderError> {
    let line = match header.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        None if header.len() + 2 <= V1_LIMIT => return Ok(Step::Read(2)),
        None => return Err(ProxyHeaderError::TooLong { limit: V1_LIMIT }),
        Some(end) => match &header[end..] {
            b"\r" if header.len() < V1_LIMIT => return Ok(Step::Read(1)),
            b"\r\n" => &header[..end],
            _ => return Err(ProxyHeaderError::Address),
        },
    };
    let line = std::str::from_utf8(line).map_err(|_| ProxyHeaderError::Address)?;
    let mut words = line.split(' ').skip(1);
    let proxied = match words.next() {
        // Whatever follows UNKNOWN is to be ignored.
        Some("UNKNOWN") => Proxied::Unknown,
        Some(family @ ("TCP4" | "TCP6")) => {
            let mut address = || words.next().and_then(|word| word_address(family, word));
            let (source, destination) = (address(), address());
            let mut port = || words.next().and_then(word_port);
            let (source_port, destination_port) = (port(), port());
            match (source, destination, source_port, destination_port, words.next()) {
                (Some(source), Some(destination), Some(from), Some(to), None) => Proxied::Client {
                    source: SocketAddr::new(source, from),
                    destination: SocketAddr::new(destination, to),
                },
                _ => return Err(ProxyHeaderError::Address),
            }
        }
        _ => return Err(ProxyHeaderError::Family),
    };
    Ok(Step::Done(proxied))
}

fn word_address(family: &str, word: &str) -> Option<IpAddr> {
    if family == "TCP4" {
        word.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
    } else {
        word.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    }
}

fn word_port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|b| b.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}

fn version_2(header: &[u8]) -> Result<Step, ProxyHeaderError> {
    let Some(&[version_command, family, high, low]) = header.get(12..16).and_then(|fixed| fixed.first_chunk()) else {
        return Ok(Step::Read(16_usize.saturating_sub(header.len())));
    };
    if version_command >> 4 != 2 {
        return Err(ProxyHeaderError::Version(version_command >> 4));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_LIMIT {
        return Err(ProxyHeaderError::TooLong { limit: 16 + V2_LIMIT });
    }
    let body = &header[16..];
    if body.len() < length {
        return Ok(Step::Read(length - body.len()));
    }
    let (proxied, extensions) = match (version_command & 15, family) {
        (0, _) => return Ok(Step::Done(Proxied::Local)),
        (1, 0x11 | 0x12) => {
            let (addresses, rest) = body.split_first_chunk::<12>().ok_or(ProxyHeaderError::Address)?;
            let [a, b, c, d, e, f, g, h, ports @ ..] = *addresses;
            (client(Ipv4Addr::new(a, b, c, d).into(), Ipv4Addr::new(e, f, g, h).into(), ports), rest)
        }
        (1, 0x21 | 0x22) => {
            let (source, rest) = body.split_first_chunk::<16>().ok_or(ProxyHeaderError::Address)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(ProxyHeaderError::Address)?;
            let (ports, rest) = rest.split_first_chunk::<4>().ok_or(ProxyHeaderError::Address)?;
            (client(Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into(), *ports), rest)
        }
        (1, 0x31 | 0x32) => (Proxied::Unknown, body.get(216..).ok_or(ProxyHeaderError::Address)?),
        // Unspecified: the receiver must not read the rest as addresses.
        (1, 0x00) => return Ok(Step::Done(Proxied::Unknown)),
        _ => return Err(ProxyHeaderError::Family),
    };
    if extensions_are_whole(extensions) { Ok(Step::Done(proxied)) } else { Err(ProxyHeaderError::Extension) }
}

fn client(source: IpAddr, destination: IpAddr, [a, b, c, d]: [u8; 4]) -> Proxied {
    Proxied::Client {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}

/// Walks the type-length-value fields. None is used; the checksum guards against nothing that TCP lets through.
fn extensions_are_whole(mut rest: &[u8]) -> bool {
    while let Some((&[_, high, low], after)) = rest.split_first_chunk::<3>() {
        match after.get(usize::from(u16::from_be_bytes([high, low]))..) {
            Some(next) => rest = next,
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads as `read` does, from memory; also says how many bytes were taken.
    fn parse(bytes: &[u8]) -> Result<(Proxied, usize), ProxyHeaderError> {
        let mut taken = 0;
        loop {
            match examine(&bytes[..taken])? {
                Step::Done(proxied) => return Ok((proxied, taken)),
                Step::Read(more) if taken + more <= bytes.len() => taken += more,
                Step::Read(_) => return Err(ProxyHeaderError::Truncated),
            }
        }
    }

    fn client(source: &str, destination: &str) -> Proxied {
        Proxied::Client { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        header.extend(body);
        header
    }

    #[test]
    fn version_1_lines() {
        for (line, proxied) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", client("192.0.2.1:56324", "198.51.100.2:443")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", client("[2001:db8::1]:1", "[2001:db8::2]:65535")),
            ("PROXY UNKNOWN\r\n", Proxied::Unknown),
            ("PROXY UNKNOWN ff:: ff:: 1 2\r\n", Proxied::Unknown),
        ] {
            let stream = [line.as_bytes(), b"\x16\x03\x01"].concat();
            assert_eq!(parse(&stream).unwrap(), (proxied, line.len()), "{line}");
        }
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 056324 443\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.2 1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 443 \r\n",
            "PROXY TCP4 2001:db8::1 198.51.100.2 1 443\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 70000\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 443\n\r",
            "PROXY TCP5 192.0.2.1 198.51.100.2 1 443\r\n",
        ] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107));
        assert!(matches!(parse(long.as_bytes()), Err(ProxyHeaderError::TooLong { limit: 107 })));
        assert!(matches!(parse(b"GET / HTTP/1.1\r\n"), Err(ProxyHeaderError::Missing)));
        assert!(matches!(parse(b"PROXY TCP4 192"), Err(ProxyHeaderError::Truncated)));
    }

    #[test]
    fn version_2_headers() {
        let four = [192, 0, 2, 1, 198, 51, 100, 2, 0, 80, 1, 187];
        let expected = client("192.0.2.1:80", "198.51.100.2:443");
        let mut stream = v2(0x21, 0x11, &four);
        let length = stream.len();
        stream.extend(b"tls");
        assert_eq!(parse(&stream).unwrap(), (expected.clone(), length));
        let with_extension = [&four[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        assert_eq!(parse(&v2(0x21, 0x11, &with_extension)).unwrap().0, expected);
        assert!(matches!(parse(&v2(0x21, 0x11, &with_extension[..18])), Err(ProxyHeaderError::Extension)));
        let six: Vec<u8> = [[0x20; 16], [0x30; 16]].concat().into_iter().chain([0, 1, 0, 2]).collect();
        assert!(matches!(parse(&v2(0x21, 0x21, &six)).unwrap().0, Proxied::Client { source: SocketAddr::V6(_), .. }));
        assert_eq!(parse(&v2(0x20, 0x11, &four)).unwrap().0, Proxied::Local);
        assert_eq!(parse(&v2(0x20, 0, &[])).unwrap().0, Proxied::Local);
        assert_eq!(parse(&v2(0x21, 0, &[9; 7])).unwrap().0, Proxied::Unknown);
        assert_eq!(parse(&v2(0x21, 0x31, &[0; 216])).unwrap().0, Proxied::Unknown);
        assert!(matches!(parse(&v2(0x21, 0x11, &four[..11])), Err(ProxyHeaderError::Address)));
        assert!(matches!(parse(&v2(0x31, 0x11, &four)), Err(ProxyHeaderError::Version(3))));
        assert!(matches!(parse(&v2(0x22, 0x11, &four)), Err(ProxyHeaderError::Family)));
        assert!(matches!(parse(&v2(0x21, 0x41, &four)), Err(ProxyHeaderError::Family)));
        assert!(matches!(parse(&v2(0x21, 0x11, &[0; 4097])), Err(ProxyHeaderError::TooLong { .. })));
    }

    #[tokio::test]
    async fn reading_stops_at_the_headers_end() {
        let mut stream: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 1 443\r\nhello";
        read(&mut stream).await.unwrap();
        assert_eq!(stream, b"hello");
        let mut cut: &[u8] = b"PROXY";
        assert!(matches!(read(&mut cut).await, Err(ProxyHeaderError::Truncated)));
        let mut silent: &[u8] = b"";
        assert!(matches!(read(&mut silent).await, Err(ProxyHeaderError::Silent)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), form in 0..3) {
            match form {
                1 if bytes.len() > 16 => { bytes[..12].copy_from_slice(V2_SIGNATURE); bytes[12] = 0x21; bytes[14] = 0; }
                2 if bytes.len() > 6 => bytes[..6].copy_from_slice(b"PROXY "),
                _ => {}
            }
            if let Ok((_, taken)) = parse(&bytes) {
                prop_assert!(taken <= bytes.len());
            }
        }
    }
}
