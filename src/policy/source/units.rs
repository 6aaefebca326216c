//! Values with a unit, as text: durations, distances, sizes, networks.

use crate::latency::Kilometres;
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotANetwork {
    Syntax,
    /// The address has bits set outside its prefix; the network it lies in.
    HostBits(IpNet),
}

/// `30ms`, `10m`, `180d`, `1h 30m`: whole or decimal numbers, each with a unit, added up.
///
/// # Errors
/// Says what a duration looks like.
pub fn duration(text: &str) -> Result<Duration, String> {
    const NANOS: &[(&str, f64)] = &[
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 60e9),
        ("min", 60e9),
        ("h", 3600e9),
        ("d", 86_400e9),
        ("w", 604_800e9),
    ];
    let usage =
        || "expected a number and a unit of `ms`, `s`, `m`, `h`, `d` or `w`, such as `30ms` or `1h 30m`".to_owned();
    /// Ten thousand years are enough for everything and overflow nothing.
    const MOST: f64 = 10_000.0 * 366.0 * 86_400e9;
    let mut rest = text.trim();
    let mut nanos = 0.0;
    // of the unit before
    let mut before = f64::INFINITY;
    if rest.is_empty() {
        return Err(usage());
    }
    while !rest.is_empty() {
        let (number, unit, after) = quantity(rest).ok_or_else(usage)?;
        let (_, each) = NANOS.iter().find(|(name, _)| *name == unit).ok_or_else(usage)?;
        if *each >= before {
            return Err("units fall and none comes twice, such as `1h 30m`".to_owned());
        }
        before = *each;
        nanos += number * each;
        rest = after;
    }
    if nanos > MOST {
        return Err("longer than ten thousand years".to_owned());
    }
    Ok(Duration::from_nanos_u128(nanos.round() as u128))
}

/// `150km`, `800m`.
///
/// # Errors
/// Says what a distance looks like.
pub fn distance(text: &str) -> Result<Kilometres, String> {
    let usage = || "expected a number and `km` or `m`, such as `150km`".to_owned();
    match quantity(text.trim()) {
        Some((number, "km", "")) => Ok(Kilometres(number)),
        Some((number, "m", "")) => Ok(Kilometres(number / 1000.0)),
        _ => Err(usage()),
    }
}

/// `64KiB`, `10MB`, `512B`.
///
/// # Errors
/// Says what a size looks like.
pub fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, u64)] = &[
        ("B", 1),
        ("kB", 1000),
        ("KB", 1000),
        ("KiB", 1 << 10),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    let usage = || "expected a number and a unit of `B`, `KiB`, `MiB` or `GiB`, such as `64KiB`".to_owned();
    let (number, unit, "") = quantity(text.trim()).ok_or_else(usage)? else { return Err(usage()) };
    let (_, each) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(usage)?;
    let total = number * *each as f64;
    if total > (1u64 << 53) as f64 {
        return Err("larger than 8 PiB".to_owned());
    }
    Ok(total.round() as u64)
}

/// `192.0.2.0/24`, `2001:db8::/32`, or a bare address as a network of one.
///
/// # Errors
/// See `NotANetwork`.
pub fn network(text: &str) -> Result<IpNet, NotANetwork> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| NotANetwork::Syntax)?;
    if network.trunc() != network {
        return Err(NotANetwork::HostBits(network.trunc()));
    }
    Ok(network)
}

/// The first number and unit of a text, and what follows them.
fn quantity(text: &str) -> Option<(f64, &str, &str)> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, rest) = text.split_at(digits_end);
    // `.5` and `5.` are not how anybody writes a limit; f64 would take them.
    if digits.is_empty() || digits.starts_with('.') || digits.ends_with('.') {
        return None;
    }
    let rest = rest.trim_start();
    let unit_end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at(unit_end);
    let number: f64 = digits.parse().ok()?;
    number.is_finite().then_some((number, unit, after.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("30ms", 30),
            ("10m", 600_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("180d", 15_552_000_000),
            ("1.5s", 1500),
            ("0s", 0),
            ("2 w", 1_209_600_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(duration("2d 3h 4m 5s 6ms"), Ok(Duration::from_millis(183_845_006)));
        for text in ["30ms30ms", "1m 1h", "1h 1h 1h", "5m 5min", "1s 1m 1s"] {
            assert!(duration(text).expect_err(text).contains("units fall"), "{text}");
        }
        for text in ["", "10", "ms", "-1s", "1x", "1s,", "1..5s", ".5s", "9999999999999999w", "1e9s", "1s 2"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn distances_and_sizes() {
        assert_eq!(distance("150km"), Ok(Kilometres(150.0)));
        assert_eq!(distance("800 m"), Ok(Kilometres(0.8)));
        assert!(distance("150").is_err() && distance("150mi").is_err() && distance("1km 2m").is_err());
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("1.5 MB"), Ok(1_500_000));
        assert!(bytes("64").is_err() && bytes("64Kib").is_err() && bytes("99999999999GiB").is_err());
    }

    #[test]
    fn networks() {
        assert_eq!(network("192.0.2.0/24").map(|n| n.to_string()), Ok("192.0.2.0/24".to_owned()));
        assert_eq!(network("2001:db8::1").map(|n| n.prefix_len()), Ok(128));
        assert_eq!(network("192.0.2.7/24"), Err(NotANetwork::HostBits("192.0.2.0/24".parse().expect("valid"))));
        assert_eq!(network("example.com"), Err(NotANetwork::Syntax));
    }
}
