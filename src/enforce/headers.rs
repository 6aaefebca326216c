//! Which header fields cross the gateway, both ways, and which are its own.
//!
//! The order matters: what `Connection` names goes first, so that nobody can name the gateway's fields away; then
//! whatever from outside looks like the gateway's word; only then are its own set.

use super::assertion::Told;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;
use std::net::IpAddr;

/// Header names that only the gateway may send upstream: the built-in ones and the configured.
#[derive(Clone, Debug)]
pub struct Owned {
    extra: Vec<String>,
    /// Which two first characters occur: most names need no further look.
    beginnings: [u32; 32],
}

impl Default for Owned {
    fn default() -> Self {
        Self { extra: Vec::new(), beginnings: BEGINNINGS }
    }
}

impl Owned {
    /// `extra`: the assertion header and whatever else upstreams trust, in any spelling.
    pub fn new<'a>(extra: impl IntoIterator<Item = &'a str>) -> Self {
        let mut owned = Self::default();
        for name in extra {
            let folded = fold(name.as_bytes());
            match folded[..] {
                [b'-', ..] | [] | [_] => owned.beginnings = [u32::MAX; 32],
                [first, second, ..] => owned.beginnings[usize::from(first & 31)] |= low_bits(second),
            }
            owned.extra.push(folded.iter().map(|b| char::from(*b)).collect());
        }
        owned
    }

    /// Whether a field of this name from outside would pass for the gateway's.
    ///
    /// Letters' case and every sign are folded: CGI and its heirs make `_` of them all, so that `x.forwarded_for`
    /// and `X-Forwarded-For` are one variable.
    pub fn covers(&self, name: &str) -> bool {
        let may_be_listed = match name.as_bytes() {
            [first, second, ..] => self.beginnings[usize::from(first & 31)] >> (second & 31) & 1 == 1,
            _ => self.beginnings[0] == u32::MAX,
        };
        if !may_be_listed {
            return false;
        }
        let folded = fold(name.as_bytes());
        let folded = folded.as_slice();
        OWNED.iter().any(|family| match family {
            Family::Name(owned) => folded == owned.as_bytes(),
            Family::Prefix(owned) => folded.starts_with(owned.as_bytes()),
        }) || self.extra.iter().any(|owned| folded == owned.as_bytes())
    }
}

/// Which two first characters occur in `OWNED`, by their low five bits. Any sign stands where a hyphen does, so a
/// second hyphen stands for all.
const BEGINNINGS: [u32; 32] = {
    let mut table = [0; 32];
    let mut at = 0;
    while at < OWNED.len() {
        let (Family::Name(name) | Family::Prefix(name)) = &OWNED[at];
        let name = name.as_bytes();
        table[(name[0] & 31) as usize] |= low_bits(name[1]);
        at += 1;
    }
    table
};

const fn low_bits(second: u8) -> u32 {
    if second == b'-' { SIGNS } else { 1 << (second & 31) }
}

/// The low five bits of every sign that a field name may hold.
const SIGNS: u32 = {
    let mut signs = 0;
    let all = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < all.len() {
        signs |= 1 << (all[at] & 31);
        at += 1;
    }
    signs
};

enum Family {
    Name(&'static str),
    Prefix(&'static str),
}

/// Names that upstreams commonly take for a proxy's word.
const OWNED: &[Family] = &[
    // Ours.
    Family::Prefix("rangegate-"),
    // Who the client is and what it asked for, in the words of other proxies.
    Family::Prefix("x-forwarded"),
    Family::Name("forwarded"),
    Family::Name("x-real-ip"),
    Family::Name("x-client-ip"),
    Family::Name("client-ip"),
    Family::Name("true-client-ip"),
    Family::Name("cf-connecting-ip"),
    Family::Name("fastly-client-ip"),
    Family::Name("x-cluster-client-ip"),
    Family::Name("x-originating-ip"),
    Family::Name("x-remote-ip"),
    Family::Name("x-remote-addr"),
    Family::Prefix("x-envoy-"),
    // What path or method is meant: a second reading behind the one that was decided.
    Family::Name("x-original-url"),
    Family::Name("x-original-uri"),
    Family::Name("x-rewrite-url"),
    Family::Name("x-original-method"),
    Family::Prefix("x-http-method"),
    Family::Name("x-method-override"),
    Family::Name("x-host"),
    Family::Name("x-original-host"),
    // Which client certificate was presented.
    Family::Prefix("x-client-cert"),
    Family::Prefix("client-cert"),
    Family::Prefix("x-ssl-"),
    Family::Prefix("ssl-"),
    Family::Prefix("x-tls-"),
    // Who was signed in.
    Family::Name("remote-user"),
    Family::Name("remote-addr"),
    Family::Prefix("x-remote-user"),
    Family::Prefix("x-remote-group"),
    Family::Prefix("x-remote-extra"),
    Family::Prefix("x-auth-request-"),
    Family::Name("x-authenticated-user"),
    Family::Prefix("x-webauth-"),
    Family::Prefix("x-pomerium-"),
    Family::Prefix("x-goog-iap-"),
    Family::Prefix("x-goog-authenticated-user"),
    Family::Prefix("x-amzn-oidc-"),
    Family::Prefix("x-ms-client-principal"),
    Family::Prefix("cf-access-"),
    Family::Prefix("impersonate-"),
    // A CGI script would fetch through whatever this names (httpoxy).
    Family::Name("proxy"),
];

/// Lower case, and every sign a hyphen. Longer names than any owned one keep their beginning, for the prefixes.
fn fold(name: &[u8]) -> SmallVec<[u8; 64]> {
    name.iter().map(|b| if b.is_ascii_alphanumeric() { b.to_ascii_lowercase() } else { b'-' }).collect()
}

/// What the gateway says to the upstream about a request. Values are made once per connection where they can be.
#[derive(Debug)]
pub struct Ours<'a> {
    pub owned: &'a Owned,
    /// None: the address is not known, and nothing is said of it.
    pub client: Option<ClientValues>,
    /// The canonical host, with the port if the client wrote one.
    pub host: HeaderValue,
    pub request_id: HeaderValue,
    /// Who asks, and the name of the field for the assertion. None: the upstream is not told.
    pub assertion: Option<(HeaderName, Told)>,
    /// The upstream is not to see the client's token.
    pub strip_authorization: bool,
    /// The request asks for a WebSocket over HTTP/1.1.
    pub websocket: bool,
}

/// A client's address as `X-Forwarded-For` and `Forwarded` (RFC 7239) write it.
#[derive(Clone, Debug)]
pub struct ClientValues {
    plain: HeaderValue,
    forwarded: HeaderValue,
}

impl ClientValues {
    pub fn new(address: IpAddr) -> Self {
        let forwarded = match address {
            IpAddr::V4(address) => format!("for={address};proto=https"),
            IpAddr::V6(address) => format!("for=\"[{address}]\";proto=https"),
        };
        Self { plain: text(&address.to_string()), forwarded: text(&forwarded) }
    }
}

/// A header value of any text: what is not visible ASCII, and `%` itself, is percent-encoded.
pub fn text(of: &str) -> HeaderValue {
    let plain = |b: &u8| (0x21..0x7f).contains(b) && *b != b'%';
    if of.bytes().all(|b| plain(&b)) {
        return HeaderValue::from_str(of).expect("visible ASCII is a field value");
    }
    let mut out = String::with_capacity(of.len() + 8);
    for byte in of.bytes() {
        if plain(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    HeaderValue::from_str(&out).expect("visible ASCII is a field value")
}

/// Makes a client's fields fit for the upstream, and sets the gateway's.
pub fn request(headers: &mut HeaderMap, ours: Ours<'_>) {
    headers.reserve(FIELDS);
    let (mut trailers, mut crumbs) = (false, 0);
    // Nearly always there is one `Host`, and it is canonical: it stays as it came.
    let (mut hosts, mut canonical) = (0, true);
    remove_connection(headers, |name, value| {
        match *name {
            header::TE => trailers |= names_in(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers")),
            header::COOKIE => crumbs += 1,
            header::HOST => {
                (hosts, canonical) = (hosts + 1, canonical && *value == ours.host);
                return false;
            }
            header::AUTHORIZATION if ours.strip_authorization => return true,
            _ => {}
        }
        ours.owned.covers(name.as_str()) || name.as_str() == "http2-settings"
    });
    if crumbs > 1 {
        join_cookies(headers);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if ours.websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if hosts != 1 || !canonical {
        headers.insert(header::HOST, ours.host.clone());
    }
    if let Some(client) = ours.client {
        headers.insert(X_FORWARDED_FOR, client.plain);
        headers.insert(header::FORWARDED, client.forwarded);
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    headers.insert(X_FORWARDED_HOST, ours.host);
    headers.insert(RANGEGATE_REQUEST_ID, ours.request_id);
    if let Some((name, Told { assertion, user, device })) = ours.assertion {
        if let Some(user) = user {
            headers.insert(RANGEGATE_USER, user);
        }
        if let Some(device) = device {
            headers.insert(RANGEGATE_DEVICE, device);
        }
        headers.insert(name, assertion);
    }
}

/// Makes an upstream's fields fit for the client. A 101 gets its `Connection` and `Upgrade` back from whoever sends it.
pub fn response(headers: &mut HeaderMap, request_id: HeaderValue) {
    remove_connection(headers, |name, _| is_not_for_clients(name));
    headers.insert(RANGEGATE_REQUEST_ID, request_id);
}

/// Makes the fields of an interim answer fit for the client, as `response` does. It has no content (RFC 9110 section 15.2).
pub fn interim(headers: &mut HeaderMap) {
    remove_connection(headers, |name, _| is_not_for_clients(name) || *name == header::CONTENT_LENGTH);
}

/// The gateway's own, and what would lead clients to a way in that is not the gateway's.
fn is_not_for_clients(name: &HeaderName) -> bool {
    *name == header::ALT_SVC || name.as_str().starts_with("rangegate-")
}

/// Filters trailers, either way: nothing that frames, routes, authenticates or passes for the gateway's word
/// (RFC 9110 section 6.5.1).
pub fn trailers(trailers: &mut HeaderMap, owned: &Owned) {
    remove_connection(trailers, |name, _| forbidden_in_trailers(name.as_str()) || owned.covers(name.as_str()));
}

/// Fields that may not stand behind a body (RFC 9110 section 6.5.1). `name` in lower case.
pub fn forbidden_in_trailers(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "content-length"
            | "transfer-encoding"
            | "trailer"
            | "te"
            | "connection"
            | "upgrade"
            | "content-encoding"
            | "content-type"
            | "content-range"
            | "range"
            | "expect"
            | "max-forwards"
            | "cache-control"
            | "authorization"
            | "proxy-authorization"
            | "www-authenticate"
            | "proxy-authenticate"
            | "cookie"
            | "set-cookie"
    ) || name.starts_with("if-")
}

/// As many as `request` sets at most.
const FIELDS: usize = 12;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const RANGEGATE_REQUEST_ID: HeaderName = HeaderName::from_static("rangegate-request-id");
pub const RANGEGATE_USER: HeaderName = HeaderName::from_static("rangegate-user");
pub const RANGEGATE_DEVICE: HeaderName = HeaderName::from_static("rangegate-device");

/// Removes what `Connection` names and what is connection-specific by itself (RFC 9110 section 7.6.1). `Trailer` stays:
/// it announces fields that are forwarded. What is `unwanted`, which is asked of every field's every value, goes in the
/// same pass.
fn remove_connection(headers: &mut HeaderMap, mut unwanted: impl FnMut(&HeaderName, &HeaderValue) -> bool) {
    let mut going: SmallVec<[HeaderName; 8]> = SmallVec::new();
    for (name, value) in &*headers {
        if *name == header::CONNECTION {
            // What most upstreams say. It goes by itself, and need not be made a name.
            if !value.as_bytes().eq_ignore_ascii_case(b"keep-alive") {
                going.extend(named_by(value));
            }
        } else if !(unwanted(name, value) || is_hop_by_hop(name.as_str())) {
            continue;
        }
        going.push(name.clone());
    }
    for name in going {
        headers.remove(name);
    }
}

/// The fields that a value of `Connection` takes with it.
fn named_by(connection: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    names_in(connection)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        // Naming these would take the sense from the request, and nobody honest does.
        .filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::AUTHORIZATION | header::COOKIE))
}

/// A list of tokens, taken apart (RFC 9110 section 5.6.1).
fn names_in(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

fn is_hop_by_hop(name: &str) -> bool {
    // By length first: most names are told apart by it.
    match name.len() {
        2 => name == "te",
        7 => name == "upgrade",
        10 => name == "keep-alive",
        16 => name == "proxy-connection",
        17 => name == "transfer-encoding",
        18 => name == "proxy-authenticate",
        19 => name == "proxy-authorization",
        25 => name == "proxy-authentication-info",
        _ => false,
    }
}

/// HTTP/2 splits cookies for its compression; HTTP/1 has one line (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let mut joined = Vec::with_capacity(first.len() + second.len() + 64);
    joined.extend_from_slice(first.as_bytes());
    for crumb in std::iter::once(second).chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    match HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        Ok(cookie) => headers.insert(header::COOKIE, cookie),
        Err(_) => headers.remove(header::COOKIE),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn forward(lines: &[(&str, &str)]) -> HeaderMap {
        // An upstream may be told to trust `Host` too: it is ours in any case.
        let owned = Owned::new(["Acme-Assertion", "Host"]);
        let client = ClientValues::new("2001:db8::1".parse().unwrap());
        let told = Told {
            assertion: text("signed"),
            user: Some(text("ann@corp.example")),
            device: Some(text("ann's läptop")),
        };
        let mut headers = map(lines);
        request(
            &mut headers,
            Ours {
                owned: &owned,
                client: Some(client),
                host: text("payroll.corp.example"),
                request_id: text("01J"),
                assertion: Some((HeaderName::from_static("acme-assertion"), told)),
                strip_authorization: false,
                websocket: false,
            },
        );
        headers
    }

    fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect()
    }

    #[test]
    fn there_is_one_host_and_it_is_the_canonical_one() {
        for came in
            [&[][..], &["payroll.corp.example"], &["Payroll.corp.example"], &["a.example", "payroll.corp.example"]]
        {
            let lines: Vec<_> = came.iter().map(|host| ("host", *host)).collect();
            assert_eq!(values(&forward(&lines), "host"), ["payroll.corp.example"], "{came:?}");
        }
    }

    #[test]
    fn ours_replace_theirs() {
        let headers = forward(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("X_Forwarded_For", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("rangegate-user", "root"),
            ("rangegate.user", "root"),
            ("RANGEGATE_ROLE", "admin"),
            ("acme_assertion", "forged"),
            ("x-webauth-user", "root"),
            ("proxy", "http://evil"),
            ("host", "elsewhere"),
            ("authorization", "Bearer t"),
            ("accept", "*/*"),
        ]);
        let expected = [
            ("accept", "*/*"),
            ("acme-assertion", "signed"),
            ("authorization", "Bearer t"),
            ("forwarded", "for=\"[2001:db8::1]\";proto=https"),
            ("host", "payroll.corp.example"),
            ("rangegate-device", "ann's%20l%C3%A4ptop"),
            ("rangegate-request-id", "01J"),
            ("rangegate-user", "ann@corp.example"),
            ("x-forwarded-for", "2001:db8::1"),
            ("x-forwarded-host", "payroll.corp.example"),
            ("x-forwarded-proto", "https"),
        ];
        let mut left: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(left, expected);
    }

    #[test]
    fn connection_names_only_theirs_away() {
        let headers = forward(&[
            ("connection", "close, X-Secret, rangegate-user, x-forwarded-for, Authorization"),
            ("connection", "acme-assertion, te"),
            ("x-secret", "1"),
            ("te", "gzip, trailers"),
            ("keep-alive", "5"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
            ("transfer-encoding", "chunked"),
            ("trailer", "grpc-status"),
            ("authorization", "Bearer t"),
        ]);
        for gone in ["connection", "x-secret", "keep-alive", "upgrade", "http2-settings", "transfer-encoding"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        for (kept, value) in [
            ("te", "trailers"),
            ("trailer", "grpc-status"),
            ("rangegate-user", "ann@corp.example"),
            ("x-forwarded-for", "2001:db8::1"),
            ("acme-assertion", "signed"),
            ("authorization", "Bearer t"),
        ] {
            assert_eq!(values(&headers, kept), [value], "{kept}");
        }
    }

    #[test]
    fn cookie_crumbs_become_one_line() {
        assert_eq!(
            values(&forward(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]), "cookie"),
            ["a=1; b=2; c=3"]
        );
        assert_eq!(values(&forward(&[("cookie", "a=1; b=2")]), "cookie"), ["a=1; b=2"]);
    }

    #[test]
    fn responses_and_trailers_are_filtered() {
        let mut headers = map(&[
            ("connection", "x-internal"),
            ("x-internal", "1"),
            ("upgrade", "h2,h2c"),
            ("alt-svc", "h3=\":443\""),
            ("rangegate-request-id", "forged"),
            ("content-type", "text/html"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ]);
        response(&mut headers, text("01J"));
        assert_eq!(headers.len(), 4);
        assert_eq!(values(&headers, "rangegate-request-id"), ["01J"]);
        assert_eq!(values(&headers, "set-cookie"), ["a=1", "b=2"]);

        let mut behind = map(&[
            ("grpc-status", "0"),
            ("x_forwarded_for", "1.1.1.1"),
            ("content-length", "5"),
            ("authorization", "Bearer t"),
            ("if-match", "x"),
            ("acme.assertion", "forged"),
            ("host", "x"),
            ("digest", "sha-256=x"),
        ]);
        trailers(&mut behind, &Owned::new(["acme-assertion"]));
        let mut left: Vec<_> = behind.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["digest", "grpc-status"]);
    }

    proptest! {
        /// However an owned name is spelt, no value of it from outside survives.
        #[test]
        fn no_folded_variant_survives(
            name in prop::sample::select(vec![
                "x-forwarded-for", "x-forwarded-proto", "forwarded", "x-real-ip", "rangegate-user", "rangegate-anything",
                "acme-assertion", "x-client-cert-chain", "x-ssl-client-verify", "ssl-client-cert", "remote-user",
                "x-remote-user", "x-auth-request-email", "x-webauth-user", "x-original-url", "x-http-method-override",
            ]),
            signs in proptest::collection::vec(prop::sample::select(b"-_.~!|^'*+#$%&`".to_vec()), 8),
            upper in any::<u64>(),
        ) {
            let mut sign = signs.iter().cycle();
            let spelt: Vec<u8> = name.bytes().enumerate().map(|(at, b)| match b {
                b'-' => *sign.next().unwrap(),
                b if upper >> (at % 64) & 1 == 1 => b.to_ascii_uppercase(),
                b => b,
            }).collect();
            let spelt = String::from_utf8(spelt).unwrap();
            let headers = forward(&[(&spelt, "evil"), ("connection", &spelt)]);
            prop_assert!(headers.values().all(|value| value != "evil"));
            let mut behind = map(&[(&spelt, "evil")]);
            trailers(&mut behind, &Owned::new(["acme-assertion"]));
            prop_assert!(behind.is_empty());
        }
    }
}
