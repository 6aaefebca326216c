//! What is open right now on one core, and what each permission relied on (law 10).
//!
//! Every forwarded exchange is here until its last byte has gone: requests, streams, WebSockets. When policy,
//! a device, a trust root or the emergency switch changes, and when what a permission relied on expires, it is
//! decided again and cut when it would no longer be let through.

use crate::evidence::{Evidence, Moment};
use crate::policy::{Decided, Reason};
use crate::sources::gather::Connected;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// One core's open exchanges. The registry belongs to one runtime thread; its mutex is contended only while an
/// administrator looks.
#[derive(Default)]
pub struct Live {
    entries: Mutex<Entries>,
}

/// As many places as there were ever exchanges open at once.
#[derive(Default)]
struct Entries {
    places: Vec<Option<Open>>,
    free: Vec<usize>,
}

struct Open {
    decided: Arc<Decided>,
    connected: Arc<Connected>,
    cut: Option<Reason>,
    /// Whoever is to hear of the cut.
    waiting: Option<Waker>,
}

impl Open {
    /// False: it is being cut already.
    fn end(&mut self, reason: Reason) -> bool {
        if self.cut.is_some() {
            return false;
        }
        self.cut = Some(reason);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        true
    }
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

/// Keeps an exchange in the registry, and tells when it is to be cut; dropped when it is over.
pub struct Registration {
    live: Arc<Live>,
    place: usize,
}

impl Live {
    pub fn register(self: &Arc<Self>, decided: Arc<Decided>, connected: Arc<Connected>) -> Registration {
        let open = Some(Open { decided, connected, cut: None, waiting: None });
        let mut entries = self.lock();
        let place = match entries.free.pop() {
            Some(place) => {
                entries.places[place] = open;
                place
            }
            None => {
                entries.places.push(open);
                entries.places.len() - 1
            }
        };
        Registration { live: Arc::clone(self), place }
    }

    /// Decides every open exchange again; returns how many were looked at and how many were cut.
    ///
    /// `judge` is given what the permission relied on and answers with the reason to cut, if any.
    pub fn redecide(&self, mut judge: impl FnMut(&Decided, &Connected) -> Option<Reason>) -> (usize, usize) {
        let mut cut = 0;
        let mut entries = self.lock();
        for open in entries.places.iter_mut().flatten() {
            if open.cut.is_none()
                && let Some(reason) = judge(&open.decided, &open.connected)
            {
                cut += usize::from(open.end(reason));
            }
        }
        (entries.len(), cut)
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
        let mut of_request = entries.places.iter_mut().flatten().filter(|open| open.decided.evidence.request.id == id);
        of_request.next().is_some_and(|open| open.end(reason))
    }

    /// Shows every open exchange.
    pub fn each(&self, mut show: impl FnMut(&Decided, &Connected)) {
        self.lock().places.iter().flatten().for_each(|open| show(&open.decided, &open.connected));
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

/// When the first thing the permission relied on ends.
fn relies_until(evidence: &Evidence) -> Moment {
    let token = evidence.subject.known().map(|subject| subject.expires);
    let certificate = evidence.certificate.known().map(|certificate| certificate.not_after);
    let grants = evidence.grants.known().into_iter().flat_map(|grants| grants.iter().map(|grant| grant.expires));
    token.into_iter().chain(certificate).chain(grants).min().unwrap_or(Moment(i64::MAX))
}

impl Registration {
    /// Ready when the exchange is to be cut, with the reason; from then on always.
    pub fn poll_cut(&self, cx: &Context<'_>) -> Poll<Reason> {
        let mut entries = self.live.lock();
        let Some(Some(open)) = entries.places.get_mut(self.place) else { return Poll::Pending };
        if let Some(reason) = open.cut {
            return Poll::Ready(reason);
        }
        match &mut open.waiting {
            Some(waiting) => waiting.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits until the exchange is to be cut.
    pub async fn cut(&self) -> Reason {
        poll_fn(|cx| self.poll_cut(cx)).await
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut entries = self.live.lock();
        let over = entries.places.get_mut(self.place).and_then(Option::take);
        entries.free.push(self.place);
        drop(entries);
        drop(over);
    }
}
