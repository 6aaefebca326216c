//! `[[role]]`: what can be asked for, who may ask, who approves; and `group`, `user` tables wherever they stand.

use super::requirement;
use super::resource::Draft;
use crate::evidence::Employment;
use crate::policy::criteria::{asks_nothing, schedule::Schedule, texts};
use crate::policy::criterion::Criterion;
use crate::policy::diagnostic::{Diagnostic, Place, nearest, quoted};
use crate::policy::requirement::Requirement;
use crate::policy::role::{Approval, Approvers, Askers, BreakGlass, Pattern, People, ReasonRule, Role};
use crate::policy::source::{Table, Value};
use std::collections::{BTreeMap, BTreeSet};
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

/// What the roles are held against.
pub(super) struct Resources<'d> {
    pub drafts: &'d [Draft],
    /// Some resource is at fault and not among them: what is missing may be that one.
    pub some_at_fault: bool,
}

/// What criteria need to know of the roles.
pub(super) fn opens(drafts: &[RoleDraft]) -> Opens {
    let opened = |draft: &RoleDraft| draft.opens.iter().map(|(resource, _)| Arc::clone(resource)).collect();
    drafts.iter().map(|draft| (Arc::clone(&draft.id), opened(draft))).collect()
}

/// Holds the roles against the resources: every fault that neither can know alone.
///
/// Gives each role the owner it asks for.
pub(super) fn check(
    roles: &mut [RoleDraft],
    resources: &Resources<'_>,
    baseline: &[(Requirement, Place)],
    faults: &mut Vec<Diagnostic>,
) {
    // In a file with other faults a requirement or an owner may only be misspelt.
    let spoilt: BTreeSet<Arc<str>> =
        faults.iter().filter(|fault| fault.is_error()).map(|fault| Arc::clone(&fault.place.file)).collect();
    for role in roles.iter_mut() {
        let mut first: BTreeMap<&str, &Place> = BTreeMap::new();
        for (resource, place) in &role.opens {
            if let Some(first) = first.insert(resource, place) {
                let fault = Diagnostic::error(place.clone(), format!("`{resource}` is named twice"));
                faults.push(fault.label("again here").related(first.clone(), "first here"));
                continue;
            }
            faults.extend(opening(role, resource, place, resources, baseline, &spoilt));
        }
        let owner = role.owner.clone().and_then(|place| owner(role, &place, resources.drafts, &spoilt, faults));
        let at_fault = role.owner.is_some() && owner.is_none();
        if let Some(Approval::By { approvers, .. }) = role.role.as_mut().map(|role| &mut role.approval) {
            approvers.owner = owner;
        }
        // an owner at fault was reported, and counts for nobody
        if !at_fault {
            faults.extend(too_few_approvers(role));
        }
    }
    for (requirement, place) in baseline {
        for role in asked_for(requirement).filter_map(|id| roles.iter().find(|role| role.id == *id)) {
            let opened = |draft: &&Draft| role.opens.iter().any(|(resource, _)| *resource == draft.resource.id);
            if let Some(other) = resources.drafts.iter().find(|draft| !opened(draft)) {
                let what = format!("the baseline asks every resource for `{}`", role.id);
                let fault =
                    Diagnostic::error(place.clone(), what).label(format!("it does not open `{}`", other.resource.id));
                faults.push(fault.help("put the requirement into the resources, or name them all under `opens`"));
            }
        }
    }
}

/// What is wrong with a role that has fewer approvers than it needs, whoever asks or for all who may.
fn too_few_approvers(draft: &RoleDraft) -> Option<Diagnostic> {
    let role = draft.role.as_ref()?;
    let Approval::By { approvers, people } = &role.approval else { return None };
    let needed = usize::from(*people);
    let fault = || Diagnostic::error(draft.approvals.clone(), format!("`{}` can never be approved", draft.id));
    let have = match needed {
        1 => "one person has to approve".to_owned(),
        _ => format!("{needed} people have to approve"),
    };
    let may = |most: usize| match most {
        0 => "nobody may".to_owned(),
        1 => "one person may".to_owned(),
        _ => format!("only {most} people may"),
    };
    // nobody at all is a fault inside `approvers`, which was reported
    let most = approvers.most(None).filter(|most| *most > 0)?;
    if most < needed {
        return Some(fault().label(format!("{have}, and {}", may(most))));
    }
    let askers = role.ask.as_ref()?.people.as_ref()?.all_named()?;
    let best = askers.iter().filter_map(|asker| approvers.most(Some(asker))).max()?;
    (best < needed).then(|| {
        let fault = fault().label(format!("{have}, and beside whoever asks {}", may(best)));
        let fault = fault.related(draft.ask.clone(), "who may ask");
        fault.help("name somebody else: nobody approves what they asked for themselves")
    })
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

/// What is wrong with a role opening a resource.
fn opening(
    role: &RoleDraft,
    resource: &Arc<str>,
    place: &Place,
    resources: &Resources<'_>,
    baseline: &[(Requirement, Place)],
    spoilt: &BTreeSet<Arc<str>>,
) -> Option<Diagnostic> {
    let Some(draft) = resources.drafts.iter().find(|draft| draft.resource.id == *resource) else {
        if resources.some_at_fault {
            return None;
        }
        let known: Vec<&str> = resources.drafts.iter().map(|draft| &*draft.resource.id).collect();
        let fault = Diagnostic::error(place.clone(), format!("no resource is called `{resource}`"));
        let fault = fault.label("nothing to open");
        return Some(match nearest(resource, known.iter().copied()) {
            Some(near) => fault.suggest(place.clone(), format!("\"{near}\"")),
            None if (1..=16).contains(&known.len()) => fault.help(format!("known: {}", quoted(&known))),
            None => fault,
        });
    };
    let requirements = draft.requirements().chain(baseline).map(|(requirement, _)| requirement);
    if spoilt.contains(&draft.place.file) || requirements.flat_map(asked_for).any(|asked| *asked == role.id) {
        return None;
    }
    let fault = Diagnostic::error(place.clone(), format!("nothing in `{resource}` asks for `{}`", role.id));
    let fault = fault.label("who holds it gains nothing there");
    Some(fault.help(format!("add a requirement with `that = {{ grant = \"{}\" }}`, or leave it out here", role.id)))
}

/// The owner of everything the role opens: it has to be one and the same.
fn owner(
    role: &RoleDraft,
    place: &Place,
    resources: &[Draft],
    spoilt: &BTreeSet<Arc<str>>,
    faults: &mut Vec<Diagnostic>,
) -> Option<People> {
    let opened = role.opens.iter().filter_map(|(id, _)| resources.iter().find(|draft| draft.resource.id == *id));
    let mut owner: Option<(&Draft, &People)> = None;
    for draft in opened {
        let Some(own) = &draft.resource.owner else {
            if !spoilt.contains(&draft.place.file) {
                let fault = Diagnostic::error(place.clone(), format!("`{}` has no owner", draft.resource.id));
                let fault = fault.label("nobody to ask").related(draft.place.clone(), "this resource");
                faults.push(fault.help("add `owner = { group = \"…\" }` to the resource"));
            }
            return None;
        };
        match owner {
            Some((first, known)) if known != own => {
                let what = format!("`{}` and `{}` have different owners", first.resource.id, draft.resource.id);
                let fault = Diagnostic::error(place.clone(), what).label("one would decide for the other");
                faults.push(fault.help("make a role for each"));
                return None;
            }
            _ => owner = Some((draft, own)),
        }
    }
    owner.map(|(_, people)| people.clone())
}

fn asked_for(requirement: &Requirement) -> impl Iterator<Item = &Arc<str>> {
    requirement.criteria().into_iter().filter_map(|criterion| match criterion {
        Criterion::Grant(grant) => Some(grant.role()),
        _ => None,
    })
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
