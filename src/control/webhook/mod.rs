//! Webhooks: who is told of what was done, and who may act for people by a signed call.
//!
//! A notification is written in the transaction that makes it true and removed when its target has taken it, so that
//! neither a crash nor a target that is away for hours loses one. It may arrive twice: its id is the same each time.

mod call;
mod deliver;
mod notice;
mod signature;

pub use call::{Before, Signed};
pub use deliver::Rounds;
pub use notice::{EVENTS, is_meant};
pub use signature::{SIGNATURE, Unsigned};

use super::administrator::{new_id, put};
use super::fault::Fault;
use crate::audit::{Admin, AdminOutcome};
use crate::evidence::Moment;
use crate::sources::endpoint::Endpoint;
use crate::store::{Delivery, Kind, Write};
use aws_lc_rs::hmac;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Distinct among webhooks; a word of a path.
    pub name: String,
    /// Https, or http to this machine.
    pub url: String,
    /// PEM of whoever vouches for that server. None: the system's authorities.
    pub authority: Option<PathBuf>,
    /// Whether the server's name may lead to a private address.
    pub private: bool,
    /// A file with the secret both sides share, closed to others: at least `signature::LEAST_SECRET` bytes.
    pub secret: PathBuf,
    /// Events by name; `grant-*` are all that begin so, `*` is all.
    pub events: Vec<String>,
    pub format: Format,
    /// Whether a call signed with the secret may act for people: whoever has it can approve as anybody.
    pub acts: bool,
    /// How long to wait before the second attempt; each further wait is longer.
    pub retry_after: Duration,
}

/// What a notification looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Everything the audit line says, for programs.
    #[default]
    Json,
    /// One sentence as `text`, which chat tools show.
    Chat,
}

/// All webhooks of a gateway.
#[derive(Default)]
pub struct Webhooks {
    hooks: Vec<Hook>,
    /// When the calls that are remembered are counted next, as a `Moment`; under a new configuration at once.
    count: AtomicI64,
}

pub struct Hook {
    pub name: Arc<str>,
    pub acts: bool,
    endpoint: Endpoint,
    key: hmac::Key,
    events: Vec<String>,
    format: Format,
    retry_after: Duration,
    /// Notifications its target has not taken, as last counted, and those that came since.
    waiting: AtomicUsize,
    /// Something was not kept, and so many wait still that it may happen again.
    missing: AtomicBool,
    /// Calls that are remembered, as last counted.
    calls: AtomicUsize,
}

/// What is to be written beside a change, and what nobody will hear of.
#[derive(Debug, Default)]
pub(super) struct Notices {
    pub writes: Vec<Write>,
    /// Of each webhook whose target has begun to miss something: its name and the event.
    pub missed: Vec<(Arc<str>, &'static str)>,
}

/// Notifications that may wait for one target.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Beyond that new ones are not kept.
    most: usize,
    /// So many more, of what nobody may miss.
    reserve: usize,
}

const BOUNDS: Bounds = Bounds { most: 10_000, reserve: 1_000 };

impl Webhooks {
    /// # Errors
    /// What is wrong with a secret, a URL or an authority, for the operator.
    pub fn load(settings: &[WebhookSettings]) -> Result<Self, String> {
        let hooks = settings.iter().map(Hook::load).collect::<Result<_, _>>()?;
        Ok(Self { hooks, ..Self::default() })
    }

    pub fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    pub fn named(&self, name: &str) -> Option<&Hook> {
        self.hooks.iter().find(|hook| &*hook.name == name)
    }

    /// What is to be written beside a change so that everybody hears of it who wants to.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub(super) fn notices(&self, done: &Admin) -> Result<Notices, Fault> {
        self.within(BOUNDS, done)
    }

    fn within(&self, bounds: Bounds, done: &Admin) -> Result<Notices, Fault> {
        let mut notices = Notices::default();
        if done.outcome != AdminOutcome::Done {
            return Ok(notices);
        }
        let event = notice::event(done);
        for hook in self.hooks.iter().filter(|hook| hook.wants(event)) {
            if !hook.has_room(bounds, done) {
                tracing::error!(webhook = &*hook.name, event, "too many notifications wait: this one is not kept");
                if !hook.missing.swap(true, Ordering::Relaxed) {
                    notices.missed.push((Arc::clone(&hook.name), event));
                }
                continue;
            }
            let id = new_id("w")?;
            let delivery = Delivery {
                hook: Arc::clone(&hook.name),
                event: event.into(),
                at: done.at,
                attempts: 0,
                next: done.at,
                body: notice::body(hook.format, &id, event, done),
            };
            notices.writes.push(put(Kind::Delivery, &id, None, &delivery));
            // Until they are counted again.
            hook.waiting.fetch_add(1, Ordering::Relaxed);
        }
        Ok(notices)
    }
}

impl Hook {
    fn load(settings: &WebhookSettings) -> Result<Self, String> {
        let at = |why: String| format!("webhook `{}`: {why}", settings.name);
        let endpoint = Endpoint::new(&settings.url, settings.authority.as_deref(), settings.private).map_err(at)?;
        Ok(Self {
            name: settings.name.as_str().into(),
            acts: settings.acts,
            endpoint,
            key: signature::key(&settings.secret).map_err(at)?,
            events: settings.events.clone(),
            format: settings.format,
            retry_after: settings.retry_after,
            waiting: AtomicUsize::new(0),
            missing: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
        })
    }

    fn wants(&self, event: &str) -> bool {
        self.events.iter().any(|wanted| is_meant(wanted, event))
    }

    fn has_room(&self, bounds: Bounds, done: &Admin) -> bool {
        let room = bounds.most + if notice::is_grave(done) { bounds.reserve } else { 0 };
        self.waiting.load(Ordering::Relaxed) < room
    }

    /// So many wait, as counted just now.
    fn counted(&self, waiting: usize) {
        self.waiting.store(waiting, Ordering::Relaxed);
        // Not at each notification that makes room for one more: of one outage one alert.
        if waiting < BOUNDS.most / 2 {
            self.missing.store(false, Ordering::Relaxed);
        }
    }

    /// Whether this call was signed with the hook's secret, a short while ago.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(&self, signature: Option<&str>, body: &[u8], now: Moment) -> Result<Signed, Unsigned> {
        let (seconds, tag) = signature::verify(&self.key, signature, body, now)?;
        Ok(Signed::new(&self.name, Moment(seconds.saturating_mul(1000)), &tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AdminActor;
    use crate::store::private_file;
    use serde_json::{Value, json};

    fn hook(events: &[&str]) -> Hook {
        let dir = tempfile::tempdir().expect("a directory");
        let secret = dir.path().join("secret");
        private_file::create(&secret, "s".repeat(32).as_bytes(), private_file::SECRET).expect("written");
        Hook::load(&WebhookSettings {
            name: "chat".to_owned(),
            url: "http://127.0.0.1:1/".to_owned(),
            authority: None,
            private: false,
            secret,
            events: events.iter().map(|event| (*event).to_owned()).collect(),
            format: Format::Chat,
            acts: false,
            retry_after: Duration::from_secs(15),
        })
        .expect("a hook")
    }

    fn done(action: &'static str, after: Value) -> Admin {
        Admin {
            at: Moment(1_800_000_000_000),
            id: None,
            actor: AdminActor { user: None, person: None, device: None, issuer: None },
            action,
            target: String::new(),
            outcome: AdminOutcome::Done,
            reason: None,
            before: None,
            after: Some(after),
        }
    }

    #[test]
    fn events_are_chosen_by_name_or_by_their_beginning() {
        assert!(hook(&["grant-*"]).wants("grant-ask"));
        assert!(!hook(&["grant-*"]).wants("device-revoke"));
        assert!(hook(&["device-revoke"]).wants("device-revoke"));
        assert!(!hook(&["device-revoke"]).wants("device-revoke-all"));
        assert!(hook(&["*"]).wants("anything"));
    }

    #[test]
    fn where_many_wait_there_is_room_for_what_nobody_may_miss_and_the_first_miss_is_told() {
        let hooks = Webhooks { hooks: vec![hook(&["*"])], ..Webhooks::default() };
        let bounds = Bounds { most: 2, reserve: 4 };
        // How many are kept, and which misses are told.
        let told = |done: &Admin| {
            let Notices { writes, missed } = hooks.within(bounds, done).expect("notices");
            (writes.len(), missed.into_iter().map(|(_, event)| event).collect::<Vec<_>>())
        };
        let ask = done("grant-ask", json!({ "break-glass": false }));
        assert_eq!(told(&ask), (1, vec![]));
        assert_eq!(told(&ask), (1, vec![]));
        assert_eq!(told(&ask), (0, vec!["grant-ask"]), "the first that is missed is told");
        assert_eq!(told(&ask), (0, vec![]), "and that once");
        for grave in [
            done("grant-ask", json!({ "break-glass": true })),
            done("device-revoke", Value::Null),
            done("identity-set", json!({ "status": "suspended" })),
            done("identity-import", json!({ "suspended": { "count": 1, "users": ["ann"] } })),
        ] {
            assert_eq!(told(&grave), (1, vec![]), "{}", grave.action);
        }
        assert_eq!(told(&done("device-suspend", Value::Null)), (0, vec![]), "the reserve has an end");
        // Still many, then few.
        hooks.hooks[0].counted(BOUNDS.most / 2);
        assert_eq!(told(&ask), (0, vec![]));
        hooks.hooks[0].counted(0);
        assert_eq!([told(&ask), told(&ask), told(&ask)], [(1, vec![]), (1, vec![]), (0, vec!["grant-ask"])]);
    }
}
