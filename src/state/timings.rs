//! The least round trips of each device's recent connections, by the address they came from.
//!
//! Noise only adds delay, so the least of several is nearest the truth; but a device moves, so the least of all time
//! is not. A connection counts for a while, and only the last few of a device at an address count.

use crate::evidence::Moment;
use crate::latency::Rtt;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct TimingsSettings {
    /// How many of a device's latest connections from one address count.
    pub connections: usize,
    /// How long a connection counts after its last improvement.
    pub window: Duration,
    /// How many devices are remembered; beyond it those unheard of longest are forgotten.
    pub devices: usize,
}

impl Default for TimingsSettings {
    fn default() -> Self {
        Self { connections: 10, window: Duration::from_secs(4 * 3600), devices: 100_000 }
    }
}

/// Least round trips to the TCP peer and to the TLS endpoint; `None` is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minima {
    pub tcp: Option<Rtt>,
    pub tls: Option<Rtt>,
}

impl Minima {
    /// The lesser of each.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self { tcp: least(self.tcp, other.tcp), tls: least(self.tls, other.tls) }
    }
}

/// The lesser of two, or the one that is known.
pub fn least(a: Option<Rtt>, b: Option<Rtt>) -> Option<Rtt> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// Names a connection in this table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionNumber(u64);

/// Bounded, and sharded by device so that workers rarely meet.
pub struct Timings {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    settings: TimingsSettings,
    next: AtomicU64,
}

const SHARDS: usize = 16;

/// Addresses remembered of one device; the one unheard of longest is forgotten.
const ADDRESSES: usize = 8;

impl Timings {
    pub fn new(settings: TimingsSettings) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new(), settings, next: AtomicU64::new(0) }
    }

    /// A number for a new connection.
    pub fn connection(&self) -> ConnectionNumber {
        ConnectionNumber(self.next.fetch_add(1, Relaxed))
    }

    /// The least of the device's connections from `address` that still count at `now`.
    pub fn minima(&self, device: &str, address: IpAddr, now: Moment) -> Minima {
        let shard = self.shard(device);
        let Some(addresses) = shard.get(device) else { return Minima::default() };
        let Some(recent) = addresses.iter().find(|recent| recent.address == address) else { return Minima::default() };
        recent
            .samples
            .iter()
            .filter(|sample| self.counts(sample, now))
            .fold(Minima::default(), |least, sample| least.least(sample.minima))
    }

    /// Remembers what a connection has measured so far. Once per improvement is enough, not once per request.
    pub fn record(
        &self,
        device: &Arc<str>,
        address: IpAddr,
        connection: ConnectionNumber,
        minima: Minima,
        now: Moment,
    ) {
        if minima == Minima::default() || self.settings.connections == 0 {
            return;
        }
        let mut shard = self.shard(device);
        let forgotten = shard.make_room(device, self.settings.devices.div_ceil(SHARDS));
        let addresses = shard.entry(device);
        let recent = Recent::of(addresses, address);
        recent.samples.retain(|sample| self.counts(sample, now));
        match recent.samples.iter_mut().find(|sample| sample.connection == connection) {
            Some(sample) => *sample = Sample { at: now, minima: sample.minima.least(minima), ..*sample },
            None => {
                if recent.samples.len() >= self.settings.connections {
                    recent.samples.remove(0);
                }
                recent.samples.push(Sample { connection, at: now, minima });
            }
        }
        drop(shard);
        drop(forgotten); // outside the lock: there may be thousands
    }

    /// Devices remembered.
    pub fn devices(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// A clock that was stepped leaves samples in the future; those far ahead count no more than those long past.
    fn counts(&self, sample: &Sample, now: Moment) -> bool {
        u128::from(now.0.abs_diff(sample.at.0)) <= self.settings.window.as_millis()
    }

    fn shard(&self, device: &str) -> MutexGuard<'_, Shard> {
        let index = self.hasher.hash_one(device) as usize % SHARDS;
        lock(&self.shards[index])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

type Devices = HashMap<Arc<str>, Addresses>;
type Addresses = SmallVec<[Recent; 1]>;

/// Two generations: when the younger is full it becomes the elder, and the former elder, unheard of since, is forgotten.
#[derive(Default)]
struct Shard {
    younger: Devices,
    elder: Devices,
}

impl Shard {
    fn get(&self, device: &str) -> Option<&Addresses> {
        self.younger.get(device).or_else(|| self.elder.get(device))
    }

    fn len(&self) -> usize {
        self.younger.len() + self.elder.len()
    }

    /// Room for `device` in the younger generation; returns the devices forgotten for it.
    fn make_room(&mut self, device: &str, capacity: usize) -> Devices {
        if self.younger.contains_key(device) || self.younger.len() < (capacity / 2).max(1) {
            return Devices::default();
        }
        std::mem::replace(&mut self.elder, std::mem::take(&mut self.younger))
    }

    fn entry(&mut self, device: &Arc<str>) -> &mut Addresses {
        let elder = &mut self.elder;
        self.younger.entry(Arc::clone(device)).or_insert_with(|| elder.remove(device).unwrap_or_default())
    }
}

/// What is remembered of one device at one address; its newest connections last.
struct Recent {
    address: IpAddr,
    samples: Vec<Sample>,
}

impl Recent {
    /// The record of `address`, moved to the end: the addresses stand in the order they were last heard of.
    fn of(addresses: &mut Addresses, address: IpAddr) -> &mut Self {
        let recent = match addresses.iter().position(|recent| recent.address == address) {
            Some(index) => addresses.remove(index),
            None => {
                if addresses.len() >= ADDRESSES {
                    addresses.remove(0);
                }
                Self { address, samples: Vec::new() }
            }
        };
        let last = addresses.len();
        addresses.push(recent);
        &mut addresses[last]
    }
}

#[derive(Clone, Copy)]
struct Sample {
    connection: ConnectionNumber,
    at: Moment,
    minima: Minima,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    const NOON: Moment = Moment(1_700_000_000_000);

    fn settings() -> TimingsSettings {
        TimingsSettings { connections: 3, window: Duration::from_secs(60), devices: 64 }
    }

    fn tcp(millis: u32) -> Minima {
        Minima { tcp: Some(Rtt::from_millis(millis)), tls: None }
    }

    fn tls(millis: u32) -> Minima {
        Minima { tcp: None, tls: Some(Rtt::from_millis(millis)) }
    }

    fn later(seconds: i64) -> Moment {
        NOON.plus_millis(seconds * 1000)
    }

    #[test]
    fn the_least_of_the_recent_connections() {
        let timings = Timings::new(settings());
        let device: Arc<str> = "ann-laptop".into();
        for millis in [40, 30, 50] {
            timings.record(&device, HOME, timings.connection(), tcp(millis), NOON);
        }
        timings.record(&device, HOME, timings.connection(), tls(61), NOON);
        // the fourth connection displaced the first
        assert_eq!(timings.minima("ann-laptop", HOME, NOON), Minima { tcp: tcp(30).tcp, tls: tls(61).tls });
        timings.record(&device, HOME, timings.connection(), tcp(45), NOON);
        assert_eq!(timings.minima("ann-laptop", HOME, NOON).tcp, tcp(45).tcp);
    }

    #[test]
    fn a_connection_counts_once_and_keeps_its_least() {
        let timings = Timings::new(settings());
        let device: Arc<str> = "ann-laptop".into();
        let (other, connection) = (timings.connection(), timings.connection());
        timings.record(&device, HOME, other, tls(80), NOON);
        for millis in [40, 60, 38, 70, 90, 95] {
            timings.record(&device, HOME, connection, tcp(millis), NOON);
        }
        let minima = timings.minima("ann-laptop", HOME, NOON);
        assert_eq!(minima, Minima { tcp: tcp(38).tcp, tls: tls(80).tls });
    }

    #[test]
    fn what_lies_outside_the_window_no_longer_counts() {
        let timings = Timings::new(settings());
        let device: Arc<str> = "ann-laptop".into();
        timings.record(&device, HOME, timings.connection(), tcp(30), NOON);
        timings.record(&device, HOME, timings.connection(), tcp(50), later(50));
        assert_eq!(timings.minima("ann-laptop", HOME, later(60)), tcp(30));
        assert_eq!(timings.minima("ann-laptop", HOME, later(61)), tcp(50));
        assert_eq!(timings.minima("ann-laptop", HOME, later(111)), Minima::default());
        // the clock was stepped back by a day
        assert_eq!(timings.minima("ann-laptop", HOME, later(-86_400)), Minima::default());
    }

    #[test]
    fn devices_and_addresses_are_kept_apart() {
        let timings = Timings::new(settings());
        let device: Arc<str> = "ann-laptop".into();
        timings.record(&device, HOME, timings.connection(), tcp(30), NOON);
        assert_eq!(timings.minima("bob-laptop", HOME, NOON), Minima::default());
        assert_eq!(timings.minima("ann-laptop", Ipv4Addr::new(198, 51, 100, 8).into(), NOON), Minima::default());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let timings = Timings::new(settings());
        let old: Arc<str> = "old".into();
        timings.record(&old, HOME, timings.connection(), tcp(30), NOON);
        for n in 0..10_000 {
            let device: Arc<str> = format!("device-{n}").into();
            timings.record(&device, HOME, timings.connection(), tcp(30), NOON);
        }
        assert!(timings.devices() <= 64, "{} devices remembered", timings.devices());
        assert_eq!(timings.minima("old", HOME, NOON), Minima::default());
        assert_eq!(timings.minima("device-9999", HOME, NOON), tcp(30));
    }

    #[test]
    fn a_device_heard_of_again_survives_the_change_of_generations() {
        let timings = Timings::new(settings());
        let faithful: Arc<str> = "faithful".into();
        for n in 0..1_000 {
            timings.record(&faithful, HOME, timings.connection(), tcp(30), NOON);
            timings.record(&format!("device-{n}").into(), HOME, timings.connection(), tcp(30), NOON);
        }
        assert_eq!(timings.minima("faithful", HOME, NOON), tcp(30));
    }

    #[test]
    fn the_addresses_of_a_device_are_bounded() {
        let timings = Timings::new(settings());
        let roaming: Arc<str> = "roaming".into();
        let address = |n: u8| IpAddr::from([203, 0, 113, n]);
        for n in 0..=200 {
            timings.record(&roaming, address(n), timings.connection(), tcp(30), NOON);
        }
        let known = (0..=200).filter(|&n| timings.minima("roaming", address(n), NOON) != Minima::default()).count();
        assert_eq!(known, ADDRESSES);
        assert_eq!(timings.minima("roaming", address(200), NOON), tcp(30));
    }

    #[test]
    fn nothing_measured_is_nothing_remembered() {
        let timings = Timings::new(settings());
        timings.record(&"ann-laptop".into(), HOME, timings.connection(), Minima::default(), NOON);
        assert_eq!(timings.devices(), 0);
    }
}
