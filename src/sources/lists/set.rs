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

const FORM: &str = "write one prefix (`192.0.2.0/24`, `2001:db8::/32`), address or autonomous system (`AS64500`) a line";

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
        if faults.is_empty() && set.len() == 0 {
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
                (format!("`{}` is not an autonomous system", shown(entry)), "write `AS` and a number from 1 to 4294967295")
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
