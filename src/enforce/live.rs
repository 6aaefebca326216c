//! What is open right now on one core, and what each permission relied on (law 10).
//!
//! Every forwarded exchange is here until its last byte has gone: requests, streams, WebSockets. When policy,
//! a device, a trust root or the emergency switch changes, and when what a permission relied on expires, it is
//! decided again and cut when it would no longer be let through.

use crate::evidence::{Evidence, Moment};
use crate::policy::{Decided, Reason};
use crate::sources::gather::Connected;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// One core's open exchanges. The registry belongs to one runtime thread; its mutex is contended only while an
/// administrator looks.
#[derive(Default)]
pub struct Live {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    next: u64,
    open: HashMap<u64, Open>,
}

struct Open {
    decided: Arc<Decided>,
    connected: Arc<Connected>,
    cut: Option<oneshot::Sender<Reason>>,
}

/// The registries of all cores, for whoever looks at the gateway as a whole.
#[derive(Default)]
pub struct Cores(Mutex<Vec<Arc<Live>>>);

impl Cores {
    pub fn add(&self, live: &Arc<Live>) {
        self.all_mut().push(Arc::clone(live));
    }

    pub fn all(&self) -> Vec<Arc<Live>> {
        self.all_mut().clone()
    }

    fn all_mut(&self) -> MutexGuard<'_, Vec<Arc<Live>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps an exchange in the registry; dropped when it is over.
pub struct Registration {
    live: Arc<Live>,
    key: u64,
}

/// Resolves when the exchange is to be cut, with the reason.
pub type Cut = oneshot::Receiver<Reason>;

impl Live {
    pub fn register(self: &Arc<Self>, decided: Arc<Decided>, connected: Arc<Connected>) -> (Registration, Cut) {
        let (cut, when_cut) = oneshot::channel();
        let mut entries = self.lock();
        let key = entries.next;
        entries.next += 1;
        entries.open.insert(key, Open { decided, connected, cut: Some(cut) });
        (Registration { live: Arc::clone(self), key }, when_cut)
    }

    /// Decides every open exchange again; returns how many were looked at and how many were cut.
    ///
    /// `judge` is given what the permission relied on and answers with the reason to cut, if any.
    pub fn redecide(&self, mut judge: impl FnMut(&Decided, &Connected) -> Option<Reason>) -> (usize, usize) {
        let mut cut = 0;
        let mut entries = self.lock();
        for open in entries.open.values_mut() {
            if open.cut.is_some()
                && let Some(reason) = judge(&open.decided, &open.connected)
                && let Some(sender) = open.cut.take()
            {
                cut += usize::from(sender.send(reason).is_ok());
            }
        }
        (entries.open.len(), cut)
    }

    /// As `redecide`, but only exchanges that relied on a token or certificate no longer valid at `now`.
    pub fn expire(&self, now: Moment, mut judge: impl FnMut(&Decided, &Connected) -> Option<Reason>) -> usize {
        let (_, cut) = self.redecide(|decided, connected| {
            (relies_until(&decided.evidence) <= now).then(|| judge(decided, connected)).flatten()
        });
        cut
    }

    /// Cuts the exchange of this request; false when it is not open here.
    pub fn cut(&self, id: &str, reason: Reason) -> bool {
        let mut entries = self.lock();
        let mut of_request = entries.open.values_mut().filter(|open| open.decided.evidence.request.id == id);
        of_request.next().and_then(|open| open.cut.take()).is_some_and(|cut| cut.send(reason).is_ok())
    }

    /// Shows every open exchange.
    pub fn each(&self, mut show: impl FnMut(&Decided, &Connected)) {
        self.lock().open.values().for_each(|open| show(&open.decided, &open.connected));
    }

    pub fn len(&self) -> usize {
        self.lock().open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the first thing the permission relied on ends.
fn relies_until(evidence: &Evidence) -> Moment {
    let token = evidence.subject.known().map(|subject| subject.expires);
    let certificate = evidence.certificate.known().map(|certificate| certificate.not_after);
    let grants = evidence.grants.known().into_iter().flat_map(|grants| grants.iter().map(|grant| grant.expires));
    token.into_iter().chain(certificate).chain(grants).min().unwrap_or(Moment(i64::MAX))
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.live.lock().open.remove(&self.key);
    }
}
