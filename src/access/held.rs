//! What is held right now, and what was until lately.

use super::grant::{GrantRecord, GrantState, SKEW_MS};
use crate::evidence::{Grant, Moment, Over};
use crate::policy::Role;
use std::sync::Arc;

/// For so long it is told that something has ended, milliseconds.
pub(super) const LATELY_MS: u64 = 3_600_000;

/// What `record` is worth at `now` under today's role; `expires` is when that ends, as far as it can be foreseen.
///
/// Nothing under a role that is gone, that lost this way in, or that by now asks for more approvals than were given.
/// Where the grant is bound to a device, whoever asks sees to that: `held` does.
pub fn standing(record: &GrantRecord, role: Option<&Role>, now: Moment) -> Option<Grant> {
    let role = role.filter(|role| role.id == record.role)?;
    let (since, mut expires) = term(record, role)?;
    if let Some(hours) = role.hours.as_ref().filter(|_| !record.break_glass) {
        expires = expires.min(hours.until(now)?);
    }
    let begun = since <= now.plus_millis(SKEW_MS);
    (begun && now < expires).then(|| Grant::held(Arc::clone(&role.id), expires))
}

/// From when to when an active record counts under today's role, but for the role's hours.
fn term(record: &GrantRecord, role: &Role) -> Option<(Moment, Moment)> {
    let GrantState::Active { since, until } = record.state else { return None };
    let longest = match record.break_glass {
        true => role.break_glass.as_ref()?.longest_ms,
        false => {
            let enough = role.people_needed().is_some_and(|needed| record.approvals.len() >= usize::from(needed));
            enough.then_some(role.longest_ms)?
        }
    };
    Some((since, until.min(after(since, longest))))
}

/// What `record` was worth until it ended lately. Whoever is refused, or cut, is told when that was.
fn over(record: &GrantRecord, role: Option<&Role>, now: Moment) -> Option<Grant> {
    let role = role.filter(|role| role.id == record.role)?;
    let (expires, over) = match record.state {
        GrantState::Expired { at, .. } => (at, Over::Expired),
        GrantState::Ended { at, .. } => (at, Over::Ended),
        _ => (term(record, role).map(|(_, end)| end).filter(|end| *end <= now)?, Over::Expired),
    };
    (now.since(expires) < LATELY_MS).then(|| Grant { role: Arc::clone(&role.id), expires, over: Some(over) })
}

/// Everything of `records` that counts on `device` at `now`. The records are those of one account.
pub fn held<'r, 'p>(
    records: impl IntoIterator<Item = &'r GrantRecord>,
    role: impl Fn(&str) -> Option<&'p Role>,
    device: Option<&str>,
    now: Moment,
) -> Arc<[Grant]> {
    let here = records.into_iter().filter(|record| is_here(record, device));
    here.filter_map(|record| standing(record, role(&record.role), now)).collect()
}

/// The same, and of each role of which nothing counts what ended last, if that was within the last hour.
pub fn held_lately<'r, 'p>(
    records: impl IntoIterator<Item = &'r GrantRecord>,
    role: impl Fn(&str) -> Option<&'p Role>,
    device: Option<&str>,
    now: Moment,
) -> Arc<[Grant]> {
    let mut grants: Vec<Grant> = Vec::new();
    for record in records.into_iter().filter(|record| is_here(record, device)) {
        let role = role(&record.role);
        let Some(grant) = standing(record, role, now).or_else(|| over(record, role, now)) else { continue };
        let known =
            |other: &Grant| other.role == grant.role && (other.over.is_none() || other.expires >= grant.expires);
        if grant.over.is_some() && grants.iter().any(known) {
            continue;
        }
        grants.retain(|other| other.role != grant.role || other.over.is_none());
        grants.push(grant);
    }
    // Most people have none, and this is asked of every request.
    if grants.is_empty() { Arc::default() } else { grants.into() }
}

/// Until when `held` or `held_lately` may have something to say of `record`, as it is written; today's role may say less.
/// None: they never have.
pub fn told_until(record: &GrantRecord) -> Option<Moment> {
    match record.state {
        GrantState::Active { .. } => Some(Moment(i64::MAX)),
        GrantState::Expired { at, .. } | GrantState::Ended { at, .. } => Some(after(at, LATELY_MS)),
        _ => None,
    }
}

fn is_here(record: &GrantRecord, device: Option<&str>) -> bool {
    !record.break_glass || (device.is_some() && record.device.as_deref() == device)
}

/// `millis` after `since`.
pub(super) fn after(since: Moment, millis: u64) -> Moment {
    since.plus_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
