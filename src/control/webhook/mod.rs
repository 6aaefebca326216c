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
use std::sync::atomic::{AtomicUsize, Ordering};
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
pub struct Webhooks(Vec<Hook>);

pub struct Hook {
    pub name: Arc<str>,
    pub acts: bool,
    endpoint: Endpoint,
    key: hmac::Key,
    events: Vec<String>,
    format: Format,
    retry_after: Duration,
    /// Notifications its target has not taken, as last counted.
    waiting: AtomicUsize,
    /// Calls that are remembered, as last counted.
    calls: AtomicUsize,
}

/// Notifications that may wait for one target. Beyond that the newest are not kept, and the log says so.
const MOST_WAITING: usize = 10_000;

impl Webhooks {
    /// # Errors
    /// What is wrong with a secret, a URL or an authority, for the operator.
    pub fn load(settings: &[WebhookSettings]) -> Result<Self, String> {
        settings.iter().map(Hook::load).collect::<Result<_, _>>().map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn named(&self, name: &str) -> Option<&Hook> {
        self.0.iter().find(|hook| &*hook.name == name)
    }

    /// What is to be written beside a change so that everybody hears of it who wants to.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub(super) fn notices(&self, done: &Admin) -> Result<Vec<Write>, Fault> {
        if done.outcome != AdminOutcome::Done {
            return Ok(Vec::new());
        }
        let event = notice::event(done);
        let mut writes = Vec::new();
        for hook in self.0.iter().filter(|hook| hook.wants(event)) {
            if hook.waiting.load(Ordering::Relaxed) >= MOST_WAITING {
                tracing::error!(webhook = &*hook.name, event, "too many notifications wait: this one is not kept");
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
            writes.push(put(Kind::Delivery, &id, None, &delivery));
        }
        Ok(writes)
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
            calls: AtomicUsize::new(0),
        })
    }

    fn wants(&self, event: &str) -> bool {
        self.events.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(beginning) => event.starts_with(beginning),
            None => wanted == event,
        })
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
    use crate::store::private_file;

    #[test]
    fn events_are_chosen_by_name_or_by_their_beginning() {
        let dir = tempfile::tempdir().expect("a directory");
        let secret = dir.path().join("secret");
        private_file::create(&secret, "s".repeat(32).as_bytes(), private_file::SECRET).expect("written");
        let hook = |events: &[&str]| {
            Hook::load(&WebhookSettings {
                name: "chat".to_owned(),
                url: "http://127.0.0.1:1/".to_owned(),
                authority: None,
                private: false,
                secret: secret.clone(),
                events: events.iter().map(|event| (*event).to_owned()).collect(),
                format: Format::Chat,
                acts: false,
                retry_after: Duration::from_secs(15),
            })
            .expect("a hook")
        };
        assert!(hook(&["grant-*"]).wants("grant-ask"));
        assert!(!hook(&["grant-*"]).wants("device-revoke"));
        assert!(hook(&["device-revoke"]).wants("device-revoke"));
        assert!(!hook(&["device-revoke"]).wants("device-revoke-all"));
        assert!(hook(&["*"]).wants("anything"));
    }
}
