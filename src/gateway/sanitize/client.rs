//! Whose address the request came from: the peer's, or what listed forwarders say, read from the right.
//!
//! Nobody else's word counts. A listed forwarder that names no readable address makes the address unknown, never its own.

use crate::evidence::{Fact, Fault, Via};
use crate::gateway::proxy_protocol::Proxied;
use http::HeaderMap;
use ipnet::IpNet;
use smallvec::SmallVec;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The client's canonical address, and who named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub address: Fact<IpAddr>,
    pub via: Via,
}

/// More hops than this are no honest chain.
const HOPS: usize = 32;

/// Follows the chain from the TCP peer outwards.
///
/// `proxied` is the PROXY protocol header that a listed peer began with. `forwarders` are the peers whose
/// `X-Forwarded-For` or `Forwarded` (RFC 7239) is believed; when both headers are present they must agree.
pub fn client_address(peer: IpAddr, proxied: Option<&Proxied>, forwarders: &[IpNet], headers: &HeaderMap) -> Client {
    let unknown = Fact::Unavailable(Fault::AddressUnknown);
    let (nearest, via) = match proxied {
        None | Some(Proxied::Local) => (peer.to_canonical(), Via::Direct),
        Some(Proxied::Client { source, .. }) => (source.ip().to_canonical(), Via::ProxyProtocol),
        Some(Proxied::Unknown) => return Client { address: unknown, via: Via::ProxyProtocol },
    };
    let listed = |address: &IpAddr| forwarders.iter().any(|net| net.contains(address));
    if !listed(&nearest) {
        return Client { address: Fact::Known(nearest), via };
    }
    let read = |chain: Option<Hops<'_>>| -> Option<IpAddr> {
        let mut outermost = None;
        for hop in chain?.iter().rev() {
            let address = hop_address(hop)?;
            outermost = Some(address);
            if !listed(&address) {
                break;
            }
        }
        outermost
    };
    let plain = headers.contains_key("x-forwarded-for").then(|| read(forwarded_for(headers)));
    let standard = headers.contains_key("forwarded").then(|| read(forwarded(headers)));
    let address = match (plain, standard) {
        (Some(one), Some(other)) if one != other => None,
        (one, other) => one.or(other).flatten(),
    };
    Client { address: address.map_or(unknown, Fact::Known), via: Via::Forwarder }
}

type Hops<'a> = SmallVec<[&'a str; 8]>;

/// The hops of all `X-Forwarded-For` lines in order; None when they cannot be read.
fn forwarded_for(headers: &HeaderMap) -> Option<Hops<'_>> {
    let mut hops = Hops::new();
    for line in headers.get_all("x-forwarded-for") {
        for hop in line.to_str().ok()?.split(',') {
            push(&mut hops, hop.trim_matches([' ', '\t']))?;
        }
    }
    Some(hops)
}

/// The `for` parameters of all `Forwarded` elements in order (RFC 7239 section 4).
fn forwarded(headers: &HeaderMap) -> Option<Hops<'_>> {
    let mut hops = Hops::new();
    for line in headers.get_all("forwarded") {
        let mut quoted = false;
        let line = line.to_str().ok()?;
        // Addresses need no backslash, and with one a quote may end in two places.
        if line.contains('\\') {
            return None;
        }
        for element in line.split(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        }) {
            let mut named = element
                .split(';')
                .filter_map(|pair| pair.split_once('='))
                .filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"))
                .map(|(_, value)| value.trim());
            let value = named.next()?;
            if named.next().is_some() {
                return None;
            }
            let value = match value.strip_prefix('"') {
                Some(inner) => inner.strip_suffix('"')?,
                None => value,
            };
            push(&mut hops, value)?;
        }
        if quoted {
            return None;
        }
    }
    Some(hops)
}

fn push<'a>(hops: &mut Hops<'a>, hop: &'a str) -> Option<()> {
    (hops.len() < HOPS).then(|| hops.push(hop))
}

/// An address with or without a port, in the spellings forwarders use.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    hop.parse::<IpAddr>()
        .ok()
        .or_else(bracketed)
        .or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const BALANCER: &str = "10.0.0.1";

    fn ask(peer: &str, lines: &[(&'static str, &str)]) -> Client {
        let forwarders = ["10.0.0.0/24".parse().unwrap(), "fd00::/16".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        client_address(peer.parse().unwrap(), None, &forwarders, &headers)
    }

    fn known(address: &str, via: Via) -> Client {
        Client { address: Fact::Known(address.parse().unwrap()), via }
    }

    #[test]
    fn only_listed_forwarders_are_believed() {
        let spoof = &[("x-forwarded-for", "192.0.2.9")];
        assert_eq!(ask("198.51.100.7", spoof), known("198.51.100.7", Via::Direct));
        assert_eq!(ask("::ffff:198.51.100.7", spoof), known("198.51.100.7", Via::Direct));
        assert_eq!(ask(BALANCER, spoof), known("192.0.2.9", Via::Forwarder));
        assert_eq!(ask("::ffff:10.0.0.1", spoof), known("192.0.2.9", Via::Forwarder));
    }

    #[test]
    fn the_chain_is_read_from_the_right() {
        for line in ["1.1.1.1, 192.0.2.9", "garbage, 192.0.2.9, 10.0.0.7", "192.0.2.9:5123", "::ffff:192.0.2.9"] {
            assert_eq!(ask(BALANCER, &[("x-forwarded-for", line)]), known("192.0.2.9", Via::Forwarder), "{line}");
        }
        let lines = &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.9")];
        assert_eq!(ask(BALANCER, lines), known("192.0.2.9", Via::Forwarder));
        assert_eq!(ask(BALANCER, &[("x-forwarded-for", "10.0.0.9")]), known("10.0.0.9", Via::Forwarder));
        let standard = &[("forwarded", "for=1.1.1.1;by=x, For=\"[2001:db8::5]:47011\";proto=https")];
        assert_eq!(ask("fd00::1", standard), known("2001:db8::5", Via::Forwarder));
    }

    #[test]
    fn garbage_is_unknown() {
        let unknown = Client { address: Fact::Unavailable(Fault::AddressUnknown), via: Via::Forwarder };
        assert_eq!(ask(BALANCER, &[]), unknown);
        for line in ["", ",", "1.1.1.1,", "unknown", "1.1.1.1 2.2.2.2", "1.1.1", "1.1.1.1:x"] {
            assert_eq!(ask(BALANCER, &[("x-forwarded-for", line)]), unknown, "{line}");
        }
        for line in
            ["", "for=unknown", "for=_x", "by=1.1.1.1", "for=1.1.1.1;for=2.2.2.2", "for=\"1.1.1.1", "for=\"1.1.1.1\\\""]
        {
            assert_eq!(ask(BALANCER, &[("forwarded", line)]), unknown, "{line}");
        }
        let long = ["10.0.0.1"; HOPS + 1].join(",");
        assert_eq!(ask(BALANCER, &[("x-forwarded-for", &long)]), unknown);
        let disagree = &[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2")];
        assert_eq!(ask(BALANCER, disagree), unknown);
        let agree = &[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")];
        assert_eq!(ask(BALANCER, agree), known("1.1.1.1", Via::Forwarder));
    }

    #[test]
    fn the_proxy_header_stands_for_the_peer() {
        let source: SocketAddr = "[::ffff:192.0.2.9]:1".parse().unwrap();
        let proxied = Proxied::Client { source, destination: source };
        let peer = BALANCER.parse().unwrap();
        let none = HeaderMap::new();
        assert_eq!(client_address(peer, Some(&proxied), &[], &none), known("192.0.2.9", Via::ProxyProtocol));
        assert_eq!(client_address(peer, Some(&Proxied::Local), &[], &none), known(BALANCER, Via::Direct));
        let unknown = client_address(peer, Some(&Proxied::Unknown), &[], &none);
        assert_eq!(unknown.address, Fact::Unavailable(Fault::AddressUnknown));
    }
}
