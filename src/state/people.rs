//! Who the organisation says people are, and what they were granted: by account, read without a lock.

use super::shards::{Change, Filling, Shards};
use crate::access::grant::GrantRecord;
use crate::evidence::{Fact, Fault, Identity};
use std::sync::Arc;

#[derive(Debug)]
pub struct People {
    /// By user and by every alias.
    names: Shards<Arc<str>, Named>,
    grants: Shards<Arc<str>, Arc<GrantRecord>>,
    held: Shards<Arc<str>, Arc<[Arc<GrantRecord>]>>,
    nothing: Arc<[Arc<GrantRecord>]>,
}

#[derive(Clone, Debug)]
enum Named {
    Known(Arc<Identity>),
    /// The record of this id could not be read, and the name was its own.
    Unreadable(Arc<str>),
}

impl Named {
    fn id(&self) -> &Arc<str> {
        match self {
            Self::Known(identity) => &identity.user,
            Self::Unreadable(id) => id,
        }
    }
}

impl Default for People {
    fn default() -> Self {
        Building::default().build(None)
    }
}

impl People {
    /// The account that goes by this name.
    pub fn identity(&self, user: &str) -> Fact<Arc<Identity>> {
        match self.names.get(user) {
            Some(Named::Known(identity)) => Fact::Known(identity),
            Some(Named::Unreadable(_)) => Fact::Unavailable(Fault::RegistryUnavailable),
            None => Fact::Absent,
        }
    }

    /// Everything the account ever asked for that the store still keeps, whatever became of it.
    pub fn grants(&self, user: &str) -> Arc<[Arc<GrantRecord>]> {
        self.held.get(user).unwrap_or_else(|| Arc::clone(&self.nothing))
    }

    pub fn grant(&self, id: &str) -> Option<Arc<GrantRecord>> {
        self.grants.get(id)
    }

    /// Every account once, in no order.
    pub fn for_each_identity(&self, mut each: impl FnMut(&Arc<Identity>)) {
        self.names.for_each(|name, named| match named {
            Named::Known(identity) if identity.user == *name => each(identity),
            _ => {}
        });
    }

    /// Every grant, in no order.
    pub fn for_each_grant(&self, mut each: impl FnMut(&Arc<GrantRecord>)) {
        self.grants.for_each(|_, grant| each(grant));
    }

    /// Accounts that were changed, or removed where there is no body; each stands here once. Together they are as cheap
    /// as one where there are many: each part of the table is copied once. Gives back what cannot be read, and why: the
    /// names such an account had answer `Unavailable` from now on.
    pub fn put_identities<'c>(
        &self,
        changed: impl IntoIterator<Item = (&'c Arc<str>, Option<&'c str>)>,
    ) -> Vec<(Arc<str>, String)> {
        // A name may go from one account to another: all are given back before any is taken.
        let (mut given_back, mut unknown, mut taken, mut faults) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (id, body) in changed {
            let before = self.names_of(id);
            match body.map(|body| read_identity(id, body)) {
                Some(Err(why)) => {
                    let named = Named::Unreadable(Arc::clone(id));
                    let own = before.into_iter().chain([Arc::clone(id)]);
                    unknown.extend(own.map(|name| (name, Change::Put(named.clone()))));
                    faults.push((Arc::clone(id), why));
                    continue;
                }
                Some(Ok(identity)) => {
                    let named = Named::Known(Arc::clone(&identity));
                    taken.extend(names(&identity).map(|name| (Arc::clone(name), Change::Put(named.clone()))));
                }
                None => {}
            }
            given_back.extend(before.into_iter().map(|name| (name, Change::Remove)));
        }
        self.names.change(given_back.into_iter().chain(unknown).chain(taken));
        faults
    }

    /// # Errors
    /// What is wrong with the body. Nothing is granted by it from now on.
    pub fn put_grant(&self, id: &Arc<str>, body: &str) -> Result<(), String> {
        let grant = match read_grant(id, body) {
            Ok(grant) => grant,
            Err(why) => {
                self.remove_grant(id);
                return Err(why);
            }
        };
        if self.grants.get(id).is_some_and(|before| before.user != grant.user) {
            self.remove_grant(id);
        }
        let mut held: Vec<_> = self.grants(&grant.user).iter().filter(|known| known.id != grant.id).cloned().collect();
        held.push(Arc::clone(&grant));
        self.held.change([(Arc::clone(&grant.user), Change::Put(held.into()))]);
        self.grants.change([(Arc::clone(id), Change::Put(grant))]);
        Ok(())
    }

    pub fn remove_grant(&self, id: &str) {
        let Some(grant) = self.grants.get(id) else { return };
        let held: Arc<[_]> = self.grants(&grant.user).iter().filter(|known| &*known.id != id).cloned().collect();
        let change = if held.is_empty() { Change::Remove } else { Change::Put(held) };
        self.held.change([(Arc::clone(&grant.user), change)]);
        self.grants.change([(Arc::clone(&grant.id), Change::Remove)]);
    }

    /// Every name that still leads to this account: another may have taken one over meanwhile.
    fn names_of(&self, id: &str) -> Vec<Arc<str>> {
        match self.names.get(id) {
            Some(Named::Known(identity)) if &*identity.user == id => {
                let leads_here = |name: &&Arc<str>| self.names.with(*name, |named| &**named.id() == id) == Some(true);
                names(&identity).filter(leads_here).cloned().collect()
            }
            // What an unreadable record's names were, nothing but the names themselves tells.
            Some(Named::Unreadable(_)) => {
                let mut all = Vec::new();
                self.names.for_each(|name, named| {
                    if &**named.id() == id {
                        all.push(Arc::clone(name));
                    }
                });
                all
            }
            _ => Vec::new(),
        }
    }
}

/// Everybody and every grant of a store, while it is read.
#[derive(Default)]
pub struct Building {
    names: Filling<Arc<str>, Named>,
    grants: Filling<Arc<str>, Arc<GrantRecord>>,
    held: std::collections::HashMap<Arc<str>, Vec<Arc<GrantRecord>>>,
    unreadable: Vec<Arc<str>>,
}

impl Building {
    /// # Errors
    /// What is wrong with the body.
    pub fn put_identity(&mut self, id: &Arc<str>, body: &str) -> Result<(), String> {
        match read_identity(id, body) {
            Ok(identity) => {
                for name in names(&identity) {
                    self.names.insert(Arc::clone(name), Named::Known(Arc::clone(&identity)));
                }
                Ok(())
            }
            Err(why) => {
                self.unreadable.push(Arc::clone(id));
                Err(why)
            }
        }
    }

    /// # Errors
    /// What is wrong with the body.
    pub fn put_grant(&mut self, id: &Arc<str>, body: &str) -> Result<(), String> {
        let grant = read_grant(id, body)?;
        self.held.entry(Arc::clone(&grant.user)).or_default().push(Arc::clone(&grant));
        self.grants.insert(Arc::clone(id), grant);
        Ok(())
    }

    /// Accounts that cannot be read now answer `Unavailable`, by every name they had before.
    pub fn build(mut self, before: Option<&People>) -> People {
        for id in std::mem::take(&mut self.unreadable) {
            for name in before.map(|before| before.names_of(&id)).unwrap_or_default() {
                self.names.part(&name).entry(name).or_insert_with(|| Named::Unreadable(Arc::clone(&id)));
            }
            self.names.insert(Arc::clone(&id), Named::Unreadable(id));
        }
        let mut held = Filling::default();
        for (user, grants) in self.held {
            held.insert(user, grants.into());
        }
        People {
            names: Shards::build(self.names),
            grants: Shards::build(self.grants),
            held: Shards::build(held),
            nothing: Arc::default(),
        }
    }
}

fn names(identity: &Identity) -> impl Iterator<Item = &Arc<str>> {
    std::iter::once(&identity.user).chain(&identity.aliases)
}

fn read_identity(id: &str, body: &str) -> Result<Arc<Identity>, String> {
    let identity: Identity = serde_json::from_str(body).map_err(|error| error.to_string())?;
    if *identity.user != *id {
        return Err(format!("it says that it is `{}`", identity.user));
    }
    Ok(Arc::new(identity))
}

fn read_grant(id: &str, body: &str) -> Result<Arc<GrantRecord>, String> {
    let grant: GrantRecord = serde_json::from_str(body).map_err(|error| error.to_string())?;
    if *grant.id != *id {
        return Err(format!("it says that it is `{}`", grant.id));
    }
    Ok(Arc::new(grant))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(user: &str, aliases: &[&str]) -> String {
        serde_json::json!({ "user": user, "person": user, "aliases": aliases, "status": "active" }).to_string()
    }

    #[test]
    fn a_name_goes_from_one_account_to_another_whichever_is_told_first() {
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        for ann_first in [true, false] {
            let people = People::default();
            let leads_to = |name: &str| people.identity(name).map(|identity| identity.user.to_string());
            let put = |ann_has: &[&str], bob_has: &[&str]| {
                let (a, b) = (body("ann", ann_has), body("bob", bob_has));
                let mut changed = [(&ann, Some(a.as_str())), (&bob, Some(b.as_str()))];
                if !ann_first {
                    changed.reverse();
                }
                assert_eq!(people.put_identities(changed), []);
            };
            put(&["lee", "al"], &[]);
            assert_eq!((leads_to("lee"), leads_to("al")), (Fact::Known("ann".into()), Fact::Known("ann".into())));
            put(&[], &["lee"]);
            assert_eq!((leads_to("lee"), leads_to("al")), (Fact::Known("bob".into()), Fact::Absent));
            // Of one who is gone and one who cannot be read.
            let faults = people.put_identities([(&ann, None), (&bob, Some("{"))]);
            assert_eq!((faults.len(), leads_to("ann")), (1, Fact::Absent));
            assert_eq!(leads_to("lee"), Fact::Unavailable(Fault::RegistryUnavailable));
        }
    }
}
