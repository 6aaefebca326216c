//! The device's side of enrolment over HTTP: one request, one answer, everything bounded.

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// From resolving the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer, bytes: a chain of a few certificates.
const LONGEST: usize = 64 * 1024;

/// The server that enrols devices.
pub struct Enrolment {
    host: String,
    port: u16,
    authority: HeaderValue,
    name: ServerName<'static>,
    /// The path before `/v1/…`, without a slash at its end.
    base: String,
    roots: RootCertStore,
}

/// By what a device shows that it may have a certificate.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    Invitation(&'a str),
    /// The present certificate and its key, PKCS#8.
    Certificate(&'a [CertificateDer<'static>], &'a [u8]),
}

impl Enrolment {
    /// `ca`: a PEM file; without it the system's authorities. Errors are sentences for people.
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https"));
        // The code is a secret, and the server must be the right one.
        let authority = authority.ok_or_else(|| format!("`{url}` is not an https URL"))?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err("the URL has a user name or a query".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| format!("`{host}` is not a host name"))?;
        Ok(Self {
            port: authority.port_u16().unwrap_or(443),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| format!("`{url}` is not a URL"))?,
            name,
            base: uri.path().trim_end_matches('/').to_owned(),
            roots: roots(ca)?,
            host,
        })
    }

    /// Sends the request for a certificate and gives the chain, PEM. Errors are sentences for people.
    pub fn ask(&self, proof: Proof<'_>, request: &str) -> Result<String, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|why| format!("cannot run: {why}"))?;
        let answer = runtime.block_on(async { tokio::time::timeout(TIMEOUT, self.exchange(proof, request)).await });
        answer.map_err(|_| format!("`{}` gave no whole answer within {} seconds", self.host, TIMEOUT.as_secs()))?
    }

    async fn exchange(&self, proof: Proof<'_>, request: &str) -> Result<String, String> {
        let failed = |what: &str, why: &dyn std::fmt::Display| format!("`{}`: {what}: {why}", self.host);
        let config = self.tls(proof).map_err(|why| failed("TLS cannot be set up", &why))?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|why| failed("cannot connect", &why))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(self.name.clone(), stream).await;
        let stream = TokioIo::new(stream.map_err(|why| failed("TLS failed", &why))?);
        let broken = |why: hyper::Error| failed("the server broke off", &why);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(broken)?;
        let driver = tokio::spawn(connection);
        let message = self.message(proof, request).map_err(|why| failed("cannot ask", &why))?;
        let sent = sender.send_request(message).await;
        let response = match sent {
            Ok(response) => response,
            // In TLS 1.3 a certificate is refused after the client believes that all is well: the driver knows why.
            Err(why) => {
                let cause = tokio::time::timeout(Duration::from_secs(1), driver).await;
                return Err(match cause {
                    Ok(Ok(Err(cause))) => broken(cause),
                    _ => broken(why),
                });
            }
        };
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let body = body.map_err(|why| failed("the answer broke off or is too long", &why))?.to_bytes();
        if status == StatusCode::CREATED {
            return String::from_utf8(body.into()).map_err(|_| failed("the answer", &"it is no text"));
        }
        Err(failed("refused", &refusal(status, &body)))
    }

    fn message(&self, proof: Proof<'_>, request: &str) -> Result<Request<Full<Bytes>>, http::Error> {
        let what = match proof {
            Proof::Invitation(_) => "enrolments",
            Proof::Certificate(..) => "renewals",
        };
        let mut message = Request::post(format!("{}/v1/{what}", self.base))
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/pkcs10")
            .header(header::ACCEPT, "application/pem-certificate-chain, application/problem+json");
        if let Proof::Invitation(code) = proof {
            let mut code = HeaderValue::from_str(code)?;
            code.set_sensitive(true);
            message = message.header("rangegate-invitation", code);
        }
        message.body(Full::new(Bytes::copy_from_slice(request.as_bytes())))
    }

    fn tls(&self, proof: Proof<'_>) -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots.clone());
        let mut config = match proof {
            Proof::Invitation(_) => builder.with_no_client_auth(),
            Proof::Certificate(chain, key) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.to_vec()));
                builder.with_client_auth_cert(chain.to_vec(), key)?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let unfit = |why: &dyn std::fmt::Display| format!("the authority `{}`: {why}", path.display());
            let pem = std::fs::read(path).map_err(|why| unfit(&crate::store::policy_files::in_words(&why)))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|why| unfit(&why))?;
                roots.add(certificate).map_err(|why| unfit(&why))?;
            }
            if roots.is_empty() {
                return Err(unfit(&"it holds no certificate"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this system has no certificate authorities: name one with `--ca`".to_owned());
            }
        }
    }
    Ok(roots)
}

/// What the server says of its reasons (RFC 9457), made fit for a terminal.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let field = |name: &str| problem.as_ref()?.get(name)?.as_str().map(str::to_owned);
    let said: Vec<String> = [field("title"), field("detail")].into_iter().flatten().collect();
    let said: String = said.join(": ").chars().filter(|c| !c.is_control()).take(500).collect();
    if said.is_empty() { status.to_string() } else { format!("{said} ({})", status.as_u16()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_to_a_host_is_asked() {
        let dir = tempfile::tempdir().expect("a directory");
        let ca = dir.path().join("ca.pem");
        let made = crate::authority::make("x", Default::default(), TIMEOUT, crate::evidence::Moment(0)).expect("made");
        std::fs::write(&ca, made.certificate_pem).expect("written");
        let fault = |url: &str| Enrolment::new(url, Some(&ca)).err();
        for bad in [
            "http://a.example",
            "a.example",
            "https://",
            "ftp://a.example",
            "https://u:p@a.example/",
            "https://a.example/?x",
            "https://a_b!.example",
            "",
            "https://a.example:99999",
        ] {
            assert!(fault(bad).is_some(), "{bad}");
        }
        let good = Enrolment::new("https://a.example:8443/enrol/", Some(&ca)).expect("good");
        assert_eq!((&*good.host, good.port, &*good.base), ("a.example", 8443, "/enrol"));
        let message = good.message(Proof::Invitation("CODE"), "text").expect("a message");
        assert_eq!(message.uri(), "/enrol/v1/enrolments");
        assert!(!format!("{:?}", message.headers()).contains("CODE"), "never in a log");
        assert!(Enrolment::new("https://a.example", Some(Path::new("/nowhere"))).is_err());
    }

    #[test]
    fn refusals_are_told_without_what_a_terminal_might_obey() {
        let told = refusal(StatusCode::FORBIDDEN, b"{\"title\":\"No\\u001b[1m\",\"detail\":\"it is over\"}");
        assert_eq!(told, "No[1m: it is over (403)");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"<html>"), "502 Bad Gateway");
    }
}
