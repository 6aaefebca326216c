//! The decision, carried out: one `match` on the ruling.

pub mod alarm;
pub mod answer;
pub mod answered;
pub mod assertion;
pub mod body;
pub mod builtin;
pub mod delivery;
pub mod dial;
pub mod fault;
pub mod forward;
pub mod headers;
pub mod health;
pub mod interim;
pub mod live;
pub mod multiplexed;
mod plain;
pub mod rate;
pub mod received;
mod replay;
mod rest;
pub mod stream;
pub mod streamed;
pub mod tunnel;
pub mod upstream;
pub mod websocket;
pub mod wire;

use crate::audit::{End, Entry, Exchange};
use crate::evidence::{Moment, Protocol};
use crate::policy::{Decided, Origin, Permit, Reason, Ruling, Scheme};
use crate::portal::cause::Breakage;
use crate::sources::gather::Connected;
use crate::sources::timing::TlsSamples;
use answer::AnswerContext;
use arc_swap::ArcSwap;
use assertion::{AssertionCache, Signer};
use body::{Progress, RequestBody, ResponseBody, Silence};
use builtin::{Call, CallBody, Services};
use fault::Fault;
use forward::{Arrived, Failed, Outgoing, Passage};
use headers::{ClientValues, Ours, Owned};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Version};
use http_body::Body;
use http_body_util::Full;
use interim::Speaker;
use live::{Live, Registration};
use rate::MinRate;
use received::Received;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use tunnel::{Handshake, Opened};
use upstream::Pool;
use websocket::RelaySettings;

/// What the enforcers of all cores share, until the next reload.
#[derive(Debug)]
pub struct EnforceSettings {
    pub answers: AnswerContext,
    pub owned: Arc<Owned>,
    pub assertion_header: HeaderName,
    pub strip_authorization: bool,
    /// A request body that delivers nothing for this long is cut.
    pub body_timeout: Duration,
    /// The least that a request body must deliver while it is waited for.
    pub min_rate: MinRate,
    /// How WebSockets are watched.
    pub relay: RelaySettings,
}

/// One core's enforcer.
pub struct Enforcer {
    pub settings: Arc<EnforceSettings>,
    pub signer: Arc<ArcSwap<Signer>>,
    pub pool: Pool,
    pub live: Arc<Live>,
    /// What the gateway serves itself.
    services: Services,
    assertions: Mutex<AssertionCache>,
}

/// A request as it arrived, but for what the evidence says of it. To be boxed: it is handed on several times.
pub struct Inbound {
    pub method: Method,
    /// Canonical path, and the query as it came.
    pub target: PathAndQuery,
    pub headers: HeaderMap,
    /// The canonical host with the port the client wrote.
    pub host: HeaderValue,
    /// The request's id.
    pub id: HeaderValue,
    /// None: the client's address is not known.
    pub client: Option<ClientValues>,
    pub body: Received,
    /// Says to the client what the upstream says before its answer. None: it cannot be said.
    pub interim: Option<Speaker>,
    /// Present when the request asks for a WebSocket.
    pub handshake: Option<Handshake>,
    /// The connection it came on.
    pub connected: Arc<Connected>,
    /// The registry's generation before its evidence was gathered.
    pub as_of: u64,
}

/// Distinct premises remembered by each core.
const ASSERTIONS: usize = 4096;

impl Enforcer {
    pub fn new(
        settings: Arc<EnforceSettings>,
        signer: Arc<ArcSwap<Signer>>,
        pool: Pool,
        live: Arc<Live>,
        services: Services,
    ) -> Self {
        Self { settings, signer, pool, live, services, assertions: Mutex::new(AssertionCache::new(ASSERTIONS)) }
    }

    /// Does what was decided. `now` is the moment of the decision.
    pub async fn enforce(
        &self,
        decided: &Arc<Decided>,
        inbound: Box<Inbound>,
        entry: &mut Entry,
        now: Moment,
    ) -> Response<ResponseBody> {
        match decided.decision.ruling() {
            Ruling::Forward(permit) | Ruling::Observe(permit) => {
                self.pass(permit, decided, inbound, entry, now, Identity::Told).await
            }
            Ruling::Decoy(permit) => self.pass(permit, decided, inbound, entry, now, Identity::Withheld).await,
            Ruling::RequireGrant | Ruling::StepUp | Ruling::Deny => {
                let Inbound { headers, body, .. } = *inbound;
                let request = &decided.evidence.request;
                if request.protocol == Protocol::Http2 {
                    rest::swallow(body).await;
                }
                own(answer::answer(&decided.decision, request, &headers, &self.settings.answers))
            }
        }
    }

    async fn pass(
        &self,
        permit: Permit,
        decided: &Arc<Decided>,
        mut inbound: Box<Inbound>,
        entry: &mut Entry,
        now: Moment,
        identity: Identity,
    ) -> Response<ResponseBody> {
        if let [Origin { scheme: Scheme::Builtin, host, .. }] = &permit.origins()[..] {
            return own(Box::pin(self.serve(host, decided, inbound, entry)).await);
        }
        let registration = self.live.register(Arc::clone(decided), Arc::clone(&inbound.connected), inbound.as_of);
        let accept = Accept::of(&inbound.headers);
        let id = inbound.id.clone();
        self.dress(&mut inbound, decided, identity, now);
        let began = Instant::now();
        let passed = {
            let mut sending = pin!(self.send(&permit, inbound, entry, &registration, began));
            poll_fn(|cx| match sending.as_mut().poll(cx) {
                Poll::Ready(passed) => Poll::Ready(Ok(passed)),
                Poll::Pending => registration.poll_cut(cx).map(Err),
            })
            .await
        };
        let passed = match passed {
            Ok(passed) => passed,
            Err(reason) => {
                entry.cut(reason.code());
                return self.cut_short(decided, accept, reason);
            }
        };
        match passed {
            Ok(Passed::Answer(mut arrived)) => {
                entry.upstream(exchange(&arrived, began));
                headers::response(arrived.response.headers_mut(), id);
                // What the upstream speaks is its own affair.
                *arrived.response.version_mut() = Version::HTTP_11;
                arrived.response.body_mut().watch(registration);
                arrived.response
            }
            Ok(Passed::Tunnel(tunnel)) => self.tunnel(tunnel, id, entry, registration, began, now),
            Err(failed) => {
                entry.upstream(Exchange {
                    origin: failed.origin,
                    status: None,
                    head: began.elapsed(),
                    attempts: failed.attempts,
                    fault: Some(failed.fault.code()),
                });
                if failed.fault == Fault::RequestBroken {
                    // The answer will be written to nobody.
                    entry.close(End::ClientGone);
                }
                own(answer::upstream_fault(
                    breakage(failed.fault),
                    &decided.evidence.request,
                    &accept.headers(),
                    &self.settings.answers,
                ))
            }
        }
    }

    async fn send(
        &self,
        permit: &Permit,
        inbound: Box<Inbound>,
        entry: &mut Entry,
        open: &Registration,
        now: Instant,
    ) -> Result<Passed, Failed> {
        let Inbound { method, target, headers, body, interim, handshake, connected, .. } = *inbound;
        let passage = Passage { method, target: target.into(), headers, interim };
        let owned = &self.settings.owned;
        if let Some(handshake) = handshake {
            let extended_connect = handshake.extended_connect;
            // Boxed: what is rare must not make every request's future larger.
            return match Box::pin(tunnel::open(permit, &self.pool, passage, handshake, owned)).await? {
                Opened::Refused(arrived) => Ok(Passed::Answer(arrived)),
                Opened::Tunnel(tunnel) => {
                    let samples = Arc::clone(&connected.timing.tls);
                    Ok(Passed::Tunnel(Tunnel { tunnel, extended_connect, samples }))
                }
            };
        }
        let progress = (!body.is_end_stream()).then(|| Progress::new(entry.flow(), open));
        let body = match progress {
            None => Outgoing::None,
            Some(progress) => {
                // A stream of messages may have none for a while; gRPC says that it is one.
                let conversation = body.size_hint().exact().is_none() && answer::is_grpc(&passage.headers);
                let rate = if conversation { MinRate::NONE } else { self.settings.min_rate };
                Outgoing::Some { body, progress, limit: self.settings.body_timeout, rate }
            }
        };
        forward::forward(permit, &self.pool, passage, body, owned, now).await.map(Passed::Answer)
    }

    /// The client's headers made fit for the upstream, and ours put on.
    fn dress(&self, inbound: &mut Inbound, decided: &Decided, identity: Identity, now: Moment) {
        let settings = &*self.settings;
        let evidence = &decided.evidence;
        let told = (identity == Identity::Told).then(|| {
            let mut cache = self.assertions.lock().unwrap_or_else(PoisonError::into_inner);
            self.signer.load().assertion(&mut cache, evidence, &decided.decision, now)
        });
        if told.is_none() {
            // A decoy is not trusted with what would open the real one.
            inbound.headers.remove(http::header::COOKIE);
        }
        headers::request(
            &mut inbound.headers,
            Ours {
                owned: &settings.owned,
                client: inbound.client.take(),
                host: inbound.host.clone(),
                request_id: inbound.id.clone(),
                strip_authorization: settings.strip_authorization || told.is_none(),
                assertion: told.map(|told| (settings.assertion_header.clone(), told)),
                websocket: inbound.handshake.is_some(),
            },
        );
    }

    fn tunnel(
        &self,
        Tunnel { mut tunnel, extended_connect, samples }: Tunnel,
        id: HeaderValue,
        entry: &mut Entry,
        open: Registration,
        began: Instant,
        now: Moment,
    ) -> Response<ResponseBody> {
        let status = tunnel.response.status().as_u16();
        entry.upstream(Exchange {
            origin: Some(tunnel.origin),
            status: Some(101),
            head: began.elapsed(),
            attempts: tunnel.attempts,
            fault: None,
        });
        headers::response(tunnel.response.headers_mut(), id);
        tunnel::switch(tunnel.response.headers_mut(), extended_connect);
        let record = entry.upgraded(status, now);
        let sides = (tunnel.client, tunnel.upstream);
        tokio::spawn(tunnel::relay(sides, self.settings.relay, samples, record, open));
        tunnel.response
    }

    /// The answer to a request that was let through, and would not be now that its upstream still has not answered.
    fn cut_short(&self, decided: &Decided, accept: Accept, reason: Reason) -> Response<ResponseBody> {
        let decision = decided.decision.clone().denied(reason);
        own(answer::answer(&decision, &decided.evidence.request, &accept.headers(), &self.settings.answers))
    }

    /// Asks a service of the gateway itself.
    async fn serve(
        &self,
        name: &str,
        decided: &Arc<Decided>,
        inbound: Box<Inbound>,
        entry: &mut Entry,
    ) -> Response<Full<bytes::Bytes>> {
        let Some(service) = self.services.find(name) else {
            let request = &decided.evidence.request;
            return answer::upstream_fault(Breakage::Internal, request, &inbound.headers, &self.settings.answers);
        };
        let open = self.live.register(Arc::clone(decided), Arc::clone(&inbound.connected), inbound.as_of);
        let body = match inbound.body.is_end_stream() {
            true => RequestBody::empty(),
            false => RequestBody::streaming(
                inbound.body,
                Progress::new(entry.flow(), &open),
                Silence::of_client(self.settings.body_timeout, self.settings.min_rate, self.pool.alarm()),
                Arc::clone(&self.settings.owned),
            ),
        };
        let Inbound { method, target, headers, id, .. } = *inbound;
        let call = Call { decided: Arc::clone(decided), method, target, headers, body: CallBody::new(body, open) };
        let mut response = service.answer(call).await;
        headers::response(response.headers_mut(), id);
        response
    }
}

/// Whether the upstream is told who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    Told,
    Withheld,
}

enum Passed {
    Answer(Arrived),
    Tunnel(Tunnel),
}

struct Tunnel {
    tunnel: tunnel::Ready,
    extended_connect: bool,
    samples: Arc<TlsSamples>,
}

/// What is needed of the request's headers to answer it ourselves, when they have gone upstream.
struct Accept([Option<HeaderValue>; 2]);

impl Accept {
    const NAMES: [HeaderName; 2] = [http::header::ACCEPT, http::header::CONTENT_TYPE];

    fn of(headers: &HeaderMap) -> Self {
        Self(Self::NAMES.map(|name| headers.get(name).cloned()))
    }

    fn headers(self) -> HeaderMap {
        Self::NAMES.into_iter().zip(self.0).filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

fn own(response: Response<Full<bytes::Bytes>>) -> Response<ResponseBody> {
    response.map(ResponseBody::Own)
}

fn exchange(arrived: &Arrived, began: Instant) -> Exchange {
    Exchange {
        origin: Some(arrived.origin.clone()),
        status: Some(arrived.response.status().as_u16()),
        head: began.elapsed(),
        attempts: arrived.attempts,
        fault: None,
    }
}

const fn breakage(fault: Fault) -> Breakage {
    match fault {
        Fault::Connect | Fault::ConnectTimeout => Breakage::Unreachable,
        Fault::Tls | Fault::Closed | Fault::Garbage | Fault::Protocol => Breakage::BadAnswer,
        Fault::HeaderTimeout | Fault::TotalTimeout => Breakage::TimedOut,
        Fault::RequestBody => Breakage::SlowRequest,
        Fault::RequestBroken => Breakage::BrokenRequest,
    }
}
