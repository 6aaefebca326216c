//! Connections to upstreams: pooled per core, with health, failover and deadlines.

use super::alarm::{Alarm, Alarms};
use super::answered::Answered;
use super::body::RequestBody;
use super::dial::{self, Dialled};
use super::fault::Fault;
use super::health::Health;
use super::multiplexed::{Multiplexed, Seat};
use super::wire::{Slot, Wire};
use crate::policy::{Origin, Scheme};
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How the gateway speaks to upstreams; one default and exceptions by origin.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// PEM authorities for https upstreams. None: the system's.
    pub ca: Option<PathBuf>,
    /// PEM chain and key presented to https upstreams.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    pub connect_timeout: Duration,
    /// The longest silence between the request going out and the response's head.
    pub header_timeout: Duration,
    /// Between two pieces of a body.
    pub idle_timeout: Duration,
    /// The whole exchange; upgraded connections and streams are exempt once they flow. None: unbounded.
    pub total_timeout: Option<Duration>,
    /// Idle connections kept per origin and core.
    pub pool: usize,
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            ca: None,
            client_certificate: None,
            connect_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(300),
            total_timeout: None,
            pool: 512,
        }
    }
}

/// Idle connections older than this are not used again: most servers close theirs after 60 s.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// What is shared by all cores: settings, client TLS and health of every origin.
#[derive(Debug)]
pub struct Upstreams {
    default: Arc<dial::Client>,
    by_origin: HashMap<String, Arc<dial::Client>>,
    health: Arc<Health>,
}

impl Upstreams {
    /// Fails when a certificate authority or client certificate cannot be read.
    pub fn load(
        default: &UpstreamSettings,
        exceptions: &[(String, UpstreamSettings)],
    ) -> Result<Self, dial::ClientFault> {
        let mut by_origin = HashMap::new();
        for (origin, settings) in exceptions {
            by_origin.insert(origin.clone(), Arc::new(dial::Client::load(settings)?));
        }
        Ok(Self { default: Arc::new(dial::Client::load(default)?), by_origin, health: Arc::default() })
    }

    /// For a new configuration: keeps what is known of the origins' health.
    ///
    /// # Errors
    /// As for `load`.
    pub fn succeed(
        &self,
        default: &UpstreamSettings,
        exceptions: &[(String, UpstreamSettings)],
    ) -> Result<Self, dial::ClientFault> {
        Ok(Self { health: Arc::clone(&self.health), ..Self::load(default, exceptions)? })
    }

    pub fn health(&self) -> &Health {
        &self.health
    }

    fn client(&self, origin: &Origin) -> Arc<dial::Client> {
        let exception = (!self.by_origin.is_empty()).then(|| self.by_origin.get(&origin.to_string()));
        Arc::clone(exception.flatten().unwrap_or(&self.default))
    }
}

/// One core's connections. Its mutexes are never contended: each pool belongs to one runtime thread.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Upstreams>,
    endpoints: Mutex<Endpoints>,
    alarms: Alarms,
}

#[derive(Debug, Default)]
struct Endpoints {
    by_origin: HashMap<Origin, Arc<Endpoint>>,
    /// The one asked for last: few gateways have so many that comparing would not pay.
    last: Option<Arc<Endpoint>>,
}

/// One origin as one core knows it.
#[derive(Debug)]
pub struct Endpoint {
    pub origin: Origin,
    /// `host:port`, or `host` on the scheme's own port: the upstream's `Host`.
    pub client: Arc<dial::Client>,
    idle: Mutex<Vec<Idle>>,
    multiplexed: Mutex<Vec<Multiplexed>>,
}

#[derive(Debug)]
struct Idle {
    wire: Wire,
    since: Instant,
}

impl Pool {
    pub fn new(shared: Arc<Upstreams>) -> Self {
        Self { shared, endpoints: Mutex::default(), alarms: Alarms::default() }
    }

    pub fn shared(&self) -> &Upstreams {
        &self.shared
    }

    /// For the deadlines of one exchange.
    pub fn alarm(&self) -> Alarm {
        self.alarms.take()
    }

    pub fn endpoint(&self, origin: &Origin) -> Arc<Endpoint> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = endpoints.last.as_ref().filter(|last| last.origin == *origin) {
            return Arc::clone(last);
        }
        let endpoint = endpoints.by_origin.entry(origin.clone()).or_insert_with(|| {
            Arc::new(Endpoint {
                origin: origin.clone(),
                client: self.shared.client(origin),
                idle: Mutex::default(),
                multiplexed: Mutex::default(),
            })
        });
        let endpoint = Arc::clone(endpoint);
        endpoints.last = Some(Arc::clone(&endpoint));
        endpoint
    }

    /// Drops origins that `used` no longer names, and connections that idled too long.
    pub fn retain(&self, used: impl Fn(&Origin) -> bool, now: Instant) {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.last = None;
        endpoints.by_origin.retain(|origin, endpoint| {
            endpoint.lock_idle().retain_mut(|idle| idle.wire.rest() && idle.is_usable(now));
            endpoint.rest_multiplexed();
            used(origin)
        });
    }
}

impl Idle {
    fn is_usable(&self, now: Instant) -> bool {
        !self.wire.is_closed() && now.duration_since(self.since) < IDLE_FOR
    }
}

/// An answer, and the connection it came on while that connection can serve again.
#[derive(Debug)]
pub struct Answer {
    pub response: Response<Answered>,
    pub lease: Option<Lease>,
}

/// An HTTP/1.1 connection whose response is still being read. Dropped early, the connection closes.
#[derive(Debug)]
pub struct Lease {
    endpoint: Arc<Endpoint>,
    pub wire: Wire,
}

impl Lease {
    /// The response was read to its end: the connection may serve another request.
    pub fn give_back(mut self) {
        if !self.wire.rest() {
            return;
        }
        if !self.wire.is_ready() {
            self.wire.detach();
        }
        let mut idle = self.endpoint.lock_idle();
        if idle.len() < self.endpoint.client.settings.pool {
            idle.push(Idle { wire: self.wire, since: Instant::now() });
        }
    }
}

impl Endpoint {
    fn lock_idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends on an idle connection, or on a new one. A stale idle connection costs nothing but a try. After a fault the
    /// request is still there only when it certainly never left: it may be sent again, whatever its method.
    pub async fn send(self: &Arc<Self>, errand: &mut Slot, now: Instant) -> Result<Answer, Fault> {
        if self.origin.scheme == Scheme::H2c {
            return Box::pin(self.send_multiplexed(errand)).await;
        }
        if let Some(errand) = errand {
            announce(&mut errand.request);
        }
        while let Some(mut wire) = self.checkout(now) {
            match wire.send(errand).await {
                Ok(response) => return Ok(self.answer(response, wire)),
                Err(_) if errand.is_some() => {}
                Err(error) => return Err(Fault::of(&error)),
            }
        }
        // Boxed: what is rare must not make every request's future larger.
        Box::pin(self.send_anew(errand)).await
    }

    async fn send_anew(self: &Arc<Self>, errand: &mut Slot) -> Result<Answer, Fault> {
        if self.lock_multiplexed().iter().any(|connection| !connection.is_over()) {
            return self.send_multiplexed(errand).await;
        }
        match dial::dial(&self.origin, &self.client, dial::Offer::Any).await? {
            Dialled::Http1(mut wire) => match wire.send(errand).await {
                Ok(response) => Ok(self.answer(response, wire)),
                Err(error) => Err(Fault::of(&error)),
            },
            Dialled::Http2(connection) => self.keep_multiplexed(connection).answer(errand).await,
        }
    }

    /// A connection of its own for an upgrade: HTTP/1.1, never pooled. The request goes once.
    pub async fn send_alone(&self, errand: &mut Slot) -> Result<Response<Incoming>, Fault> {
        let dialled = dial::dial(&self.origin, &self.client, dial::Offer::Http1).await?;
        let mut errand = errand.take();
        match dialled {
            Dialled::Http1(mut wire) => {
                wire.detach();
                wire.send(&mut errand).await.map_err(|error| Fault::of(&error))
            }
            Dialled::Http2(_) => Err(Fault::Protocol),
        }
    }

    fn answer(self: &Arc<Self>, response: Response<Incoming>, wire: Wire) -> Answer {
        Answer { response: response.map(Answered::Http1), lease: Some(Lease { endpoint: Arc::clone(self), wire }) }
    }

    fn checkout(&self, now: Instant) -> Option<Wire> {
        let mut idle = self.lock_idle();
        // Newest first: the oldest idle out and the pool shrinks to what is used. One that is not ready has still to
        // notice its answer's end, or that the body of an exchange answered early goes no further; it keeps its place.
        while let Some(at) = idle.iter().rposition(|candidate| candidate.wire.is_ready() || !candidate.is_usable(now)) {
            let candidate = idle.remove(at);
            if candidate.is_usable(now) {
                return Some(candidate.wire);
            }
        }
        None
    }

    fn lock_multiplexed(&self) -> MutexGuard<'_, Vec<Multiplexed>> {
        self.multiplexed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first connection that has room.
    fn seat(&self) -> Option<Seat> {
        let mut kept = self.lock_multiplexed();
        kept.retain(|connection| !connection.is_over());
        kept.iter().find_map(Multiplexed::seat)
    }

    /// Lets go of those that are over, and of idle ones but for one.
    fn rest_multiplexed(&self) {
        let mut first = true;
        self.lock_multiplexed()
            .retain(|connection| !connection.is_over() && (std::mem::take(&mut first) || connection.is_in_use()));
    }

    fn keep_multiplexed(&self, connection: Multiplexed) -> Seat {
        let seat = connection.seat_anyway();
        self.lock_multiplexed().push(connection);
        seat
    }

    async fn send_multiplexed(&self, errand: &mut Slot) -> Result<Answer, Fault> {
        if let Some(seat) = self.seat() {
            match seat.answer(errand).await {
                Err(_) if errand.is_some() => {}
                answered => return answered,
            }
        }
        match dial::dial(&self.origin, &self.client, dial::Offer::Any).await? {
            Dialled::Http2(connection) => self.keep_multiplexed(connection).answer(errand).await,
            Dialled::Http1(_) => {
                // It never left, and is not to go elsewhere either: the upstream is not what it was said to be.
                *errand = None;
                Err(Fault::Protocol)
            }
        }
    }
}

impl Seat {
    async fn answer(self, errand: &mut Slot) -> Result<Answer, Fault> {
        self.send(errand).await.map(|response| Answer { response, lease: None })
    }
}

/// A body of unknown length goes in chunks, whatever the method: to hyper a `GET` has none unless its head says so.
fn announce(request: &mut Request<RequestBody>) {
    if !request.body().is_end_stream() && !request.headers().contains_key(CONTENT_LENGTH) {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}
