//! What people and time do to a grant that was asked for.

use super::actor::Actor;
use super::ask::{begin, may_still};
use super::grant::{Approval, GrantRecord, GrantState, Phase, SKEW_MS};
use super::refusal::Refusal;
use crate::evidence::Moment;
use crate::policy::Role;
use crate::policy::role;
use std::sync::Arc;

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Approve {
        note: Option<Arc<str>>,
    },
    Refuse {
        why: Arc<str>,
    },
    /// By the asker, before it is answered.
    Withdraw,
    /// By the holder or an approver, before its time.
    End {
        why: Arc<str>,
    },
    /// By somebody whom the policy of the administration lets revoke: asked or held, whoever's it is.
    Revoke {
        why: Arc<str>,
    },
    /// Of a break-glass use, by somebody else.
    Review {
        note: Option<Arc<str>>,
    },
}

/// Who acts, and whose grant it is, both as they are at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Parties<'a> {
    pub actor: &'a Actor,
    pub holder: &'a Actor,
}

/// The record after `action` under today's `role`; None: the role is gone. What was done already is done once:
/// the record comes back unchanged.
///
/// # Errors
/// The first reason why not; the record stays as it is.
pub fn step(
    role: Option<&Role>,
    record: &GrantRecord,
    parties: Parties<'_>,
    action: &Action,
    now: Moment,
) -> Result<GrantRecord, Refusal> {
    if parties.actor.suspended {
        return Err(Refusal::Suspended);
    }
    let role = role.filter(|role| role.id == record.role);
    let at = record.next(now);
    match action {
        Action::Approve { note } => approve(role, record, parties, note.as_ref(), now),
        Action::Refuse { why } => refuse(role, record, parties, why, at),
        Action::Withdraw => withdraw(record, parties, at),
        Action::End { why } => end(role, record, parties, why, at),
        Action::Revoke { why } => revoke(record, parties.actor, why, at),
        Action::Review { note } => review(role, record, parties, note.as_ref(), at),
    }
}

/// The record once time has done its part; None: nothing is due. Written down, an end is final.
pub fn expire(record: &GrantRecord, now: Moment) -> Option<GrantRecord> {
    let state = match record.state {
        GrantState::Asked { until } if until <= now => GrantState::Lapsed { at: until },
        GrantState::Active { since, until } if until <= now => GrantState::Expired { since, at: until },
        _ => return None,
    };
    Some(GrantRecord { state, ..record.clone() })
}

fn approve(
    role: Option<&Role>,
    record: &GrantRecord,
    parties: Parties<'_>,
    note: Option<&Arc<str>>,
    now: Moment,
) -> Result<GrantRecord, Refusal> {
    let Parties { actor, holder } = parties;
    if record.approvals.iter().any(|given| given.user == actor.user) {
        return Ok(record.clone());
    }
    let at = record.next(now);
    waiting(record, at)?;
    if record.latest() > now.plus_millis(SKEW_MS) {
        return Err(Refusal::ClockBehind);
    }
    let role = role.ok_or(Refusal::RoleGone)?;
    let needed = answerable(role, record, parties)?;
    if record.approvals.iter().any(|given| actor.is(&given.user, &given.person)) {
        return Err(Refusal::SamePerson);
    }
    if holder.suspended {
        return Err(Refusal::HolderSuspended);
    }
    may_still(role, record, holder)?;
    let mut record = record.clone();
    record.approvals.push(answer(actor, at, note));
    if record.approvals.len() >= usize::from(needed) {
        return begin(role, record, at);
    }
    let in_hours = role.hours.as_ref().is_none_or(|hours| hours.until(at).is_some());
    if in_hours { Ok(record) } else { Err(Refusal::OutsideHours) }
}

fn refuse(
    role: Option<&Role>,
    record: &GrantRecord,
    parties: Parties<'_>,
    why: &Arc<str>,
    at: Moment,
) -> Result<GrantRecord, Refusal> {
    if matches!(&record.state, GrantState::Refused { by, .. } if *by == parties.actor.user) {
        return Ok(record.clone());
    }
    waiting(record, at)?;
    answerable(role.ok_or(Refusal::RoleGone)?, record, parties)?;
    let by = Arc::clone(&parties.actor.user);
    Ok(GrantRecord { state: GrantState::Refused { at, by, why: Arc::clone(why) }, ..record.clone() })
}

fn withdraw(record: &GrantRecord, parties: Parties<'_>, at: Moment) -> Result<GrantRecord, Refusal> {
    if !theirs(record, parties) {
        return Err(Refusal::NotYours);
    }
    if matches!(record.state, GrantState::Withdrawn { .. }) {
        return Ok(record.clone());
    }
    waiting(record, at)?;
    Ok(GrantRecord { state: GrantState::Withdrawn { at }, ..record.clone() })
}

fn end(
    role: Option<&Role>,
    record: &GrantRecord,
    parties: Parties<'_>,
    why: &Arc<str>,
    at: Moment,
) -> Result<GrantRecord, Refusal> {
    let approver = || role.and_then(approvers).is_some_and(|them| parties.actor.may_approve_for(parties.holder, them));
    if !theirs(record, parties) && !approver() {
        return Err(Refusal::NotYours);
    }
    if matches!(&record.state, GrantState::Ended { by, .. } if *by == parties.actor.user) {
        return Ok(record.clone());
    }
    match record.phase(at) {
        Phase::Held { .. } => Ok(ended(record, parties.actor, why, at)),
        Phase::Waiting { .. } => Err(Refusal::NotBegun),
        Phase::Over => Err(Refusal::Over),
    }
}

fn revoke(record: &GrantRecord, actor: &Actor, why: &Arc<str>, at: Moment) -> Result<GrantRecord, Refusal> {
    match record.phase(at) {
        Phase::Held { .. } => Ok(ended(record, actor, why, at)),
        Phase::Waiting { .. } => {
            let state = GrantState::Refused { at, by: Arc::clone(&actor.user), why: Arc::clone(why) };
            Ok(GrantRecord { state, ..record.clone() })
        }
        Phase::Over => Err(Refusal::Over),
    }
}

fn review(
    role: Option<&Role>,
    record: &GrantRecord,
    parties: Parties<'_>,
    note: Option<&Arc<str>>,
    at: Moment,
) -> Result<GrantRecord, Refusal> {
    let Parties { actor, holder } = parties;
    if !record.break_glass {
        return Err(Refusal::NothingToReview);
    }
    if theirs(record, parties) {
        return Err(Refusal::SelfReview);
    }
    // When the role is gone, or its break-glass is, nobody is named any more: anybody else may look.
    if let Some((role, glass)) = role.and_then(|role| Some((role, role.break_glass.as_ref()?))) {
        let may = match (&glass.reviewers, approvers(role)) {
            (Some(reviewers), _) => actor.among(reviewers),
            (None, Some(approvers)) => actor.may_approve_for(holder, approvers),
            (None, None) => true,
        };
        if !may {
            return Err(Refusal::NotAReviewer);
        }
    }
    match &record.review {
        Some(review) if review.user == actor.user => Ok(record.clone()),
        Some(_) => Err(Refusal::AlreadyReviewed),
        None => Ok(GrantRecord { review: Some(answer(actor, at, note)), ..record.clone() }),
    }
}

/// It can still be answered.
fn waiting(record: &GrantRecord, at: Moment) -> Result<(), Refusal> {
    match (record.phase(at), &record.state) {
        (Phase::Waiting { .. }, _) => Ok(()),
        (Phase::Over, GrantState::Asked { .. } | GrantState::Lapsed { .. }) => Err(Refusal::Lapsed),
        (Phase::Held { .. }, _) => Err(Refusal::AlreadyBegun),
        (Phase::Over, _) => Err(Refusal::Over),
    }
}

/// The actor may answer it; how many have to approve.
fn answerable(role: &Role, record: &GrantRecord, parties: Parties<'_>) -> Result<u8, Refusal> {
    if theirs(record, parties) {
        return Err(Refusal::SelfApproval);
    }
    match &role.approval {
        role::Approval::By { approvers, people } if parties.actor.may_approve_for(parties.holder, approvers) => {
            Ok(*people)
        }
        _ => Err(Refusal::NotAnApprover),
    }
}

const fn approvers(role: &Role) -> Option<&role::Approvers> {
    match &role.approval {
        role::Approval::By { approvers, .. } => Some(approvers),
        _ => None,
    }
}

/// The actor is the person who is to hold it: as recorded then, or as known now.
fn theirs(record: &GrantRecord, parties: Parties<'_>) -> bool {
    parties.actor.is(&record.user, &record.person) || parties.actor.same(parties.holder)
}

fn ended(record: &GrantRecord, actor: &Actor, why: &Arc<str>, at: Moment) -> GrantRecord {
    let since = match record.state {
        GrantState::Active { since, .. } => since,
        _ => at,
    };
    let by = Arc::clone(&actor.user);
    GrantRecord { state: GrantState::Ended { since, at, by, why: Arc::clone(why) }, ..record.clone() }
}

fn answer(actor: &Actor, at: Moment, note: Option<&Arc<str>>) -> Approval {
    Approval { user: Arc::clone(&actor.user), person: Arc::clone(&actor.person), at, note: note.map(Arc::clone) }
}
