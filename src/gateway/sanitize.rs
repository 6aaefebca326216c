//! The one reading of a request: canonical host and path, or the reason there is none.
//!
//! It never returns early to the client: what is malformed is evidence, the decision denies it, and audit sees it.
//! What hyper is lenient about in HTTP/1 framing is found before, by `guard`; its finding arrives in `Arrival`.
//!
//! Decided here, because the specifications leave room:
//! - `OPTIONS *` addresses the server and no resource: refused (`target-form`).
//! - An absolute-form target is read when it says `https` and the `Host` (RFC 9112 section 3.2.2).
//! - Methods are upper-case letters and hyphens: `get` is a GET to some servers and nothing to others.
//! - `Upgrade` to anything but WebSocket, `h2c` too, is refused and not ignored: nobody needs it over TLS with ALPN.
//! - An extended CONNECT (RFC 8441) is a `GET` to the policy, as the same WebSocket over HTTP/1.1 is.
//! - In HTTP/2 the parser drops a fragment from `:path` before it gets here; nobody behind it sees the fragment.

pub mod client;
pub mod host;
pub mod id;
pub mod path;

pub use client::Client;
pub use id::{RequestId, RequestIds};

use super::proxy_protocol::Proxied;
use crate::enforce::headers;
use crate::evidence::{Malformed, Protocol, Request, Upgrade};
use base64::Engine as _;
use host::Authority;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{Extensions, Method, Version, request::Parts};
use ipnet::IpNet;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// What is known about the connection and this head before the request itself is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The name the TLS connection was opened for, lower case. None: the client sent none.
    pub sni: Option<&'a str>,
    /// Whether `sni` is spelt as `Authority::parse` would spell it: a `Host` of the same bytes need not be parsed then.
    pub sni_is_canonical: bool,
    /// It came over the Unix socket, where `localhost` is another name for the one resource there.
    pub local: bool,
    pub peer: IpAddr,
    pub proxied: Option<&'a Proxied>,
    /// Peers whose forwarding headers are believed.
    pub forwarders: &'a [IpNet],
    /// What `guard` found in this head.
    pub violation: Option<Malformed>,
    pub header_count: usize,
    pub header_bytes: usize,
}

/// A request's head as it will be forwarded, should it be.
#[derive(Debug)]
pub struct Head {
    pub request: Arc<Request>,
    /// `GET` for an extended CONNECT.
    pub method: Method,
    /// The canonical path and the query as it came. `/` when malformed.
    pub target: PathAndQuery,
    /// The canonical host with the port the client wrote.
    pub host: HeaderValue,
    pub version: Version,
    /// As received; `enforce/headers.rs` makes them fit for the upstream.
    pub headers: HeaderMap,
    pub client: Client,
    /// Hyper's own: the upgrade in waiting is in here.
    pub extensions: Extensions,
}

/// Reads a request's head once. `id` is the request's id (`RequestIds`).
pub fn sanitize(id: String, parts: Parts, arrival: &Arrival<'_>) -> Head {
    let client = client::client_address(arrival.peer, arrival.proxied, arrival.forwarders, &parts.headers);
    let (reading, malformed) = match arrival.violation {
        Some(violation) => (read(&parts, arrival).ok(), Some(violation)),
        None => match read(&parts, arrival) {
            Ok(reading) => (Some(reading), None),
            Err(malformed) => (None, Some(malformed)),
        },
    };
    let protocol = match parts.version {
        Version::HTTP_2 => Protocol::Http2,
        Version::HTTP_11 => Protocol::Http11,
        _ => Protocol::Http10,
    };
    let Reading { authority, path, target, upgrade } = reading.unwrap_or_default();
    let host = host_value(&authority, parts.headers.get(header::HOST));
    let method = if upgrade.is_some() { Method::GET } else { parts.method };
    Head {
        request: Arc::new(Request {
            id,
            protocol,
            method: method_text(&method),
            host: authority.host,
            path,
            upgrade,
            malformed,
        }),
        method,
        target,
        host,
        version: parts.version,
        headers: parts.headers,
        client,
        extensions: parts.extensions,
    }
}

/// What a well-formed head says; the empty reading of one that is not.
struct Reading {
    authority: Authority,
    path: String,
    target: PathAndQuery,
    upgrade: Option<Upgrade>,
}

impl Default for Reading {
    fn default() -> Self {
        let authority = Authority { host: String::new(), port: None };
        Self { authority, path: "/".to_owned(), target: PathAndQuery::from_static("/"), upgrade: None }
    }
}

fn read(parts: &Parts, arrival: &Arrival<'_>) -> Result<Reading, Malformed> {
    let came = check_size(&parts.headers, arrival)?;
    check_framing(parts, &came)?;
    let upgrade = read_upgrade(parts, &came)?;
    check_method(&parts.method, upgrade)?;
    let expected = || parts.headers.get_all(header::EXPECT).iter();
    if came.expectation && !expected().all(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Malformed::HeaderInvalid);
    }
    let mut authority = read_host(parts, arrival)?;
    let path = path::canonical(parts.uri.path())?;
    let target = read_target(parts, &path)?;
    let addressed = match arrival.sni {
        Some(name) if arrival.local && authority.host == "localhost" => {
            authority = Authority { host: name.to_owned(), port: None };
            true
        }
        Some(name) => name == authority.host,
        None => authority.is_address() && !arrival.local,
    };
    if !addressed {
        return Err(Malformed::Misdirected);
    }
    Ok(Reading { authority, path, target, upgrade })
}

/// The canonical path with the query as it came: usually what was received, which need not be written again.
fn read_target(parts: &Parts, path: &str) -> Result<PathAndQuery, Malformed> {
    let query = parts.uri.query();
    if !query.is_none_or(path::query_is_clean) {
        return Err(Malformed::PathEncoding);
    }
    let received = parts.uri.path_and_query().filter(|target| target.path() == path);
    let target = match (received, query) {
        (Some(received), _) if received.as_str().starts_with('/') => return Ok(received.clone()),
        (_, Some(query)) => PathAndQuery::try_from(format!("{path}?{query}")),
        (_, None) => PathAndQuery::try_from(path),
    };
    target.map_err(|_| Malformed::PathEncoding)
}

/// The canonical host for the upstream's `Host`, which is what was received if that was canonical.
fn host_value(authority: &Authority, received: Option<&HeaderValue>) -> HeaderValue {
    let Authority { host, port } = authority;
    match (received, port) {
        (Some(received), None) if received.as_bytes() == host.as_bytes() => received.clone(),
        (Some(received), Some(port)) if names(received.as_bytes(), host, *port) => received.clone(),
        (_, Some(port)) => headers::text(&format!("{host}:{port}")),
        (_, None) => headers::text(host),
    }
}

/// Whether `written` is `host:port`, the port without leading zeros.
fn names(written: &[u8], host: &str, port: u16) -> bool {
    let rest = written.strip_prefix(host.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
    rest.is_some_and(|digits| !digits.starts_with(b"0") && digits.len() == port.ilog10() as usize + 1)
}

/// Which of the fields there are that few requests have: the others need not be looked for.
#[derive(Default)]
struct Came {
    length: bool,
    coding: bool,
    upgrade: bool,
    expectation: bool,
}

fn check_size(headers: &HeaderMap, arrival: &Arrival<'_>) -> Result<Came, Malformed> {
    let (mut bytes, mut came) = (0, Came::default());
    for (name, value) in headers {
        bytes += name.as_str().len() + value.len();
        match *name {
            header::CONTENT_LENGTH => came.length = true,
            header::TRANSFER_ENCODING => came.coding = true,
            header::UPGRADE => came.upgrade = true,
            header::EXPECT => came.expectation = true,
            _ => {}
        }
    }
    if headers.len() > arrival.header_count || bytes > arrival.header_bytes {
        return Err(Malformed::HeadersTooLarge);
    }
    Ok(came)
}

/// One length at most, and never beside chunks (RFC 9112 section 6.3). In HTTP/2 fields have no blank edges (RFC 9113
/// section 8.2.1) and the connection-specific ones do not exist.
fn check_framing(parts: &Parts, came: &Came) -> Result<(), Malformed> {
    let headers = &parts.headers;
    if came.length {
        let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
        let length = lengths.next().map_or(&b""[..], HeaderValue::as_bytes);
        let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit) && !matches!(length, [b'0', _, ..]);
        if came.coding || !digits || lengths.next().is_some() {
            return Err(Malformed::AmbiguousFraming);
        }
    }
    if came.coding && parts.version != Version::HTTP_11 {
        return Err(Malformed::AmbiguousFraming);
    }
    if parts.version == Version::HTTP_2 {
        let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        let edged = |value: &HeaderValue| blank(value.as_bytes().first()) || blank(value.as_bytes().last());
        if headers.values().any(edged) || headers.contains_key(header::CONNECTION) {
            return Err(Malformed::HeaderInvalid);
        }
    }
    Ok(())
}

fn check_method(method: &Method, upgrade: Option<Upgrade>) -> Result<(), Malformed> {
    let known = match *method {
        Method::CONNECT => upgrade.is_some(),
        Method::TRACE => false,
        _ => method.as_str().len() <= 32 && method.as_str().bytes().all(|b| b.is_ascii_uppercase() || b == b'-'),
    };
    if known { Ok(()) } else { Err(Malformed::Method) }
}

/// A WebSocket handshake by RFC 6455 section 4.2.1 or RFC 8441 section 4, or none.
fn read_upgrade(parts: &Parts, came: &Came) -> Result<Option<Upgrade>, Malformed> {
    let headers = &parts.headers;
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
    };
    let version_13 = || one(header::SEC_WEBSOCKET_VERSION) == Some(b"13");
    let good = if let Some(protocol) = protocol {
        parts.method == Method::CONNECT && protocol.as_str() == "websocket" && version_13()
    } else if came.upgrade {
        let asked = headers.get_all(header::CONNECTION).iter().any(|value| {
            value.as_bytes().split(|b| *b == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
        });
        // Sixteen bytes in base64; strict, for what is decoded leniently can be spelt in several ways.
        let key =
            one(header::SEC_WEBSOCKET_KEY).and_then(|key| base64::engine::general_purpose::STANDARD.decode(key).ok());
        parts.method == Method::GET
            && parts.version == Version::HTTP_11
            && asked
            && one(header::UPGRADE).is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"))
            && version_13()
            && key.is_some_and(|key| key.len() == 16)
            && !came.coding
            && one(header::CONTENT_LENGTH).is_none_or(|length| length == b"0")
    } else {
        return Ok(None);
    };
    if good { Ok(Some(Upgrade::Websocket)) } else { Err(Malformed::Upgrade) }
}

/// The one host that `Host`, `:authority` and an absolute target agree on.
fn read_host(parts: &Parts, arrival: &Arrival<'_>) -> Result<Authority, Malformed> {
    if parts.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTPS) {
        return Err(Malformed::TargetForm);
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let sni = arrival.sni.filter(|_| arrival.sni_is_canonical);
    let host = match hosts.next() {
        Some(host) => Some(match sni.filter(|sni| sni.as_bytes() == host.as_bytes()) {
            Some(sni) => Authority { host: sni.to_owned(), port: None },
            None => Authority::parse(host.to_str().map_err(|_| Malformed::HostInvalid)?)?,
        }),
        None => None,
    };
    if hosts.next().is_some() {
        return Err(Malformed::HostRepeated);
    }
    let authority = parts.uri.authority().map(|authority| Authority::parse(authority.as_str())).transpose()?;
    match (host, authority) {
        (Some(host), Some(authority)) if host == authority => Ok(host),
        (Some(_), Some(_)) => Err(Malformed::HostRepeated),
        (Some(host), None) => Ok(host),
        // HTTP/1.1 wants the header whatever the target says (RFC 9112 section 3.2).
        (None, Some(authority)) if parts.version == Version::HTTP_2 => Ok(authority),
        (None, _) => Err(Malformed::HostMissing),
    }
}

fn method_text(method: &Method) -> Cow<'static, str> {
    for known in ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE"] {
        if method == known {
            return Cow::Borrowed(known);
        }
    }
    Cow::Owned(method.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Fact;
    use http::Request as HttpRequest;
    use proptest::prelude::*;

    fn arrival() -> Arrival<'static> {
        Arrival {
            sni: Some("payroll.corp.example"),
            sni_is_canonical: true,
            local: false,
            peer: "192.0.2.1".parse().unwrap(),
            proxied: None,
            forwarders: &[],
            violation: None,
            header_count: 100,
            header_bytes: 16 * 1024,
        }
    }

    fn head(version: Version, method: &str, uri: &str, lines: &[(&str, &str)]) -> Head {
        let mut request = HttpRequest::builder().version(version).method(method).uri(uri);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        sanitize("id".into(), request.body(()).unwrap().into_parts().0, &arrival())
    }

    fn h1(method: &str, uri: &str, lines: &[(&str, &str)]) -> Head {
        head(Version::HTTP_11, method, uri, lines)
    }

    const HOST: (&str, &str) = ("host", "Payroll.corp.example:8443");
    const URI_2: &str = "https://payroll.corp.example/a";

    #[test]
    fn a_plain_request_is_read() {
        let head = h1("GET", "/runs/%37?x=%2f../", &[HOST]);
        assert_eq!(head.request.malformed, None);
        assert_eq!(head.request.host, "payroll.corp.example");
        assert_eq!(head.host, "payroll.corp.example:8443");
        assert_eq!(head.request.path, "/runs/7");
        assert_eq!(head.target.as_str(), "/runs/7?x=%2f../");
        assert_eq!(head.client.address, Fact::Known("192.0.2.1".parse().unwrap()));
        assert!(matches!(head.request.method, Cow::Borrowed("GET")));
        let head = h1("M-SEARCH", "https://payroll.corp.example:8443/a", &[HOST]);
        assert_eq!((head.request.malformed, &*head.request.method), (None, "M-SEARCH"));
        assert_eq!(head_2("GET", &[]).request.malformed, None);
        assert_eq!(head_2("GET", &[("host", "payroll.corp.example")]).request.malformed, None);
    }

    fn head_2(method: &str, lines: &[(&str, &str)]) -> Head {
        head(Version::HTTP_2, method, URI_2, lines)
    }

    #[test]
    fn each_fault_has_its_name() {
        use Malformed as M;
        let length = ("content-length", "1");
        for (head, why) in [
            (h1("GET", "/", &[]), M::HostMissing),
            (h1("GET", "/", &[("host", "")]), M::HostMissing),
            (h1("GET", URI_2, &[]), M::HostMissing),
            (h1("GET", "/", &[HOST, HOST]), M::HostRepeated),
            (h1("GET", "https://other.example/", &[HOST]), M::HostRepeated),
            (h1("GET", "http://payroll.corp.example:8443/", &[HOST]), M::TargetForm),
            (h1("GET", "/", &[("host", "a@payroll.corp.example")]), M::HostInvalid),
            (h1("GET", "/", &[("host", "other.example")]), M::Misdirected),
            (h1("GET", "/", &[("host", "192.0.2.7")]), M::Misdirected),
            (h1("OPTIONS", "*", &[HOST]), M::TargetForm),
            (h1("TRACE", "/", &[HOST]), M::Method),
            (h1("CONNECT", "payroll.corp.example:8443", &[HOST]), M::Method),
            (h1("get", "/", &[HOST]), M::Method),
            (h1("GET", "/a%2fb", &[HOST]), M::PathEncoding),
            (h1("GET", "/a/../b", &[HOST]), M::PathSegments),
            (h1("POST", "/", &[HOST, length, length]), M::AmbiguousFraming),
            (h1("POST", "/", &[HOST, ("content-length", "+1")]), M::AmbiguousFraming),
            (h1("POST", "/", &[HOST, ("content-length", "010")]), M::AmbiguousFraming),
            (h1("POST", "/", &[HOST, length, ("transfer-encoding", "chunked")]), M::AmbiguousFraming),
            (head(Version::HTTP_10, "POST", "/", &[HOST, ("transfer-encoding", "chunked")]), M::AmbiguousFraming),
            (h1("POST", "/", &[HOST, ("expect", "200-ok")]), M::HeaderInvalid),
            (head_2("GET", &[("host", "other.example")]), M::HostRepeated),
            (head_2("GET", &[("x", " y")]), M::HeaderInvalid),
            (h1("GET", "/", &[HOST, ("connection", "upgrade"), ("upgrade", "h2c")]), M::Upgrade),
        ] {
            assert_eq!(head.request.malformed, Some(why));
            assert_eq!((head.request.host.as_str(), head.target.as_str()), ("", "/"));
        }
        let many: Vec<_> = (0..101).map(|_| ("cookie", "a=b")).collect();
        assert_eq!(head_2("GET", &many).request.malformed, Some(M::HeadersTooLarge));
        let long = "x".repeat(17_000);
        assert_eq!(head_2("GET", &[("cookie", &long)]).request.malformed, Some(M::HeadersTooLarge));
    }

    #[test]
    fn without_a_server_name_only_an_address_is_addressed() {
        let ask = |host: &str| {
            let request = HttpRequest::get("/").header("host", host).body(()).unwrap();
            sanitize(String::new(), request.into_parts().0, &Arrival { sni: None, ..arrival() }).request.malformed
        };
        assert_eq!(ask("192.0.2.7:8443"), None);
        assert_eq!(ask("[::1]"), None);
        assert_eq!(ask("payroll.corp.example"), Some(Malformed::Misdirected));
    }

    #[test]
    fn what_the_guard_found_stands() {
        let request = HttpRequest::get("/a").header("host", "payroll.corp.example").body(()).unwrap();
        let arrival = Arrival { violation: Some(Malformed::ControlByte), ..arrival() };
        let head = sanitize(String::new(), request.into_parts().0, &arrival);
        assert_eq!(head.request.malformed, Some(Malformed::ControlByte));
        assert_eq!(head.request.host, "payroll.corp.example");
    }

    #[test]
    fn websocket_handshakes() {
        let good = [
            HOST,
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let opened = h1("GET", "/ws", &good);
        assert_eq!((opened.request.malformed, opened.request.upgrade), (None, Some(Upgrade::Websocket)));
        for (at, value) in [(1, "keep-alive"), (2, "websocket, h2c"), (3, "8"), (4, "dGhlIHNhbXBsZSBub25j"), (4, "?")] {
            let mut bad = good;
            bad[at].1 = value;
            assert_eq!(h1("GET", "/ws", &bad).request.malformed, Some(Malformed::Upgrade), "{value}");
        }
        assert_eq!(h1("POST", "/ws", &good).request.malformed, Some(Malformed::Upgrade));
        assert_eq!(head(Version::HTTP_10, "GET", "/ws", &good).request.malformed, Some(Malformed::Upgrade));

        let extended = |protocol: &'static str| {
            let request = HttpRequest::builder()
                .method("CONNECT")
                .version(Version::HTTP_2)
                .uri(URI_2)
                .header("sec-websocket-version", "13")
                .extension(h2::ext::Protocol::from_static(protocol));
            sanitize(String::new(), request.body(()).unwrap().into_parts().0, &arrival())
        };
        let opened = extended("websocket");
        assert_eq!((opened.request.malformed, &*opened.request.method), (None, "GET"));
        assert_eq!(extended("connect-udp").request.malformed, Some(Malformed::Upgrade));
    }

    proptest! {
        /// What was read is read the same again: the upstream's view of the request is the policy's.
        #[test]
        fn forwarding_is_a_fixed_point(path in "/[!-~]{0,16}", host in "[a-zA-Z0-9.:-]{1,16}") {
            let Ok(request) = HttpRequest::get(path).header("host", host).body(()) else { return Ok(()) };
            let sni = request.headers()["host"].to_str().unwrap().split(':').next().unwrap().trim_end_matches('.').to_ascii_lowercase();
            let canonical = Authority::is_canonical(&sni);
            let arrival = Arrival { sni: Some(&sni), sni_is_canonical: canonical, ..arrival() };
            let once = sanitize(String::new(), request.into_parts().0, &arrival);
            if once.request.malformed.is_none() {
                let again = HttpRequest::get(once.target.as_str()).header("host", &once.request.host).body(()).unwrap();
                let again = sanitize(String::new(), again.into_parts().0, &arrival);
                prop_assert_eq!(&again.request, &once.request);
                prop_assert_eq!(again.target, once.target);
            }
        }
    }
}
