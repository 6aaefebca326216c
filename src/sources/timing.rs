//! What was measured on a connection, and what follows from it for the place the client claims.

use super::transport::TcpSamples;
use crate::evidence::timing::{Nearness, TcpTiming, TlsSource, TlsTiming};
use crate::evidence::{Fact, Fault, Network, Timing, Via};
use crate::latency::feasibility::{self, Line};
use crate::latency::{Coordinates, Kilometres, Rtt, relay};
use crate::state::timings::{ConnectionNumber, Minima, least};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Notify;

/// Where the gateway stands, and how sure geography has to be before it proves anything.
#[derive(Clone, Debug)]
pub struct TimingSettings {
    /// None: distance, excess and nearness are `Unavailable`.
    pub place: Option<GatewayPlace>,
    /// How far off a database may be about an address; taken off the distance before a place is called too near.
    pub tolerance: Kilometres,
}

#[derive(Clone, Debug)]
pub struct GatewayPlace {
    pub coordinates: Coordinates,
    /// ISO 3166-1 alpha-2, upper case. It chooses which fitted line gives the expected round trip.
    pub country: Option<Arc<str>>,
}

impl Default for TimingSettings {
    fn default() -> Self {
        Self { place: None, tolerance: Kilometres(500.0) }
    }
}

/// Everything timed on one connection. The connection owns it; the frame tap holds `tls` too.
#[derive(Debug)]
pub struct ConnectionTiming {
    pub number: ConnectionNumber,
    pub tcp: TcpSamples,
    pub tls: Arc<TlsSamples>,
    /// The minima last handed to the device's record, in microseconds.
    recorded: [AtomicU32; 2],
}

const UNKNOWN: u32 = u32::MAX;

impl ConnectionTiming {
    pub fn new(number: ConnectionNumber, tcp: TcpSamples) -> Self {
        Self { number, tcp, tls: Arc::default(), recorded: [UNKNOWN.into(), UNKNOWN.into()] }
    }

    /// The connection's two measurements at this request; one `getsockopt`.
    pub fn measure(&self, socket: impl AsFd, via: Via) -> Measured {
        let tls = match via {
            // TLS ends at the forwarder, so its acknowledgements are the forwarder's.
            Via::Forwarder => Fact::Unavailable(Fault::BehindForwarder),
            Via::Direct | Via::ProxyProtocol => self.tls.read(),
        };
        Measured { tcp: self.tcp.measure(socket), tls }
    }

    /// The minima, if they are better than those last asked for: then the device's record should hear of them.
    pub fn improvement(&self, measured: &Measured) -> Option<Minima> {
        let minima = measured.minima();
        let improved = |rtt: Option<Rtt>, recorded: &AtomicU32| {
            rtt.is_some_and(|rtt| rtt.as_micros() < recorded.fetch_min(rtt.as_micros(), Relaxed))
        };
        let [tcp, tls] = &self.recorded;
        // both, always: `||` would leave the second unrecorded
        (improved(minima.tcp, tcp) | improved(minima.tls, tls)).then_some(minima)
    }
}

/// One connection's measurements at one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub tcp: Fact<TcpTiming>,
    pub tls: Fact<TlsTiming>,
}

impl Measured {
    pub fn minima(&self) -> Minima {
        Minima {
            tcp: self.tcp.known().map(|timing| timing.minimum),
            tls: self.tls.known().map(|timing| timing.minimum),
        }
    }
}

/// The least round trip to the TLS endpoint, filled by the frame tap and read without a lock.
///
/// An acknowledgement of SETTINGS carries nothing of what it acknowledges: a client can send it before it could have
/// heard, and so feign to be near. A ping's answer repeats the ping's bytes, which must be random. Therefore one
/// answered ping outweighs every SETTINGS acknowledgement.
#[derive(Debug)]
pub struct TlsSamples {
    /// Microseconds in the upper half and the source in the lower, so that one `fetch_min` keeps both together.
    unforgeable: AtomicU64,
    settings: AtomicU64,
    samples: AtomicU32,
    arrived: Notify,
}

const NONE: u64 = u64::MAX;

impl Default for TlsSamples {
    fn default() -> Self {
        Self { unforgeable: NONE.into(), settings: NONE.into(), samples: 0.into(), arrived: Notify::new() }
    }
}

impl TlsSamples {
    /// Adds a sample: from the frame's last byte written to its acknowledgement's first byte read.
    pub fn record(&self, rtt: Rtt, source: TlsSource) {
        let packed = u64::from(rtt.as_micros().max(1)) << 32 | encode(source);
        let least = if source == TlsSource::Http2Settings { &self.settings } else { &self.unforgeable };
        least.fetch_min(packed, Relaxed);
        self.samples.fetch_update(Relaxed, Relaxed, |samples| Some(samples.saturating_add(1))).ok();
        self.arrived.notify_waiters();
    }

    /// `Insufficient` until the first sample; HTTP/1.1 without a WebSocket never has one.
    pub fn read(&self) -> Fact<TlsTiming> {
        let packed = match (self.unforgeable.load(Relaxed), self.settings.load(Relaxed)) {
            (NONE, NONE) => return Fact::Unavailable(Fault::Insufficient),
            (NONE, settings) => settings,
            (unforgeable, _) => unforgeable,
        };
        Fact::Known(TlsTiming {
            minimum: Rtt::from_micros((packed >> 32) as u32),
            samples: self.samples.load(Relaxed).max(1),
            source: decode(packed),
        })
    }

    /// Waits for the first sample, but no longer than `within`; answers as `read` does then.
    pub async fn first(&self, within: Duration) -> Fact<TlsTiming> {
        let arrival = self.arrived.notified();
        if let known @ Fact::Known(_) = self.read() {
            return known;
        }
        // Late is an answer too: `Insufficient`.
        let _ = tokio::time::timeout(within, arrival).await;
        self.read()
    }
}

fn encode(source: TlsSource) -> u64 {
    match source {
        TlsSource::Http2Settings => 0,
        TlsSource::Http2Ping => 1,
        TlsSource::WebsocketPing => 2,
    }
}

fn decode(packed: u64) -> TlsSource {
    match packed & 3 {
        0 => TlsSource::Http2Settings,
        1 => TlsSource::Http2Ping,
        _ => TlsSource::WebsocketPing,
    }
}

/// Every timing fact of one request. `device` holds the minima of the device's recent connections from this address;
/// `None`: no known device opened the connection.
pub fn assemble(measured: Measured, device: Option<Minima>, network: &Network, settings: &TimingSettings) -> Timing {
    let connection = measured.minima();
    let recent = device.unwrap_or_default();
    let best = connection.least(recent);
    let distance = distance(network, settings);
    Timing {
        device_tcp: device_fact(device, recent.tcp),
        device_tls: device_fact(device, recent.tls),
        relay_gap: relay_gap(&measured, connection, recent),
        excess: excess(&measured, best, &distance, network, settings),
        nearness: nearness(&measured, best, &distance, settings),
        distance,
        tcp: measured.tcp,
        tls: measured.tls,
    }
}

fn device_fact(device: Option<Minima>, minimum: Option<Rtt>) -> Fact<Rtt> {
    match (device, minimum) {
        (None, _) => Fact::Absent,
        (Some(_), None) => Fact::Unavailable(Fault::Insufficient),
        (Some(_), Some(rtt)) => Fact::Known(rtt),
    }
}

/// Both heights of the same connection; where it has no TLS sample, both of the device's recent ones from this address.
/// This connection's own TCP minimum counts among the recent: it is the stretch to the same address.
fn relay_gap(measured: &Measured, connection: Minima, recent: Minima) -> Fact<Rtt> {
    if let Fact::Unavailable(Fault::BehindForwarder) = measured.tcp {
        return Fact::Unavailable(Fault::BehindForwarder);
    }
    let (tls, tcp) = match connection.tls {
        Some(tls) => (Some(tls), connection.tcp),
        None => (recent.tls, least(recent.tcp, connection.tcp)),
    };
    match (tls, tcp) {
        (Some(tls), Some(tcp)) => Fact::Known(relay::gap(tls, tcp)),
        (Some(_), None) => unmeasured(&measured.tcp),
        (None, _) => unmeasured(&measured.tls),
    }
}

/// Why there is nothing to reckon with.
fn unmeasured<T, U>(fact: &Fact<T>) -> Fact<U> {
    match fact {
        Fact::Unavailable(fault) => Fact::Unavailable(*fault),
        _ => Fact::Unavailable(Fault::Insufficient),
    }
}

fn distance(network: &Network, settings: &TimingSettings) -> Fact<Kilometres> {
    let Some(place) = &settings.place else { return Fact::Unavailable(Fault::GatewayUnplaced) };
    network.place.coordinates.as_ref().map(|claimed| place.coordinates.distance_to(*claimed))
}

/// By the TLS round trip where there is one: a relay can shift its delay between the heights but cannot take it from this.
fn excess(
    measured: &Measured,
    best: Minima,
    distance: &Fact<Kilometres>,
    network: &Network,
    settings: &TimingSettings,
) -> Fact<Rtt> {
    let gateway = settings.place.as_ref().and_then(|place| place.country.as_deref());
    let line = Line::between(gateway, network.place.country.known().map(|country| &**country));
    distance.as_ref().and_then(|&distance| match best.tls.or(best.tcp) {
        Some(rtt) => Fact::Known(line.excess(rtt, distance)),
        None => unmeasured(&measured.tcp),
    })
}

/// By the smallest of all: whatever it was, light went there and back in that time.
fn nearness(
    measured: &Measured,
    best: Minima,
    distance: &Fact<Kilometres>,
    settings: &TimingSettings,
) -> Fact<Nearness> {
    distance.as_ref().and_then(|&distance| {
        let Some(smallest) = least(best.tcp, best.tls) else { return unmeasured(&measured.tcp) };
        let floor = feasibility::floor(distance, settings.tolerance);
        Fact::Known(Nearness { too_near: feasibility::too_near(smallest, floor), floor, measured: smallest })
    })
}
