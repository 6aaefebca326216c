//! `[[require]]`: an id, what must hold, and what to do otherwise.

use crate::policy::criteria::{
    Names,
    asn::Asns,
    cidr::Cidr,
    country::Countries,
    device::Device,
    distance::Distance,
    grant::Grant,
    identity::OnRecord,
    list::Lists,
    login::Login,
    memory_age::MemoryAge,
    method::Methods,
    nearness::NotTooNear,
    never_false,
    path::Paths,
    posture::Attested,
    rate::Rate,
    region::Regions,
    round_trip::{Measure, RoundTrip},
    schedule::Schedule,
    set::Sets,
};
use crate::policy::criterion::Criterion;
use crate::policy::decision::Scope;
use crate::policy::diagnostic::{Diagnostic, Place};
use crate::policy::outcome::Outcome;
use crate::policy::requirement::{Node, Requirement};
use crate::policy::role::is_id;
use crate::policy::source::{Table, Value};
use std::sync::Arc;

/// All requirements under `require`, each with the place of its id. `decoy`: whether there is one to send to.
pub(super) fn all(table: &mut Table<'_>, scope: Scope, decoy: bool, names: Names<'_>) -> Vec<(Requirement, Place)> {
    table.tables("require").into_iter().filter_map(|table| lower(table, scope, decoy, names)).collect()
}

/// A name that quotas, audit records and metrics can carry.
pub(super) fn id(value: Value<'_>) -> Option<(Arc<str>, Place)> {
    let id = value.parsed("a name", "bound-laptop", |text| match is_id(text) {
        true => Ok(text.into()),
        false => Err("expected 1 to 64 lower-case letters, digits, `-`, `_` or `.`".to_owned()),
    })?;
    Some((id, value.place()))
}

fn lower(mut table: Table<'_>, scope: Scope, decoy: bool, names: Names<'_>) -> Option<(Requirement, Place)> {
    let id = table.required("id", id);
    let named = id.as_ref().map_or("", |(id, _)| id);
    let that = table.required("that", |value| node(value, Names { requirement: named, ..names }));
    let otherwise = table.optional("otherwise", |value| Some((otherwise(value)?, value)));
    table.finish();
    let ((id, place), that) = (id?, that?);
    let requirement = Requirement { id, scope, that, otherwise: otherwise.map(|(outcome, _)| outcome) };
    let grants = requirement.criteria().iter().any(|criterion| matches!(criterion, Criterion::Grant(_)));
    match otherwise {
        Some((Outcome::RequireGrant, value)) if !grants => {
            let fault = Diagnostic::error(value.place(), "`require-grant` without a grant to ask for");
            let fault = fault.label("`that` names no grant");
            value.report(fault.help("write `any = [ …, { grant = \"…\" } ]`, which then needs no `otherwise`"));
        }
        Some((Outcome::Decoy, value)) if !decoy => {
            let fault = Diagnostic::error(value.place(), format!("`{}` has no decoy to send to", names.owner));
            value.report(fault.label("needs one").help("add `decoy = \"http://…\"` to the resource"));
        }
        _ => {}
    }
    Some((requirement, place))
}

fn otherwise(value: Value<'_>) -> Option<Outcome> {
    if value.is_text() && value.text() == Some(Outcome::Forward.code()) {
        let fault = Diagnostic::error(value.place(), "`otherwise` cannot be `forward`");
        value.report(
            fault
                .label("this would require nothing")
                .help("the lightest is `observe`: let through, watched, an alert raised"),
        );
        return None;
    }
    let heavier = [Outcome::Observe, Outcome::RequireGrant, Outcome::StepUp, Outcome::Decoy, Outcome::Deny];
    value.one_of(&heavier.map(|outcome| (outcome.code(), outcome)))
}

#[derive(Clone, Copy)]
enum Kind {
    All,
    Any,
    Not,
    Asn,
    Cidr,
    Country,
    Device,
    Distance,
    Grant,
    Identity,
    List,
    Login,
    MemoryAge,
    Method,
    Path,
    Posture,
    Rate,
    Region,
    Schedule,
    Set,
    TooNear,
    RoundTrip(Measure),
}

/// What stands first is the example in diagnostics.
const KINDS: [(&str, Kind); 25] = [
    ("device", Kind::Device),
    ("all", Kind::All),
    ("any", Kind::Any),
    ("not", Kind::Not),
    ("asn", Kind::Asn),
    ("cidr", Kind::Cidr),
    ("country", Kind::Country),
    ("distance", Kind::Distance),
    ("grant", Kind::Grant),
    ("identity", Kind::Identity),
    ("list", Kind::List),
    ("login", Kind::Login),
    ("memory-age", Kind::MemoryAge),
    ("method", Kind::Method),
    ("path", Kind::Path),
    ("posture", Kind::Posture),
    ("rate", Kind::Rate),
    ("region", Kind::Region),
    ("relay-gap", Kind::RoundTrip(Measure::RelayGap)),
    ("rtt", Kind::RoundTrip(Measure::Rtt)),
    ("rtt-excess", Kind::RoundTrip(Measure::Excess)),
    ("schedule", Kind::Schedule),
    ("set", Kind::Set),
    ("tls-rtt", Kind::RoundTrip(Measure::TlsRtt)),
    ("too-near", Kind::TooNear),
];

fn node(value: Value<'_>, names: Names<'_>) -> Option<Node> {
    let (kind, value) = value.variant(&KINDS)?;
    let nodes = |value: Value<'_>| Some(value.nonempty(|item| node(item, names))?.into());
    Some(Node::Is(match kind {
        Kind::All => return Some(Node::All(nodes(value)?)),
        Kind::Any => return Some(Node::Any(nodes(value)?)),
        Kind::Not => {
            let inner = node(value, names)?;
            if let Some(criterion) = inner.never_false() {
                value.report(never_false(value.place(), criterion));
            }
            return Some(Node::Not(Box::new(inner)));
        }
        Kind::Asn => Criterion::Asn(Asns::lower(value)?),
        Kind::Cidr => Criterion::Cidr(Cidr::lower(value)?),
        Kind::Country => Criterion::Country(Countries::lower(value)?),
        Kind::Device => Criterion::Device(Device::lower(value)?),
        Kind::Distance => Criterion::Distance(Distance::lower(value)?),
        Kind::Grant => Criterion::Grant(Grant::lower(value, names)?),
        Kind::Identity => Criterion::Identity(OnRecord::lower(value)?),
        Kind::List => Criterion::List(Lists::lower(value, names)?),
        Kind::Login => Criterion::Login(Login::lower(value)?),
        Kind::MemoryAge => Criterion::MemoryAge(MemoryAge::lower(value)?),
        Kind::Method => Criterion::Method(Methods::lower(value)?),
        Kind::Path => Criterion::Path(Paths::lower(value)?),
        Kind::Posture => Criterion::Posture(Attested::lower(value)?),
        Kind::Rate => Criterion::Rate(Rate::lower(value, names)?),
        Kind::Region => Criterion::Region(Regions::lower(value)?),
        Kind::Schedule => Criterion::Schedule(Schedule::lower(value)?),
        Kind::Set => Criterion::Set(Sets::lower(value, names)?),
        Kind::TooNear => Criterion::NotTooNear(NotTooNear::lower(value)?),
        Kind::RoundTrip(measure) => Criterion::RoundTrip(RoundTrip::lower(value, measure)?),
    }))
}
