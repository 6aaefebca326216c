//! Signed calls that were believed: each counts once, at whichever gateway it comes again.
//!
//! A signature holds for some minutes, and as long whoever overheard the call could send it a second time. So it is
//! written down in the store, which all gateways share, before anything is done; and kept for longer than anybody
//! would believe it.

use super::signature::TOLERANCE;
use super::{Hook, Webhooks};
use crate::control::administrator::{Administrator, held, id_of, put};
use crate::control::fault::Fault;
use crate::evidence::Moment;
use crate::store::{Call, CommitFault, Digest, Kind, Write};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A call whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The same for the same call through the same webhook, and for no other.
    pub id: Arc<str>,
    /// By the clock of whoever signed.
    pub at: Moment,
}

/// What is known of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing: it is to be carried out.
    Never,
    /// What it was answered with.
    Answered(String),
    /// It was refused, or is under way: it does nothing more.
    Unanswered,
}

/// Longer than a signature is believed, which is as long before its moment as after it, and as clocks of gateways
/// differ; milliseconds.
const KEPT: u64 = 2 * TOLERANCE * 1000;

/// Calls through one webhook that are remembered at once. Beyond it none is carried out.
const MOST: usize = 10_000;

/// Read at once.
const PAGE: u32 = 500;

/// Those that are remembered may be read as often as somebody asks, as long as they are one page; for each more page it
/// is so much later, milliseconds. So it costs no more where a bot is busy.
const PAUSE: i64 = 3_000;

/// Never later than this, milliseconds.
const LATEST: i64 = 60_000;

impl Signed {
    pub(super) fn new(hook: &str, at: Moment, tag: &[u8]) -> Self {
        let length = (hook.len() as u64).to_le_bytes();
        let digest = Digest::of_parts([length.as_slice(), hook.as_bytes(), tag]);
        Self { id: id_of("c", digest.bytes()), at }
    }
}

impl Administrator {
    /// Whether the call was made before; from now on it was.
    ///
    /// # Errors
    /// It cannot be remembered, and so not be carried out: the store is away, or too many are.
    pub async fn called(&self, hook: &Hook, signed: &Signed) -> Result<Before, Fault> {
        if hook.calls.load(Ordering::Relaxed) >= MOST {
            return Err(Fault::Away("too many calls were made in the last minutes".to_owned()));
        }
        let call = Call { hook: Arc::clone(&hook.name), at: signed.at, answer: None };
        match self.store.commit(vec![put(Kind::Call, &signed.id, None, &call)], (self.clock)()).await {
            Ok(_) => {
                hook.calls.fetch_add(1, Ordering::Relaxed);
                Ok(Before::Never)
            }
            Err(CommitFault::Conflict { .. }) => {
                let known = self.read::<Call>(Kind::Call, &signed.id).await?;
                Ok(known.and_then(|known| known.value.answer).map_or(Before::Unanswered, Before::Answered))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// Remembers what came of a call, for whoever did not hear it.
    pub async fn answered(&self, hook: &Hook, signed: &Signed, answer: String) {
        let call = Call { hook: Arc::clone(&hook.name), at: signed.at, answer: Some(answer) };
        let kept = self.store.commit(vec![put(Kind::Call, &signed.id, Some(1), &call)], (self.clock)()).await;
        if let Err(fault) = kept {
            tracing::warn!(webhook = &*hook.name, %fault, "a call was carried out, and its answer is not kept");
        }
    }

    /// Forgets calls that nobody would believe any more.
    pub(in crate::control) async fn forget_calls(&self) {
        if self.webhooks.is_empty() || !self.webhooks.is_counting_due((self.clock)()) {
            return;
        }
        let (mut known, mut after): (HashMap<Arc<str>, usize>, Arc<str>) = (HashMap::new(), "".into());
        let mut pages = 0;
        loop {
            let Ok(page) = self.store.list(Kind::Call, &after, PAGE).await else { return };
            let Some(last) = page.last() else { break };
            after = Arc::clone(&last.id);
            pages += 1;
            let now = (self.clock)();
            let mut over = Vec::new();
            for document in &page {
                match held::<Call>(document) {
                    Ok(call) if now.since(call.value.at) > KEPT => {
                        let (id, version) = (Arc::clone(&document.id), document.version);
                        over.push(Write::Delete { kind: Kind::Call, id, version });
                    }
                    Ok(call) => *known.entry(call.value.hook).or_default() += 1,
                    Err(fault) => tracing::error!(%fault, "a call that was made stays remembered"),
                }
            }
            // Another gateway may be at it as well: then what is left is for the next time.
            if !over.is_empty()
                && let Err(fault) = self.store.commit(over, now).await
            {
                tracing::debug!(%fault, "calls stay remembered for now");
            }
        }
        self.webhooks.counted(&known, pages, (self.clock)());
    }
}

impl Webhooks {
    fn is_counting_due(&self, now: Moment) -> bool {
        let wait = self.count.load(Ordering::Relaxed).saturating_sub(now.millis());
        // A longer one is none: the clock was stepped back.
        !(1..=LATEST).contains(&wait)
    }

    fn counted(&self, calls: &HashMap<Arc<str>, usize>, pages: i64, now: Moment) {
        for hook in &self.hooks {
            hook.calls.store(calls.get(&hook.name).copied().unwrap_or_default(), Ordering::Relaxed);
        }
        let wait = (pages - 1).saturating_mul(PAUSE).clamp(0, LATEST);
        self.count.store(now.plus_millis(wait).millis(), Ordering::Relaxed);
    }
}
