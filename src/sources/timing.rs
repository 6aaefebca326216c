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

/// Where the gateway stands, and how sure geography has to be before a round trip proves anything.
#[derive(Clone, Debug)]
pub struct TimingSettings {
    /// None: distance, excess and nearness are `Unavailable`.
    pub place: Option<GatewayPlace>,
    /// How far a geography database may be off; taken off the distance before a place is called too near.
    pub tolerance: Kilometres,
}

#[derive(Clone, Debug)]
pub struct GatewayPlace {
    pub coordinates: Coordinates,
    /// ISO 3166-1 alpha-2, upper case. It chooses which fitted line gives the expected round trip; `None`: the world's.
    pub country: Option<Arc<str>>,
}

impl Default for TimingSettings {
    fn default() -> Self {
        Self { place: None, tolerance: Kilometres(200.0) }
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
        Measured { tcp: self.tcp.measure(socket), tls: self.read_tls(via) }
    }

    /// What was timed since without being asked for: acknowledgements of pings. Costs no system call.
    pub fn measured_since(&self, via: Via) -> Measured {
        Measured { tls: self.read_tls(via), ..Measured::NOTHING }
    }

    /// How far away the client is lately; for what has been open for long.
    pub fn recent(&self, socket: impl AsFd, via: Via) -> Recent {
        match via {
            Via::Forwarder => Recent::default(),
            Via::Direct | Via::ProxyProtocol => Recent { tcp: self.tcp.recent(socket), tls: self.tls.recent() },
        }
    }

    fn read_tls(&self, via: Via) -> Fact<TlsTiming> {
        match via {
            // TLS ends at the forwarder, so its acknowledgements are the forwarder's.
            Via::Forwarder => Fact::Unavailable(Fault::BehindForwarder),
            Via::Direct | Via::ProxyProtocol => self.tls.read(),
        }
    }

    /// The minima, if they are better than those last asked for: then the device's record should hear of them.
    pub fn improvement(&self, measured: &Measured) -> Option<Minima> {
        // What may have been acknowledged early is not remembered of the device.
        let earned = |timing: &&TlsTiming| timing.source != TlsSource::Http2Settings;
        let tls = measured.tls.known().filter(earned).map(|timing| timing.minimum);
        let minima = Minima { tls, ..measured.minima() };
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
    /// Of a connection that is over.
    pub const NOTHING: Self =
        Self { tcp: Fact::Unavailable(Fault::NoMeasurement), tls: Fact::Unavailable(Fault::NoMeasurement) };

    pub fn minima(&self) -> Minima {
        Minima {
            tcp: self.tcp.known().map(|timing| timing.minimum),
            tls: self.tls.known().map(|timing| timing.minimum),
        }
    }
}

/// The least of the last measurements, where there are enough: that of a single one may be the network's mood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// The kernel's, over its last minutes.
    pub tcp: Option<Rtt>,
    /// Over the last pings.
    pub tls: Option<Rtt>,
}

/// Raises the round trips to what they are lately. Nothing is lowered: who once was found far away, or behind a relay,
/// is judged by that as well.
pub fn lately(timing: &mut Timing, recent: &Recent) {
    let slower = |rtt: Option<Rtt>, than: Rtt| rtt.filter(|rtt| *rtt > than);
    if let (Fact::Known(tls), Some(rtt)) = (&mut timing.tls, recent.tls)
        && let Some(rtt) = slower(Some(rtt), tls.minimum)
    {
        tls.minimum = rtt;
        // Where the way to the TCP peer became longer too, the kernel's running estimate has it: no relay explains that.
        let gap = timing.tcp.as_ref().map(|tcp| relay::gap(rtt, tcp.smoothed.max(tcp.minimum)));
        if let Some(gap) = gap.known().copied()
            && timing.relay_gap.known().is_none_or(|known| *known < gap)
        {
            timing.relay_gap = Fact::Known(gap);
        }
    }
    if let Fact::Known(tcp) = &mut timing.tcp
        && let Some(rtt) = slower(recent.tcp, tcp.minimum)
    {
        tcp.minimum = rtt;
    }
}

/// The least round trip to the TLS endpoint, filled by the frame tap and read without a lock.
///
/// An acknowledgement of SETTINGS carries nothing of what it acknowledges: a client can send it before it could have
/// heard, and so feign to be near. A ping's answer repeats the ping's bytes, which are random. Therefore one answered
/// ping outweighs every SETTINGS acknowledgement.
#[derive(Debug)]
pub struct TlsSamples {
    /// Microseconds in the upper half and the source in the lower, so that one `fetch_min` keeps both together.
    unforgeable: AtomicU64,
    settings: AtomicU64,
    samples: AtomicU32,
    /// The last pings, microseconds.
    pings: [AtomicU32; RECENT],
    pinged: AtomicU32,
    arrived: Notify,
}

/// Among so many pings in a row, half a minute and more, one finds the network quiet.
const RECENT: usize = 4;

const NONE: u64 = u64::MAX;

impl Default for TlsSamples {
    fn default() -> Self {
        Self {
            unforgeable: NONE.into(),
            settings: NONE.into(),
            samples: 0.into(),
            pings: Default::default(),
            pinged: 0.into(),
            arrived: Notify::new(),
        }
    }
}

impl TlsSamples {
    /// Adds a sample: from the frame's last byte written to its acknowledgement's first byte read.
    pub fn record(&self, rtt: Rtt, source: TlsSource) {
        let packed = u64::from(rtt.as_micros().max(1)) << 32 | encode(source);
        let least = if source == TlsSource::Http2Settings { &self.settings } else { &self.unforgeable };
        least.fetch_min(packed, Relaxed);
        if source != TlsSource::Http2Settings {
            let place = self.pinged.fetch_add(1, Relaxed) as usize % RECENT;
            if let Some(ping) = self.pings.get(place) {
                ping.store(rtt.as_micros().max(1), Relaxed);
            }
        }
        self.samples.fetch_update(Relaxed, Relaxed, |samples| Some(samples.saturating_add(1))).ok();
        self.arrived.notify_waiters();
    }

    /// How many round trips were timed.
    pub fn count(&self) -> u32 {
        self.samples.load(Relaxed)
    }

    /// The least of the last pings; none before there were enough.
    pub fn recent(&self) -> Option<Rtt> {
        // Zero stands where none has been yet.
        let least = self.pings.iter().map(|ping| ping.load(Relaxed)).min();
        least.filter(|least| *least > 0).map(Rtt::from_micros)
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
    let geography = geography(connection.least(recent), &measured, network, settings);
    Timing {
        device_tcp: device_fact(device, recent.tcp),
        device_tls: device_fact(device, recent.tls),
        relay_gap: relay_gap(&measured, connection, recent),
        distance: geography.as_ref().map(|geography| geography.distance),
        excess: geography.as_ref().and_then(|geography| geography.excess()),
        nearness: geography.as_ref().and_then(|geography| geography.nearness()),
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

/// What the claimed place and the best round trips say of each other.
struct Geography {
    distance: Kilometres,
    tolerance: Kilometres,
    line: Line,
    best: Minima,
    /// Why there is no round trip, when there is none.
    otherwise: Fact<std::convert::Infallible>,
}

fn geography(best: Minima, measured: &Measured, network: &Network, settings: &TimingSettings) -> Fact<Geography> {
    let Some(gateway) = &settings.place else { return Fact::Unavailable(Fault::GatewayUnplaced) };
    let country = network.place.country.known().map(|country| &**country);
    network.place.coordinates.as_ref().map(|claimed| Geography {
        distance: gateway.coordinates.distance_to(*claimed),
        tolerance: settings.tolerance,
        line: Line::between(gateway.country.as_deref(), country),
        best,
        otherwise: unmeasured(&measured.tcp),
    })
}

impl Geography {
    /// By the TLS round trip where there is one: a relay can shift its delay between the heights but cannot take it away.
    fn excess(&self) -> Fact<Rtt> {
        self.given(self.best.tls.or(self.best.tcp)).map(|rtt| self.line.excess(rtt, self.distance))
    }

    /// By the smallest of all: whatever it was, light went there and back in that time.
    fn nearness(&self) -> Fact<Nearness> {
        let floor = feasibility::floor(self.distance, self.tolerance);
        self.given(least(self.best.tcp, self.best.tls)).map(|measured| Nearness {
            too_near: feasibility::too_near(measured, floor),
            floor,
            measured,
        })
    }

    fn given(&self, rtt: Option<Rtt>) -> Fact<Rtt> {
        rtt.map_or_else(|| self.otherwise.as_ref().map(|never| match *never {}), Fact::Known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Place;
    use std::net::{IpAddr, Ipv4Addr};

    const PHOENIX: Coordinates = Coordinates { latitude: 33.4484, longitude: -112.0740 };
    const HONOLULU: Coordinates = Coordinates { latitude: 21.3069, longitude: -157.8583 };

    fn ms(millis: u32) -> Rtt {
        Rtt::from_millis(millis)
    }

    fn tcp(millis: u32) -> Fact<TcpTiming> {
        let rtt = ms(millis);
        Fact::Known(TcpTiming { first: rtt, minimum: rtt, smoothed: rtt, variation: ms(1) })
    }

    fn tls(millis: u32) -> Fact<TlsTiming> {
        Fact::Known(TlsTiming { minimum: ms(millis), samples: 1, source: TlsSource::Http2Ping })
    }

    const NO_TLS: Fact<TlsTiming> = Fact::Unavailable(Fault::Insufficient);
    const FORWARDED: Fact<TcpTiming> = Fact::Unavailable(Fault::BehindForwarder);

    #[test]
    fn the_last_pings_tell_how_far_away_the_client_is_now() {
        let samples = TlsSamples::default();
        samples.record(ms(1), TlsSource::Http2Settings);
        for (ping, known) in
            [(40, None), (30, None), (20, None), (50, Some(20)), (60, Some(20)), (70, Some(20)), (80, Some(50))]
        {
            samples.record(ms(ping), TlsSource::WebsocketPing);
            assert_eq!(samples.recent(), known.map(ms), "after {ping}");
        }
        assert_eq!(samples.read().known().map(|tls| tls.minimum), Some(ms(20)), "the least of all is another thing");
    }

    #[test]
    fn what_is_lately_farther_away_is_so_and_a_way_grown_as_a_whole_is_no_relay() {
        let of = |smoothed: u32| {
            let Fact::Known(quick) = tcp(10) else { unreachable!() };
            let slow = Fact::Known(TcpTiming { smoothed: ms(smoothed), ..quick });
            assemble(Measured { tcp: slow, tls: tls(12) }, None, &network(Fact::Absent), &settings())
        };
        let lately = |mut timing: Timing, tcp, tls| {
            super::lately(&mut timing, &Recent { tcp: Some(ms(tcp)), tls: Some(ms(tls)) });
            let minima = (timing.tcp.known().map(|tcp| tcp.minimum), timing.tls.known().map(|tls| tls.minimum));
            (minima.0, minima.1, timing.relay_gap)
        };
        assert_eq!(lately(of(10), 10, 112), (Some(ms(10)), Some(ms(112)), Fact::Known(ms(102))));
        assert_eq!(lately(of(105), 90, 112), (Some(ms(90)), Some(ms(112)), Fact::Known(ms(7))));
        // Never less than it was.
        assert_eq!(lately(of(130), 5, 11), (Some(ms(10)), Some(ms(12)), Fact::Known(ms(2))));
    }

    fn settings() -> TimingSettings {
        let place = GatewayPlace { coordinates: PHOENIX, country: Some("US".into()) };
        TimingSettings { place: Some(place), tolerance: Kilometres(200.0) }
    }

    fn network(coordinates: Fact<Coordinates>) -> Network {
        let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        Network {
            address: Fact::Known(address),
            peer: address,
            via: Via::Direct,
            place: Place {
                country: Fact::Known("US".into()),
                region: Fact::Absent,
                city: Fact::Absent,
                coordinates,
                built: Fact::Absent,
            },
            asn: Fact::Absent,
            lists: Vec::new(),
        }
    }

    fn assembled(tcp: Fact<TcpTiming>, tls: Fact<TlsTiming>, device: Option<Minima>) -> Timing {
        assemble(Measured { tcp, tls }, device, &network(Fact::Known(HONOLULU)), &settings())
    }

    #[test]
    fn a_relay_shows_between_the_two_heights_of_one_connection() {
        assert_eq!(assembled(tcp(12), tls(187), None).relay_gap, Fact::Known(ms(175)));
        assert_eq!(assembled(tcp(12), tls(11), None).relay_gap, Fact::Known(ms(0)));
    }

    #[test]
    fn without_a_tls_sample_the_recent_connections_answer() {
        let recent = Minima { tcp: Some(ms(30)), tls: Some(ms(90)) };
        assert_eq!(assembled(tcp(12), NO_TLS, Some(recent)).relay_gap, Fact::Known(ms(78)));
        assert_eq!(assembled(tcp(50), NO_TLS, Some(recent)).relay_gap, Fact::Known(ms(60)));
        let only_tcp = Minima { tcp: Some(ms(30)), tls: None };
        let unknown = Fact::Unavailable(Fault::Insufficient);
        assert_eq!(assembled(tcp(12), NO_TLS, Some(only_tcp)).relay_gap, unknown);
        assert_eq!(assembled(tcp(12), NO_TLS, None).relay_gap, unknown);
    }

    #[test]
    fn this_connection_outweighs_older_ones_about_a_relay() {
        let honest_this_morning = Minima { tcp: Some(ms(10)), tls: Some(ms(11)) };
        assert_eq!(assembled(tcp(12), tls(187), Some(honest_this_morning)).relay_gap, Fact::Known(ms(175)));
    }

    #[test]
    fn behind_a_balancer_there_is_no_gap_but_there_is_a_distance() {
        let timing = assembled(FORWARDED, tls(3), Some(Minima { tcp: Some(ms(1)), tls: Some(ms(3)) }));
        assert_eq!(timing.relay_gap, Fact::Unavailable(Fault::BehindForwarder));
        assert!(timing.nearness.known().is_some_and(|nearness| nearness.too_near && nearness.measured == ms(1)));
        let nothing = assembled(FORWARDED, NO_TLS, None);
        assert_eq!(nothing.nearness, Fact::Unavailable(Fault::BehindForwarder));
        assert_eq!(nothing.excess, Fact::Unavailable(Fault::BehindForwarder));
        assert!(nothing.distance.known().is_some());
    }

    #[test]
    fn excess_goes_by_tls_and_nearness_by_the_smallest() {
        let timing = assembled(tcp(3), tls(200), None);
        let Fact::Known(distance) = timing.distance else { panic!("both places are known") };
        assert!((4_600.0..4_800.0).contains(&distance.0), "{distance}");
        assert_eq!(timing.excess, Fact::Known(Line::UNITED_STATES.excess(ms(200), distance)));
        let Fact::Known(nearness) = timing.nearness else { panic!("there is a round trip") };
        assert_eq!((nearness.too_near, nearness.measured), (true, ms(3)));
        assert_eq!(nearness.floor, feasibility::floor(distance, Kilometres(200.0)));
    }

    #[test]
    fn what_is_not_known_is_never_zero() {
        let nowhere = network(Fact::Unavailable(Fault::DatabaseMissing));
        let timing = assemble(Measured { tcp: tcp(3), tls: tls(4) }, None, &nowhere, &settings());
        assert_eq!(timing.distance, Fact::Unavailable(Fault::DatabaseMissing));
        assert_eq!(timing.excess, Fact::Unavailable(Fault::DatabaseMissing));
        assert_eq!(timing.nearness, Fact::Unavailable(Fault::DatabaseMissing));
        assert_eq!((timing.device_tcp, timing.device_tls), (Fact::Absent, Fact::Absent));

        let timing = assemble(
            Measured { tcp: tcp(3), tls: tls(4) },
            None,
            &network(Fact::Known(HONOLULU)),
            &TimingSettings::default(),
        );
        assert_eq!(timing.distance, Fact::Unavailable(Fault::GatewayUnplaced));

        let timing = assemble(Measured { tcp: tcp(3), tls: tls(4) }, None, &network(Fact::Absent), &settings());
        assert_eq!((timing.distance, timing.nearness), (Fact::Absent, Fact::Absent));

        let unmeasured = assembled(Fact::Unavailable(Fault::NoMeasurement), NO_TLS, Some(Minima::default()));
        assert_eq!(unmeasured.device_tcp, Fact::Unavailable(Fault::Insufficient));
        assert_eq!(unmeasured.nearness, Fact::Unavailable(Fault::NoMeasurement));
    }

    #[test]
    fn the_least_sample_is_kept_with_its_source() {
        let samples = TlsSamples::default();
        assert_eq!(samples.read(), NO_TLS);
        samples.record(ms(40), TlsSource::WebsocketPing);
        samples.record(ms(30), TlsSource::Http2Ping);
        samples.record(ms(90), TlsSource::WebsocketPing);
        let expected = TlsTiming { minimum: ms(30), samples: 3, source: TlsSource::Http2Ping };
        assert_eq!(samples.read(), Fact::Known(expected));
    }

    #[test]
    fn a_forged_settings_acknowledgement_does_not_make_the_device_near() {
        let samples = TlsSamples::default();
        samples.record(Rtt::from_micros(90), TlsSource::Http2Settings);
        assert!(samples.read().known().is_some_and(|timing| timing.source == TlsSource::Http2Settings));
        samples.record(ms(180), TlsSource::Http2Ping);
        let expected = TlsTiming { minimum: ms(180), samples: 2, source: TlsSource::Http2Ping };
        assert_eq!(samples.read(), Fact::Known(expected));
    }

    #[test]
    fn an_improvement_is_told_once() {
        let timings = crate::state::timings::Timings::new(Default::default());
        let connection = ConnectionTiming::new(timings.connection(), TcpSamples::forwarded());
        let measured = |tcp_ms, tls_ms| Measured { tcp: tcp(tcp_ms), tls: tls(tls_ms) };
        assert!(connection.improvement(&measured(30, 40)).is_some());
        assert_eq!(connection.improvement(&measured(30, 40)), None);
        assert!(connection.improvement(&measured(30, 39)).is_some());
        assert!(connection.improvement(&measured(29, 38)).is_some());
        assert_eq!(connection.improvement(&measured(29, 38)), None);
        assert_eq!(connection.improvement(&Measured { tcp: FORWARDED, tls: NO_TLS }), None);
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn the_first_sample_wakes_whoever_waits() {
        let samples = Arc::new(TlsSamples::default());
        let known = block_on(async {
            let waiting = samples.first(Duration::from_secs(3600));
            let recording = async { samples.record(ms(20), TlsSource::Http2Ping) };
            tokio::join!(waiting, recording).0
        });
        assert_eq!(known.known().map(|timing| timing.minimum), Some(ms(20)));
        // one that is there already is not waited for
        let again = block_on(samples.first(Duration::ZERO));
        assert_eq!(again, known);
    }

    #[test]
    fn a_sample_that_never_comes_is_not_waited_for_longer_than_told() {
        assert_eq!(block_on(TlsSamples::default().first(Duration::from_millis(1))), NO_TLS);
    }

    #[test]
    fn what_could_be_acknowledged_early_is_not_remembered_of_the_device() {
        let connection = crate::state::timings::Timings::new(Default::default()).connection();
        let timing = ConnectionTiming::new(connection, TcpSamples::forwarded());
        let measured = |source| Measured {
            tcp: Fact::Unavailable(Fault::BehindForwarder),
            tls: Fact::Known(TlsTiming { minimum: ms(5), samples: 1, source }),
        };
        assert_eq!(timing.improvement(&measured(TlsSource::Http2Settings)), None);
        assert_eq!(timing.improvement(&measured(TlsSource::Http2Ping)), Some(Minima { tcp: None, tls: Some(ms(5)) }));
    }
}
