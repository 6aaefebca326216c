//! Rate limits: how much room each subject, device or address has left.
//!
//! Counted in this process only: a fleet of n gateways lets n times as much through. Each limit has its own bounded
//! table; a key that finds it full has no answer, while those already in it go on being counted.

use crate::evidence::{Device, Fact, Fault, Quota, QuotaName, Subject};
use crate::policy::{Limit, LimitKey};
use arc_swap::ArcSwap;
use governor::RateLimiter;
use governor::clock::{Clock, MonotonicClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore};
use governor::state::{InMemoryState, NotKeyed, StateStore};
use std::collections::HashMap;
use std::hash::RandomState;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Keys one limit counts at the same time, unless set otherwise; about 100 bytes each.
pub const DEFAULT_KEYS: usize = 65_536;

/// The limits of the current policy. They outlive it: one with the same name and numbers keeps its counts.
pub struct Quotas<C: Clock = MonotonicClock> {
    counters: ArcSwap<HashMap<QuotaName, Arc<Counter<C>>>>,
    /// Held while limits are added or removed.
    changing: Mutex<()>,
    keys: usize,
    clock: C,
}

/// Who is asking, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker<'a> {
    pub subject: Option<&'a Subject>,
    pub device: Option<&'a Device>,
    pub address: Option<IpAddr>,
}

impl Quotas {
    /// At most `keys` keys are counted by each limit.
    pub fn new(keys: usize) -> Self {
        Self::with_clock(keys, MonotonicClock)
    }
}

impl<C: Clock + Clone> Quotas<C> {
    fn with_clock(keys: usize, clock: C) -> Self {
        Self { counters: ArcSwap::default(), changing: Mutex::new(()), keys, clock }
    }

    /// Makes these the limits; call it before a new policy is put in force. Those no longer named are forgotten.
    pub fn install<'l>(&self, limits: impl IntoIterator<Item = &'l Limit>) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.counters.load();
        let keep_or_make = |limit: &Limit| match before.get(&limit.name) {
            Some(counter) if counter.limit == *limit => Arc::clone(counter),
            _ => self.counter(limit),
        };
        let counters = limits.into_iter().map(|limit| (Arc::clone(&limit.name), keep_or_make(limit))).collect();
        self.counters.store(Arc::new(counters));
    }

    /// Counts one request against the limit and says whether it had room.
    pub fn count(&self, limit: &Limit, asker: Asker<'_>) -> Fact<Quota> {
        let Some(key) = Key::of(limit.by, asker) else { return Fact::Unavailable(Fault::QuotaKeyUnknown) };
        match self.counters.load().get(&limit.name) {
            // Under a policy just replaced the numbers may differ. They are a limit all the same.
            Some(counter) => counter.count(&key),
            None => self.added(limit).count(&key),
        }
    }

    /// Forgets the keys that have all their room again. Call it every ten seconds or so.
    pub fn sweep(&self) {
        for counter in self.counters.load_full().values() {
            counter.sweep();
        }
    }

    /// The counter of a limit that was not installed, or that a newer policy has just dropped.
    fn added(&self, limit: &Limit) -> Arc<Counter<C>> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.counters.load_full();
        if let Some(counter) = before.get(&limit.name) {
            return Arc::clone(counter);
        }
        let counter = self.counter(limit);
        let mut counters = HashMap::clone(&before);
        counters.insert(Arc::clone(&limit.name), Arc::clone(&counter));
        self.counters.store(Arc::new(counters));
        counter
    }

    fn counter(&self, limit: &Limit) -> Arc<Counter<C>> {
        Arc::new(Counter::new(limit.clone(), self.keys, self.clock.clone()))
    }
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// `sub` is unique within its issuer only.
    Subject(Arc<str>, Arc<str>),
    Device(Arc<str>),
    V4(u32),
    /// The upper half of the address: a household is given at least a /64 and can use every address in it.
    V6(u64),
}

impl Key {
    fn of(by: LimitKey, asker: Asker<'_>) -> Option<Self> {
        Some(match by {
            LimitKey::Subject => {
                let subject = asker.subject?;
                Self::Subject(Arc::clone(&subject.issuer), Arc::clone(&subject.id))
            }
            LimitKey::Device => Self::Device(Arc::clone(&asker.device?.id)),
            LimitKey::Address => match asker.address?.to_canonical() {
                IpAddr::V4(address) => Self::V4(address.to_bits()),
                IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
            },
        })
    }
}

struct Counter<C: Clock> {
    limit: Limit,
    /// None: the numbers leave no room at all (a limit or a period of zero).
    limiter: Option<RateLimiter<Key, Table, C, NoOpMiddleware<C::Instant>>>,
    table: Table,
    keys: usize,
    clock: C,
    started: C::Instant,
    /// Nanoseconds since `started`.
    swept: AtomicU64,
}

/// A full table is swept for a new key's sake at most this often.
const SWEEP_APART: Duration = Duration::from_secs(1);

impl<C: Clock + Clone> Counter<C> {
    fn new(limit: Limit, keys: usize, clock: C) -> Self {
        let table = Table::default();
        let limiter = governor_quota(&limit).map(|quota| RateLimiter::new(quota, table.clone(), clock.clone()));
        Self { limit, limiter, table, keys, started: clock.now(), clock, swept: AtomicU64::new(0) }
    }

    fn count(&self, key: &Key) -> Fact<Quota> {
        let Some(limiter) = &self.limiter else {
            return Fact::Known(exceeded(self.limit.period.max(Duration::from_secs(1))));
        };
        if self.table.len() >= self.keys && !self.table.contains(key) && !self.made_room() {
            return Fact::Unavailable(Fault::QuotaTableFull);
        }
        Fact::Known(match limiter.check_key(key) {
            Ok(()) => Quota::Within,
            Err(until) => exceeded(until.wait_time_from(self.clock.now())),
        })
    }

    fn made_room(&self) -> bool {
        let now = self.clock.now().duration_since(self.started).as_u64();
        let swept = self.swept.load(Relaxed);
        let due = now >= swept.saturating_add(SWEEP_APART.as_nanos() as u64);
        if due && self.swept.compare_exchange(swept, now, Relaxed, Relaxed).is_ok() {
            self.sweep();
        }
        self.table.len() < self.keys
    }

    fn sweep(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

/// Room for `limit` at once, refilled evenly over `period`.
fn governor_quota(limit: &Limit) -> Option<governor::Quota> {
    let burst = NonZeroU32::new(limit.limit)?;
    Some(governor::Quota::with_period(limit.period / burst.get())?.allow_burst(burst))
}

/// Rounded up: a client that waits as long as it is told finds room.
fn exceeded(wait: Duration) -> Quota {
    let millis = wait.as_nanos().div_ceil(1_000_000).max(1);
    Quota::Exceeded { retry_after_ms: u64::try_from(millis).unwrap_or(u64::MAX) }
}

/// One limit's counts by key, and how many there are.
#[derive(Clone)]
struct Table {
    states: Arc<DashMapStateStore<Key>>,
    /// Off by the few keys that were added during a sweep, until the next.
    keys: Arc<AtomicUsize>,
}

/// Few, because a policy can have thousands of limits; a power of two.
const SHARDS: usize = 8;

impl Default for Table {
    fn default() -> Self {
        let states = DashMapStateStore::with_capacity_and_hasher_and_shard_amount(0, RandomState::new(), SHARDS);
        Self { states: Arc::new(states), keys: Arc::default() }
    }
}

impl Table {
    fn contains(&self, key: &Key) -> bool {
        self.states.contains_key(key)
    }
}

impl StateStore for Table {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if let Some(state) = self.states.get(key) {
            return state.measure_and_replace(&NotKeyed::NonKey, f);
        }
        let new = || {
            self.keys.fetch_add(1, Relaxed);
            InMemoryState::default()
        };
        self.states.entry(key.clone()).or_insert_with(new).measure_and_replace(&NotKeyed::NonKey, f)
    }
}

impl ShrinkableKeyedStateStore<Key> for Table {
    fn retain_recent(&self, drop_below: Nanos) {
        ShrinkableKeyedStateStore::retain_recent(&*self.states, drop_below);
        self.keys.store(self.states.len(), Relaxed);
    }

    fn shrink_to_fit(&self) {
        self.states.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.keys.load(Relaxed)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    fn limit(limit: u32, period: Duration, by: LimitKey) -> Limit {
        Limit { name: "payroll/slow-down/rate".into(), limit, period, by }
    }

    fn from(address: &str) -> Asker<'static> {
        Asker { address: Some(address.parse().unwrap()), ..Asker::default() }
    }

    const MINUTE: Duration = Duration::from_secs(60);
    const WITHIN: Fact<Quota> = Fact::Known(Quota::Within);

    fn quotas(keys: usize) -> (Quotas<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Quotas::with_clock(keys, clock.clone()), clock)
    }

    #[test]
    fn room_for_the_limit_at_once_then_a_wait_that_is_true() {
        let (quotas, clock) = quotas(100);
        let limit = limit(3, MINUTE, LimitKey::Address);
        quotas.install([&limit]);
        for _ in 0..3 {
            assert_eq!(quotas.count(&limit, from("192.0.2.1")), WITHIN);
        }
        let Fact::Known(Quota::Exceeded { retry_after_ms }) = quotas.count(&limit, from("192.0.2.1")) else {
            panic!("the fourth has no room")
        };
        assert_eq!(retry_after_ms, 20_000);
        assert_eq!(quotas.count(&limit, from("192.0.2.2")), WITHIN);
        clock.advance(Duration::from_millis(retry_after_ms - 1));
        assert_ne!(quotas.count(&limit, from("192.0.2.1")), WITHIN);
        clock.advance(Duration::from_millis(1));
        assert_eq!(quotas.count(&limit, from("192.0.2.1")), WITHIN);
    }

    #[test]
    fn a_household_counts_as_one_however_many_addresses_it_has() {
        let (quotas, _clock) = quotas(100);
        let limit = limit(2, MINUTE, LimitKey::Address);
        quotas.install([&limit]);
        assert_eq!(quotas.count(&limit, from("2001:db8:0:1::1")), WITHIN);
        assert_eq!(quotas.count(&limit, from("2001:db8:0:1:ffff::9")), WITHIN);
        assert_ne!(quotas.count(&limit, from("2001:db8:0:1:abcd::2")), WITHIN);
        assert_eq!(quotas.count(&limit, from("2001:db8:0:2::1")), WITHIN);
        // an IPv4 client is the same whichever way it is written
        assert_eq!(quotas.count(&limit, from("192.0.2.1")), WITHIN);
        assert_eq!(quotas.count(&limit, from("::ffff:192.0.2.1")), WITHIN);
        assert_ne!(quotas.count(&limit, from("192.0.2.1")), WITHIN);
    }

    #[test]
    fn subjects_of_two_issuers_are_two() {
        let (quotas, _clock) = quotas(100);
        let limit = limit(1, MINUTE, LimitKey::Subject);
        quotas.install([&limit]);
        let subject = |issuer: &str| Subject {
            issuer: issuer.into(),
            id: "17".into(),
            user: "ann@corp.example".into(),
            groups: Vec::new(),
            assurance: Vec::new(),
            acr: None,
            amr: Vec::new(),
            authenticated: None,
            expires: crate::evidence::Moment(0),
            bound_to: None,
        };
        let (one, two) = (subject("https://one.example"), subject("https://two.example"));
        let asks = |subject| quotas.count(&limit, Asker { subject: Some(subject), ..Asker::default() });
        assert_eq!((asks(&one), asks(&two)), (WITHIN, WITHIN));
        assert_ne!(asks(&one), WITHIN);
    }

    #[test]
    fn who_is_not_known_is_not_within() {
        let (quotas, _clock) = quotas(100);
        for by in [LimitKey::Subject, LimitKey::Device, LimitKey::Address] {
            let limit = limit(1, MINUTE, by);
            let unknown = Fact::Unavailable(Fault::QuotaKeyUnknown);
            assert_eq!(quotas.count(&limit, Asker::default()), unknown);
        }
    }

    #[test]
    fn a_limit_that_lets_nothing_through_lets_nothing_through() {
        let (quotas, _clock) = quotas(100);
        for (limit, period) in [(0, MINUTE), (5, Duration::ZERO)] {
            let limit = Limit { name: format!("{limit}").into(), ..self::limit(limit, period, LimitKey::Address) };
            quotas.install([&limit]);
            assert_ne!(quotas.count(&limit, from("192.0.2.1")), WITHIN);
        }
    }

    #[test]
    fn counts_outlive_the_policy_when_the_numbers_stay() {
        let (quotas, _clock) = quotas(100);
        let slow = limit(1, MINUTE, LimitKey::Address);
        quotas.install([&slow]);
        assert_eq!(quotas.count(&slow, from("192.0.2.1")), WITHIN);
        quotas.install([&slow.clone()]);
        assert_ne!(quotas.count(&slow, from("192.0.2.1")), WITHIN);
        // other numbers begin anew
        let faster = limit(2, MINUTE, LimitKey::Address);
        quotas.install([&faster]);
        assert_eq!(quotas.count(&faster, from("192.0.2.1")), WITHIN);
        // a request still under the old policy cannot wind the counts back
        assert_eq!(quotas.count(&slow, from("192.0.2.1")), WITHIN);
        assert_ne!(quotas.count(&faster, from("192.0.2.1")), WITHIN);
    }

    #[test]
    fn a_limit_nobody_installed_still_limits() {
        let (quotas, _clock) = quotas(100);
        let limit = limit(1, MINUTE, LimitKey::Address);
        assert_eq!(quotas.count(&limit, from("192.0.2.1")), WITHIN);
        assert_ne!(quotas.count(&limit, from("192.0.2.1")), WITHIN);
    }

    #[test]
    fn a_full_table_refuses_newcomers_and_goes_on_counting_the_rest() {
        let (quotas, clock) = quotas(4);
        let limit = limit(2, MINUTE, LimitKey::Address);
        quotas.install([&limit]);
        for n in 0..4 {
            assert_eq!(quotas.count(&limit, from(&format!("192.0.2.{n}"))), WITHIN);
        }
        assert_eq!(quotas.count(&limit, from("192.0.2.9")), Fact::Unavailable(Fault::QuotaTableFull));
        assert_eq!(quotas.count(&limit, from("192.0.2.3")), WITHIN);
        assert!(matches!(quotas.count(&limit, from("192.0.2.3")), Fact::Known(Quota::Exceeded { .. })));
        // those that have all their room again make room for others
        clock.advance(Duration::from_secs(65));
        assert_eq!(quotas.count(&limit, from("192.0.2.9")), WITHIN);
        assert!(matches!(quotas.count(&limit, from("192.0.2.3")), Fact::Known(_)), "it was not forgotten meanwhile");
    }

    #[test]
    fn a_sweep_forgets_whoever_has_all_room_again() {
        let (quotas, clock) = quotas(1_000);
        let limit = limit(60, MINUTE, LimitKey::Address);
        quotas.install([&limit]);
        for n in 0..200 {
            quotas.count(&limit, from(&format!("192.0.2.{n}")));
        }
        let keys = || quotas.counters.load().get(&limit.name).map_or(0, |counter| counter.table.len());
        assert_eq!(keys(), 200);
        clock.advance(Duration::from_secs(5));
        quotas.count(&limit, from("198.51.100.1"));
        quotas.sweep();
        assert_eq!(keys(), 1);
    }

    #[test]
    fn the_clock_in_service_is_the_monotonic_one() {
        let quotas = Quotas::new(DEFAULT_KEYS);
        let limit = limit(1, MINUTE, LimitKey::Address);
        quotas.install([&limit]);
        assert_eq!(quotas.count(&limit, from("192.0.2.1")), WITHIN);
        let Fact::Known(Quota::Exceeded { retry_after_ms }) = quotas.count(&limit, from("192.0.2.1")) else {
            panic!("the second has no room")
        };
        assert!((1..=60_000).contains(&retry_after_ms));
    }

    proptest! {
        #[test]
        fn never_more_than_a_burst_and_the_refill(
            burst in 1..20_u32, period_s in 1..100_u64, steps in prop::collection::vec(0..5_000_u64, 1..200),
        ) {
            let (quotas, clock) = quotas(10);
            let limit = limit(burst, Duration::from_secs(period_s), LimitKey::Address);
            quotas.install([&limit]);
            let (mut passed, mut elapsed) = (0_u64, 0_u64);
            for step in steps {
                clock.advance(Duration::from_millis(step));
                elapsed += step;
                passed += u64::from(quotas.count(&limit, from("192.0.2.1")) == WITHIN);
            }
            prop_assert!(passed <= u64::from(burst) + elapsed * u64::from(burst) / (period_s * 1000) + 1);
        }
    }
}
