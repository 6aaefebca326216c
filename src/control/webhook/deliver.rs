//! Bringing notifications to their targets: each until it was taken, or for a day.
//!
//! A gateway claims a notification by moving its next attempt on; of several gateways one does. A target that hangs
//! holds up nobody else's notifications, and few of its own at a time.

use super::Hook;
use super::signature::{SIGNATURE, sign};
use crate::audit::{Alert, AlertKind};
use crate::control::administrator::{About, Administrator, Held, Who, held, put};
use crate::store::Delivery;
use crate::store::{Kind, Write};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A target has this long to take a notification, and no longer than to the next attempt.
const PATIENCE: Duration = Duration::from_secs(10);
/// Attempts under way to one target.
const AT_ONCE: usize = 4;
/// Waiting after the first attempt, the second, …, in times of the hook's `retry_after`; the last stays.
const PAUSES: [u32; 6] = [1, 2, 4, 8, 20, 40];
/// After this nobody waits for it any more, milliseconds.
const GIVE_UP: u64 = 24 * 3600 * 1000;
/// What that is called.
const GIVE_UP_EVENT: &str = "delivery-give-up";
/// Read at once.
const PAGE: u32 = 500;

/// What is under way in this process, whatever the configuration.
#[derive(Default)]
pub struct Rounds {
    under_way: Mutex<HashSet<Arc<str>>>,
    places: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
}

/// How often to look for notifications that others left behind.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Administrator {
    /// Starts an attempt of everything that is due, and says how long until something else is.
    pub async fn deliver_due(self: &Arc<Self>, rounds: &Arc<Rounds>) -> Duration {
        let mut waiting: HashMap<Arc<str>, usize> = HashMap::new();
        let mut after: Arc<str> = "".into();
        let mut rest = LOOK_EVERY;
        while !self.webhooks.is_empty() {
            let page = match self.store.list(Kind::Delivery, &after, PAGE).await {
                Ok(page) => page,
                Err(fault) => {
                    tracing::warn!(%fault, "notifications cannot be read and wait");
                    return rest;
                }
            };
            let Some(last) = page.last() else { break };
            after = Arc::clone(&last.id);
            for document in &page {
                match held::<Delivery>(document) {
                    Ok(known) => {
                        *waiting.entry(Arc::clone(&known.value.hook)).or_default() += 1;
                        let until = Duration::from_millis(known.value.next.since((self.clock)()));
                        match until.is_zero() {
                            true => self.begin(rounds, Arc::clone(&document.id), known),
                            false => rest = rest.min(until),
                        }
                    }
                    Err(fault) => tracing::error!(%fault, "a notification is left alone"),
                }
            }
        }
        for hook in &self.webhooks.hooks {
            hook.counted(waiting.get(&hook.name).copied().unwrap_or_default());
        }
        rest
    }

    /// Starts an attempt, if none is under way and there is a place for it.
    fn begin(self: &Arc<Self>, rounds: &Arc<Rounds>, id: Arc<str>, known: Held<Delivery>) {
        let hook = &known.value.hook;
        // A webhook that was taken out of the configuration needs no place: nothing will be sent.
        let place = match self.webhooks.named(hook).map(|_| rounds.places(hook).try_acquire_owned()) {
            Some(Err(_)) => return,
            Some(Ok(place)) => Some(place),
            None => None,
        };
        if !rounds.under_way().insert(Arc::clone(&id)) {
            return;
        }
        let (administrator, rounds) = (Arc::clone(self), Arc::clone(rounds));
        tokio::spawn(async move {
            administrator.attempt(&id, known).await;
            rounds.under_way().remove(&id);
            drop(place);
        });
    }

    async fn attempt(&self, id: &Arc<str>, known: Held<Delivery>) {
        let now = (self.clock)();
        let Held { value: mut delivery, version, .. } = known;
        let Some(hook) = self.webhooks.named(&delivery.hook) else {
            return self.give_up(id, version, &delivery, "there is no such webhook any more").await;
        };
        if now.since(delivery.at) > GIVE_UP {
            return self.give_up(id, version, &delivery, "its target did not take it for a day").await;
        }
        let times = PAUSES.get(delivery.attempts as usize).or(PAUSES.last()).copied().unwrap_or(1);
        let pause = hook.retry_after.saturating_mul(times);
        delivery.attempts = delivery.attempts.saturating_add(1);
        delivery.next = now.plus_millis(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
        let claim = put(Kind::Delivery, id, Some(version), &delivery);
        // Somebody else was first, or the store is away: it stays due.
        if self.store.commit(vec![claim], now).await.is_err() {
            return;
        }
        let (fields, patience) = (fields(hook, id, &delivery, now), PATIENCE.min(pause));
        let sent = hook.endpoint.post(fields, delivery.body.clone().into(), patience).await;
        match sent {
            Ok(()) => {
                let taken = Write::Delete { kind: Kind::Delivery, id: Arc::clone(id), version: version + 1 };
                if let Err(fault) = self.store.commit(vec![taken], now).await {
                    tracing::warn!(webhook = &*hook.name, %fault, "a notification was taken and will be sent again");
                }
            }
            Err(fault) => {
                let (event, attempts) = (&*delivery.event, delivery.attempts);
                tracing::warn!(webhook = &*hook.name, event, attempts, %fault, "a notification was not taken");
            }
        }
    }

    /// Somebody should look at a target: it begins to miss what happens.
    pub(in crate::control) fn missed(&self, missed: Vec<(Arc<str>, &'static str)>) {
        for (hook, event) in missed {
            self.undelivered(format!("webhook {hook}: {event} is not kept, for too many notifications wait"));
        }
    }

    fn undelivered(&self, reason: String) {
        self.audit.alert(Alert {
            at: (self.clock)(),
            kind: AlertKind::Undelivered,
            id: None,
            resource: None,
            user: None,
            device: None,
            address: None,
            reason: reason.into(),
        });
    }

    async fn give_up(&self, id: &Arc<str>, version: u64, delivery: &Delivery, why: &'static str) {
        let now = (self.clock)();
        let drop = Write::Delete { kind: Kind::Delivery, id: Arc::clone(id), version };
        if self.store.commit(vec![drop], now).await.is_err() {
            return;
        }
        tracing::error!(webhook = &*delivery.hook, event = &*delivery.event, "a notification is given up: {why}");
        let reason = format!("webhook {}: {} was never taken: {why}", delivery.hook, delivery.event);
        self.undelivered(reason);
        let about = About::new(GIVE_UP_EVENT, Kind::Delivery, id);
        // Of that one is told once: where several targets are away, each would be told of all others without an end.
        match &*delivery.event == GIVE_UP_EVENT {
            true => self.note(&Who::gateway(), about, Some(why.to_owned())).await,
            false => self.did(&Who::gateway(), about, Some(why.to_owned())).await,
        }
    }
}

impl Rounds {
    fn places(&self, hook: &Arc<str>) -> Arc<Semaphore> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry(Arc::clone(hook)).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, HashSet<Arc<str>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fields(hook: &Hook, id: &str, delivery: &Delivery, now: crate::evidence::Moment) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let signature = sign(&hook.key, delivery.body.as_bytes(), now);
    for (name, value) in [("rangegate-delivery", id), ("rangegate-event", &*delivery.event), (SIGNATURE, &*signature)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            fields.insert(HeaderName::from_static(name), value);
        }
    }
    fields
}
