//! One grant from the asking to the end.

use crate::evidence::Moment;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How far the clocks of two gateways may lie apart, ms.
pub(super) const SKEW_MS: i64 = 60_000;

/// A grant as the store keeps it: everything that was asked and answered, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GrantRecord {
    pub id: Arc<str>,
    pub role: Arc<str>,
    /// Who is to hold it: the account, and the person behind it.
    pub user: Arc<str>,
    pub person: Arc<str>,
    /// The groups the asker had when asking. They go for what the holder's groups are afterwards, where no record names
    /// any: a login is not seen again when somebody else approves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Arc<str>>,
    /// The device it was asked from. A break-glass grant counts on this device only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Arc<str>>,
    /// What the asker's program calls the submission, so that sending it twice asks once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Arc<str>>,
    pub reason: Arc<str>,
    pub asked: Moment,
    /// How long it is to last once it begins, milliseconds.
    pub duration: u64,
    pub state: GrantState,
    pub approvals: Vec<Approval>,
    pub break_glass: bool,
    /// Whoever looked at a break-glass use afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Approval>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum GrantState {
    /// Waits for approvals; from `until` on it can no longer be approved.
    Asked {
        until: Moment,
    },
    /// Held for `since ≤ now < until`.
    Active {
        since: Moment,
        until: Moment,
    },
    /// Refused by an approver, or revoked before anybody approved it.
    Refused {
        at: Moment,
        by: Arc<str>,
        why: Arc<str>,
    },
    Withdrawn {
        at: Moment,
    },
    /// Nobody approved it in time.
    Lapsed {
        at: Moment,
    },
    /// Ended before its time.
    Ended {
        since: Moment,
        at: Moment,
        by: Arc<str>,
        why: Arc<str>,
    },
    /// Held to its end.
    Expired {
        since: Moment,
        at: Moment,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Approval {
    pub user: Arc<str>,
    pub person: Arc<str>,
    pub at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<str>>,
}

/// Where a record stands at a moment, time having done its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Waiting {
        until: Moment,
    },
    /// As recorded; today's role may end it sooner.
    Held {
        until: Moment,
    },
    Over,
}

impl GrantRecord {
    pub fn phase(&self, now: Moment) -> Phase {
        match self.state {
            GrantState::Asked { until } if now < until => Phase::Waiting { until },
            GrantState::Active { until, .. } if now < until => Phase::Held { until },
            _ => Phase::Over,
        }
    }

    /// The latest moment at which anything is known to have happened to it.
    pub fn latest(&self) -> Moment {
        let state = match self.state {
            GrantState::Asked { .. } => self.asked,
            GrantState::Active { since, .. } => since,
            GrantState::Refused { at, .. }
            | GrantState::Withdrawn { at }
            | GrantState::Lapsed { at }
            | GrantState::Ended { at, .. }
            | GrantState::Expired { at, .. } => at,
        };
        let answers = self.approvals.iter().chain(&self.review).map(|answer| answer.at);
        answers.fold(self.asked.max(state), Moment::max)
    }

    /// When what was held ended, by time or by somebody. None: it was never held, or is held still.
    pub fn ended(&self, now: Moment) -> Option<Moment> {
        match self.state {
            GrantState::Ended { at, .. } | GrantState::Expired { at, .. } => Some(at),
            GrantState::Active { until, .. } if until <= now => Some(until),
            _ => None,
        }
    }

    /// Somebody has to look at what was done with it.
    pub const fn needs_review(&self) -> bool {
        self.break_glass && self.review.is_none()
    }

    /// The moment of the next step: the clock's, but never before the last one.
    pub(super) fn next(&self, now: Moment) -> Moment {
        now.max(self.latest())
    }
}
