//! The gateway's own authority at work: who may try codes how often, and the revocation list it publishes.

use super::administrator::{About, Administrator, Who, put};
use super::fault::Fault;
use crate::authority::guesses::Guesses;
use crate::authority::revocation::{RevocationList, Why, next_number, read_published};
use crate::authority::{Authority, AuthoritySettings, Revoked};
use crate::evidence::Moment;
use crate::store::{DeviceRecord, Kind, Write};
use std::sync::{Arc, Mutex, PoisonError};

pub struct Issuing {
    pub authority: Authority,
    pub settings: AuthoritySettings,
    pub guesses: Guesses,
    /// The list as it was last published by this process.
    list: Mutex<Option<RevocationList>>,
}

/// Revocations read at once.
const PAGE: u32 = 1000;

impl Issuing {
    pub fn new(authority: Authority, settings: AuthoritySettings) -> Self {
        Self { authority, settings, guesses: Guesses::default(), list: Mutex::new(None) }
    }

    /// PEM of the list as it was last published.
    pub fn list(&self) -> Option<String> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(RevocationList::pem)
    }

    fn is_due(&self, now: Moment) -> bool {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_none_or(|list| list.is_due(now))
    }
}

impl Administrator {
    /// Publishes the revocation list, when it is due or `forced`.
    pub async fn publish_list(&self, forced: bool) -> Result<(), Fault> {
        let Some(issuing) = &self.issuing else { return Ok(()) };
        let now = (self.clock)();
        if !forced && !issuing.is_due(now) {
            return Ok(());
        }
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
        *issuing.list.lock().unwrap_or_else(PoisonError::into_inner) = Some(list);
        if let Err(error) = published {
            // Decisions do not wait for the list: a revoked device is refused by its status.
            let why = crate::store::policy_files::in_words(&error);
            let about = About { action: "revocation-list", target: path.display().to_string() };
            self.failed(&Who::gateway(), about, Fault::Away(why));
        }
        Ok(())
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
