//! Which origins answered lately. Passive: learnt from requests, shared by all cores.

use crate::policy::Origin;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// After this many failures in a row an origin is passed over while others are well.
const FAILURES: u32 = 3;
/// For this long; then one request tries it again.
const BENCH: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Health {
    epoch: Instant,
    origins: RwLock<HashMap<Origin, Arc<State>>>,
    turn: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    failures: AtomicU32,
    /// Milliseconds after `epoch` until which the origin is passed over.
    benched_until: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self { epoch: Instant::now(), origins: RwLock::default(), turn: AtomicU32::new(0) }
    }
}

impl Health {
    /// The origins in the order to try them: healthy ones first, starting with another one each time.
    pub fn order<'o>(&self, origins: &'o [Origin], now: Instant) -> smallvec::SmallVec<[&'o Origin; 4]> {
        if origins.len() < 2 {
            return origins.iter().collect();
        }
        let start = self.turn.fetch_add(1, Ordering::Relaxed) as usize % origins.len();
        let mut ordered: smallvec::SmallVec<[&Origin; 4]> = origins[start..].iter().chain(&origins[..start]).collect();
        ordered.sort_by_key(|origin| !self.is_well(origin, now));
        ordered
    }

    pub fn is_well(&self, origin: &Origin, now: Instant) -> bool {
        let origins = self.origins.read().unwrap_or_else(PoisonError::into_inner);
        origins.get(origin).is_none_or(|state| state.benched_until.load(Ordering::Relaxed) <= self.millis(now))
    }

    /// Cheap when the origin never failed: one read lock and one lookup, and only with several origins.
    pub fn succeeded(&self, origin: &Origin) {
        let origins = self.origins.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = origins.get(origin)
            && state.failures.load(Ordering::Relaxed) > 0
        {
            state.failures.store(0, Ordering::Relaxed);
            state.benched_until.store(0, Ordering::Relaxed);
        }
    }

    pub fn failed(&self, origin: &Origin, now: Instant) {
        let state = {
            let mut origins = self.origins.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(origins.entry(origin.clone()).or_default())
        };
        if state.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            let until = self.millis(now + BENCH);
            state.benched_until.store(until, Ordering::Relaxed);
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Scheme;

    fn origin(port: u16) -> Origin {
        Origin { scheme: Scheme::Http, host: "127.0.0.1".into(), port }
    }

    #[test]
    fn a_failing_origin_is_tried_last_until_its_bench_is_over() {
        let (health, now) = (Health::default(), Instant::now());
        let origins = [origin(1), origin(2)];
        for _ in 0..FAILURES {
            health.failed(&origins[0], now);
        }
        for _ in 0..4 {
            assert_eq!(health.order(&origins, now)[0], &origins[1]);
        }
        assert!(health.is_well(&origins[0], now + BENCH + Duration::from_millis(1)));
        health.succeeded(&origins[0]);
        assert!(health.is_well(&origins[0], now));
    }

    #[test]
    fn healthy_origins_take_turns() {
        let (health, now) = (Health::default(), Instant::now());
        let origins = [origin(1), origin(2)];
        let first = health.order(&origins, now)[0].port;
        assert_ne!(first, health.order(&origins, now)[0].port);
    }
}
