//! The gateway's own authority at work: who may try codes how often, and the revocation list it publishes.

use super::administrator::{About, Administrator, Who, put};
use super::fault::Fault;
use crate::audit::AdminOutcome;
use crate::authority::guesses::Guesses;
use crate::authority::revocation::{RevocationList, Why, next_number, read_published};
use crate::authority::{Authority, AuthoritySettings, Revoked};
use crate::evidence::Moment;
use crate::store::policy_files::in_words;
use crate::store::{DeviceRecord, Kind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub struct Issuing {
    pub authority: Authority,
    pub settings: AuthoritySettings,
    pub guesses: Guesses,
    /// The list as it was last published by this process.
    list: Mutex<Option<RevocationList>>,
    /// The revision by which it was made, and the one by which the last certificate is known to be revoked, here or at
    /// another gateway.
    made_by: AtomicU64,
    revoked_by: AtomicU64,
    /// The last list could not be put in its place.
    unwritten: Mutex<Option<Unwritten>>,
    /// Two that publish at once would give two lists one number.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Debug)]
struct Unwritten {
    tried: Moment,
    /// Until it is tried again, milliseconds.
    pause: u64,
}

/// The first pause and the longest; each is twice the one before. Milliseconds.
const PAUSES: (u64, u64) = (5_000, 60_000);

/// Revocations read at once.
const PAGE: u32 = 1000;

impl Issuing {
    pub fn new(authority: Authority, settings: AuthoritySettings) -> Self {
        Self {
            authority,
            settings,
            guesses: Guesses::default(),
            list: Mutex::new(None),
            made_by: AtomicU64::new(0),
            revoked_by: AtomicU64::new(0),
            unwritten: Mutex::new(None),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// PEM of the list as it was last published.
    pub fn list(&self) -> Option<String> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(RevocationList::pem)
    }

    fn is_due(&self, now: Moment) -> bool {
        let behind = self.made_by.load(Ordering::Acquire) < self.revoked_by.load(Ordering::Acquire);
        behind
            || self.unwritten().is_some_and(|unwritten| unwritten.is_due(now))
            || self.list.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_none_or(|list| list.is_due(now))
    }

    fn unwritten(&self) -> MutexGuard<'_, Option<Unwritten>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unwritten {
    /// A clock that was stepped back does not make the pause longer.
    const fn is_due(&self, now: Moment) -> bool {
        now.millis() < self.tried.millis() || now.since(self.tried) >= self.pause
    }
}

impl Administrator {
    /// Publishes the revocation list, when it is due: by its age, or `by_revocation` of certificates that it may not
    /// name. What could not be read or signed stays due; what could not be written is tried again soon.
    pub async fn publish_list(&self, by_revocation: bool) -> Result<(), Fault> {
        let Some(issuing) = &self.issuing else { return Ok(()) };
        let now = (self.clock)();
        if by_revocation {
            issuing.revoked_by.fetch_max(self.memory.revision().0, Ordering::AcqRel);
        }
        let _turn = issuing.turn.lock().await;
        if !issuing.is_due(now) {
            return Ok(());
        }
        let made_by = self.memory.revision().0;
        let mut revoked: Vec<Revoked> = Vec::new();
        loop {
            // Serial numbers are the documents' ids.
            let after = revoked.last().map_or("", |last| &last.serial);
            let page = self.page::<Revoked>(Kind::Revocation, after, PAGE).await?;
            let last = page.len() < PAGE as usize;
            revoked.extend(page.into_iter().map(|held| held.value));
            if last {
                break;
            }
        }
        let path = &issuing.settings.revocation_list;
        let number = next_number(read_published(path).map(|published| published.number), now);
        let lifetime = issuing.settings.list_lifetime;
        let list = issuing.authority.revocation_list(&revoked, number, now, lifetime).map_err(Fault::Issue)?;
        let published = list.publish(path);
        issuing.made_by.store(made_by, Ordering::Release);
        *issuing.list.lock().unwrap_or_else(PoisonError::into_inner) = Some(list);
        self.tell_written(issuing, published.map_err(|error| in_words(&error)), now);
        Ok(())
    }

    /// Tells that lists cannot be written, and that they can again: once each. Decisions do not wait for a list: a
    /// revoked device is refused by its status.
    fn tell_written(&self, issuing: &Issuing, written: Result<(), String>, now: Moment) {
        let path = issuing.settings.revocation_list.display();
        let before = *issuing.unwritten();
        let pause = before.map_or(PAUSES.0, |before| (2 * before.pause).min(PAUSES.1));
        *issuing.unwritten() = written.is_err().then_some(Unwritten { tried: now, pause });
        let (outcome, why) = match (written, before) {
            (Ok(()), None) => return,
            (Ok(()), Some(_)) => {
                tracing::info!("the revocation list `{path}` is written again");
                (AdminOutcome::Done, "it can be written again".to_owned())
            }
            (Err(why), Some(_)) => {
                return tracing::debug!("the revocation list `{path}` still cannot be written: {why}");
            }
            (Err(why), None) => {
                tracing::error!("the revocation list `{path}` cannot be written, and is tried again: {why}");
                (AdminOutcome::Failed, why)
            }
        };
        let about = About { action: "revocation-list", target: path.to_string() };
        self.audit.admin(self.line(&Who::gateway(), about, outcome, Some(why.into()), None, None));
    }
}

/// Ends every certificate of a device that has not ended by itself: marked in its history, and named on the next list.
/// All of them are in its history: what is alive is never cut from it (`enrolment::remember`).
pub fn revoke_certificates(record: &mut DeviceRecord, why: Why, now: Moment) -> Vec<Write> {
    let alive = record.history.iter_mut().filter(|issued| issued.revoked.is_none() && issued.not_after > now);
    alive
        .map(|issued| {
            issued.revoked = Some(now);
            let serial = Arc::clone(&issued.serial);
            let revoked = Revoked { serial: Arc::clone(&serial), at: now, expires: issued.not_after, why };
            put(Kind::Revocation, &serial, None, &revoked)
        })
        .collect()
}
