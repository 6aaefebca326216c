//! Whoever acts, as somebody of whom there is a record: nobody changes that of themselves.
//!
//! Who may change records could otherwise become their own approver, or a second person who approves for the first.

use super::administrator::Administrator;
use super::fault::Fault;
use crate::evidence::{Evidence, Identity};
use std::sync::Arc;

/// The names and the person of whoever acts. Nobody, for the machine's owner, who has the database anyway.
#[derive(Clone, Debug, Default)]
pub struct Oneself {
    names: Vec<Arc<str>>,
    persons: Vec<Arc<str>>,
}

/// The issuer of subjects that the kernel names, and the group of root and the gateway's own user among them.
const UNIX: &str = "unix";
const OWNER: &str = "owner";

impl Oneself {
    /// Refuses what makes `before` into `after`, if either is of whoever acts: by account, by another name of it, or by
    /// the person behind it.
    ///
    /// # Errors
    /// `SelfChange`.
    pub fn check(&self, before: Option<&Identity>, after: &Identity) -> Result<(), Fault> {
        match before.is_some_and(|before| self.is(before)) || self.is(after) {
            true => Err(Fault::SelfChange { user: Arc::clone(&after.user), line: None }),
            false => Ok(()),
        }
    }

    fn is(&self, identity: &Identity) -> bool {
        let mut names = std::iter::once(&identity.user).chain(&identity.aliases);
        self.persons.contains(&identity.person) || names.any(|name| self.names.contains(name))
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
        Oneself { names: of(|identity| &identity.user), persons: of(|identity| &identity.person) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::import::patch::blank;

    #[test]
    fn one_is_ones_accounts_and_names_and_nobody_else() {
        let olga = Oneself { names: vec!["olga".into()], persons: vec!["p-olga".into()] };
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
