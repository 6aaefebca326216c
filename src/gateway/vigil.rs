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

/// Whether requests go before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Haste {
    /// Access was taken away: no request may wait longer than for one slice, and no cut for more than the slices.
    Now,
    AtEase,
}

type Changed = watch::Receiver<Changes>;

/// Watches over what is open until everything is to be cut.
pub async fn keep(core: &Core, mut cutting: Signal) {
    let mut changes = core.shared().changes.subscribe();
    let mut urgent = changes.borrow_and_update().urgent;
    let live = Arc::clone(&core.worker().live);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks: u32 = 0;
    loop {
        let end = until(live.earliest(), clock::now());
        tokio::select! {
            () = reached(&mut cutting, Phase::Cutting) => return,
            Ok(()) = changes.changed() => {
                core.catch_up();
                let before = std::mem::replace(&mut urgent, changes.borrow().urgent);
                let haste = if urgent == before { Haste::AtEase } else { Haste::Now };
                core.worker().redecide(haste, &changes).await;
                core.dismiss().await;
            }
            () = live.sooner() => {
                core.worker().sweep(Which::Behind, Haste::Now, &changes).await;
            }
            () = tokio::time::sleep(end) => core.worker().expire(&changes).await,
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
    /// Decides again everything open on this core: something that decisions rest on is different.
    async fn redecide(&self, haste: Haste, changes: &Changed) {
        self.live.stir();
        let Slice { looked, cut, .. } = self.sweep(Which::Behind, haste, changes).await;
        tracing::info!(looked, cut, "open exchanges decided again");
    }

    /// Decides again what relied on something that has ended.
    async fn expire(&self, changes: &Changed) {
        let now = clock::now();
        if self.live.earliest() <= now {
            let Slice { cut, .. } = self.sweep(Which::Ended(now), Haste::Now, changes).await;
            if cut > 0 {
                tracing::info!(cut, "open exchanges cut: what they relied on has ended");
            }
        }
    }

    /// Takes up what was measured since; every now and then looks at everything.
    async fn tend(&self, round: bool, changes: &Changed) {
        let now = clock::now();
        self.live.each(|decided, connected| self.shared.sources.learn(&decided.evidence, connected, now));
        if round {
            self.live.stir();
            self.sweep(Which::Behind, Haste::AtEase, changes).await;
        } else {
            self.sweep(Which::Timed, Haste::AtEase, changes).await;
        }
        let policy = self.shared.policies.current();
        self.enforcer.pool.retain(|origin| policy.sends_to(origin), Instant::now());
    }

    /// At ease it leaves the rest to the next sweep as soon as there is news: all are behind then, and it may hurry.
    async fn sweep(&self, which: Which, haste: Haste, changes: &Changed) -> Slice {
        let mut all = Slice::default();
        loop {
            let now = clock::now();
            let slice = self.live.slice(which, SLICE, |question| self.judge(&question, which, now));
            all.looked += slice.looked;
            all.cut += slice.cut;
            if !slice.more {
                return all;
            }
            match haste {
                Haste::Now => tokio::task::yield_now().await,
                Haste::AtEase => tokio::time::sleep(PAUSE).await,
            }
            if haste == Haste::AtEase && changes.has_changed().unwrap_or_default() {
                return all;
            }
        }
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
