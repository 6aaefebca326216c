//! Asking for a role: the request, the same request again, or why not.

use super::actor::Actor;
use super::grant::{GrantRecord, GrantState, Phase, SKEW_MS};
use super::held::{after, standing};
use super::refusal::Refusal;
use crate::evidence::{Device, DeviceStatus, Moment};
use crate::policy::Role;
use crate::policy::role::{Approval, ReasonRule};
use std::sync::Arc;

/// The longest reason, in characters.
pub const LONGEST_REASON: usize = 1000;
/// Requests and grants that one person may have open at once, over all roles.
pub const MOST_OPEN: usize = 32;
/// How often one person may ask within 24 hours, whatever became of it: so many records of a person there are at most
/// for each day that they are kept. Breaking the glass is counted by itself, so that nothing stands in its way.
pub const MOST_A_DAY: usize = 100;

const DAY_MS: u64 = 86_400_000;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The record's id, if there is to be one: random, made by whoever calls.
    pub id: &'a str,
    /// What the asker's program calls this submission.
    pub key: Option<&'a str>,
    pub reason: &'a str,
    /// Milliseconds; None: as long as the role says.
    pub duration_ms: Option<u64>,
    /// The device whose key opened the connection.
    pub device: Option<&'a Device>,
    pub break_glass: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one an asking, and most are new")]
pub enum Answer {
    /// To be stored.
    New(GrantRecord),
    /// It was asked before: the id of that record.
    Same(Arc<str>),
}

/// Asks for `role`. `records` are all grants of the asker's *person*, of whatever account, role and state.
///
/// # Errors
/// The first reason why not.
pub fn ask<'r>(
    role: Option<&Role>,
    records: impl IntoIterator<Item = &'r GrantRecord>,
    actor: &Actor,
    asking: Asking<'_>,
    now: Moment,
) -> Result<Answer, Refusal> {
    let role = role.ok_or(Refusal::NoSuchRole)?;
    if actor.suspended {
        return Err(Refusal::Suspended);
    }
    let reason = asking.reason.trim();
    let own: Vec<&GrantRecord> = records.into_iter().filter(|record| actor.is(&record.user, &record.person)).collect();
    if let Some(same) = same(role, &own, actor, asking, reason, now)? {
        return Ok(Answer::Same(same));
    }
    in_the_way(role, &own, asking, now)?;
    let record = GrantRecord {
        id: asking.id.into(),
        role: Arc::clone(&role.id),
        user: Arc::clone(&actor.user),
        person: Arc::clone(&actor.person),
        groups: actor.groups.clone(),
        device: asking.device.map(|device| Arc::clone(&device.id)),
        key: asking.key.map(Arc::from),
        reason: reason.into(),
        asked: now,
        duration: 0,
        state: GrantState::Asked { until: after(now, role.ask_within_ms) },
        approvals: Vec::new(),
        break_glass: asking.break_glass,
        review: None,
    };
    if asking.break_glass { broken(role, record, actor, asking) } else { ordinary(role, record, &own, actor, asking) }
        .map(Answer::New)
}

/// Whether `record` could still be asked for by its holder: roles and people change while it waits.
pub(super) fn may_still(role: &Role, record: &GrantRecord, holder: &Actor) -> Result<(), Refusal> {
    if !holder.may_ask(role.ask.as_ref()) {
        return Err(Refusal::HolderMayNotAsk);
    }
    reasonable(&role.reason, &record.reason)
}

/// `record` from `at` on, for as long as it was asked for and today's role and hours allow.
///
/// # Errors
/// Outside the hours.
pub(super) fn begin(role: &Role, mut record: GrantRecord, at: Moment) -> Result<GrantRecord, Refusal> {
    let mut until = after(at, record.duration.min(role.longest_ms));
    if let Some(hours) = &role.hours {
        until = until.min(hours.until(at).ok_or(Refusal::OutsideHours)?);
    }
    record.state = GrantState::Active { since: at, until };
    Ok(record)
}

/// The record that this submission already made.
fn same(
    role: &Role,
    own: &[&GrantRecord],
    actor: &Actor,
    asking: Asking<'_>,
    reason: &str,
    now: Moment,
) -> Result<Option<Arc<str>>, Refusal> {
    let alike = |record: &GrantRecord| {
        record.user == actor.user
            && record.role == role.id
            && *record.reason == *reason
            && record.break_glass == asking.break_glass
            && (!record.break_glass || record.device.as_deref() == asking.device.map(|device| &*device.id))
    };
    let keyed = |record: &&GrantRecord| {
        asking.key.is_some() && record.key.as_deref() == asking.key && record.user == actor.user
    };
    if let Some(record) = own.iter().copied().find(keyed) {
        return if alike(record) { Ok(Some(Arc::clone(&record.id))) } else { Err(Refusal::KeyReused) };
    }
    let open = |record: &GrantRecord| open(record, role, now);
    Ok(own.iter().find(|record| alike(record) && open(record)).map(|record| Arc::clone(&record.id)))
}

/// It waits, or is held under today's role.
fn open(record: &GrantRecord, role: &Role, now: Moment) -> bool {
    match record.phase(now) {
        Phase::Waiting { .. } => true,
        Phase::Held { .. } => standing(record, Some(role), now).is_some(),
        Phase::Over => false,
    }
}

/// One open record for each person, role and way in; and not too many in all.
fn in_the_way(role: &Role, own: &[&GrantRecord], asking: Asking<'_>, now: Moment) -> Result<(), Refusal> {
    for record in own.iter().filter(|record| record.role == role.id) {
        let elsewhere = record.break_glass && record.device.as_deref() != asking.device.map(|device| &*device.id);
        match record.phase(now) {
            // Whoever breaks the glass has no time to wait for an answer to the ordinary request.
            Phase::Waiting { .. } if !asking.break_glass => {
                return Err(Refusal::AlreadyAsked { id: Arc::clone(&record.id) });
            }
            Phase::Held { .. } if !elsewhere && record.break_glass <= asking.break_glass => {
                if let Some(grant) = standing(record, Some(role), now) {
                    return Err(Refusal::AlreadyHeld { id: Arc::clone(&record.id), until: grant.expires });
                }
            }
            _ => {}
        }
    }
    let open = own.iter().filter(|record| record.phase(now) != Phase::Over).count();
    if open >= MOST_OPEN {
        return Err(Refusal::TooManyOpen);
    }
    let today = |record: &&&GrantRecord| record.break_glass == asking.break_glass && now.since(record.asked) < DAY_MS;
    let mut asked: Vec<Moment> = own.iter().filter(today).map(|record| record.asked).collect();
    asked.sort_unstable_by(|a, b| b.cmp(a));
    match asked.get(MOST_A_DAY - 1) {
        Some(asked) => Err(Refusal::TooMany { until: after(*asked, DAY_MS) }),
        None => Ok(()),
    }
}

fn ordinary(
    role: &Role,
    mut record: GrantRecord,
    own: &[&GrantRecord],
    actor: &Actor,
    asking: Asking<'_>,
) -> Result<GrantRecord, Refusal> {
    let now = record.asked;
    if role.approval == Approval::Never {
        return Err(Refusal::OnlyBreakGlass);
    }
    if !actor.may_ask(role.ask.as_ref()) {
        return Err(Refusal::MayNotAsk);
    }
    reasonable(&role.reason, &record.reason)?;
    record.duration = lasting(asking.duration_ms, role.default_ms, role.longest_ms)?;
    if role.hours.as_ref().is_some_and(|hours| hours.until(now).is_none()) {
        return Err(Refusal::OutsideHours);
    }
    let ended = own
        .iter()
        .filter(|other| other.role == role.id && !other.break_glass)
        .filter_map(|other| other.ended(now))
        // what by this clock ended in the future says nothing of how long ago it was
        .filter(|ended| *ended <= now.plus_millis(SKEW_MS))
        .max();
    if let Some(until) = ended.map(|ended| after(ended, role.cool_down_ms)).filter(|until| now < *until) {
        return Err(Refusal::CoolingDown { until });
    }
    if role.approval == Approval::Unneeded { begin(role, record, now) } else { Ok(record) }
}

fn broken(role: &Role, mut record: GrantRecord, actor: &Actor, asking: Asking<'_>) -> Result<GrantRecord, Refusal> {
    let glass = role.break_glass.as_ref().ok_or(Refusal::NoBreakGlass)?;
    if !actor.among(&glass.people) {
        return Err(Refusal::MayNotBreakGlass);
    }
    let device = asking.device.ok_or(Refusal::DeviceNeeded)?;
    let usable = matches!(device.status, DeviceStatus::Active | DeviceStatus::Watched);
    if !usable || device.owner.as_ref() != Some(&actor.user) {
        return Err(Refusal::DeviceNotYours);
    }
    // The ticket system may be what is broken: any reason will do, but there is one.
    reasonable(&ReasonRule::Required, &record.reason)?;
    record.duration = lasting(asking.duration_ms, glass.longest_ms.min(role.default_ms), glass.longest_ms)?;
    record.state = GrantState::Active { since: record.asked, until: after(record.asked, record.duration) };
    Ok(record)
}

fn reasonable(rule: &ReasonRule, reason: &str) -> Result<(), Refusal> {
    if reason.chars().count() > LONGEST_REASON || reason.chars().any(char::is_control) {
        return Err(Refusal::ReasonUnreadable);
    }
    match rule {
        ReasonRule::Required if reason.is_empty() => Err(Refusal::ReasonMissing),
        ReasonRule::Like(pattern) if !pattern.matches(reason) => {
            Err(Refusal::ReasonUnlike { pattern: pattern.as_str().into() })
        }
        _ => Ok(()),
    }
}

fn lasting(asked: Option<u64>, default: u64, longest: u64) -> Result<u64, Refusal> {
    match asked {
        None => Ok(default),
        Some(millis) if (1..=longest).contains(&millis) => Ok(millis),
        Some(_) => Err(Refusal::TooLong { longest_ms: longest }),
    }
}
