//! One question to the API and its answer, over the Unix socket or over TLS with this device's certificate.

use super::Failed;
use crate::cli::Exit;
use crate::store::policy_files::in_words;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// Until the answer's head, once the question is sent: an import of everybody takes its time.
const TIMEOUT: Duration = Duration::from_secs(600);
/// The longest answer, bytes.
const LONGEST: usize = 64 << 20;

pub struct Client {
    way: Way,
    host: HeaderValue,
    token: Option<HeaderValue>,
}

enum Way {
    Socket(PathBuf),
    Https { host: String, port: u16, name: ServerName<'static>, config: Arc<ClientConfig> },
}

/// What the gateway said.
pub struct Reply {
    pub status: StatusCode,
    pub value: Value,
}

/// A file on its way out, told piece by piece.
pub struct Sending {
    file: File,
    told: Box<dyn FnMut(u64) + Send + Sync>,
    sent: u64,
}

type Outgoing = http_body_util::combinators::BoxBody<Bytes, io::Error>;

impl Client {
    pub fn socket(path: PathBuf) -> Self {
        Self { way: Way::Socket(path), host: HeaderValue::from_static("localhost"), token: None }
    }

    /// `pair` is this device's certificate and key. Errors are sentences for people.
    pub fn https(
        url: &str,
        ca: Option<&Path>,
        pair: Option<(&Path, &Path)>,
        token: Option<&Path>,
    ) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https"));
        let authority = authority.ok_or_else(|| format!("`{url}` is not an https URL"))?;
        if authority.as_str().contains('@') || uri.query().is_some() || uri.path() != "/" {
            return Err("the URL is `https://`, a host and perhaps a port".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| format!("`{host}` is not a host name"))?;
        let token = token.map(|path| {
            let text = fs::read_to_string(path).map_err(|why| unreadable("token", path, &why))?;
            let mut value = HeaderValue::try_from(format!("Bearer {}", text.trim()))
                .map_err(|_| format!("the token `{}` is not one line of text", path.display()))?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|why| why.to_string())?
            .with_root_certificates(roots(ca)?);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let certificates = certificates("certificate", chain)?;
                let text = fs::read(key).map_err(|why| unreadable("key", key, &why))?;
                let key = PrivateKeyDer::from_pem_slice(&text)
                    .map_err(|_| format!("the key `{}` is no private key in PEM", key.display()))?;
                builder.with_client_auth_cert(certificates, key).map_err(|why| format!("certificate and key: {why}"))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let way = Way::Https { port: authority.port_u16().unwrap_or(443), host, name, config: Arc::new(config) };
        let host = HeaderValue::try_from(authority.as_str()).map_err(|_| format!("`{url}` is not a URL"))?;
        Ok(Self { way, host, token: token.transpose()? })
    }

    /// Asks with a JSON body or none, and gives what a good answer holds.
    pub fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failed> {
        let kind = body.as_ref().map(|_| "application/json");
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let body = Full::new(bytes).map_err(|never| match never {}).boxed();
        self.send(method, path, kind, body)?.good()
    }

    /// Every page of a list, as one.
    pub fn all(&self, path: &str) -> Result<Value, Failed> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let page = match &cursor {
                None => format!("{path}{joint}limit=500"),
                Some(cursor) => format!("{path}{joint}limit=500&cursor={cursor}"),
            };
            let mut answer = self.ask(Method::GET, &page, None)?;
            if let Some(Value::Array(more)) = answer.get_mut("items").map(Value::take) {
                items.extend(more);
            }
            cursor = answer.get("next").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                return Ok(serde_json::json!({ "items": items }));
            }
        }
    }

    /// Sends a file.
    pub fn upload(&self, path: &str, kind: &'static str, sending: Sending) -> Result<Reply, Failed> {
        self.send(Method::POST, path, Some(kind), sending.boxed())
    }

    fn send(&self, method: Method, path: &str, kind: Option<&'static str>, body: Outgoing) -> Result<Reply, Failed> {
        let cannot = |why: String| (Exit::CannotRun, why);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.host);
        request = request.header(header::ACCEPT, "application/json, application/problem+json");
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(body).map_err(|why| cannot(why.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|why| cannot(format!("cannot run: {why}")))?;
        runtime.block_on(async {
            match &self.way {
                Way::Socket(path) => {
                    let stream = UnixStream::connect(path).await.map_err(|why| cannot(no_socket(path, &why)))?;
                    exchange(stream, request).await.map_err(cannot)
                }
                Way::Https { host, port, name, config } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await;
                    let stream =
                        stream.map_err(|why| cannot(format!("cannot connect to `{host}`: {}", in_words(&why))))?;
                    let tls = tokio_rustls::TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await;
                    let tls = tls.map_err(|why| cannot(no_tls(host, &why)))?;
                    let mut reply = exchange(tls, request).await.map_err(cannot)?;
                    let refused = matches!(reply.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
                    // The page's words are for browsers, where signing in is a matter of a link.
                    if refused && self.token.is_none() && reply.value.is_object() {
                        reply.value["help"] =
                            "say who you are: `--token-file`, and this device's `--cert` and `--key`".into();
                    }
                    Ok(reply)
                }
            }
        })
    }
}

impl Reply {
    /// What it holds, when it is good; else what the gateway says is wrong.
    pub fn good(self) -> Result<Value, Failed> {
        if self.status.is_success() {
            return Ok(self.value);
        }
        let exit = match self.status.as_u16() {
            400 | 405 | 415 => Exit::Usage,
            500.. => Exit::CannotRun,
            _ => Exit::No,
        };
        let said = |name: &str| self.value.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut why = match said("detail") {
            "" => format!("the gateway answers {}", self.status),
            detail => plain(detail),
        };
        if !said("help").is_empty() {
            why += &format!("\n  help: {}", plain(said("help")));
        }
        if self.status == StatusCode::MISDIRECTED_REQUEST {
            why = "the gateway's policies have no resource with `upstream = \"rangegate:api\"`\n  help: begin with `policies/api.toml`".to_owned();
        }
        for fault in self.value.get("faults").and_then(Value::as_array).into_iter().flatten() {
            let number = |name: &str| fault.get(name).and_then(Value::as_u64).unwrap_or_default();
            let told = fault.get("why").and_then(Value::as_str).unwrap_or_default();
            why += &format!("\n  {}:{}: {}", number("line"), number("column"), plain(told));
        }
        if !said("request_id").is_empty() && exit != Exit::Usage {
            why += &format!("\n  in the audit log: {}", plain(said("request_id")));
        }
        Err((exit, why))
    }
}

impl Sending {
    /// `told` hears how many bytes have gone.
    pub fn new(file: File, told: impl FnMut(u64) + Send + Sync + 'static) -> Self {
        Self { file, told: Box::new(told), sent: 0 }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut piece = vec![0; 64 * 1024];
        match self.file.read(&mut piece) {
            Ok(0) => Poll::Ready(None),
            Ok(read) => {
                piece.truncate(read);
                self.sent += read as u64;
                let sent = self.sent;
                (self.told)(sent);
                Poll::Ready(Some(Ok(Frame::data(piece.into()))))
            }
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Outgoing>) -> Result<Reply, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let broken = |why: hyper::Error| broken_off(&why);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let response = tokio::time::timeout(TIMEOUT, sender.send_request(request)).await;
    let response = response.map_err(|_| format!("no answer within {} seconds", TIMEOUT.as_secs()))?.map_err(broken)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    let body = body.map_err(|why| format!("the answer broke off or is too long: {why}"))?.to_bytes();
    Ok(Reply { status, value: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

fn no_socket(path: &Path, why: &io::Error) -> String {
    let path = path.display();
    match why.kind() {
        io::ErrorKind::NotFound => format!(
            "there is no socket at `{path}`\n  help: is the gateway running, with `[control]` in its configuration?"
        ),
        io::ErrorKind::ConnectionRefused => format!("nobody listens at `{path}`\n  help: is the gateway running?"),
        io::ErrorKind::PermissionDenied => {
            format!(
                "you may not connect to `{path}`\n  help: the gateway's own user and root may; `mode = \"0660\"` in `[control]` lets its group in"
            )
        }
        _ => format!("cannot connect to `{path}`: {}", in_words(why)),
    }
}

/// Why there is no connection, and what would make one.
fn no_tls(host: &str, why: &io::Error) -> String {
    use rustls::{AlertDescription as Alert, CertificateError as Why, Error};
    let told = |why: &str, help: &str| format!("no TLS with `{host}`: {why}\n  help: {help}");
    match why.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Error::InvalidCertificate(Why::UnknownIssuer)) => told(
            "no authority that is trusted here vouches for the gateway's certificate",
            "name the file with its authority: `--ca`",
        ),
        Some(Error::InvalidCertificate(Why::NotValidForName | Why::NotValidForNameContext { .. })) => told(
            &format!("the gateway's certificate is for another name than `{host}`"),
            "use a name in `--url` that stands in its certificate",
        ),
        Some(Error::AlertReceived(Alert::AccessDenied | Alert::UnrecognisedName)) => told(
            &format!("the gateway has no certificate for `{host}`"),
            "use a name in `--url` that the gateway goes by",
        ),
        _ => format!("no TLS with `{host}`: {why}"),
    }
}

/// With TLS 1.3 a server refuses a client's certificate, or the want of one, behind the handshake.
fn broken_off(why: &hyper::Error) -> String {
    use rustls::{AlertDescription as Alert, Error};
    let mut cause = std::error::Error::source(why);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        let fault = error.downcast_ref::<Error>().or_else(|| inner.and_then(|inner| inner.downcast_ref()));
        match fault {
            Some(Error::AlertReceived(Alert::CertificateRequired)) => {
                return "the gateway wants to see this device's certificate\n  help: name its files: `--cert` and `--key`"
                    .to_owned();
            }
            Some(Error::AlertReceived(alert)) => {
                return format!("the gateway does not take this device's certificate ({alert:?})");
            }
            _ => cause = error.source(),
        }
    }
    format!("the gateway broke off: {why}")
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates("authority", path)? {
                roots.add(certificate).map_err(|why| format!("the authority `{}`: {why}", path.display()))?;
            }
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    match roots.is_empty() {
        true => Err("there are no certificate authorities: name one with `--ca`".to_owned()),
        false => Ok(roots),
    }
}

fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = fs::read(path).map_err(|why| unreadable(what, path, &why))?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    found.map_err(|why| format!("the {what} `{}` is not PEM: {why}", path.display()))
}

fn unreadable(what: &str, path: &Path, why: &io::Error) -> String {
    format!("the {what} `{}` cannot be read: {}", path.display(), in_words(why))
}

/// Nothing that a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(2000).collect()
}
