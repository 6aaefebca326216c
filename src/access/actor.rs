//! Whoever acts or holds, as the organisation's records and the login say at this moment.

use crate::evidence::{Employment, Identity, IdentityStatus};
use crate::policy::role::{Approvers, Askers, People};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The account, by its own name and not an alias.
    pub user: Arc<str>,
    /// The human being behind it: the same for all accounts of one.
    pub person: Arc<str>,
    /// At this moment: those of the record where it has any, else those of the login.
    pub groups: Vec<Arc<str>>,
    pub employment: Option<Employment>,
    pub suspended: bool,
    /// The *person* who manages this one. Whoever fills it in looks the account up: the record names an account.
    pub manager: Option<Arc<str>>,
}

impl Actor {
    /// An account of which nothing is on record but what the login says.
    pub fn unrecorded(user: Arc<str>, groups: Vec<Arc<str>>) -> Self {
        Self { person: Arc::clone(&user), user, groups, employment: None, suspended: false, manager: None }
    }

    /// `groups`: the login's; they count where the record has none. `manager`: the person behind `identity.manager`.
    pub fn recorded(identity: &Identity, groups: &[Arc<str>], manager: Option<Arc<str>>) -> Self {
        Self {
            user: Arc::clone(&identity.user),
            person: Arc::clone(&identity.person),
            groups: identity.groups.clone().unwrap_or_else(|| groups.to_vec()),
            employment: identity.employment,
            suspended: identity.status == IdentityStatus::Suspended,
            manager,
        }
    }

    /// The same human being, as far as anybody knows: by person, and by account for what was recorded before
    /// two accounts were known to be one person's.
    pub fn is(&self, user: &str, person: &str) -> bool {
        *self.person == *person || *self.user == *user
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        self.is(&other.user, &other.person)
    }

    pub(super) fn among(&self, people: &People) -> bool {
        people.include(&self.user, &self.groups)
    }

    pub(super) fn may_ask(&self, askers: Option<&Askers>) -> bool {
        askers.is_none_or(|askers| askers.include(&self.user, &self.groups, self.employment))
    }

    pub(super) fn may_approve_for(&self, holder: &Self, approvers: &Approvers) -> bool {
        let manages = || holder.manager.as_ref().is_some_and(|manager| *manager == self.person);
        self.among(&approvers.named)
            || approvers.manager && manages()
            || approvers.owner.as_ref().is_some_and(|owner| self.among(owner))
    }
}
