//! One HTTP exchange with a server the operator named (key sets, webhooks), with everything bounded.
//!
//! The server is not trusted beyond its certificate: no redirect is followed, a name may not lead to a private
//! address unless that is allowed, and size and time have limits whatever it does.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The largest answer, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// From resolving the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One URL of a server, and whom to believe that it is that server.
pub struct Endpoint {
    /// What it was made of.
    named: (String, Option<PathBuf>, bool),
    host: String,
    port: u16,
    /// Path and query.
    target: Uri,
    /// The `Host` field: with the port unless it is the scheme's own.
    authority: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why there was no good answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchFault {
    #[error("cannot resolve `{host}`: {cause}")]
    Resolve { host: String, cause: io::Error },
    #[error("`{host}` resolves to {address}, a private address")]
    Private { host: String, address: IpAddr },
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    #[error("the server broke off: {0}")]
    Http(#[from] hyper::Error),
    #[error("redirected to {0}, which is not followed")]
    Redirected(String),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("larger than {MAX_BODY} bytes")]
    TooLarge,
    #[error("no whole answer within {0:?}")]
    TimedOut(Duration),
}

impl Endpoint {
    /// `url`: https, or http to a loopback address. `authorities`: a PEM file; without it the system's.
    /// `private`: the host name may lead to a private address. Errors are sentences for the operator.
    pub fn new(url: &str, authorities: Option<&Path>, private: bool) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
        let authority = uri.authority().ok_or_else(|| format!("`{url}` names no host"))?.clone();
        if authority.as_str().contains('@') {
            return Err("a URL with a user name in it is not accepted".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(&host) => false,
            _ => return Err(format!("`{url}` is neither https nor http on a loopback address")),
        };
        let tls = if secure { Some(tls(&host, authorities)?) } else { None };
        Ok(Self {
            named: (url.to_owned(), authorities.map(Path::to_owned), private),
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            target: uri.path_and_query().map_or(Ok(Uri::from_static("/")), |target| {
                target.as_str().parse().map_err(|_| format!("`{url}` has no usable path"))
            })?,
            authority: authority.to_string(),
            host,
            tls,
        })
    }

    /// Whether the other was made of the same URL, authorities and permission.
    pub fn same_as(&self, other: &Self) -> bool {
        self.named == other.named
    }

    /// The document's bytes, in at most five seconds and one mebibyte.
    pub async fn fetch(&self) -> Result<Bytes, FetchFault> {
        self.fetch_within(TIMEOUT).await
    }

    /// Sends a document; any 2xx says that it was taken. `fields` are the request's own.
    pub async fn post(&self, fields: HeaderMap, document: Bytes, limit: Duration) -> Result<(), FetchFault> {
        let mut request = Request::new(Full::new(document));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = fields;
        match self.exchange_within(request, limit).await? {
            (status, _) if status.is_success() => Ok(()),
            (status, _) => Err(FetchFault::Status(status)),
        }
    }

    async fn fetch_within(&self, limit: Duration) -> Result<Bytes, FetchFault> {
        let mut request = Request::new(Full::default());
        let accept = HeaderValue::from_static("application/jwk-set+json, application/json");
        request.headers_mut().insert(header::ACCEPT, accept);
        match self.exchange_within(request, limit).await? {
            (StatusCode::OK, document) => Ok(document),
            (status, _) => Err(FetchFault::Status(status)),
        }
    }

    async fn exchange_within(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<(StatusCode, Bytes), FetchFault> {
        tokio::time::timeout(limit, self.exchange(request)).await.unwrap_or(Err(FetchFault::TimedOut(limit)))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), FetchFault> {
        let stream = self.connect().await?;
        match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(FetchFault::Tls)?;
                self.send(stream, request).await
            }
            None => self.send(stream, request).await,
        }
    }

    async fn connect(&self) -> Result<TcpStream, FetchFault> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in self.addresses().await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(FetchFault::Connect(last))
    }

    /// Every address the name has; if one of them is not acceptable, none is.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, FetchFault> {
        if let Ok(literal) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(literal, self.port)]);
        }
        let found = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|cause| FetchFault::Resolve { host: self.host.clone(), cause })?;
        let found: Vec<_> = found.collect();
        let local = is_loopback(&self.host);
        let refused = found.iter().map(SocketAddr::ip).find(|address| match address.to_canonical() {
            address if local => !address.is_loopback(),
            address => !self.named.2 && !is_public(address),
        });
        match refused {
            Some(address) => Err(FetchFault::Private { host: self.host.clone(), address }),
            None => Ok(found),
        }
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), FetchFault> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let _driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        *request.uri_mut() = self.target.clone();
        let fields = request.headers_mut();
        if let Ok(host) = self.authority.parse() {
            fields.insert(header::HOST, host);
        }
        fields.insert(header::USER_AGENT, HeaderValue::from_static("rangegate"));

        let response = sender.send_request(request).await?;
        let status = response.status();
        if status.is_redirection() {
            let location = response.headers().get(header::LOCATION);
            return Err(FetchFault::Redirected(location.map_or("nowhere".to_owned(), |to| format!("{to:.200?}"))));
        }
        // What a failure says besides is nobody's concern, and may be without end.
        if !status.is_success() {
            return Ok((status, Bytes::new()));
        }
        match Limited::new(response.into_body(), MAX_BODY).collect().await {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(broken) => FetchFault::Http(*broken),
                Err(other) => {
                    debug_assert!(other.is::<LengthLimitError>(), "`Limited` has no third kind of error");
                    FetchFault::TooLarge
                }
            }),
        }
    }
}

/// Ends the connection's task with the exchange.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Not private, local, shared, multicast or reserved. `address` is canonical.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let special = a == 0 || a >= 224 || (a, b, c) == (192, 0, 0) || (a == 198 && (b & 0xfe) == 18);
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared || special)
        }
        // Global unicast is 2000::/3; what embeds an IPv4 address (6to4, Teredo) could lead anywhere.
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            (a & 0xe000) == 0x2000 && a != 0x2002 && (a, b) != (0x2001, 0)
        }
    }
}

fn tls(host: &str, authorities: Option<&Path>) -> Result<(TlsConnector, ServerName<'static>), String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` is not a host name"))?;
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let shown = path.display();
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| format!("cannot read authorities from `{shown}`: {error}"))?;
            for certificate in certificates {
                roots.add(certificate).map_err(|error| format!("an authority in `{shown}` is unusable: {error}"))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(match authorities {
            Some(path) => format!("no certificate authority in `{}`", path.display()),
            None => "the system has no certificate authorities".to_owned(),
        });
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsConnector::from(Arc::new(config)), name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn only_https_or_loopback_http_is_accepted() {
        for url in ["http://127.0.0.1:1/k", "http://[::1]:1/k?a=b", "http://localhost/k", "http://127.9.9.9"] {
            assert!(Endpoint::new(url, None, false).is_ok(), "{url}");
        }
        for url in [
            "http://id.example/keys",
            "http://10.0.0.1/keys",
            "http://localhost.example/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "/keys",
            "",
            "https://user@id.example/",
            "http://user:pw@127.0.0.1/",
            "http://127.0.0.1 /",
        ] {
            assert!(Endpoint::new(url, None, false).is_err(), "{url}");
        }
    }

    #[test]
    fn private_and_reserved_addresses_are_not_public() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.168.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001::1",
        ] {
            assert!(!is_public(address.parse().expect("an address")), "{address}");
        }
        for address in ["1.1.1.1", "100.63.0.1", "100.128.0.1", "172.32.0.1", "198.20.0.1", "2606:4700::1", "2a00::1"] {
            assert!(is_public(address.parse().expect("an address")), "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused_unless_that_is_allowed() {
        let endpoint = |host: &str, private| Endpoint {
            named: (host.to_owned(), None, private),
            host: host.to_owned(),
            port: 443,
            target: Uri::from_static("/"),
            authority: host.to_owned(),
            tls: None,
        };
        // `localhost.` is a name to the resolver and none of the spellings that mean loopback to us.
        if tokio::net::lookup_host(("localhost.", 443)).await.is_ok() {
            let refused = endpoint("localhost.", false).addresses().await;
            assert!(matches!(refused, Err(FetchFault::Private { .. })), "{refused:?}");
            assert!(endpoint("localhost.", true).addresses().await.is_ok());
        }
        assert!(endpoint("10.0.0.1", false).addresses().await.is_ok(), "the URL itself names it");
    }

    /// Serves one connection: reads the request, then writes `pieces` with a pause after each.
    async fn served(pieces: Vec<Bytes>, pause: Duration) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let _ = stream.read(&mut [0; 4096]).await;
            for piece in pieces {
                if stream.write_all(&piece).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        });
        Endpoint::new(&format!("http://{address}/keys"), None, false).expect("an endpoint")
    }

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[tokio::test]
    async fn time_is_bounded_as_a_whole_not_per_byte() {
        let drip = std::iter::once(Bytes::from_static(HEAD));
        let drip = drip.chain(std::iter::repeat_n(Bytes::from_static(b"1\r\n{\r\n"), 1000)).collect();
        let endpoint = served(drip, Duration::from_millis(5)).await;
        let begun = std::time::Instant::now();
        let fault = endpoint.fetch_within(Duration::from_millis(100)).await;
        assert!(matches!(fault, Err(FetchFault::TimedOut(_))), "{fault:?}");
        assert!(begun.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test]
    async fn size_is_bounded_whatever_the_length_says() {
        let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
        let mut pieces = vec![Bytes::from_static(HEAD)];
        pieces.extend(std::iter::repeat_n(Bytes::from(chunk), 64));
        let fault = served(pieces, Duration::ZERO).await.fetch().await;
        assert!(matches!(fault, Err(FetchFault::TooLarge)), "{fault:?}");
    }

    #[tokio::test]
    async fn redirects_and_failures_are_not_answers() {
        for (head, expected) in [
            (
                "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
                "redirected to \"http://169.254.169.254/\", which is not followed",
            ),
            ("HTTP/1.1 304 Not Modified\r\n\r\n", "redirected to nowhere, which is not followed"),
            ("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "answered 500 Internal Server Error"),
            ("HTTP/1.1 204 No Content\r\n\r\n", "answered 204 No Content"),
        ] {
            let fault = served(vec![Bytes::from(head)], Duration::ZERO).await.fetch().await;
            assert_eq!(fault.expect_err("no answer").to_string(), expected);
        }
        for garbage in ["garbage", "", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"] {
            let fault = served(vec![Bytes::from(garbage)], Duration::ZERO).await.fetch().await;
            assert!(matches!(fault, Err(FetchFault::Http(_))), "{garbage}: {fault:?}");
        }
    }
}
