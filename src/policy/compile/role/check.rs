//! The roles held against the resources: what they open, who owns that, who is left to approve.

use super::RoleDraft;
use crate::policy::compile::resource::Draft;
use crate::policy::criterion::Criterion;
use crate::policy::diagnostic::{Diagnostic, Place, nearest, quoted};
use crate::policy::requirement::Requirement;
use crate::policy::role::{Approval, People};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the roles are held against.
pub(in crate::policy::compile) struct Resources<'d> {
    pub drafts: &'d [Draft],
    /// Some resource is at fault and not among them: what is missing may be that one.
    pub some_at_fault: bool,
}

/// Holds the roles against the resources: every fault that neither can know alone.
///
/// Gives each role the owner it asks for.
pub(in crate::policy::compile) fn check(
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
