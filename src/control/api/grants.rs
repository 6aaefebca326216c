//! Roles and grants: asking, answering, and seeing what is one's own.

use super::answer::Answer;
use super::asking::{Asking, Demand};
use super::idempotency;
use super::page::Page;
use super::problem::Problem;
use super::show;
use crate::access::grant::Phase;
use crate::access::{Action, Actor, GrantRecord};
use crate::control::grants::NewGrant;
use crate::control::{Administrator, Who};
use crate::evidence::{Device, Fact, Moment};
use crate::policy::Outcome;
use crate::policy::role::{Approval, ReasonRule, Role};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What may be said with an answer to a request.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Said {
    pub note: Option<Arc<str>>,
}

impl Said {
    /// What has to be said: why.
    pub fn why(self) -> Result<Arc<str>, Problem> {
        self.note.filter(|note| !note.trim().is_empty()).ok_or_else(|| Problem::unfit("say why, in `note`"))
    }
}

/// Characters of a note.
const LONGEST: usize = 1000;

pub fn me(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&[])?;
    let actor = actor(administrator, asking)?;
    let evidence = asking.evidence();
    let grants = evidence.grants.known().into_iter().flat_map(|grants| grants.iter());
    let held: Vec<_> = grants.filter(|grant| grant.over.is_none()).collect();
    Ok(Answer::ok(&json!({
        "user": actor.user,
        "person": actor.person,
        "groups": actor.groups,
        "device": evidence.device.known().map(|device| &device.id),
        "grants": show::plain(&held),
    })))
}

pub fn roles(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&[])?;
    let policy = administrator.policies.current_full();
    let items: Vec<Value> = policy.roles().iter().map(role).collect();
    Ok(Answer::ok(&json!({ "items": items })))
}

pub async fn mine(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&["limit", "cursor"])?;
    let actor = actor(administrator, asking)?;
    list(administrator, asking, administrator.grants_of(&actor).await)
}

/// What this person can answer or review now.
pub async fn waiting(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&["limit", "cursor"])?;
    let (actor, now) = (actor(administrator, asking)?, asking.at());
    let open = administrator
        .grants_where(move |record| record.needs_review() || matches!(record.phase(now), Phase::Waiting { .. }))
        .await;
    let theirs = open.into_iter().filter(|record| answerable(administrator, &actor, record, now)).collect();
    list(administrator, asking, theirs)
}

pub async fn all(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&["limit", "cursor", "user", "role", "state"])?;
    let (user, role) = (asking.query.get("user").cloned(), asking.query.get("role").cloned());
    let state = asking.asked("state", |text| STATES.contains(&text).then(|| text.to_owned()))?;
    let now = asking.at();
    let found = administrator.grants_where(move |record| {
        user.as_ref().is_none_or(|user| *record.user == **user)
            && role.as_ref().is_none_or(|role| *record.role == **role)
            && state.as_ref().is_none_or(|state| phase(record, now) == state)
    });
    list(administrator, asking, found.await)
}

const STATES: [&str; 3] = ["waiting", "held", "over"];

pub async fn one(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&[])?;
    let held = administrator.grant(asking.parameter(0)).await?;
    if !visible(administrator, asking, &held.value) {
        return Err(Problem::not_found("grant of this id"));
    }
    let mut shown = show::held(&held);
    add(administrator, &held.value, asking.at(), &mut shown);
    Ok(Answer::ok(&shown).version(held.version))
}

pub async fn ask(administrator: &Administrator, asking: &mut Asking) -> Result<Answer, Problem> {
    let actor = actor(administrator, asking)?;
    let new: NewGrant = asking.json().await?;
    let device = match &asking.evidence().device {
        Fact::Known(device) => Some(Arc::clone(device)),
        _ => None,
    };
    let key = idempotency::key(asking)?;
    asked(administrator, &asking.who(), &actor, &new, device.as_deref(), key).await
}

/// Breaks the glass while nobody can sign in: by the certificate that opened this connection, for the device's owner.
/// Whoever is signed in asks as always, under the rules that hold there.
pub async fn break_glass(administrator: &Administrator, asking: &mut Asking) -> Result<Answer, Problem> {
    let new: NewGrant = asking.json().await?;
    if !new.break_glass {
        let detail = "here the glass is broken and nothing else: `\"break-glass\": true`, or ask at `/v1/grants`";
        return Err(Problem::unfit(detail).with("reason", "only-break-glass"));
    }
    match &asking.evidence().subject {
        Fact::Absent | Fact::Unavailable(_) => {}
        Fact::Known(_) => return Err(Problem::forbidden("whoever is signed in asks at `/v1/grants`")),
        // Somebody else's token, it may be.
        Fact::Invalid(fault) => {
            let detail = format!("the token does not count ({}): ask without one", fault.code());
            return Err(Problem::forbidden(detail));
        }
    }
    // The record is all that speaks for the owner: whoever was suspended at another gateway a moment ago is, here too.
    administrator.learn().await;
    let device = asking.evidence().device.known().map(Arc::clone);
    let device = device.ok_or_else(|| Problem::forbidden("the connection was opened by no device that is known"))?;
    let (actor, who) = administrator.owner(&device, asking.request_id(), &new)?;
    let key = idempotency::key(asking)?;
    asked(administrator, &who, &actor, &new, Some(&device), key).await
}

/// Asks, whoever brings it.
pub async fn asked(
    administrator: &Administrator,
    who: &Who,
    actor: &Actor,
    new: &NewGrant,
    device: Option<&Device>,
    key: Option<&str>,
) -> Result<Answer, Problem> {
    let (held, fresh) = administrator.ask(who, actor, new, device, key).await?;
    let mut shown = show::held(&held);
    add(administrator, &held.value, (administrator.clock)(), &mut shown);
    let answer = match fresh {
        true => Answer::created(&shown, format!("/v1/grants/{}", held.value.id)),
        false => Answer::ok(&shown),
    };
    Ok(answer.version(held.version))
}

pub async fn step(
    administrator: &Administrator,
    asking: &mut Asking,
    action: impl FnOnce(Said) -> Result<Action, Problem>,
) -> Result<Answer, Problem> {
    let actor = actor(administrator, asking)?;
    let said: Said = if asking.bytes().await?.is_empty() { Said::default() } else { asking.json().await? };
    let (action, demand) = (action(said)?, asking.if_match()?);
    stepped(administrator, &asking.who(), &actor, &asking.parameter(0).into(), &action, demand).await
}

/// Does it, whoever brings it.
pub async fn stepped(
    administrator: &Administrator,
    who: &Who,
    actor: &Actor,
    id: &Arc<str>,
    action: &Action,
    demand: Option<Demand>,
) -> Result<Answer, Problem> {
    if said(action).is_some_and(|note| note.chars().count() > LONGEST || note.chars().any(char::is_control)) {
        return Err(Problem::unfit(format!(
            "`note` is longer than {LONGEST} characters, or has control characters in it"
        )));
    }
    let check = |there| Demand::check(demand, there);
    let held = administrator.step_grant(who, actor, id, action, check).await?;
    let mut shown = show::held(&held);
    add(administrator, &held.value, (administrator.clock)(), &mut shown);
    Ok(Answer::ok(&shown).version(held.version))
}

fn said(action: &Action) -> Option<&str> {
    match action {
        Action::Approve { note } | Action::Review { note } => note.as_deref(),
        Action::Refuse { why } | Action::End { why } | Action::Revoke { why } => Some(why),
        Action::Withdraw => None,
    }
}

fn actor(administrator: &Administrator, asking: &Asking) -> Result<Actor, Problem> {
    administrator.actor(asking.evidence()).ok_or_else(|| Problem::forbidden("nobody has signed in"))
}

/// One's own, what one can answer, and everything for whoever may list everything: the policy says who that is.
fn visible(administrator: &Administrator, asking: &Asking, record: &GrantRecord) -> bool {
    let own = |actor: &Actor| actor.is(&record.user, &record.person);
    let actor = administrator.actor(asking.evidence());
    if actor.is_some_and(|actor| own(&actor) || answerable(administrator, &actor, record, asking.at())) {
        return true;
    }
    let mut evidence = asking.evidence().clone();
    let request = Arc::make_mut(&mut evidence.request);
    request.path = "/v1/grants".to_owned();
    request.method = "GET".into();
    let outcome = administrator.policies.current_full().decide(&evidence).outcome;
    matches!(outcome, Outcome::Forward | Outcome::Observe)
}

fn answerable(administrator: &Administrator, actor: &Actor, record: &GrantRecord, now: Moment) -> bool {
    let may = |action| administrator.may(actor, record, &action, now).is_ok();
    may(Action::Approve { note: None }) || (record.needs_review() && may(Action::Review { note: None }))
}

fn list(administrator: &Administrator, asking: &Asking, records: Vec<Arc<GrantRecord>>) -> Result<Answer, Problem> {
    let now = asking.at();
    // In the order they were asked: ids alone say nothing.
    let place = |record: &Arc<GrantRecord>| format!("{:020} {}", record.asked.millis(), record.id);
    let show = |record: &Arc<GrantRecord>| {
        let mut shown = show::plain(&**record);
        add(administrator, record, now, &mut shown);
        shown
    };
    Ok(Answer::ok(&Page::read(asking)?.of(records, place, show)))
}

/// Where the record stands now, under today's role.
fn add(administrator: &Administrator, record: &GrantRecord, now: Moment, shown: &mut Value) {
    let policy = administrator.policies.current_full();
    let standing = crate::access::standing(record, policy.role(&record.role), now);
    if let Some(object) = shown.as_object_mut() {
        object.remove("key");
        object.remove("groups");
    }
    shown["duration"] = (record.duration / 1000).into();
    shown["phase"] = phase(record, now).into();
    shown["held-until"] = standing.map_or(Value::Null, |grant| crate::control::moment::text(grant.expires).into());
}

fn phase(record: &GrantRecord, now: Moment) -> &'static str {
    match record.phase(now) {
        Phase::Waiting { .. } => "waiting",
        Phase::Held { .. } => "held",
        Phase::Over => "over",
    }
}

fn role(role: &Role) -> Value {
    let (approvals, approvers) = match &role.approval {
        Approval::Unneeded => (Some(0), Value::Null),
        Approval::By { approvers, people } => {
            let named = &approvers.named;
            let owner = approvers.owner.as_ref();
            let told = json!({
                "users": named.users.iter().chain(owner.into_iter().flat_map(|owner| owner.users.iter())).collect::<Vec<_>>(),
                "groups": named.groups.iter().chain(owner.into_iter().flat_map(|owner| owner.groups.iter())).collect::<Vec<_>>(),
                "manager": approvers.manager,
            });
            (Some(*people), told)
        }
        Approval::Never => (None, Value::Null),
    };
    let reason = match &role.reason {
        ReasonRule::Optional => json!({ "required": false }),
        ReasonRule::Required => json!({ "required": true }),
        ReasonRule::Like(pattern) => json!({ "required": true, "like": pattern.as_str() }),
    };
    json!({
        "id": role.id,
        "opens": role.opens,
        "longest": role.longest_ms / 1000,
        "default": role.default_ms / 1000,
        "reason": reason,
        "approvals": approvals,
        "approvers": approvers,
        "break-glass": role.break_glass.is_some(),
    })
}
