//! What is open on one core is kept right: decided again when anything changed, ended, or was measured anew.
//!
//! Some of what policy asks for passes with time alone: hours, the age of a login or of a proof of identity, the age of
//! what is known. Nobody tells of that, so that everything is decided again every ten seconds, whatever happens.

use super::clock;
use super::core::Core;
use super::drain::{Phase, Signal, reached};
use super::shared::Changes;
use super::worker::Worker;
use crate::enforce::live::{Judgement, Question, Slice, Which, next_end};
use crate::evidence::Moment;
use crate::policy::{Decided, Outcome};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often new measurements are looked for. Wall clocks may jump: no wait for an end is longer either.
const TICK: Duration = Duration::from_secs(1);

/// After so many ticks everything is decided again.
const ROUND: u32 = 10;

/// How many exchanges are decided before others have their turn: a fraction of a millisecond.
const SLICE: usize = 32;

/// How long requests have the core to themselves between two slices, where nothing hurries.
const PAUSE: Duration = Duration::from_millis(1);

type News = watch::Receiver<Changes>;

/// Watches over what is open until everything is to be cut.
pub async fn keep(core: &Core, mut cutting: Signal) {
    let mut changes = core.shared().changes.subscribe();
    let mut urgent = changes.borrow_and_update().urgent;
    let live = Arc::clone(&core.worker().live);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks: u32 = 0;
    loop {
        let end = until(live.earliest().min(core.next_dismissal()), clock::now());
        tokio::select! {
            () = reached(&mut cutting, Phase::Cutting) => return,
            Ok(()) = changes.changed() => {
                let before = std::mem::replace(&mut urgent, changes.borrow().urgent);
                core.catch_up();
                let news = (urgent == before).then_some(&changes);
                core.worker().redecide(news).await;
                core.dismiss().await;
            }
            () = live.sooner() => {
                core.worker().sweep(Which::Behind).await;
            }
            () = tokio::time::sleep(end) => {
                core.worker().expire().await;
                core.dismiss_ended().await;
            }
            _ = tick.tick() => {
                ticks = ticks.wrapping_add(1);
                let round = ticks.is_multiple_of(ROUND);
                core.worker().tend(round, &changes).await;
                if round {
                    core.dismiss().await;
                }
            }
        }
    }
}

fn until(end: Moment, now: Moment) -> Duration {
    Duration::from_millis(end.since(now)).min(TICK)
}

impl Worker {
    /// Decides again everything open on this core: something that decisions rest on is different. At ease until there
    /// is `news`; at once where access was taken away, and it is none.
    async fn redecide(&self, news: Option<&News>) {
        self.live.stir();
        let Slice { looked, cut, .. } = match news {
            Some(news) => self.sweep_at_ease(Which::Behind, news).await,
            None => self.sweep(Which::Behind).await,
        };
        tracing::info!(looked, cut, "open exchanges decided again");
    }

    /// Decides again what relied on something that has ended.
    async fn expire(&self) {
        let now = clock::now();
        if self.live.earliest() <= now {
            let Slice { cut, .. } = self.sweep(Which::Ended(now)).await;
            if cut > 0 {
                tracing::info!(cut, "open exchanges cut: what they relied on has ended");
            }
        }
    }

    /// Takes up what was measured since; every now and then looks at everything.
    async fn tend(&self, round: bool, news: &News) {
        let now = clock::now();
        self.live.each(|decided, connected| self.shared.sources.learn(&decided.evidence, connected, now));
        if round {
            self.live.stir();
            self.sweep_at_ease(Which::Behind, news).await;
        } else {
            self.sweep_at_ease(Which::Timed, news).await;
        }
        let policy = self.shared.policies.current();
        self.enforcer.pool.retain(|origin| policy.sends_to(origin), Instant::now());
    }

    /// No request waits for longer than a slice.
    async fn sweep(&self, which: Which) -> Slice {
        let mut all = Slice::default();
        while self.slice(which, &mut all) {
            tokio::task::yield_now().await;
        }
        all
    }

    /// Requests hardly feel it. The rest is left to the next sweep as soon as there is news: all are behind then, and
    /// it may hurry. What ends meanwhile ends in time.
    async fn sweep_at_ease(&self, which: Which, news: &News) -> Slice {
        let mut all = Slice::default();
        while self.slice(which, &mut all) && !news.has_changed().unwrap_or_default() {
            tokio::time::sleep(PAUSE).await;
            self.expire().await;
        }
        all
    }

    /// True: there are more.
    fn slice(&self, which: Which, all: &mut Slice) -> bool {
        let now = clock::now();
        let slice = self.live.slice(which, SLICE, |question| self.judge(&question, which, now));
        all.looked += slice.looked;
        all.cut += slice.cut;
        slice.more
    }

    fn judge(&self, question: &Question<'_>, which: Which, now: Moment) -> Judgement {
        let Question { decided, connected, told } = *question;
        let policy = self.shared.policies.current();
        if which == Which::Timed && !policy.needs(&decided.evidence.request).tls_round_trip {
            return Judgement::Unread;
        }
        let evidence = self.shared.sources.refresh(&decided.evidence, connected, &policy, now);
        let decision = policy.decide(&evidence);
        let outcome = decision.outcome;
        let flows = match decided.decision.outcome {
            // A decoy that would now be refused tells by its end that it was one.
            Outcome::Decoy => outcome != Outcome::Deny,
            _ => matches!(outcome, Outcome::Forward | Outcome::Observe),
        };
        let id = &decided.evidence.request.id;
        if !flows {
            self.shared.audit.cut(id, decision.reason.code(), now);
            return Judgement::Cut(decision.reason);
        }
        let until = next_end(&evidence, now);
        if outcome != told {
            self.shared.audit.redecided(id, Arc::new(Decided { evidence, decision }), now);
        }
        Judgement::Stays { outcome, until }
    }
}
