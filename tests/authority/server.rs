//! A server that enrols devices, as small as can be: the authority's functions behind hyper, its registry a list.

use crate::openssl::{Bench, DAY};
use crate::pki::{self, Wanted};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rangegate::authority::guesses::{Attempt, Guesses};
use rangegate::authority::invitation::{InvitationState, RedeemFault};
use rangegate::authority::{Authority, Code, Invitation, Issued, admit, renew, request};
use rangegate::evidence::{Certificate, Device, DeviceStatus, Fact, Moment};
use rangegate::gateway::clock;
use rangegate::sources::certificate::{CrlPolicy, Demand, Presented, Trust, TrustSettings};
use rangegate::store::Digest;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub struct Server {
    pub port: u16,
    pub state: Arc<Mutex<State>>,
    /// Dropped, it ends the server.
    _stop: oneshot::Sender<()>,
}

pub struct State {
    pub authority: Authority,
    pub invitations: Vec<Invitation>,
    pub devices: Vec<(Digest, Device)>,
    pub issued: Vec<Issued>,
    pub heard: usize,
    pub guesses: Guesses,
    trust: Arc<Trust>,
}

impl Server {
    /// Leaves `server-ca.pem`, `ca.pem` and `ca.crl` in the bench's directory.
    pub fn start(bench: &Bench, authority: Authority) -> Self {
        let now = clock::now();
        let servers = pki::Authority::new("Servers");
        bench.write("server-ca.pem", servers.pem());
        let server = servers.issue(&Wanted::server(&["localhost"], 1).around(now));
        authority.revocation_list(&[], 1, now, DAY).expect("signed").publish(&bench.path("ca.crl")).expect("written");
        let trust = Trust::load(&TrustSettings {
            authorities: vec![bench.write("ca.pem", authority.certificate_pem())],
            external: Vec::new(),
            crls: vec![bench.path("ca.crl")],
            crl_missing: CrlPolicy::Deny,
            crl_expired: CrlPolicy::Deny,
        });
        let trust = Arc::new(trust.expect("good files"));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(trust.verifier(Demand::Requested))
            .with_single_cert(server.chain.clone(), server.key_der())
            .expect("a certificate");
        let state = Arc::new(Mutex::new(State {
            authority,
            invitations: Vec::new(),
            devices: Vec::new(),
            issued: Vec::new(),
            heard: 0,
            guesses: Guesses::default(),
            trust,
        }));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        listener.set_nonblocking(true).expect("set");
        let (stop, stopped) = oneshot::channel();
        let (tls, shared) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&state));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = serve(listener, tls, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { port, state, _stop: stop }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub fn invite(&self, user: &str) -> Code {
        let code = Code::generate().expect("a code");
        let now = clock::now();
        let mut state = self.state.lock().expect("free");
        let id = format!("i_{}", state.invitations.len());
        state.invitations.push(Invitation {
            id: id.into(),
            code_sha256: code.digest().hex().into(),
            user: user.into(),
            class: "corporate".into(),
            device: None,
            made: now,
            by: "root".into(),
            expires: now.plus_millis(600_000),
            state: InvitationState::Open,
        });
        code
    }

    pub fn set_status(&self, id: &str, status: DeviceStatus) {
        let mut state = self.state.lock().expect("free");
        let mut devices = state.devices.iter_mut();
        devices.find(|(_, device)| &*device.id == id).expect("registered").1.status = status;
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, state: Arc<Mutex<State>>) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else { return };
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let presented = Arc::new(Presented::new(stream.get_ref().1.peer_certificates()));
            let service = service_fn(move |request| {
                let (state, presented) = (Arc::clone(&state), Arc::clone(&presented));
                async move { Ok::<_, std::convert::Infallible>(answer(&state, &presented, peer.ip(), request).await) }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    state: &Mutex<State>,
    presented: &Presented,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let now = clock::now();
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, request::LONGEST + 1).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return refused(StatusCode::PAYLOAD_TOO_LARGE, "request-too-large", "too large"),
    };
    let mut state = state.lock().expect("free");
    state.heard += 1;
    let certificate = presented.judge(&state.trust, now);
    match head.uri.path() {
        "/v1/enrolments" => {
            let code = head.headers.get("rangegate-invitation").and_then(|value| value.to_str().ok());
            state.enrol(code.unwrap_or_default(), &body, peer, now)
        }
        "/v1/renewals" => state.renew(certificate, &body, now),
        _ => match state.device(&certificate) {
            Some(device) => Response::new(Full::new(device.id.to_string().into())),
            None => refused(StatusCode::FORBIDDEN, "device-certificate", &format!("{:?}", certificate.map(|_| ()))),
        },
    }
}

impl State {
    fn enrol(&mut self, code: &str, request: &[u8], peer: IpAddr, now: Moment) -> Response<Full<Bytes>> {
        let attempt = match self.guesses.attempt(peer, now) {
            Ok(attempt @ Attempt::Charged) => attempt,
            Ok(Attempt::Beyond(wait)) | Err(wait) => {
                return refused(StatusCode::TOO_MANY_REQUESTS, "invitation-guesses", &format!("wait {wait:?}"));
            }
        };
        let Ok(code) = Code::read(code) else {
            return refused(StatusCode::FORBIDDEN, "invitation", RedeemFault::TOLD);
        };
        let id = format!("d_{}", self.devices.len());
        let Some(at) = self.invitations.iter().position(|invitation| invitation.is_opened_by(&code)) else {
            return refused(StatusCode::FORBIDDEN, "invitation", RedeemFault::TOLD);
        };
        let Ok(used) = self.invitations[at].redeem(&code, &id, now) else {
            return refused(StatusCode::FORBIDDEN, "invitation", RedeemFault::TOLD);
        };
        self.guesses.succeeded(peer, attempt, now);
        let key = match request::read(request) {
            Ok(key) => key,
            Err(fault) => return refused(StatusCode::BAD_REQUEST, fault.code(), &fault.to_string()),
        };
        if let Err(fault) = admit(&id, self.holder(key.digest())) {
            return refused(StatusCode::CONFLICT, fault.code(), "this key cannot be used");
        }
        let issued = self.authority.issue(&key, &id, now).expect("issued");
        let owner = Some(used.user.clone());
        let class = used.class.clone();
        self.devices.push((key.digest(), Device { id: id.into(), owner, class, status: DeviceStatus::Active }));
        self.invitations[at] = used;
        self.created(issued)
    }

    fn renew(&mut self, shown: Fact<Arc<Certificate>>, request: &[u8], now: Moment) -> Response<Full<Bytes>> {
        let device = self.device(&shown).cloned();
        let (Some(certificate), Some(device)) = (shown.known(), device) else {
            return refused(StatusCode::FORBIDDEN, "device-certificate", "no device is known by this certificate");
        };
        let key = match request::read(request) {
            Ok(key) => key,
            Err(fault) => return refused(StatusCode::BAD_REQUEST, fault.code(), &fault.to_string()),
        };
        if let Err(fault) = renew(certificate, &device, self.holder(key.digest())) {
            return refused(StatusCode::FORBIDDEN, fault.code(), &fault.to_string());
        }
        let issued = self.authority.issue(&key, &device.id, now).expect("issued");
        for (known, _) in self.devices.iter_mut().filter(|(_, known)| known.id == device.id) {
            *known = key.digest();
        }
        self.created(issued)
    }

    fn created(&mut self, issued: Issued) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(issued.pem.clone())));
        *response.status_mut() = StatusCode::CREATED;
        self.issued.push(issued);
        response
    }

    fn holder(&self, key: Digest) -> Option<&Device> {
        self.devices.iter().find(|(known, _)| *known == key).map(|(_, device)| device)
    }

    fn device(&self, certificate: &Fact<Arc<Certificate>>) -> Option<&Device> {
        self.holder(Digest::from_hex(&certificate.known()?.spki_sha256)?)
    }
}

fn refused(status: StatusCode, code: &str, why: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "type": format!("tag:rangegate,2026:{code}"), "title": "Refused", "detail": why });
    let mut response = Response::new(Full::new(body.to_string().into()));
    *response.status_mut() = status;
    response
}
