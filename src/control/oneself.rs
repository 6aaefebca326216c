//! Whoever acts, as somebody of whom there is a record: nobody changes that of themselves, or makes themself a manager.
//!
//! Who may change records could otherwise become their own approver, or a second person who approves for the first, or
//! the approver of whomever they like, where a role has the asker's manager approve.

use super::administrator::Administrator;
use super::fault::Fault;
use crate::evidence::{Evidence, Fact, Identity};
use crate::state::memory::Memory;
use std::sync::Arc;

/// The names and the person of whoever acts. Nobody, for the machine's owner, who has the database anyway.
#[derive(Clone, Default)]
pub struct Oneself {
    names: Vec<Arc<str>>,
    persons: Vec<Arc<str>>,
    /// Whose a name is.
    memory: Option<Arc<Memory>>,
}

/// The issuer of subjects that the kernel names, and the group of root and the gateway's own user among them.
const UNIX: &str = "unix";
const OWNER: &str = "owner";

impl Oneself {
    /// Refuses what makes `before` into `after`, if either is of whoever acts: by account, by another name of it, or by
    /// the person behind it; and if `after` newly has them for a manager.
    ///
    /// # Errors
    /// `SelfChange`.
    pub fn check(&self, before: Option<&Identity>, after: &Identity) -> Result<(), Fault> {
        let fault = |manager| Fault::SelfChange { user: Arc::clone(&after.user), manager, line: None };
        if before.is_some_and(|before| self.is(before)) || self.is(after) {
            return Err(fault(false));
        }
        let manager = after.manager.as_ref().filter(|_| before.is_none_or(|before| before.manager != after.manager));
        match manager.is_some_and(|manager| self.goes_by(manager)) {
            true => Err(fault(true)),
            false => Ok(()),
        }
    }

    fn is(&self, identity: &Identity) -> bool {
        let mut names = std::iter::once(&identity.user).chain(&identity.aliases);
        self.persons.contains(&identity.person) || names.any(|name| self.names.contains(name))
    }

    /// As a manager is found: by any name of any account of theirs, and where no account has it, as the person.
    fn goes_by(&self, name: &Arc<str>) -> bool {
        let known = self.memory.as_ref().map_or(Fact::Absent, |memory| memory.identity(name));
        self.names.contains(name)
            || self.persons.contains(name)
            || known.known().is_some_and(|identity| self.is(identity))
    }
}

impl Administrator {
    /// Whoever asks.
    pub fn oneself(&self, evidence: &Evidence) -> Oneself {
        let user = match evidence.subject.known() {
            Some(subject) if *subject.issuer == *UNIX && subject.groups.iter().any(|group| **group == *OWNER) => None,
            Some(subject) => Some(&subject.user),
            // A policy may let a device do it alone: then it is whose device it is.
            None => evidence.device.known().and_then(|device| device.owner.as_ref()),
        };
        let Some(user) = user else { return Oneself::default() };
        // As the request was decided, and as it is known now: whoever was made another person meanwhile is still both.
        let now = self.memory.identity(user);
        let records: Vec<_> = evidence.identity.known().into_iter().chain(now.known()).collect();
        let of = |part: fn(&Identity) -> &Arc<str>| {
            let own = std::iter::once(user);
            own.chain(records.iter().map(|identity| part(identity))).map(Arc::clone).collect()
        };
        let (names, persons) = (of(|identity| &identity.user), of(|identity| &identity.person));
        Oneself { names, persons, memory: Some(Arc::clone(&self.memory)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::import::patch::blank;

    #[test]
    fn one_is_ones_accounts_and_names_and_nobody_else() {
        let olga = Oneself { names: vec!["olga".into()], persons: vec!["p-olga".into()], memory: None };
        let identity = |user: &str, person: &str, alias: &str| Identity {
            person: person.into(),
            aliases: vec![alias.into()],
            ..blank(&user.into())
        };
        let bob = identity("bob", "p-bob", "rob");
        for own in [identity("olga", "p-x", "o"), identity("x", "p-olga", "y"), identity("x", "p-x", "olga")] {
            assert!(olga.check(None, &own).is_err(), "{own:?}");
            assert!(olga.check(Some(&own), &bob).is_err(), "what was one's own: {own:?}");
            assert!(olga.check(Some(&bob), &own).is_err(), "what would be: {own:?}");
            assert!(Oneself::default().check(Some(&own), &own).is_ok(), "the owner of the machine");
        }
        assert!(olga.check(Some(&bob), &identity("bob", "p-bob", "bobby")).is_ok());
    }
}
