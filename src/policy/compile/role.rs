//! `[[role]]`: what can be asked for, who may ask, who approves; and `group`, `user` tables wherever they stand.

mod check;

pub(super) use check::{Resources, check};

use super::requirement;
use crate::evidence::Employment;
use crate::policy::criteria::{asks_nothing, schedule::Schedule, texts};
use crate::policy::diagnostic::{Diagnostic, Place};
use crate::policy::role::{Approval, Approvers, Askers, BreakGlass, Pattern, People, ReasonRule, Role};
use crate::policy::source::{Table, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The roles by id, and what each opens: all that a criterion has to know of them.
pub(in crate::policy) type Opens = BTreeMap<Arc<str>, Vec<Arc<str>>>;

/// As words for `employment`.
pub(in crate::policy) const EMPLOYMENTS: [(&str, Employment); 3] =
    [("employee", Employment::Employee), ("contractor", Employment::Contractor), ("vendor", Employment::Vendor)];

/// How long a request waits where the role does not say: a working day.
const ASK_WITHIN_MS: u64 = 8 * 3_600_000;

/// A role as written, before it is held against the resources.
pub(super) struct RoleDraft {
    pub id: Arc<str>,
    /// Of the id.
    pub place: Place,
    pub opens: Vec<(Arc<str>, Place)>,
    /// Where `owner = true` stands.
    owner: Option<Place>,
    /// Where `approvals` stands, or `approvers`.
    approvals: Place,
    /// Where `ask` stands.
    ask: Place,
    /// None: something in it is at fault.
    role: Option<Role>,
}

impl RoleDraft {
    pub fn lower(mut table: Table<'_>) -> Option<Self> {
        let id = table.required("id", requirement::id);
        let opens =
            table.required("opens", |value| value.one_or_more(|item| Some((Arc::from(item.name()?), item.place()))));
        let longest = table.required("longest", millis);
        let default = table.optional("default", |value| Some((millis(value)?, value.place())));
        let reason = reason(&mut table);
        let (approval, owner) = approval(&mut table);
        let approvals = table.key_place(if table.has("approvals") { "approvals" } else { "approvers" });
        let ask = table.has("ask").then(|| table.optional("ask", askers));
        let ask_place = table.key_place("ask");
        let hours = table.has("hours").then(|| table.optional("hours", Schedule::lower));
        let cool_down_ms = table.or("cool-down", 0, millis);
        let ask_within_ms = table.or("ask-within", ASK_WITHIN_MS, millis);
        // What is at fault may name approvers.
        let approvable = matches!(approval, None | Some(Approval::By { .. }));
        let break_glass = table
            .has("break-glass")
            .then(|| table.optional("break-glass", |value| break_glass(value, longest, approvable)));
        if let (Some(longest), Some((default, place))) = (longest, &default)
            && *default > longest
        {
            let fault = Diagnostic::error(place.clone(), "`default` is longer than `longest`");
            table
                .report(fault.label("nobody could hold it so long").related(table.key_place("longest"), "the longest"));
        }
        if matches!(approval, Some(Approval::Never)) && break_glass.is_none() {
            let fault = Diagnostic::error(table.place(), "nobody can approve this role");
            let fault = fault.label("it names no `approvers`");
            table.report(fault.help(
                "add `approvers = { group = \"…\" }`; or `approvals = 0`, if whoever may ask shall have it at once",
            ));
        }
        table.finish();
        let (id, place) = id?;
        let opens = opens.unwrap_or_default();
        let mut opened: Vec<Arc<str>> = opens.iter().map(|(resource, _)| Arc::clone(resource)).collect();
        opened.sort_unstable();
        // An inner None is a part at fault: it was reported, and the role is only known by name.
        let role = || {
            Some(Role {
                id: Arc::clone(&id),
                opens: opened.into(),
                longest_ms: longest?,
                default_ms: default.map_or(longest?, |(default, _)| default),
                reason: reason?,
                approval: approval?,
                ask: transpose(ask)?,
                hours: transpose(hours)?,
                cool_down_ms,
                ask_within_ms,
                break_glass: transpose(break_glass)?,
            })
        };
        let role = role();
        Some(Self { id, place, opens, owner, approvals, ask: ask_place, role })
    }
}

/// What criteria need to know of the roles.
pub(super) fn opens(drafts: &[RoleDraft]) -> Opens {
    let opened = |draft: &RoleDraft| draft.opens.iter().map(|(resource, _)| Arc::clone(resource)).collect();
    drafts.iter().map(|draft| (Arc::clone(&draft.id), opened(draft))).collect()
}

/// The finished roles, by id.
pub(super) fn assemble(roles: Vec<RoleDraft>) -> Box<[Role]> {
    let mut roles: Vec<Role> = roles.into_iter().filter_map(|draft| draft.role).collect();
    roles.sort_by(|a, b| a.id.cmp(&b.id));
    roles.into()
}

/// `{ group = …, user = … }`, as `owner` of a resource has it.
pub(super) fn people(value: Value<'_>) -> Option<People> {
    let mut table = value.table()?;
    if table.keys().is_empty() {
        return asks_nothing(value, &format!("{} = {{ group = \"…\" }}", value.key()));
    }
    let people = named(&mut table);
    table.finish();
    people
}

fn named(table: &mut Table<'_>) -> Option<People> {
    let good = |has: bool, list: Option<Box<[Arc<str>]>>| if has { list } else { Some(Box::default()) };
    let (user, group) = (table.has("user"), table.has("group"));
    let (users, groups) = (table.optional("user", texts), table.optional("group", texts));
    Some(People { users: good(user, users)?, groups: good(group, groups)? })
}

fn approvers(value: Value<'_>) -> Option<(Approvers, Option<Place>)> {
    let mut table = value.table()?;
    if table.keys().is_empty() {
        return asks_nothing(value, &format!("{} = {{ group = \"…\" }}", value.key()));
    }
    let named = named(&mut table);
    let manager = table.or("manager", false, included);
    let owner = table.optional("owner", |value| included(value).map(|_| value.place()));
    table.finish();
    Some((Approvers { named: named?, manager, owner: None }, owner))
}

/// `true`, the only thing that can be said.
fn included(value: Value<'_>) -> Option<bool> {
    if !value.boolean()? {
        let fault = Diagnostic::error(value.place(), format!("`{}` can only be `true`", value.key()));
        value.report(fault.label("this says nothing").help("leave the key out"));
        return None;
    }
    Some(true)
}

fn askers(value: Value<'_>) -> Option<Askers> {
    let mut table = value.table()?;
    if table.keys().is_empty() {
        return asks_nothing(value, "ask = { group = \"…\" }");
    }
    let named = named(&mut table);
    let has_employment = table.has("employment");
    let employment = table
        .optional("employment", |value| value.one_or_more(|item| item.one_of(&EMPLOYMENTS)))
        .map(Vec::into_boxed_slice);
    table.finish();
    if has_employment && employment.is_none() {
        return None;
    }
    Some(Askers { people: Some(named?).filter(|people| !people.is_empty()), employment })
}

fn break_glass(value: Value<'_>, longest: Option<u64>, approvable: bool) -> Option<BreakGlass> {
    let mut table = value.table()?;
    if !table.has("group") && !table.has("user") {
        let fault = Diagnostic::error(table.place(), "nobody may break this glass");
        table.report(fault.label("it names no `group` and no `user`").help("write `group = \"…\"`"));
    }
    let named = named(&mut table);
    let own = table.has("longest").then(|| table.optional("longest", millis));
    let has_reviewers = table.has("reviewers");
    let reviewers = table.optional("reviewers", people);
    if !has_reviewers && !approvable {
        let fault = Diagnostic::error(table.place(), "nobody reviews what is done with this");
        let fault = fault.label("there are neither `reviewers` nor `approvers`");
        table.report(fault.help("add `reviewers = { group = \"…\" }`: whoever broke the glass cannot review it"));
    }
    table.finish();
    let longest_ms = match own {
        Some(own) => own?,
        None => longest?,
    };
    if has_reviewers && reviewers.is_none() {
        return None;
    }
    Some(BreakGlass { people: named?, longest_ms, reviewers })
}

/// `reason` and `reason-pattern`. A reason is required unless the role says otherwise.
fn reason(table: &mut Table<'_>) -> Option<ReasonRule> {
    let words = [("required", false), ("optional", true)];
    let stated =
        table.has("reason").then(|| table.optional("reason", |value| Some((value.one_of(&words)?, value.place()))));
    let pattern = table
        .has("reason-pattern")
        .then(|| table.optional("reason-pattern", |value| value.parsed("a pattern", "INC-#######", Pattern::parse)));
    match (stated, pattern) {
        (Some(None), _) | (_, Some(None)) => None,
        (Some(Some((true, place))), Some(Some(_))) => {
            let fault = Diagnostic::error(place, "an optional reason cannot have a pattern");
            table.report(fault.label("`reason-pattern` asks for one").help("leave `reason` out"));
            None
        }
        (_, Some(Some(pattern))) => Some(ReasonRule::Like(pattern)),
        (Some(Some((true, _))), None) => Some(ReasonRule::Optional),
        _ => Some(ReasonRule::Required),
    }
}

/// `approvers` and `approvals`, and where the owner is asked for.
fn approval(table: &mut Table<'_>) -> (Option<Approval>, Option<Place>) {
    let has_approvers = table.has("approvers");
    let approvers = table.optional("approvers", approvers);
    let stated = table.has("approvals");
    let number = table.optional("approvals", |value| value.integer_in::<u8>(0..=9));
    if stated && number.is_none() || has_approvers && approvers.is_none() {
        return (None, None);
    }
    match (approvers, number) {
        (Some(_), Some(0)) => {
            let fault = Diagnostic::error(table.key_place("approvers"), "nobody has to approve, and somebody may");
            table
                .report(fault.label("these would never be asked").related(table.key_place("approvals"), "none needed"));
            (None, None)
        }
        (Some((approvers, owner)), number) => (Some(Approval::By { approvers, people: number.unwrap_or(1) }), owner),
        (None, Some(0)) => (Some(Approval::Unneeded), None),
        (None, Some(_)) => {
            let fault = Diagnostic::error(table.key_place("approvals"), "`approvals` without `approvers`");
            table.report(fault.label("nobody could give them").help("add `approvers = { group = \"…\" }`"));
            (None, None)
        }
        (None, None) => (Some(Approval::Never), None),
    }
}

fn millis(value: Value<'_>) -> Option<u64> {
    let duration = value.positive_duration()?;
    if duration < Duration::from_millis(1) {
        return value.fault(format!("`{}` is out of range", value.key()), "expected at least one millisecond");
    }
    u64::try_from(duration.as_millis()).ok()
}

/// None where a part that is there is at fault.
fn transpose<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    match part {
        Some(None) => None,
        Some(there) => Some(there),
        None => Some(None),
    }
}
