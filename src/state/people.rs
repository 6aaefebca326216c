//! Who the organisation says people are, and what they were granted: by account, read without a lock.

use super::shards::{Change, Filling, Shards};
use crate::access::grant::GrantRecord;
use crate::access::told_until;
use crate::evidence::{Fact, Fault, Identity, Moment};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug)]
pub struct People {
    /// By user and by every alias.
    names: Shards<Arc<str>, Named>,
    grants: Shards<Arc<str>, Arc<GrantRecord>>,
    /// Of each account what counts, or has ended lately: a long history costs a request nothing.
    held: Shards<Arc<str>, Arc<[Arc<GrantRecord>]>>,
    /// When something that has ended is no longer told of, and whose it was. Of the last hour, and so bounded.
    fading: Mutex<BTreeSet<(Moment, Arc<str>)>>,
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
        Building::default().build(None, Moment(0))
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

    /// What the account holds, and what it held until lately: whatever `access::held_lately` can have something to say of.
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
    pub fn put_grant(&self, id: &Arc<str>, body: &str, now: Moment) -> Result<(), String> {
        let grant = match read_grant(id, body) {
            Ok(grant) => grant,
            Err(why) => {
                self.remove_grant(id, now);
                return Err(why);
            }
        };
        if self.grants.get(id).is_some_and(|before| before.user != grant.user) {
            self.remove_grant(id, now);
        }
        self.hold(&grant.user, id, Some(&grant), now);
        self.grants.change([(Arc::clone(id), Change::Put(grant))]);
        Ok(())
    }

    pub fn remove_grant(&self, id: &str, now: Moment) {
        let Some(grant) = self.grants.get(id) else { return };
        self.hold(&grant.user, id, None, now);
        self.grants.change([(Arc::clone(&grant.id), Change::Remove)]);
    }

    /// Lets go of what has ended and is no longer told of at `now`.
    pub fn fade(&self, now: Moment) {
        let mut due = Vec::new();
        {
            let mut fading = self.fading.lock().unwrap_or_else(PoisonError::into_inner);
            while fading.first().is_some_and(|(until, _)| *until <= now) {
                due.extend(fading.pop_first().map(|(_, user)| user));
            }
        }
        due.sort_unstable();
        due.dedup();
        due.iter().for_each(|user| self.hold(user, "", None, now));
    }

    /// What is held by `user` from now on: as before, but of `id` what `grant` says.
    fn hold(&self, user: &Arc<str>, id: &str, grant: Option<&Arc<GrantRecord>>, now: Moment) {
        let before = self.grants(user);
        let stays = |known: &&Arc<GrantRecord>| *known.id != *id && told(known, now).is_some();
        let mut held: Vec<_> = before.iter().filter(stays).cloned().collect();
        if let Some((grant, until)) = grant.and_then(|grant| Some((grant, told(grant, now)?))) {
            held.push(Arc::clone(grant));
            if until < Moment(i64::MAX) {
                self.fading.lock().unwrap_or_else(PoisonError::into_inner).insert((until, Arc::clone(user)));
            }
        } else if held.len() == before.len() {
            return;
        }
        let change = if held.is_empty() { Change::Remove } else { Change::Put(held.into()) };
        self.held.change([(Arc::clone(user), change)]);
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
        if told_until(&grant).is_some() {
            self.held.entry(Arc::clone(&grant.user)).or_default().push(Arc::clone(&grant));
        }
        self.grants.insert(Arc::clone(id), grant);
        Ok(())
    }

    /// Accounts that cannot be read now answer `Unavailable`, by every name they had before.
    pub fn build(mut self, before: Option<&People>, now: Moment) -> People {
        for id in std::mem::take(&mut self.unreadable) {
            for name in before.map(|before| before.names_of(&id)).unwrap_or_default() {
                self.names.part(&name).entry(name).or_insert_with(|| Named::Unreadable(Arc::clone(&id)));
            }
            self.names.insert(Arc::clone(&id), Named::Unreadable(id));
        }
        let (mut held, mut fading) = (Filling::default(), BTreeSet::new());
        for (user, mut grants) in self.held {
            grants.retain(|grant| told(grant, now).is_some());
            let ends = grants.iter().filter_map(|grant| told_until(grant)).filter(|until| *until < Moment(i64::MAX));
            fading.extend(ends.map(|until| (until, Arc::clone(&user))));
            if !grants.is_empty() {
                held.insert(user, grants.into());
            }
        }
        People {
            names: Shards::build(self.names),
            grants: Shards::build(self.grants),
            held: Shards::build(held),
            fading: Mutex::new(fading),
            nothing: Arc::default(),
        }
    }
}

/// Until when there is something to tell of it, if there is at `now`.
fn told(grant: &GrantRecord, now: Moment) -> Option<Moment> {
    told_until(grant).filter(|until| now < *until)
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
    fn a_long_history_is_not_what_requests_look_at() {
        const NOW: Moment = Moment(1_800_000_000_000);
        let hour = 3_600_000;
        let body = |id: &str, state: serde_json::Value| {
            serde_json::json!({
                "id": id, "role": "r", "user": "ann", "person": "ann", "reason": "", "asked": 0, "duration": 1,
                "state": state, "approvals": [], "break-glass": false,
            })
            .to_string()
        };
        let (at, until) = (NOW.millis(), NOW.millis() + 10 * hour);
        let withdrawn = serde_json::json!({ "is": "withdrawn", "at": at });
        let mut all: Vec<(Arc<str>, String)> =
            (0..2_000).map(|n| format!("w{n}")).map(|id| (id.as_str().into(), body(&id, withdrawn.clone()))).collect();
        let old = serde_json::json!({ "is": "expired", "since": 0, "at": at - hour });
        all.extend((0..50).map(|n| format!("o{n}")).map(|id| (id.as_str().into(), body(&id, old.clone()))));
        all.push(("held".into(), body("held", serde_json::json!({ "is": "active", "since": at, "until": until }))));
        all.push(("lately".into(), body("lately", serde_json::json!({ "is": "expired", "since": 0, "at": at - 1 }))));
        all.push(("asked".into(), body("asked", serde_json::json!({ "is": "asked", "until": until }))));
        let one_by_one = People::default();
        let mut building = Building::default();
        for (id, body) in &all {
            one_by_one.put_grant(id, body, NOW).expect("reads");
            building.put_grant(id, body).expect("reads");
        }
        for people in [one_by_one, building.build(None, NOW)] {
            let held = || {
                let mut ids: Vec<String> = people.grants("ann").iter().map(|grant| grant.id.to_string()).collect();
                ids.sort();
                ids
            };
            assert_eq!(held(), ["held", "lately"]);
            people.fade(NOW.plus_millis(hour - 2));
            assert_eq!(held(), ["held", "lately"]);
            people.fade(NOW.plus_millis(hour - 1));
            assert_eq!(held(), ["held"]);
            assert!(people.grant("lately").is_some() && people.grant("w7").is_some(), "listings have them all");
            people.put_grant(&"held".into(), &body("held", withdrawn.clone()), NOW).expect("reads");
            assert!(held().is_empty());
        }
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
