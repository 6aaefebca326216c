//! The key sets of token issuers: fetched in the background, read without a lock, kept while they can be trusted.
//!
//! A set is replaced only by a good one. An unknown key id asks for a fetch, but not more often than the cooldown
//! allows and never twice at once. Without a successful fetch for `stale_for`, there are no keys.

mod set;

pub use super::endpoint::Endpoint;
pub use set::{Key, KeySet, SetFault};

use arc_swap::{ArcSwapOption, Guard};
use jsonwebtoken::Algorithm;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How long a request waits for a fetch. The fetch itself may take longer and serves those that come later.
const WAIT: Duration = Duration::from_secs(1);

/// The longest pause between attempts while the issuer does not answer.
const MAX_RETRY: Duration = Duration::from_secs(60);

/// How a key set is kept current.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How often it is fetched anew.
    pub refresh: Duration,
    /// How long it may be used after its last successful fetch.
    pub stale_for: Duration,
    /// The least time between two fetches asked for by unknown key ids.
    pub cooldown: Duration,
}

/// One issuer's keys and the errand of keeping them current.
pub struct KeySource {
    /// For log lines.
    issuer: String,
    endpoint: Endpoint,
    algorithms: Vec<Algorithm>,
    pace: Pace,
    current: ArcSwapOption<Fetched>,
    errand: Mutex<Errand>,
    wanted: Notify,
    /// Counts fetches that have ended, well or badly.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct Errand {
    under_way: bool,
    /// When a request last asked.
    asked: Option<Instant>,
}

/// A set and when it was last confirmed.
pub struct Fetched {
    pub set: Arc<KeySet>,
    at: Instant,
}

impl KeySource {
    pub fn new(issuer: String, endpoint: Endpoint, algorithms: Vec<Algorithm>, pace: Pace) -> Self {
        Self {
            issuer,
            endpoint,
            algorithms,
            pace,
            current: ArcSwapOption::empty(),
            errand: Mutex::default(),
            wanted: Notify::new(),
            ended: watch::Sender::new(0),
        }
    }

    /// The keys, unless there are none or they have gone stale.
    pub fn current(&self) -> Option<CurrentKeys> {
        let fetched = self.current.load();
        let fresh = fetched.as_ref().is_some_and(|fetched| fetched.at.elapsed() <= self.pace.stale_for);
        fresh.then_some(CurrentKeys(fetched))
    }

    /// Takes over the other's keys and their age, if they are those this source would fetch.
    pub fn inherit(&self, other: &Self) {
        if self.endpoint.same_as(&other.endpoint) && self.algorithms == other.algorithms {
            let inherited = other.current.load_full();
            self.current.store(inherited.map(|old| Arc::new(Fetched { set: Arc::new(old.set.anew()), at: old.at })));
        }
    }

    /// Waits, briefly, for the fetch under way; starts one if the last was asked for long enough ago.
    /// True: a fetch has ended, so it is worth looking again.
    pub async fn ask(&self) -> bool {
        let mut ended = self.ended.subscribe();
        {
            let mut errand = self.errand.lock().unwrap_or_else(PoisonError::into_inner);
            if !errand.under_way {
                if errand.asked.is_some_and(|at| at.elapsed() < self.pace.cooldown) {
                    return false;
                }
                errand.asked = Some(Instant::now());
                errand.under_way = true;
                self.wanted.notify_one();
            }
        }
        matches!(tokio::time::timeout(WAIT, ended.changed()).await, Ok(Ok(())))
    }

    /// Keeps the set current until dropped.
    pub async fn keep(&self) {
        let mut failures = 0;
        loop {
            self.set_under_way(true);
            failures = if self.fetch().await { 0 } else { failures + 1 };
            self.set_under_way(false);
            self.ended.send_modify(|count| *count += 1);
            let pause = if failures == 0 { self.pace.refresh } else { retry(failures).min(self.pace.refresh) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    async fn fetch(&self) -> bool {
        let fetched = self.endpoint.fetch().await.map_err(|fault| fault.to_string());
        match fetched.and_then(|body| KeySet::read(&body, &self.algorithms).map_err(|fault| fault.to_string())) {
            Ok(set) => {
                self.install(set);
                true
            }
            Err(fault) => {
                let kept = self.current().is_some();
                tracing::warn!(issuer = self.issuer, kept, "cannot refresh the key set: {fault}");
                false
            }
        }
    }

    /// The same keys again only confirm the set, so that tokens verified with it stay verified.
    fn install(&self, new: KeySet) {
        let old = self.current.load_full().map(|fetched| Arc::clone(&fetched.set)).filter(|old| old.same_as(&new));
        let changed = old.is_none();
        let set = old.unwrap_or_else(|| Arc::new(new));
        if changed {
            tracing::info!(issuer = self.issuer, keys = set.len(), skipped = set.skipped(), "key set changed");
        }
        self.current.store(Some(Arc::new(Fetched { set, at: Instant::now() })));
    }

    fn set_under_way(&self, under_way: bool) {
        self.errand.lock().unwrap_or_else(PoisonError::into_inner).under_way = under_way;
    }
}

/// Keys that may be used right now.
pub struct CurrentKeys(Guard<Option<Arc<Fetched>>>);

impl std::ops::Deref for CurrentKeys {
    type Target = KeySet;

    fn deref(&self) -> &KeySet {
        &self.0.as_ref().expect("`current` hands out only what is there").set
    }
}

/// One second, doubled with every failure.
fn retry(failures: u32) -> Duration {
    Duration::from_secs(1).saturating_mul(1 << (failures - 1).min(6)).min(MAX_RETRY)
}
