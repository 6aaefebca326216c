//! How every action is carried out: read, decide, commit what still holds, record.

use super::fault::Fault;
use super::forgetting::Forgetting;
use super::identities::Importing;
use super::issuing::Issuing;
use super::webhook::{Notices, Webhooks};
use crate::audit::{Admin, AdminActor, AdminOutcome, Audit};
use crate::enforce::live::Cores;
use crate::evidence::Moment;
use crate::sources::recall::Tide;
use crate::state::memory::Memory;
use crate::state::policies::Policies;
use crate::store::document::space;
use crate::store::{CommitFault, Document, Expect, Kind, Store, Write};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::future::Future;
use std::sync::Arc;

/// Everything an action reads and writes. Shared by all cores: actions wait for a database anyway.
pub struct Administrator {
    pub store: Store,
    pub memory: Arc<Memory>,
    /// The time by which decisions let grants end.
    pub tide: Arc<Tide>,
    pub policies: Arc<Policies>,
    pub audit: Audit,
    pub cores: Arc<Cores>,
    /// None: devices are registered and do not enrol.
    pub issuing: Option<Arc<Issuing>>,
    pub clock: fn() -> Moment,
    pub webhooks: Arc<Webhooks>,
    pub importing: Arc<Importing>,
    pub forgetting: Arc<Forgetting>,
}

/// Who acts, and by which request.
#[derive(Clone, Debug)]
pub struct Who {
    pub actor: AdminActor,
    pub request: Option<String>,
}

/// A document, read.
#[derive(Clone, Debug)]
pub struct Held<T> {
    pub value: T,
    pub version: u64,
    pub changed: Moment,
}

/// What an action has decided.
pub struct Step<T> {
    /// Empty: it is so already, and nothing is recorded either.
    pub writes: Vec<Write>,
    pub before: Option<Value>,
    pub after: Option<Value>,
    /// What the actor gave as a reason.
    pub reason: Option<String>,
    pub result: T,
}

/// What an action is called, and what it is about.
#[derive(Clone, Debug)]
pub struct About {
    pub action: &'static str,
    pub target: String,
}

/// How often an action is decided again because somebody else was first.
const TRIES: usize = 8;

impl Administrator {
    /// The same under a new configuration.
    #[must_use]
    pub fn under(&self, policies: Arc<Policies>, webhooks: Arc<Webhooks>) -> Self {
        Self {
            store: self.store.clone(),
            memory: Arc::clone(&self.memory),
            tide: Arc::clone(&self.tide),
            policies,
            audit: self.audit.clone(),
            cores: Arc::clone(&self.cores),
            issuing: self.issuing.clone(),
            clock: self.clock,
            webhooks,
            importing: Arc::clone(&self.importing),
            forgetting: Arc::clone(&self.forgetting),
        }
    }

    /// Decides by `step` and commits what it decided, again while others are first.
    ///
    /// # Errors
    /// Those of `step`, recorded as refusals; or the store's.
    pub async fn act<T, F, Fut>(&self, who: &Who, about: About, mut step: F) -> Result<T, Fault>
    where
        F: FnMut(Moment) -> Fut,
        Fut: Future<Output = Result<Step<T>, Fault>>,
    {
        if !self.audit.writable() {
            return Err(Fault::Unrecorded);
        }
        for _ in 0..TRIES {
            let now = (self.clock)();
            let Step { mut writes, before, after, reason, result } = match step(now).await {
                Ok(step) => step,
                Err(fault) => return Err(self.failed(who, about, fault)),
            };
            if writes.is_empty() {
                return Ok(result);
            }
            let done = self.line(who, about.clone(), AdminOutcome::Done, reason.map(Into::into), before, after);
            let Notices { writes: notices, missed } = self.webhooks.notices(&done)?;
            writes.extend(notices);
            self.missed(missed);
            match self.store.commit(writes, now).await {
                Ok(_) => {
                    self.learn().await;
                    self.audit.admin(done);
                    // Whoever hears that it is done may rely on its being on record, whatever happens next.
                    if who.request.is_some() {
                        self.audit.written().await;
                    }
                    return Ok(result);
                }
                Err(CommitFault::Conflict { .. }) => self.learn().await,
                // A submission of this name was first: now it is known, and this is the same one or another.
                Err(CommitFault::Taken { handle, .. }) if handle.space == space::SUBMISSION => self.learn().await,
                Err(fault) => return Err(self.failed(who, about, fault.into())),
            }
        }
        Err(self.failed(who, about, Fault::Busy))
    }

    /// A document of this kind.
    pub async fn read<T: DeserializeOwned>(&self, kind: Kind, id: &str) -> Result<Option<Held<T>>, Fault> {
        self.store.get(kind, id).await?.map(|document| held(&document)).transpose()
    }

    /// A page of documents in the order of their ids.
    pub async fn page<T: DeserializeOwned>(&self, kind: Kind, after: &str, limit: u32) -> Result<Vec<Held<T>>, Fault> {
        self.store.list(kind, after, limit).await?.iter().map(held).collect()
    }

    /// Makes what was committed count here, and what others committed.
    pub async fn learn(&self) {
        // When it fails the follower learns it as soon as the store answers again.
        if let Err(fault) = self.memory.catch_up(&self.store, (self.clock)()).await {
            tracing::warn!(%fault, "a change is not yet known here");
        }
    }

    /// What has to be done because time passes, or because a certificate was `revoked`, here or at another gateway. To
    /// be called every few seconds; decisions do not wait for it.
    pub async fn tend(&self, revoked: bool) {
        if let Err(fault) = self.publish_list(revoked).await {
            tracing::warn!(%fault, "the revocation list is not published");
        }
        self.expire_grants().await;
        self.forget_calls().await;
        self.forget().await;
    }

    /// Records something that was done and is not a change of the store, and tells whoever wants to hear of it.
    pub async fn did(&self, who: &Who, about: About, reason: Option<String>) {
        self.did_so(self.line(who, about, AdminOutcome::Done, reason.map(Into::into), None, None)).await;
    }

    /// The same, of a line that says more.
    pub(super) async fn did_so(&self, done: Admin) {
        let notices = self.webhooks.notices(&done);
        self.record(done).await;
        match notices {
            Ok(Notices { writes, missed }) => {
                self.missed(missed);
                if !writes.is_empty()
                    && let Err(fault) = self.store.commit(writes, (self.clock)()).await
                {
                    tracing::error!(%fault, "nobody is notified of what was done");
                }
            }
            Err(fault) => tracing::error!(%fault, "nobody is notified of what was done"),
        }
    }

    /// As `did`, and tells nobody.
    pub async fn note(&self, who: &Who, about: About, reason: Option<String>) {
        self.record(self.line(who, about, AdminOutcome::Done, reason.map(Into::into), None, None)).await;
    }

    async fn record(&self, done: Admin) {
        self.audit.admin(done);
        self.audit.written().await;
    }

    /// Records that something was not done, and gives back why.
    pub fn failed(&self, who: &Who, about: About, fault: Fault) -> Fault {
        let outcome = match fault {
            // Nothing was tried that anybody has to know of.
            Fault::NotFound(_) | Fault::Changed | Fault::Unrecorded => return fault,
            Fault::Away(_) | Fault::Busy => AdminOutcome::Failed,
            _ => AdminOutcome::Refused,
        };
        self.audit.admin(self.line(who, about, outcome, Some(fault.code().into()), None, None));
        fault
    }

    pub(super) fn line(
        &self,
        who: &Who,
        about: About,
        outcome: AdminOutcome,
        reason: Option<std::borrow::Cow<'static, str>>,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Admin {
        Admin {
            at: (self.clock)(),
            id: who.request.clone(),
            actor: who.actor.clone(),
            action: about.action,
            target: about.target,
            outcome,
            reason,
            before,
            after,
        }
        // Somebody else's words are in it, and whoever verifies the log takes no line that is too long.
        .shortened()
    }
}

impl Who {
    /// The gateway itself, by the passing of time.
    pub const fn gateway() -> Self {
        Self { actor: AdminActor { user: None, person: None, device: None, issuer: None }, request: None }
    }
}

impl About {
    pub fn new(action: &'static str, kind: Kind, id: &str) -> Self {
        Self { action, target: format!("{} {id}", kind.word()) }
    }
}

impl<T> Step<T> {
    pub const fn nothing(result: T) -> Self {
        Self { writes: Vec::new(), before: None, after: None, reason: None, result }
    }
}

/// The document as what it is.
///
/// # Errors
/// `Away`: a newer gateway wrote it, or it is damaged.
pub fn held<T: DeserializeOwned>(document: &Document) -> Result<Held<T>, Fault> {
    let value = serde_json::from_str(&document.body)
        .map_err(|why| Fault::Away(format!("the {} `{}` cannot be read: {why}", document.kind.word(), document.id)))?;
    Ok(Held { value, version: document.version, changed: document.changed })
}

/// The write of a whole document; `version` is what it replaces.
pub fn put(kind: Kind, id: &Arc<str>, version: Option<u64>, value: &impl Serialize) -> Write {
    let expect = version.map_or(Expect::New, Expect::Version);
    let body = serde_json::to_string(value).expect("plain values always serialize");
    Write::Put { kind, id: Arc::clone(id), expect, body }
}

/// What differs between two values: of each the members that the other has not, or has otherwise.
pub fn difference(before: &impl Serialize, after: &impl Serialize) -> (Value, Value) {
    let object = |value: Result<Value, _>| match value {
        Ok(Value::Object(object)) => object,
        _ => serde_json::Map::new(),
    };
    let (mut before, mut after) = (object(serde_json::to_value(before)), object(serde_json::to_value(after)));
    let same: Vec<String> =
        before.iter().filter(|(key, value)| after.get(*key) == Some(value)).map(|(key, _)| key.clone()).collect();
    for key in same {
        before.remove(&key);
        after.remove(&key);
    }
    (before.into(), after.into())
}

/// 128 random bits behind a prefix, in lower-case base 32.
pub fn new_id(prefix: &str) -> Result<Arc<str>, Fault> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Fault::Away("the system gives no randomness".to_owned()))?;
    Ok(id_of(prefix, &bytes))
}

/// The first 128 bits of `bytes` behind a prefix.
pub fn id_of(prefix: &str, bytes: &[u8]) -> Arc<str> {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut id = format!("{prefix}_");
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in bytes.iter().take(16) {
        bits = bits << 8 | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            id.push(char::from(DIGITS[(bits >> held & 31) as usize]));
        }
    }
    id.push(char::from(DIGITS[(bits << (5 - held) & 31) as usize]));
    id.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_told() {
        let (before, after) = difference(&json!({"a": 1, "b": 2}), &json!({"a": 1, "b": 3, "c": 4}));
        assert_eq!((before, after), (json!({"b": 2}), json!({"b": 3, "c": 4})));
    }

    #[test]
    fn ids_are_26_characters_behind_their_prefix() {
        assert_eq!(&*id_of("g", &[0xff; 16]), "g_zzzzzzzzzzzzzzzzzzzzzzzzzw");
        assert_eq!(&*id_of("g", &[0; 32]), "g_00000000000000000000000000");
        assert_ne!(new_id("d").unwrap(), new_id("d").unwrap());
    }
}
