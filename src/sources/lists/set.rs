//! A set of networks and autonomous systems, read from a text file.

use super::super::stamp::Stamp;
use crate::evidence::{Asn, Fact};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Sorted, merged ranges: a lookup is one binary search, and one more for the autonomous system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    asns: Vec<u32>,
}

/// What is wrong with a list, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFault {
    pub path: PathBuf,
    /// From 1; `None` when the fault is of the whole file.
    pub line: Option<usize>,
    pub message: String,
    pub help: &'static str,
}

impl fmt::Display for ListFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}; help: {}", self.message, self.help)
    }
}

impl std::error::Error for ListFault {}

/// A list file beyond this is a mistake, bytes. (All prefixes of the Internet are a third of it.)
const LARGEST_FILE: u64 = 64 << 20;

/// Faults told of one file; what is behind them is told once these are mended.
const FAULTS_TOLD: usize = 20;

const FORM: &str =
    "write one prefix (`192.0.2.0/24`, `2001:db8::/32`), address or autonomous system (`AS64500`) a line";

impl Set {
    /// Reads a file; all its faults at once. A file that names nothing is a fault: an emptied block list would let
    /// everybody through.
    pub fn read(path: &Path) -> Result<Self, Vec<ListFault>> {
        let whole = |message: String, help| vec![ListFault { path: path.into(), line: None, message, help }];
        let unreadable = |error: std::io::Error| {
            whole(format!("cannot read the network list: {error}"), "check the path and the permissions")
        };
        if Stamp::of(path).map_err(unreadable)?.length() > LARGEST_FILE {
            return Err(whole("the network list is larger than 64 MiB".into(), "check that it is the right file"));
        }
        Self::parse(path, &std::fs::read(path).map_err(unreadable)?)
    }

    /// `path` is only named in faults.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, Vec<ListFault>> {
        let mut set = Self::default();
        let mut faults = Vec::new();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            if let Err((message, help)) = set.add_line(line) {
                faults.push(ListFault { path: path.into(), line: Some(index + 1), message, help });
                if faults.len() == FAULTS_TOLD {
                    break;
                }
            }
        }
        if faults.is_empty() && set.is_empty() {
            let message = "the network list names nothing".into();
            faults.push(ListFault { path: path.into(), line: None, message, help: FORM });
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        merge(&mut set.v4, |end, start| end.checked_add(1).is_none_or(|next| start <= next));
        merge(&mut set.v6, |end, start| end.checked_add(1).is_none_or(|next| start <= next));
        set.asns.sort_unstable();
        set.asns.dedup();
        Ok(set)
    }

    /// Three-valued: an address in no range is off the list only if its autonomous system is known to be off it too.
    pub fn has(&self, address: IpAddr, asn: &Fact<Asn>) -> Fact<bool> {
        let listed = match address.to_canonical() {
            IpAddr::V4(address) => within(&self.v4, address.to_bits()),
            IpAddr::V6(address) => within(&self.v6, address.to_bits()),
        };
        if listed || self.asns.is_empty() {
            return Fact::Known(listed);
        }
        match asn {
            Fact::Known(asn) => Fact::Known(self.asns.binary_search(&asn.number).is_ok()),
            Fact::Absent => Fact::Known(false),
            Fact::Invalid(fault) | Fact::Unavailable(fault) => Fact::Unavailable(*fault),
        }
    }

    /// Ranges and autonomous systems in it, after merging.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len() + self.asns.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn add_line(&mut self, line: &[u8]) -> Result<(), (String, &'static str)> {
        let line = std::str::from_utf8(line).map_err(|_| ("this line is not UTF-8 text".into(), FORM))?;
        let entry = line.split('#').next().unwrap_or_default().trim();
        if entry.is_empty() {
            return Ok(());
        }
        if let Some(number) = entry.get(..2).filter(|prefix| prefix.eq_ignore_ascii_case("AS")).and(entry.get(2..)) {
            let asn = number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse::<u32>().ok()).flatten();
            let asn = asn.filter(|&asn| asn != 0);
            self.asns.push(asn.ok_or_else(|| {
                (
                    format!("`{}` is not an autonomous system", shown(entry)),
                    "write `AS` and a number from 1 to 4294967295",
                )
            })?);
            return Ok(());
        }
        let network = match entry.parse::<IpNet>() {
            Ok(network) => network,
            Err(_) => entry.parse::<IpAddr>().map(IpNet::from).map_err(|_| {
                (format!("`{}` is neither a prefix nor an address nor an autonomous system", shown(entry)), FORM)
            })?,
        };
        if network.trunc() != network {
            let message = format!("`{}` has bits beyond its prefix: did you mean `{}`", shown(entry), network.trunc());
            return Err((message, "write the first address of the network, or the address alone"));
        }
        self.add(network)
    }

    fn add(&mut self, network: IpNet) -> Result<(), (String, &'static str)> {
        match network {
            IpNet::V4(network) => self.v4.push((network.network().to_bits(), network.broadcast().to_bits())),
            IpNet::V6(network) if network.network().to_ipv4_mapped().is_some() => {
                let message = format!("`{network}` is an IPv4 network written as IPv6");
                return Err((message, "write it as IPv4: clients are compared by their IPv4 address"));
            }
            IpNet::V6(network) => self.v6.push((network.network().to_bits(), network.broadcast().to_bits())),
        }
        Ok(())
    }
}

/// User input as it stands in an error: at most 60 characters.
fn shown(entry: &str) -> String {
    entry.chars().take(60).collect()
}

/// Sorts the ranges and joins those that overlap or touch.
fn merge<T: Ord + Copy>(ranges: &mut Vec<(T, T)>, touches: fn(T, T) -> bool) {
    ranges.sort_unstable();
    ranges.dedup_by(|later, earlier| {
        let joins = touches(earlier.1, later.0);
        if joins {
            earlier.1 = earlier.1.max(later.1);
        }
        joins
    });
}

fn within<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|&(start, _)| start <= address);
    after.checked_sub(1).and_then(|index| ranges.get(index)).is_some_and(|&(_, end)| address <= end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Fault;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn parse(text: &str) -> Result<Set, Vec<ListFault>> {
        Set::parse(Path::new("lists/hosting.txt"), text.as_bytes())
    }

    fn asn(number: u32) -> Fact<Asn> {
        Fact::Known(Asn { number, organisation: Arc::default() })
    }

    fn has(set: &Set, address: &str, asn: &Fact<Asn>) -> Fact<bool> {
        set.has(address.parse().unwrap(), asn)
    }

    #[test]
    fn prefixes_addresses_and_autonomous_systems() {
        let set =
            parse("# hosting\n198.51.100.0/25\n 203.0.113.7 # one\r\n\n2001:db8::/32\nAS64500\nas64501\n").unwrap();
        for (address, listed) in [
            ("198.51.100.0", true),
            ("198.51.100.127", true),
            ("198.51.100.128", false),
            ("203.0.113.7", true),
            ("203.0.113.8", false),
            ("::ffff:203.0.113.7", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
        ] {
            assert_eq!(has(&set, address, &asn(64_511)), Fact::Known(listed), "{address}");
        }
        assert_eq!(has(&set, "192.0.2.1", &asn(64_501)), Fact::Known(true));
        assert_eq!(has(&set, "192.0.2.1", &Fact::Absent), Fact::Known(false));
    }

    #[test]
    fn an_unknown_autonomous_system_may_be_on_the_list() {
        let missing = Fact::Unavailable(Fault::DatabaseMissing);
        let unknown = Fact::Unavailable(Fault::DatabaseMissing);
        let with_asns = parse("198.51.100.0/24\nAS64500").unwrap();
        assert_eq!(has(&with_asns, "192.0.2.1", &missing), unknown);
        assert_eq!(has(&with_asns, "198.51.100.1", &missing), Fact::Known(true));
        let prefixes_only = parse("198.51.100.0/24").unwrap();
        assert_eq!(has(&prefixes_only, "192.0.2.1", &missing), Fact::Known(false));
    }

    #[test]
    fn all_faults_at_once_with_their_lines() {
        let faults = parse(
            "198.51.100.0/24\nexample.com\n10.0.0.1/8\nAS\nAS0\nAS4294967296\n192.0.2.0/33\n::ffff:192.0.2.0/120\n",
        )
        .unwrap_err();
        let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "lists/hosting.txt:2: `example.com` is neither a prefix nor an address nor an autonomous system; help: write one prefix (`192.0.2.0/24`, `2001:db8::/32`), address or autonomous system (`AS64500`) a line",
                "lists/hosting.txt:3: `10.0.0.1/8` has bits beyond its prefix: did you mean `10.0.0.0/8`; help: write the first address of the network, or the address alone",
                "lists/hosting.txt:4: `AS` is not an autonomous system; help: write `AS` and a number from 1 to 4294967295",
                "lists/hosting.txt:5: `AS0` is not an autonomous system; help: write `AS` and a number from 1 to 4294967295",
                "lists/hosting.txt:6: `AS4294967296` is not an autonomous system; help: write `AS` and a number from 1 to 4294967295",
                "lists/hosting.txt:7: `192.0.2.0/33` is neither a prefix nor an address nor an autonomous system; help: write one prefix (`192.0.2.0/24`, `2001:db8::/32`), address or autonomous system (`AS64500`) a line",
                "lists/hosting.txt:8: `::ffff:192.0.2.0/120` is an IPv4 network written as IPv6; help: write it as IPv4: clients are compared by their IPv4 address",
            ]
        );
    }

    #[test]
    fn an_emptied_list_is_a_fault_and_not_a_list_of_nobody() {
        for text in ["", "\n\n", "# all gone\n"] {
            let faults = parse(text).unwrap_err();
            assert_eq!(faults.len(), 1);
            assert_eq!(faults[0].message, "the network list names nothing");
        }
    }

    #[test]
    fn what_is_no_text_is_a_fault() {
        let faults = Set::parse(Path::new("x"), b"192.0.2.1\n\xff\xfe\n").unwrap_err();
        assert_eq!((faults[0].line, &*faults[0].message), (Some(2), "this line is not UTF-8 text"));
        let many = "nonsense\n".repeat(1_000);
        assert_eq!(parse(&many).unwrap_err().len(), FAULTS_TOLD);
    }

    #[test]
    fn neighbours_and_nested_networks_become_one_range() {
        let set =
            parse("192.0.2.128/25\n192.0.2.0/25\n192.0.2.7\n0.0.0.0/1\n::/0\nffff::/16\n255.255.255.255").unwrap();
        assert_eq!((set.v4.len(), set.v6.len()), (3, 1));
        assert_eq!(has(&set, "255.255.255.255", &Fact::Absent), Fact::Known(true));
        assert_eq!(has(&set, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", &Fact::Absent), Fact::Known(true));
    }

    proptest! {
        #[test]
        fn the_ranges_hold_what_the_prefixes_hold(
            prefixes in prop::collection::vec((any::<u32>(), 0..=32_u8), 1..40), probes in prop::collection::vec(any::<u32>(), 40),
        ) {
            let networks: Vec<_> =
                prefixes.iter().map(|&(bits, length)| ipnet::Ipv4Net::new_assert(bits.into(), length).trunc()).collect();
            let text: String = networks.iter().map(|network| format!("{network}\n")).collect();
            let set = parse(&text).unwrap();
            let edges = networks.iter().flat_map(|n| [n.network().to_bits(), n.broadcast().to_bits()]);
            for bits in probes.into_iter().chain(edges.flat_map(|bits| [bits.wrapping_sub(1), bits, bits.wrapping_add(1)])) {
                let address = std::net::Ipv4Addr::from(bits);
                let expected = networks.iter().any(|network| network.contains(&address));
                prop_assert_eq!(set.has(address.into(), &Fact::Absent), Fact::Known(expected));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Set::parse(Path::new("x"), &text);
        }
    }
}
