//! What is held right now.

use super::grant::{GrantRecord, GrantState, SKEW_MS};
use crate::evidence::{Grant, Moment};
use crate::policy::Role;
use std::sync::Arc;

/// What `record` is worth at `now` under today's role; `expires` is when that ends, as far as it can be foreseen.
///
/// Nothing under a role that is gone, that lost this way in, or that by now asks for more approvals than were given.
/// Where the grant is bound to a device, whoever asks sees to that: `held` does.
pub fn standing(record: &GrantRecord, role: Option<&Role>, now: Moment) -> Option<Grant> {
    let role = role.filter(|role| role.id == record.role)?;
    let GrantState::Active { since, until } = record.state else { return None };
    let longest = match record.break_glass {
        true => role.break_glass.as_ref()?.longest_ms,
        false => {
            let enough = role.people_needed().is_some_and(|needed| record.approvals.len() >= usize::from(needed));
            enough.then_some(role.longest_ms)?
        }
    };
    let mut expires = until.min(after(since, longest));
    if let Some(hours) = role.hours.as_ref().filter(|_| !record.break_glass) {
        expires = expires.min(hours.until(now)?);
    }
    let begun = since <= now.plus_millis(SKEW_MS);
    (begun && now < expires).then(|| Grant { role: Arc::clone(&role.id), expires })
}

/// Everything of `records` that counts on `device` at `now`. The records are those of one account.
pub fn held<'r>(
    records: impl IntoIterator<Item = &'r GrantRecord>,
    role: impl Fn(&str) -> Option<&'r Role>,
    device: Option<&str>,
    now: Moment,
) -> Arc<[Grant]> {
    let here = |record: &&GrantRecord| !record.break_glass || (device.is_some() && record.device.as_deref() == device);
    records.into_iter().filter(here).filter_map(|record| standing(record, role(&record.role), now)).collect()
}

/// `millis` after `since`.
pub(super) fn after(since: Moment, millis: u64) -> Moment {
    since.plus_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
