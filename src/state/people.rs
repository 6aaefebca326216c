//! Who the organisation says people are, and what they were granted: by account, read without a lock.

use super::shards::{Change, Filling, Shards};
use crate::access::grant::GrantRecord;
use crate::evidence::{Fact, Fault, Identity};
use std::sync::Arc;

#[derive(Debug)]
pub struct People {
    /// By user and by every alias. None: the record could not be read.
    names: Shards<Arc<str>, Option<Arc<Identity>>>,
    grants: Shards<Arc<str>, Arc<GrantRecord>>,
    held: Shards<Arc<str>, Arc<[Arc<GrantRecord>]>>,
    nothing: Arc<[Arc<GrantRecord>]>,
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
            Some(Some(identity)) => Fact::Known(identity),
            Some(None) => Fact::Unavailable(Fault::RegistryUnavailable),
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
        self.names.for_each(|name, identity| {
            if let Some(identity) = identity.as_ref().filter(|identity| identity.user == *name) {
                each(identity);
            }
        });
    }

    /// Every grant, in no order.
    pub fn for_each_grant(&self, mut each: impl FnMut(&Arc<GrantRecord>)) {
        self.grants.for_each(|_, grant| each(grant));
    }

    /// # Errors
    /// What is wrong with the body. The names the account had answer `Unavailable` from now on.
    pub fn put_identity(&self, id: &Arc<str>, body: &str) -> Result<(), String> {
        let read = read_identity(id, body);
        let mut changes = self.names_of(id);
        match &read {
            Ok(identity) => {
                let held = Some(Arc::clone(identity));
                changes.extend(names(identity).map(|name| (Arc::clone(name), Change::Put(held.clone()))));
            }
            Err(_) => {
                changes.iter_mut().for_each(|(_, change)| *change = Change::Put(None));
                changes.push((Arc::clone(id), Change::Put(None)));
            }
        }
        self.names.change(changes);
        read.map(drop)
    }

    pub fn remove_identity(&self, id: &str) {
        self.names.change(self.names_of(id));
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

    /// The removal of every name that still leads to this account: another may have taken one over meanwhile.
    fn names_of(&self, id: &str) -> Vec<(Arc<str>, Change<Option<Arc<Identity>>>)> {
        let leads_here = |name: &Arc<str>| match self.names.get(name) {
            Some(Some(identity)) => &*identity.user == id,
            Some(None) => &**name == id,
            None => false,
        };
        let Some(Some(identity)) = self.names.get(id) else { return vec![(id.into(), Change::Remove)] };
        names(&identity).filter(|name| leads_here(name)).map(|name| (Arc::clone(name), Change::Remove)).collect()
    }
}

/// Everybody and every grant of a store, while it is read.
#[derive(Default)]
pub struct Building {
    names: Filling<Arc<str>, Option<Arc<Identity>>>,
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
                    self.names.insert(Arc::clone(name), Some(Arc::clone(&identity)));
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
            if let Some(Fact::Known(identity)) = before.map(|before| before.identity(&id)) {
                for name in names(&identity) {
                    self.names.part(name).entry(Arc::clone(name)).or_insert(None);
                }
            }
            self.names.insert(id, None);
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
