//! Tokens that a worker has verified.

use crate::evidence::{Moment, Subject};
use crate::sources::recent::Recent;
use crate::store::Digest;
use std::sync::{Arc, Mutex, PoisonError};

/// One per worker: the lock is there for the compiler and is never waited for.
pub struct TokenCache(Mutex<Recent<Remembered>>);

/// What verification found, and what it relied on.
#[derive(Clone)]
pub(super) struct Remembered {
    pub(super) subject: Arc<Subject>,
    /// Index of the issuer.
    pub(super) issuer: usize,
    /// Generation of the key set.
    pub(super) keys: u64,
    /// The token's own times, skew included: good from the first, no longer at the second.
    pub(super) from: Moment,
    pub(super) until: Moment,
}

impl TokenCache {
    /// Tokens remembered per worker unless set otherwise; some 6 MiB when full.
    pub const DEFAULT_CAPACITY: usize = 10_000;

    pub fn new(capacity: usize) -> Self {
        Self(Mutex::new(Recent::new(capacity)))
    }

    /// The subject of the token with this digest, if `holds` says that it still is.
    pub(super) fn get(&self, token: &Digest, holds: impl FnOnce(&Remembered) -> bool) -> Option<Arc<Subject>> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = table.get(token)?;
        if holds(&entry) {
            return Some(entry.subject);
        }
        table.remove(token);
        None
    }

    pub(super) fn insert(&self, token: Digest, entry: Remembered) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(token, entry);
    }
}

impl Default for TokenCache {
    fn default() -> Self {
        Self::new(Self::DEFAULT_CAPACITY)
    }
}
