//! What is over is forgotten after a while: grants, invitations, revocations. The audit log keeps what happened.

use super::administrator::{Administrator, held};
use super::fault::Fault;
use crate::access::forget::{KEPT_MS, followed, outlived};
use crate::access::grant::GrantRecord;
use crate::authority::invitation::{Invitation, InvitationState};
use crate::evidence::Moment;
use crate::store::{Document, Kind, Revoked, Write};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// When everything that is over was last forgotten.
#[derive(Debug)]
pub struct Forgetting(AtomicI64);

/// How often what is over is looked for: nothing waits for it, milliseconds.
const EVERY: u64 = 3_600_000;

/// Grants forgotten in one go.
const BATCH: usize = 500;

/// Documents read at once, and at most forgotten in one go.
const PAGE: u32 = 500;

/// Accounts, roles and ways in: of each the last record stays.
type Newest = HashMap<(Arc<str>, Arc<str>, bool), Moment>;

impl Default for Forgetting {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Forgetting {
    fn is_due(&self, now: Moment) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        now.millis() < last || now.since(Moment(last)) >= EVERY
    }
}

impl Administrator {
    /// Forgets what nothing is decided by any more, a bounded part of it at a time. Several gateways may be at it: who
    /// comes second leaves it for the next time.
    pub(super) async fn forget(&self) {
        let now = (self.clock)();
        if !self.forgetting.is_due(now) {
            return;
        }
        match self.forget_what_is_over(now).await {
            Ok(true) => self.forgetting.0.store(now.millis(), Ordering::Relaxed),
            Ok(false) => {}
            Err(fault) => tracing::debug!(%fault, "what is over stays remembered for now"),
        }
    }

    /// True: there is nothing more.
    async fn forget_what_is_over(&self, now: Moment) -> Result<bool, Fault> {
        let all = self.forget_grants(now).await?;
        self.forget_where(Kind::Invitation, now, |invitation: &Invitation| {
            let ended = match invitation.state {
                InvitationState::Open => invitation.expires,
                InvitationState::Used { at, .. } | InvitationState::Withdrawn { at, .. } => at,
            };
            now.since(ended) > KEPT_MS
        })
        .await?;
        if let Some(issuing) = &self.issuing {
            let lifetime = u64::try_from(issuing.settings.list_lifetime.as_millis()).unwrap_or(u64::MAX);
            let unlisted = |revoked: &Revoked| now.since(revoked.expires) > lifetime;
            self.forget_where(Kind::Revocation, now, unlisted).await?;
        }
        Ok(all)
    }

    async fn forget_grants(&self, now: Moment) -> Result<bool, Fault> {
        let policy = self.policies.current_full();
        let cool_down = policy.roles().iter().map(|role| role.cool_down_ms).max().unwrap_or(0);
        let people = self.memory.people();
        // All are looked at, so not on a thread that serves requests.
        let looking = tokio::task::spawn_blocking(move || {
            let mut over = Vec::new();
            people.for_each_grant(|record| {
                if outlived(record, cool_down, now) {
                    over.push(Arc::clone(record));
                }
            });
            let mut newest: Newest = over.iter().map(|record| (key(record), record.asked)).collect();
            people.for_each_grant(|record| {
                if let Some(asked) = newest.get_mut(&key(record)) {
                    *asked = record.asked.max(*asked);
                }
            });
            over.retain(|record| newest.get(&key(record)).is_some_and(|newest| followed(record, *newest)));
            over
        });
        let over = looking.await.unwrap_or_default();
        let ids: Vec<Arc<str>> = over.iter().take(BATCH).map(|record| Arc::clone(&record.id)).collect();
        if ids.is_empty() {
            return Ok(true);
        }
        // By the store's own word: another gateway may have written a review.
        let documents = self.store.get_all(Kind::Grant, ids).await?;
        self.delete(&documents, now, |record: &GrantRecord| outlived(record, cool_down, now)).await?;
        self.learn().await;
        Ok(over.len() <= BATCH)
    }

    async fn forget_where<T: DeserializeOwned>(
        &self,
        kind: Kind,
        now: Moment,
        over: impl Fn(&T) -> bool,
    ) -> Result<(), Fault> {
        let mut after: Arc<str> = "".into();
        loop {
            let page = self.store.list(kind, &after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Arc::clone(&last.id);
            self.delete(&page, now, &over).await?;
        }
    }

    async fn delete<T: DeserializeOwned>(
        &self,
        documents: &[Document],
        now: Moment,
        over: impl Fn(&T) -> bool,
    ) -> Result<(), Fault> {
        let mut writes = Vec::new();
        for document in documents {
            match held::<T>(document) {
                Ok(held) if over(&held.value) => {
                    let (kind, id, version) = (document.kind, Arc::clone(&document.id), document.version);
                    writes.push(Write::Delete { kind, id, version });
                }
                Ok(_) => {}
                Err(fault) => tracing::error!(%fault, "what cannot be read stays"),
            }
        }
        if !writes.is_empty() {
            self.store.commit(writes, now).await?;
        }
        Ok(())
    }
}

fn key(record: &GrantRecord) -> (Arc<str>, Arc<str>, bool) {
    (Arc::clone(&record.user), Arc::clone(&record.role), record.break_glass)
}
