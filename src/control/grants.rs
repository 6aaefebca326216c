//! Just-in-time grants: the pure steps of `access/`, made durable.

use super::administrator::{About, Administrator, Held, Step, Who, id_of, put};
use super::fault::Fault;
use crate::access::{self, Action, Actor, Answer, GrantRecord, Parties, Refusal};
use crate::audit::{AdminActor, Alert, AlertKind};
use crate::evidence::{Device, DeviceStatus, Evidence, Fact, Identity, IdentityStatus, Moment};
use crate::policy::role::is_id;
use crate::store::document::submission_of;
use crate::store::{Digest, Kind, Write};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;

/// What somebody asks for.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NewGrant {
    pub role: Arc<str>,
    #[serde(default = "nothing")]
    pub reason: Arc<str>,
    /// Seconds. None: as long as the role says.
    pub duration: Option<u64>,
    #[serde(default)]
    pub break_glass: bool,
}

fn nothing() -> Arc<str> {
    "".into()
}

/// Expired grants written in one go.
const DUE: usize = 500;

impl Administrator {
    /// Whoever asks, as the organisation knows them now. None: nobody has signed in.
    pub fn actor(&self, evidence: &Evidence) -> Option<Actor> {
        let subject = evidence.subject.known()?;
        Some(match self.memory.identity(&subject.user) {
            Fact::Known(identity) => self.recorded(&identity, &subject.groups),
            _ => Actor::unrecorded(Arc::clone(&subject.user), subject.groups.clone()),
        })
    }

    /// The account with this record; `groups` are those of its login.
    pub fn recorded(&self, identity: &Identity, groups: &[Arc<str>]) -> Actor {
        Actor::recorded(identity, groups, self.manager(identity))
    }

    /// The owner of the device whose certificate opened a connection on which nobody is signed in: their record says all
    /// there is to know of them, so that without one, or without groups in it, there is nobody.
    ///
    /// # Errors
    /// `Fault::Owner`, recorded as a refusal to ask; why is for the record alone.
    pub fn owner(&self, device: &Device, request: &str, new: &NewGrant) -> Result<(Actor, Who), Fault> {
        let user = device.owner.as_ref().map(|owner| self.account(owner));
        let actor =
            AdminActor { user, person: None, device: Some(Arc::clone(&device.id)), issuer: Some("device".into()) };
        let mut who = Who { actor, request: Some(request.to_owned()) };
        match self.owner_on_record(device) {
            Ok(actor) => {
                who.actor.person = Some(Arc::clone(&actor.person));
                Ok((actor, who))
            }
            Err(fault) => Err(self.failed(&who, asking(new)?, fault)),
        }
    }

    fn owner_on_record(&self, device: &Device) -> Result<Actor, Fault> {
        if device.status != DeviceStatus::Active {
            return Err(Fault::Owner("device-not-active"));
        }
        let owner = device.owner.as_ref().ok_or(Fault::Owner("device-without-owner"))?;
        let identity = match self.memory.identity(owner) {
            Fact::Known(identity) => identity,
            Fact::Absent => return Err(Fault::Owner("owner-not-on-record")),
            Fact::Invalid(_) | Fact::Unavailable(_) => return Err(Fault::Away("people are not known yet".to_owned())),
        };
        match identity.status {
            IdentityStatus::Active => {}
            IdentityStatus::Watched => return Err(Fault::Owner("owner-watched")),
            IdentityStatus::Suspended => return Err(Fault::Owner("owner-suspended")),
        }
        match &identity.groups {
            Some(groups) if !groups.is_empty() => Ok(self.recorded(&identity, &[])),
            _ => Err(Fault::Owner("owner-without-groups")),
        }
    }

    /// Whose grant it is, as the organisation knows them now.
    pub fn holder(&self, record: &GrantRecord) -> Actor {
        match self.memory.identity(&record.user) {
            Fact::Known(identity) => self.recorded(&identity, &record.groups),
            _ => {
                let actor = Actor::unrecorded(Arc::clone(&record.user), record.groups.clone());
                Actor { person: Arc::clone(&record.person), ..actor }
            }
        }
    }

    /// The person behind the manager's account.
    fn manager(&self, identity: &Identity) -> Option<Arc<str>> {
        let manager = identity.manager.as_ref()?;
        Some(match self.memory.identity(manager) {
            Fact::Known(manager) => Arc::clone(&manager.person),
            _ => Arc::clone(manager),
        })
    }

    pub async fn grant(&self, id: &str) -> Result<Held<GrantRecord>, Fault> {
        self.read(Kind::Grant, id).await?.ok_or(Fault::NotFound("grant of this id"))
    }

    /// Everything this person ever asked for, from whatever account.
    pub async fn grants_of(&self, actor: &Actor) -> Vec<Arc<GrantRecord>> {
        let (user, person) = (Arc::clone(&actor.user), Arc::clone(&actor.person));
        self.grants_where(move |record| record.user == user || record.person == person).await
    }

    /// Grants in the order in which they were asked for. All are looked at, so not on a thread that serves requests.
    pub async fn grants_where(&self, wanted: impl Fn(&GrantRecord) -> bool + Send + 'static) -> Vec<Arc<GrantRecord>> {
        let people = self.memory.people();
        let looking = tokio::task::spawn_blocking(move || {
            let mut found = Vec::new();
            people.for_each_grant(|record| {
                if wanted(record) {
                    found.push(Arc::clone(record));
                }
            });
            found.sort_by(|a: &Arc<GrantRecord>, b| (a.asked, &a.id).cmp(&(b.asked, &b.id)));
            found
        });
        looking.await.unwrap_or_default()
    }

    /// Asks for a role. The flag: it was not asked before.
    pub async fn ask(
        &self,
        who: &Who,
        actor: &Actor,
        new: &NewGrant,
        device: Option<&Device>,
        key: Option<&str>,
    ) -> Result<(Held<GrantRecord>, bool), Fault> {
        let about = asking(new)?;
        // By whichever name of theirs it is the owner's.
        let device = device
            .map(|device| Device { owner: device.owner.as_ref().map(|owner| self.account(owner)), ..device.clone() });
        let device = device.as_ref();
        let (held, fresh) = self
            .act(who, about, async |now| {
                // What was asked, answered and ended at other gateways counts, too.
                self.memory.catch_up(&self.store, now).await?;
                let records = self.grants_of(actor).await;
                let policy = self.policies.current_full();
                let id = next_id(actor, new, &records);
                let asking = access::Asking {
                    id: &id,
                    key,
                    reason: &new.reason,
                    duration_ms: new.duration.map(|seconds| seconds.saturating_mul(1000)),
                    device,
                    break_glass: new.break_glass,
                };
                let records = records.iter().map(Arc::as_ref);
                match access::ask(policy.role(&new.role), records, actor, asking, now)? {
                    Answer::Same(id) => Ok(Step::nothing((self.grant(&id).await?, false))),
                    Answer::New(record) => {
                        let mut writes = vec![put(Kind::Grant, &record.id, None, &record)];
                        let claim = |handle| Write::Claim { handle, kind: Kind::Grant, id: Arc::clone(&record.id) };
                        writes.extend(submission_of(&record).map(claim));
                        let (after, reason) = (Some(told(&record)), Some(record.reason.to_string()));
                        let result = (Held { value: record, version: 1, changed: now }, true);
                        Ok(Step { writes, before: None, after, reason, result })
                    }
                }
            })
            .await?;
        if held.value.break_glass && fresh {
            self.audit.alert(Alert {
                at: held.changed,
                kind: AlertKind::BreakGlass,
                id: who.request.clone(),
                resource: None,
                user: Some(Arc::clone(&held.value.user)),
                device: held.value.device.clone(),
                address: None,
                reason: format!("role {}: {}", held.value.role, held.value.reason).into(),
            });
        }
        Ok((held, fresh))
    }

    /// Whatever people do to a grant that was asked for.
    pub async fn step_grant(
        &self,
        who: &Who,
        actor: &Actor,
        id: &Arc<str>,
        action: &Action,
        check: impl Fn(Option<u64>) -> Result<(), Fault>,
    ) -> Result<Held<GrantRecord>, Fault> {
        self.act(who, About::new(name(action), Kind::Grant, id), async |now| {
            let known = self.grant(id).await?;
            check(Some(known.version))?;
            let policy = self.policies.current_full();
            let holder = self.holder(&known.value);
            let parties = Parties { actor, holder: &holder };
            let record = access::step(policy.role(&known.value.role), &known.value, parties, action, now)?;
            Ok(changed(known, record, reason(action), now))
        })
        .await
    }

    /// Whether this action would be refused, and why; nothing happens.
    pub fn may(&self, actor: &Actor, record: &GrantRecord, action: &Action, now: Moment) -> Result<(), Refusal> {
        let (policy, holder) = (self.policies.current_full(), self.holder(record));
        access::step(policy.role(&record.role), record, Parties { actor, holder: &holder }, action, now).map(drop)
    }

    /// Writes down what has ended by the passing of time. Decisions do not wait for it.
    ///
    /// They go by the latest moment that the clock has shown, and so does this. When all that ended by then is written
    /// and known here, the clock alone counts again: one that was set forward by mistake ends nothing from then on.
    pub async fn expire_grants(&self) {
        let upto = self.tide.reach((self.clock)());
        let due = self.grants_where(move |record| access::expire(record, upto).is_some()).await;
        let mut written = due.len() <= DUE;
        for record in due.into_iter().take(DUE) {
            let about = About::new("grant-expire", Kind::Grant, &record.id);
            let nobody = Who::gateway();
            let expired = self.act(&nobody, about, async |now| {
                let known = self.grant(&record.id).await?;
                match access::expire(&known.value, upto) {
                    Some(record) => Ok(changed(known, record, None, now)),
                    None => Ok(Step::nothing(known)),
                }
            });
            if let Err(fault) = expired.await {
                tracing::debug!(%fault, grant = &*record.id, "an end is not written down yet");
                written = false;
            }
        }
        let now = (self.clock)();
        if written && now < upto && self.memory.catch_up(&self.store, now).await.is_ok() {
            self.tide.settle(upto, now);
        }
    }
}

fn asking(new: &NewGrant) -> Result<About, Fault> {
    // No policy has it, and what is no id has no place in an audit line.
    if !is_id(&new.role) {
        let why = "a role's id has 1 to 64 lower-case letters, digits, `-`, `_` and `.`: `/v1/roles` names them";
        return Err(Fault::unfit("role", why));
    }
    Ok(About { action: "grant-ask", target: format!("role {}", new.role) })
}

fn changed(
    known: Held<GrantRecord>,
    record: GrantRecord,
    reason: Option<String>,
    now: Moment,
) -> Step<Held<GrantRecord>> {
    if record == known.value {
        return Step::nothing(known);
    }
    let writes = vec![put(Kind::Grant, &record.id, Some(known.version), &record)];
    let (before, after) = (Some(json!({ "state": known.value.state })), Some(told(&record)));
    let result = Held { value: record, version: known.version + 1, changed: now };
    Step { writes, before, after, reason, result }
}

/// The id that this person's next grant of this role has, whichever gateway gives it: it follows from the one before.
/// Of two requests at once one finds its id taken, reads again, and sees the other.
///
/// The one before is the one that none follows. When they were asked does not say it: gateways' clocks differ.
fn next_id(actor: &Actor, new: &NewGrant, records: &[Arc<GrantRecord>]) -> Arc<str> {
    let alike = |record: &&Arc<GrantRecord>| record.role == new.role && record.break_glass == new.break_glass;
    let after = |last: &str| {
        let parts = [&*actor.person, &*new.role, if new.break_glass { "glass" } else { "" }, last];
        let lengths = parts.map(|part| (part.len() as u64).to_le_bytes());
        let pieces = lengths.iter().zip(parts).flat_map(|(length, part)| [length.as_slice(), part.as_bytes()]);
        id_of("g", Digest::of_parts(pieces).bytes())
    };
    let taken: HashSet<&str> = records.iter().map(|record| &*record.id).collect();
    let mut next = records.iter().rev().filter(alike).map(|record| after(&record.id));
    next.find(|id| !taken.contains(&**id)).unwrap_or_else(|| after(""))
}

/// What audit and webhooks hear of a grant.
fn told(record: &GrantRecord) -> Value {
    json!({
        "id": record.id,
        "role": record.role,
        "user": record.user,
        "state": record.state,
        "approvals": record.approvals.iter().map(|approval| &approval.user).collect::<Vec<_>>(),
        "break-glass": record.break_glass,
        "reviewed-by": record.review.as_ref().map(|review| &review.user),
    })
}

const fn name(action: &Action) -> &'static str {
    match action {
        Action::Approve { .. } => "grant-approve",
        Action::Refuse { .. } => "grant-refuse",
        Action::Withdraw => "grant-withdraw",
        Action::End { .. } => "grant-end",
        Action::Revoke { .. } => "grant-revoke",
        Action::Review { .. } => "grant-review",
    }
}

fn reason(action: &Action) -> Option<String> {
    match action {
        Action::Approve { note } | Action::Review { note } => note.as_ref().map(ToString::to_string),
        Action::Refuse { why } | Action::End { why } | Action::Revoke { why } => Some(why.to_string()),
        Action::Withdraw => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::GrantState;

    #[test]
    fn the_next_id_is_free_whatever_the_clocks_of_the_gateways_say() {
        let actor = Actor::unrecorded("ann".into(), Vec::new());
        let new = NewGrant { role: "r".into(), reason: nothing(), duration: None, break_glass: false };
        let record = |id: Arc<str>, asked: i64| {
            Arc::new(GrantRecord {
                id,
                role: "r".into(),
                user: "ann".into(),
                person: "ann".into(),
                groups: Vec::new(),
                device: None,
                key: None,
                reason: nothing(),
                asked: Moment(asked),
                duration: 1,
                state: GrantState::Withdrawn { at: Moment(asked) },
                approvals: Vec::new(),
                break_glass: false,
                review: None,
            })
        };
        // The second was asked for at a gateway whose clock is behind that of the first, and so on.
        let mut records = Vec::new();
        for asked in [10, 5, 20, 1] {
            let id = next_id(&actor, &new, &records);
            assert!(records.iter().all(|record: &Arc<GrantRecord>| record.id != id), "{asked}");
            records.push(record(id, asked));
            records.sort_by_key(|record| record.asked);
        }
        let glass = NewGrant { break_glass: true, ..new.clone() };
        assert_ne!(next_id(&actor, &glass, &records), next_id(&actor, &new, &records));
        let bob = Actor::unrecorded("bob".into(), Vec::new());
        assert_ne!(next_id(&bob, &new, &[]), next_id(&actor, &new, &[]));
    }
}
