//! From policy files to a policy: every fault of every file is collected before anything is refused.

mod requirement;
mod resource;
pub(in crate::policy) mod role;
pub(crate) mod upstream;

use super::cases;
use super::criteria::{Names, set::Set};
use super::decide::{Entry, Guarded, Policy, Route, Share};
use super::decision::Scope;
use super::diagnostic::{self, Diagnostic, Place};
use super::hosts::Hosts;
use super::requirement::Requirement;
use super::resource::Origin;
use super::segments::Segments;
use super::source::{Document, Source, Table};
use resource::Draft;
use role::{Resources, RoleDraft};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// What the policy files may refer to and do not define.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The names of the configured lists.
    pub lists: Vec<Arc<str>>,
    /// Origins to put in the place of those that are written, both as `http://127.0.0.1:9001`.
    pub upstreams: BTreeMap<String, String>,
}

impl Policy {
    /// Compiles the files of one policy. Their order makes no difference.
    ///
    /// # Errors
    /// All faults of all files, sorted by place. The policy that was in force stays so: nothing is half compiled.
    pub fn compile(files: &[Source], context: &Context) -> Result<Self, Vec<Diagnostic>> {
        let documents: Vec<Document<'_>> = files.iter().map(Source::parse).collect();
        let mut roots: Vec<Table<'_>> = documents.iter().map(Document::root).collect();
        let mut faults = Vec::new();

        let sets = sets(&mut roots, &mut faults);
        let mut roles: Vec<RoleDraft> =
            roots.iter_mut().flat_map(|root| root.tables("role")).filter_map(RoleDraft::lower).collect();
        let opens = role::opens(&roles);
        let names = Names { sets: &sets, lists: &context.lists, roles: &opens, owner: "*", requirement: "" };
        let has_baseline = roots.iter().any(|root| root.has("require"));
        let baseline: Vec<_> =
            roots.iter_mut().flat_map(|root| requirement::all(root, Scope::Baseline, true, names)).collect();
        let mut drafts: Vec<Draft> = Vec::new();
        let mut cases = Vec::new();
        let mut written = 0;
        for root in &mut roots {
            let tables = root.tables("resource");
            written += tables.len();
            drafts.extend(tables.into_iter().filter_map(|table| Draft::lower(table, names, context)));
            cases.extend(root.tables("test").into_iter().filter_map(|table| cases::Case::lower(table, &context.lists)));
        }
        roots.into_iter().for_each(Table::finish);
        faults.extend(documents.into_iter().flat_map(Document::into_faults));

        check(&drafts, &baseline, has_baseline, &mut faults);
        twice("role", roles.iter().map(|role| (&*role.id, &role.place)), &mut faults);
        let resources = Resources { drafts: &drafts, some_at_fault: drafts.len() < written };
        role::check(&mut roles, &resources, &baseline, &mut faults);
        if drafts.is_empty() && !diagnostic::has_errors(&faults) {
            let fault = Diagnostic::error(Place::file(""), "no policy file defines a resource");
            faults.push(fault.help("a gateway without resources refuses everything: add a `[[resource]]`"));
        }
        if !diagnostic::has_errors(&faults) {
            let mut policy = assemble(drafts, baseline, roles, version(files), &context.lists);
            faults.extend(cases.iter().flat_map(|case| case.check(&policy)));
            if !diagnostic::has_errors(&faults) {
                policy.cases = cases;
                diagnostic::sort(&mut faults);
                policy.warnings = faults;
                return Ok(policy);
            }
        }
        diagnostic::sort(&mut faults);
        Err(faults)
    }
}

/// The first 16 hex digits of the SHA-256 over the sorted digests of the texts.
fn version(files: &[Source]) -> Arc<str> {
    use aws_lc_rs::digest::{SHA256, digest};
    let mut digests: Vec<_> =
        files.iter().map(|file| digest(&SHA256, file.text.as_bytes()).as_ref().to_vec()).collect();
    digests.sort_unstable();
    let whole = digest(&SHA256, &digests.concat());
    let mut hex = String::new();
    for byte in whole.as_ref().iter().take(8) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex.into()
}

/// The named sets of all files.
fn sets(roots: &mut [Table<'_>], faults: &mut Vec<Diagnostic>) -> BTreeMap<String, Arc<Set>> {
    let mut sets = BTreeMap::new();
    let mut places: Vec<(String, Place)> = Vec::new();
    for root in roots {
        for (key, value) in root.table("set").map(Table::entries).unwrap_or_default() {
            places.push((key.name.to_owned(), key.place));
            // one at fault is known all the same: it is not also missing where it is named
            let set = Set::lower(key.name, value).unwrap_or_default();
            sets.insert(key.name.to_owned(), Arc::new(set));
        }
    }
    twice("set", places.iter().map(|(name, place)| (name.as_str(), place)), faults);
    sets
}

/// Reports what no file can know alone.
fn check(drafts: &[Draft], baseline: &[(Requirement, Place)], has_baseline: bool, faults: &mut Vec<Diagnostic>) {
    twice("resource", drafts.iter().map(|draft| (&*draft.resource.id, &draft.place)), faults);
    let named = |(requirement, place): &'_ (Requirement, Place)| (Arc::clone(&requirement.id), place.clone());
    let baseline: Vec<(Arc<str>, Place)> = baseline.iter().map(named).collect();
    twice("requirement", baseline.iter().map(|(id, place)| (&**id, place)), faults);
    let mut claims = BTreeMap::new();
    for draft in drafts {
        let own: Vec<(Arc<str>, Place)> = draft.requirements().map(named).collect();
        let (clashing, own): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|(id, _)| baseline.iter().any(|(known, _)| known == id));
        for (id, place) in clashing {
            let first = baseline.iter().find(|(known, _)| *known == id).map(|(_, place)| (&*id, place));
            twice("requirement", first.into_iter().chain([(&*id, &place)]), faults);
        }
        twice("requirement", own.iter().map(|(id, place)| (&**id, place)), faults);
        // in a file with other faults the requirement may only be misspelt
        let spoilt = faults.iter().any(|fault| fault.is_error() && fault.place.file == draft.place.file);
        if !has_baseline && !draft.requires && !spoilt {
            let fault = Diagnostic::error(draft.place.clone(), format!("`{}` requires nothing", draft.resource.id));
            let fault = fault.label("every request to it would be refused");
            faults.push(fault.help("add a `[[resource.require]]`, or a `[[require]]` for all resources"));
        }
        for (host, prefix, place) in draft.claims() {
            if let Some((owner, first)) = claims.insert((host, prefix), (&draft.resource.id, place)) {
                let same = if *owner == draft.resource.id { "again" } else { "already" };
                let fault =
                    Diagnostic::error(place.clone(), format!("this host and path are {same} claimed by `{owner}`"));
                faults.push(
                    fault.label("a request can address one resource only").related(first.clone(), "claimed here"),
                );
            }
        }
    }
}

/// Reports every name after its first.
fn twice<'n>(what: &str, names: impl IntoIterator<Item = (&'n str, &'n Place)>, faults: &mut Vec<Diagnostic>) {
    let mut first: BTreeMap<&str, &Place> = BTreeMap::new();
    for (name, place) in names {
        if let Some(first) = first.get(name) {
            let fault = Diagnostic::error(place.clone(), format!("{what} `{name}` is defined twice"));
            faults.push(fault.label("again here").related(Place::clone(first), "first here"));
        } else {
            first.insert(name, place);
        }
    }
}

/// Puts everything in its canonical order.
fn assemble(
    mut drafts: Vec<Draft>,
    baseline: Vec<(Requirement, Place)>,
    roles: Vec<RoleDraft>,
    version: Arc<str>,
    lists: &[Arc<str>],
) -> Policy {
    drafts.sort_by(|a, b| a.resource.id.cmp(&b.resource.id));
    let mut hosts = Hosts::default();
    for (index, draft) in (0..).zip(&drafts) {
        for (host, prefix, _) in draft.claims() {
            hosts.claim(host, prefix, index);
        }
    }
    let baseline = sorted(baseline);
    let guarded: Vec<_> = drafts.into_iter().map(|draft| guard(draft, &baseline)).collect();
    let (origins, roles) = (origins(&guarded), role::assemble(roles));
    Policy {
        version,
        hosts,
        guarded,
        baseline,
        roles,
        lists: lists.into(),
        origins,
        cases: Vec::new(),
        warnings: Vec::new(),
    }
}

/// Every origin a request may be sent to, decoys included.
fn origins(guarded: &[Guarded]) -> Box<[Origin]> {
    let resources = guarded.iter().map(|guarded| &guarded.resource);
    let of = resources
        .flat_map(|resource| resource.upstreams.iter().chain(resource.decoy.iter().flat_map(|decoy| &**decoy)));
    let mut origins: Vec<Origin> = of.cloned().collect();
    origins.sort();
    origins.dedup();
    origins.into()
}

fn guard(draft: Draft, baseline: &[Requirement]) -> Guarded {
    let host = draft.host();
    let requirements = sorted(draft.own);
    let mut drafts: Vec<_> =
        draft.routes.into_iter().map(|route| (route.matches, sorted(route.requirements))).collect();
    drafts.sort_by(|(_, a), (_, b)| a.first().map(|first| &first.id).cmp(&b.first().map(|first| &first.id)));
    let mut tree = Segments::default();
    let mut routes = Vec::new();
    for (index, (matches, requirements)) in (0..).zip(drafts) {
        for matching in matches {
            tree.insert(&matching.pattern, Entry { method: matching.method, route: index });
        }
        routes.push(Route { share: Share::of(&requirements), requirements });
    }
    let share = Share::of(baseline.iter().chain(&requirements));
    Guarded { resource: Arc::new(draft.resource), host, requirements, routes: routes.into(), tree, share }
}

fn sorted(requirements: Vec<(Requirement, Place)>) -> Box<[Requirement]> {
    let mut requirements: Vec<Requirement> = requirements.into_iter().map(|(requirement, _)| requirement).collect();
    requirements.sort_by(|a, b| a.id.cmp(&b.id));
    requirements.into()
}
