//! Which resource a host and path address: exact names first, then the longest `*.suffix`, then the longest path prefix.

use super::lookup::Lookup;
use super::segments::{Pattern, Segments};

/// A host as a policy names it: `payroll.corp.example`, or `*.corp.example` for every name below.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    Exact(Box<str>),
    Below(Box<str>),
}

/// The claims of all resources.
#[derive(Debug, Default)]
pub struct Hosts {
    exact: Lookup<Segments<u32>>,
    below: Lookup<Segments<u32>>,
}

impl HostPattern {
    /// # Errors
    /// Says what is wrong with the name.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(format!("hosts are compared in lower case: `{}`", text.to_ascii_lowercase()));
        }
        if text == "*" {
            return Err("no resource has every host: name them, or all below one as `*.corp.example`".to_owned());
        }
        let usage =
            "expected a name such as `payroll.corp.example` or `*.corp.example`; international names as `xn--…`";
        match text.strip_prefix("*.") {
            Some(suffix) => Ok(Self::Below(name(suffix, usage)?.into())),
            None => Ok(Self::Exact(name(text, usage)?.into())),
        }
    }
}

/// One host, as upstreams and requests have it.
///
/// # Errors
/// Says what is wrong with the name.
pub fn one(text: &str) -> Result<&str, String> {
    match text {
        "" => Err("the host is missing".to_owned()),
        _ if text.contains('*') => Err("this is one host, without `*`".to_owned()),
        _ if text.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            Err(format!("hosts are compared in lower case: `{}`", text.to_ascii_lowercase()))
        }
        _ => name(text, "expected a host such as `payroll.corp.example`; international names as `xn--…`"),
    }
}

impl Hosts {
    pub fn claim(&mut self, host: &HostPattern, prefix: &Pattern, resource: u32) {
        let claims = match host {
            HostPattern::Exact(name) => self.exact.entry(name),
            HostPattern::Below(suffix) => self.below.entry(suffix),
        };
        claims.insert(prefix, resource);
    }

    /// The most specific host decides. Where it has no prefix for the path nothing is addressed:
    /// falling back to a wider host would hand one resource's paths to another.
    pub fn addressed(&self, host: &str, path: &str) -> Option<u32> {
        let claims = self.exact.get(host).or_else(|| suffixes(host).find_map(|suffix| self.below.get(suffix)))?;
        claims.deepest(path).copied()
    }
}

/// What remains of a name label by label, the longest first; the name itself is none of them.
fn suffixes(host: &str) -> impl Iterator<Item = &str> {
    host.match_indices('.').filter_map(|(dot, _)| host.get(dot + 1..))
}

fn name<'t>(text: &'t str, usage: &str) -> Result<&'t str, String> {
    if text.starts_with('[') {
        let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        return match address.map(str::parse::<std::net::Ipv6Addr>) {
            Some(Ok(address)) if text == format!("[{address}]") => Ok(text),
            Some(Ok(address)) => Err(format!("such addresses are compared as `[{address}]`")),
            _ => Err("expected an IPv6 address in brackets".to_owned()),
        };
    }
    if text.contains(':') {
        return Err("a host has no scheme and no port".to_owned());
    }
    if text.ends_with('.') {
        return Err("leave out the dot at the end".to_owned());
    }
    if text.contains('*') {
        return Err("`*.` stands only at the beginning".to_owned());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if text.len() <= 253 && text.split('.').all(label) { Ok(text) } else { Err(usage.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_host_decides() {
        let mut hosts = Hosts::default();
        let claims = [
            ("a.example", "/"),
            ("*.example", "/"),
            ("*.b.example", "/"),
            ("api.b.example", "/v1"),
            ("*.c.example", "/only"),
        ];
        for (index, (host, prefix)) in claims.into_iter().enumerate() {
            let host = HostPattern::parse(host).unwrap();
            hosts.claim(&host, &Pattern::parse_prefix(prefix).unwrap(), u32::try_from(index).unwrap());
        }
        for (host, path, addressed) in [
            ("a.example", "/x", Some(0)),
            ("z.example", "/", Some(1)),
            ("y.z.example", "/", Some(1)),
            ("x.b.example", "/", Some(2)),
            ("b.example", "/", Some(1)),
            ("api.b.example", "/v1/x", Some(3)),
            ("api.b.example", "/v2", None),
            ("x.c.example", "/", None),
            ("example", "/", None),
            ("", "/", None),
        ] {
            assert_eq!(hosts.addressed(host, path), addressed, "{host}{path}");
        }
    }

    #[test]
    fn one_host_is_no_pattern() {
        assert_eq!(one("app.corp.example"), Ok("app.corp.example"));
        assert_eq!(one("[::1]"), Ok("[::1]"));
        for bad in ["", "*", "*.corp.example", "App.example", "a..b", "a:1"] {
            assert!(!one(bad).expect_err(bad).contains("*.corp.example"), "{bad}");
        }
        assert!(HostPattern::parse("*").expect_err("every host").contains("no resource has every host"));
    }

    #[test]
    fn names_as_a_request_could_carry_them() {
        for good in ["localhost", "a-b.example", "*.corp.example", "192.0.2.1", "[::1]", "xn--bcher-kva.example"] {
            assert!(HostPattern::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "*",
            "*.",
            "A.example",
            "https://a.example",
            "a.example:443",
            "a.*.example",
            "a..example",
            "a.example.",
            "bücher.example",
            "-a.example",
            "[::x]",
            "[0::1]",
        ] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
