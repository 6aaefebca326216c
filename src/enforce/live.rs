//! What is open right now on one core, and what each permission relied on (law 10).
//!
//! Every forwarded exchange is here until its last byte has gone: requests, streams, WebSockets. When policy,
//! a device, a trust root or the emergency switch changes, when what a permission relied on expires, and when the
//! client turns out to be farther away than it was, it is decided again and cut when it would no longer be let through.
//!
//! Deciding is done in slices, so that thousands of open exchanges keep nobody waiting. Nothing is missed between
//! two slices, because each exchange knows as of which generation it was decided: whoever comes late with an old
//! decision is behind, and is looked at next.

use crate::evidence::{Evidence, Moment};
use crate::policy::{Decided, Outcome, Reason};
use crate::sources::gather::Connected;
use futures_util::task::AtomicWaker;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// One core's open exchanges. The registry belongs to one runtime thread; its mutex is contended only while an
/// administrator looks.
#[derive(Default)]
pub struct Live {
    entries: Mutex<Entries>,
    /// How often everything was to be decided again.
    generation: AtomicU64,
    /// Something came that is to be looked at sooner than whoever looks after it knows.
    sooner: Notify,
}

/// As many places as there were ever exchanges open at once.
struct Entries {
    places: Vec<Option<Open>>,
    free: Vec<usize>,
    /// Where the last slice ended.
    cursor: usize,
    /// Nothing that anybody relies on ends before.
    earliest: Moment,
}

struct Open {
    decided: Arc<Decided>,
    connected: Arc<Connected>,
    /// The generation that its evidence is no older than.
    as_of: u64,
    /// When the next thing ends that it relies on.
    until: Moment,
    /// The round trips that had been timed when it was decided last.
    timed: u32,
    /// The outcome that the log has of it.
    told: Outcome,
    cut: Option<Reason>,
    /// Whoever is to hear of the cut.
    waiting: Option<Waker>,
    /// What stops the request's body, which flows whether or not anybody waits for the answer.
    halt: Option<Arc<Halt>>,
}

/// Stops a request's body on its way up: nothing of it passes once its exchange is cut or over.
#[derive(Debug, Default)]
pub struct Halt {
    halted: AtomicBool,
    waiting: AtomicWaker,
}

impl Halt {
    pub fn halt(&self) {
        self.halted.store(true, Ordering::Release);
        self.waiting.wake();
    }

    /// Ready when nothing more may pass; from then on always.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        self.waiting.register(cx.waker());
        if self.halted.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// What is asked of one exchange that is decided again.
pub struct Question<'a> {
    pub decided: &'a Decided,
    pub connected: &'a Connected,
    /// The outcome that the log has of it.
    pub told: Outcome,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    Cut(Reason),
    /// It relies on something that ends then.
    Stays {
        outcome: Outcome,
        until: Moment,
    },
    /// What is new does not matter to it.
    Unread,
}

/// Which exchanges are to be decided again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those decided before the last `stir`.
    Behind,
    /// Those that relied on something which has ended by then.
    Ended(Moment),
    /// Those whose round trip was timed since.
    Timed,
}

/// What one slice did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    pub looked: usize,
    pub cut: usize,
    /// More of the same are left.
    pub more: bool,
}

const NEVER: Moment = Moment(i64::MAX);

impl Default for Entries {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), cursor: 0, earliest: NEVER }
    }
}

impl Open {
    fn is(&self, which: Which, generation: u64) -> bool {
        self.cut.is_none()
            && match which {
                Which::Behind => self.as_of < generation,
                Which::Ended(now) => self.until <= now,
                Which::Timed => self.timed != self.connected.timing.tls.count(),
            }
    }

    /// False: it is being cut already.
    fn end(&mut self, reason: Reason) -> bool {
        if self.cut.is_some() {
            return false;
        }
        self.cut = Some(reason);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        self.halt();
        self.connected.cut.notify_one();
        true
    }

    fn halt(&self) {
        if let Some(halt) = &self.halt {
            halt.halt();
        }
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
    /// To be read before evidence is gathered, for `register`.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// `as_of`: the generation when its evidence began to be gathered.
    pub fn register(self: &Arc<Self>, decided: Arc<Decided>, connected: Arc<Connected>, as_of: u64) -> Registration {
        let until = next_end(&decided.evidence, Moment(i64::MIN));
        let timed = decided.evidence.timing.tls.known().map_or(0, |timing| timing.samples);
        let told = decided.decision.outcome;
        let open = Some(Open { decided, connected, as_of, until, timed, told, cut: None, waiting: None, halt: None });
        let mut entries = self.lock();
        // A change came between its evidence and now, or it ends before all others.
        let sooner = as_of < self.generation() || until < entries.earliest;
        entries.earliest = entries.earliest.min(until);
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
        drop(entries);
        if sooner {
            self.sooner.notify_one();
        }
        Registration { live: Arc::clone(self), place }
    }

    /// Something that decisions rest on is different: everything open is `Behind` now.
    pub fn stir(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Resolves when something came that is `Behind`, or ends before `earliest`.
    pub async fn sooner(&self) {
        self.sooner.notified().await;
    }

    /// Nothing that anybody relies on ends before.
    pub fn earliest(&self) -> Moment {
        self.lock().earliest
    }

    /// Decides `most` of these exchanges again. To be called until there are no more; what registers or ends between
    /// two calls is as it should be. The registry is locked while `judge` is asked.
    pub fn slice(&self, which: Which, most: usize, mut judge: impl FnMut(Question<'_>) -> Judgement) -> Slice {
        let mut slice = Slice::default();
        let mut entries = self.lock();
        let generation = self.generation();
        let (count, begin) = (entries.places.len(), entries.cursor);
        for step in 0..count {
            let place = (begin + step) % count;
            let Some(Some(open)) = entries
                .places
                .get_mut(place)
                .filter(|open| open.as_ref().is_some_and(|open| open.is(which, generation)))
            else {
                continue;
            };
            if slice.looked == most {
                entries.cursor = place;
                slice.more = true;
                return slice;
            }
            slice.looked += 1;
            // Read before the evidence: what is timed meanwhile is news.
            let timed = open.connected.timing.tls.count();
            match judge(Question { decided: &open.decided, connected: &open.connected, told: open.told }) {
                Judgement::Cut(reason) => slice.cut += usize::from(open.end(reason)),
                Judgement::Stays { outcome, until } => {
                    (open.as_of, open.timed, open.told) = (generation, timed, outcome);
                    open.until = match which {
                        // Else it would be looked at for ever.
                        Which::Ended(now) => until.max(now.plus_millis(1)),
                        _ => until,
                    };
                }
                Judgement::Unread => open.timed = timed,
            }
        }
        let left = entries.places.iter().flatten().filter(|open| open.cut.is_none());
        entries.earliest = left.map(|open| open.until).min().unwrap_or(NEVER);
        slice
    }

    /// Cuts everything.
    pub fn cut_all(&self, reason: Reason) {
        self.lock().places.iter_mut().flatten().for_each(|open| {
            open.end(reason);
        });
    }

    /// Cuts the exchange of this request; false when it is not open here.
    pub fn cut(&self, id: &str, reason: Reason) -> bool {
        let mut entries = self.lock();
        let mut of_request = entries.places.iter_mut().flatten().filter(|open| open.decided.evidence.request.id == id);
        of_request.next().is_some_and(|open| open.end(reason))
    }

    /// Whether something of this connection was cut and is not over.
    pub fn lingers(&self, connected: &Arc<Connected>) -> bool {
        let entries = self.lock();
        entries.places.iter().flatten().any(|open| open.cut.is_some() && Arc::ptr_eq(&open.connected, connected))
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

/// When the first thing ends, after `now`, that a permission with this evidence may rely on.
pub fn next_end(evidence: &Evidence, now: Moment) -> Moment {
    let token = evidence.subject.known().map(|subject| subject.expires);
    let certificate = evidence.certificate.known().map(|certificate| certificate.end());
    let held = evidence.grants.known().into_iter().flat_map(|grants| grants.iter()).filter(|grant| grant.is_held(now));
    let grants = held.map(|grant| grant.expires);
    token.into_iter().chain(certificate).chain(grants).filter(|end| *end > now).min().unwrap_or(NEVER)
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

    /// Why the exchange is being cut, if it is.
    pub fn reason(&self) -> Option<Reason> {
        self.live.lock().places.get(self.place)?.as_ref()?.cut
    }

    /// From now on the request's body stops with the exchange, however that ends.
    pub fn halts(&self, halt: &Arc<Halt>) {
        if let Some(Some(open)) = self.live.lock().places.get_mut(self.place) {
            open.halt = Some(Arc::clone(halt));
            if open.cut.is_some() {
                open.halt();
            }
        }
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
        // Its answer is whole, or nobody wants it any more: what is still on its way up goes no further.
        over.inspect(Open::halt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Fact, Grant};
    use crate::policy::{Decision, given};
    use crate::sources::certificate::Presented;
    use crate::sources::gather::Recognised;
    use crate::sources::geo::{Geo, GeoSettings};
    use crate::sources::lists::Lists;
    use crate::sources::place::{Located, Networks};
    use crate::sources::recall::Regrouped;
    use crate::sources::timing::ConnectionTiming;
    use crate::sources::token::LastToken;
    use crate::sources::transport::TcpSamples;
    use crate::state::timings::{Timings, TimingsSettings};
    use std::collections::BTreeSet;
    use std::sync::Weak;
    use std::sync::atomic::AtomicBool;

    const NOW: Moment = Moment(1_780_000_000_000);

    struct Bench {
        live: Arc<Live>,
        connected: Arc<Connected>,
    }

    impl Bench {
        fn new() -> Self {
            let networks = Networks::new(Arc::new(Geo::load(&GeoSettings::default())), Arc::new(Lists::load(&[])));
            let timings = Timings::new(TimingsSettings::default());
            let connected = Connected {
                local: None,
                presented: Presented::default(),
                trust: Arc::default(),
                located: Located::here(&networks, NOW),
                timing: ConnectionTiming::new(timings.connection(), TcpSamples::forwarded()),
                pings: false,
                awaited: AtomicBool::new(false),
                sighted: AtomicBool::new(false),
                socket: Weak::new(),
                cut: Notify::new(),
                recognised: Recognised::default(),
                token: LastToken::default(),
                regrouped: Regrouped::default(),
            };
            Self { live: Arc::default(), connected: Arc::new(connected) }
        }

        /// One more, on a grant that ends then.
        fn open(&self, id: &str, end: Option<Moment>, as_of: u64) -> Registration {
            let mut request = given::request("GET https://app.example/").expect("a request");
            request.id = id.to_owned();
            let mut evidence = Evidence::absent(request);
            if let Some(end) = end {
                evidence.grants = Fact::Known(Arc::new([Grant::held("lead".into(), end)]));
            }
            let decision = Decision {
                policy: "v".into(),
                resource: None,
                outcome: Outcome::Forward,
                would: Outcome::Forward,
                reason: Reason::Draining,
                findings: Default::default(),
            };
            self.live.register(Arc::new(Decided { evidence, decision }), Arc::clone(&self.connected), as_of)
        }

        /// One slice, in which everything stays that relies on nothing; whom it looked at.
        fn slice(&self, which: Which, most: usize, seen: &mut Vec<String>) -> Slice {
            self.live.slice(which, most, |question| {
                seen.push(question.decided.evidence.request.id.clone());
                Judgement::Stays { outcome: question.told, until: NEVER }
            })
        }
    }

    #[test]
    fn slices_miss_nobody_and_ask_nobody_twice() {
        let bench = Bench::new();
        let mut open: Vec<_> = (0..1000).map(|n| bench.open(&format!("old-{n}"), None, 0)).collect();
        bench.live.stir();
        let mut seen = Vec::new();
        let mut slices = 0;
        loop {
            let slice = bench.slice(Which::Behind, 64, &mut seen);
            slices += 1;
            if !slice.more {
                break;
            }
            assert_eq!(slice.looked, 64);
            // Meanwhile some go, not looked at yet or looked at; and some come, decided before the change or after.
            open.swap_remove(slices * 7);
            open.push(bench.open(&format!("late-{slices}"), None, 0));
            open.push(bench.open(&format!("new-{slices}"), None, 1));
        }
        let asked: BTreeSet<_> = seen.iter().collect();
        assert_eq!(asked.len(), seen.len(), "nobody twice");
        assert!(!seen.iter().any(|id| id.starts_with("new")), "they knew of the change");
        let entries = bench.live.lock();
        let behind = entries.places.iter().flatten().filter(|open| open.is(Which::Behind, 1)).count();
        assert_eq!(behind, 0);
        assert_eq!(seen.iter().filter(|id| id.starts_with("late")).count(), slices - 1);
    }

    #[test]
    fn who_comes_late_with_an_old_decision_is_told_of() {
        let bench = Bench::new();
        let waits = || {
            let mut sooner = std::pin::pin!(bench.live.sooner());
            sooner.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
        };
        let _first = bench.open("first", None, bench.live.generation());
        assert!(waits());
        let before = bench.live.generation();
        bench.live.stir();
        let _current = bench.open("current", None, bench.live.generation());
        assert!(waits());
        let _late = bench.open("late", None, before);
        assert!(!waits());
    }

    #[test]
    fn what_ends_first_is_known_and_looked_at_once() {
        let bench = Bench::new();
        let second = |n: i64| NOW.plus_millis(n * 1000);
        let _open = [(1, 30), (2, 10), (3, 20)].map(|(id, at)| bench.open(&id.to_string(), Some(second(at)), 0));
        assert_eq!(bench.live.earliest(), second(10));
        let mut seen = Vec::new();
        bench.slice(Which::Ended(second(10).plus_millis(-1)), 9, &mut seen);
        assert!(seen.is_empty());
        bench.slice(Which::Ended(second(10)), 9, &mut seen);
        bench.slice(Which::Ended(second(10)), 9, &mut seen);
        assert_eq!((seen, bench.live.earliest()), (vec!["2".to_owned()], second(20)));
    }

    #[test]
    fn a_new_measurement_is_looked_at_once() {
        let bench = Bench::new();
        let _open = bench.open("ws", None, 0);
        let mut seen = Vec::new();
        bench.slice(Which::Timed, 9, &mut seen);
        assert!(seen.is_empty());
        let rtt = crate::latency::Rtt::from_micros(900);
        bench.connected.timing.tls.record(rtt, crate::evidence::timing::TlsSource::WebsocketPing);
        bench.slice(Which::Timed, 9, &mut seen);
        bench.slice(Which::Timed, 9, &mut seen);
        assert_eq!(seen, ["ws"]);
    }

    #[test]
    fn a_cut_is_heard_once_and_what_is_cut_is_left_alone() {
        let bench = Bench::new();
        let open = bench.open("ws", None, 0);
        assert!(open.poll_cut(&Context::from_waker(Waker::noop())).is_pending());
        bench.live.stir();
        let slice = bench.live.slice(Which::Behind, 9, |_| Judgement::Cut(Reason::DeviceRevoked));
        assert_eq!(slice, Slice { looked: 1, cut: 1, more: false });
        assert_eq!(open.poll_cut(&Context::from_waker(Waker::noop())), Poll::Ready(Reason::DeviceRevoked));
        assert_eq!(bench.live.slice(Which::Behind, 9, |_| panic!("it is over")).looked, 0);
    }
}
