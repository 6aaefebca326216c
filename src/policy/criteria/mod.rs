//! The criteria, one a file: how it is written, and how it judges.

pub mod asn;
pub mod cidr;
pub mod country;
pub mod device;
pub mod distance;
pub mod grant;
pub mod identity;
pub mod list;
pub mod login;
pub mod memory_age;
pub mod method;
pub mod nearness;
pub mod path;
pub mod posture;
pub mod rate;
pub mod region;
pub mod round_trip;
pub mod schedule;
pub mod set;

use super::compile::role::Opens;
use super::diagnostic::{Diagnostic, Place};
use super::source::{Table, Value};
use set::Set;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a criterion may refer to by name while it is read.
#[derive(Clone, Copy, Debug)]
pub struct Names<'c> {
    pub sets: &'c BTreeMap<String, Arc<Set>>,
    pub lists: &'c [Arc<str>],
    pub roles: &'c Opens,
    /// The resource, or `*` for the baseline.
    pub owner: &'c str,
    pub requirement: &'c str,
}

/// One text or a list of them, none of them empty.
pub(super) fn texts(value: Value<'_>) -> Option<Box<[Arc<str>]>> {
    Some(value.one_or_more(Value::name)?.into_iter().map(Arc::from).collect())
}

/// `true`, the only thing that can be asked: its opposite would pass when nothing is known.
fn affirmed(value: Value<'_>) -> Option<bool> {
    if !value.boolean()? {
        let fault = Diagnostic::error(value.place(), format!("`{}` can only be `true`", value.key()));
        let fault = fault.label("this would ask for nothing");
        value.report(match value.key() {
            "known" => fault
                .help("leave the key out")
                .note("what is absent is unknown, and unknown never passes: that nobody is known cannot be asked"),
            key => fault
                .help("leave the key out, or put the criterion under `not`")
                .note(format!("under `not` it passes where `{key}` is known not to be so; unknown never passes")),
        });
        return None;
    }
    Some(true)
}

/// Whether `known = true` is all that is asked. Nothing misspelt beside it: that is its own fault.
fn only_known(table: &Table<'_>) -> bool {
    matches!(table.keys().as_slice(), [key] if key.name == "known")
}

/// Reports a `not` around what is met as soon as it is known, such as `login = { known = true }`.
pub(super) fn never_false(place: Place, criterion: &str) -> Diagnostic {
    let what = format!("`not` around `{criterion} = {{ known = true }}` can never be met");
    let (someone, instead) = match criterion {
        "login" => ("whoever is not signed in", "login = { group = \"…\" }"),
        "device" => ("a request without a known device", "device = { class = \"…\" }"),
        _ => ("whoever has no record", "identity = { employment = \"…\" }"),
    };
    Diagnostic::error(place, what)
        .label("no request passes this")
        .help(format!("leave it out; or say which of the known are not meant, such as `not = {{ {instead} }}`"))
        .note(format!("{someone} is unknown, and unknown passes neither a criterion nor its opposite"))
}

/// Reports a table in which nothing is asked.
pub(super) fn asks_nothing<T>(value: Value<'_>, instead: &str) -> Option<T> {
    let fault = Diagnostic::error(value.place(), format!("`{}` asks for nothing", value.key()));
    value.report(fault.label("an empty table").help(format!("write `{instead}`")));
    None
}

#[cfg(test)]
pub mod testing {
    //! Reads one criterion of a text and judges given evidence by it.

    use crate::policy::criterion::Judgement;
    use crate::policy::decision::Verdict;
    use crate::policy::given::{self, Given};
    use crate::policy::source::Source;
    use crate::policy::{Context, Policy};

    /// The verdict and the reason's code of `that = { … }` for what is given.
    pub fn judge(that: &str, given: &str) -> (Verdict, &'static str) {
        let judgement = judgement(that, given);
        (judgement.verdict, judgement.reason.code())
    }

    pub fn judgement(that: &str, given: &str) -> Judgement {
        // a role that nobody asks for is a fault
        let roles = if that.contains("grant =") {
            "[[role]]\nid = 'approver'\nopens = 'r'\nlongest = '1h'\napprovals = 0\n"
        } else {
            ""
        };
        let text = format!(
            "{roles}[set.office]\ncidr = ['192.0.2.0/24']\nasn = [64500]\ncountry = ['CH']\n\
             [[resource]]\nid = 'r'\nhosts = ['r.example']\nupstream = 'http://127.0.0.1:1'\n\
             [[resource.require]]\nid = 'q'\nthat = {that}\n"
        );
        let context = Context { lists: vec!["hosting".into(), "anonymous".into()], ..Context::default() };
        let policy = Policy::compile(&[Source::new("t", text)], &context).expect("the criterion compiles");
        let given = Given::read(&[given.to_owned()], &policy).expect("the evidence reads");
        let request = given::request("GET https://r.example/a/b").expect("a request");
        let evidence = given.evidence(request, &policy);
        let requirement = policy.requirements().next().expect("one requirement");
        match requirement.criteria().as_slice() {
            [criterion] => criterion.judge(&evidence),
            _ => panic!("one criterion a test"),
        }
    }

    /// The faults of `that`, one a line, without their place.
    pub fn faults(that: &str) -> String {
        let text = format!(
            "[[resource]]\nid = 'r'\nhosts = ['r.example']\nupstream = 'http://127.0.0.1:1'\n\
             [[resource.require]]\nid = 'q'\nthat = {that}\n"
        );
        let faults = Policy::compile(&[Source::new("t", text)], &Context::default()).expect_err("at fault");
        faults.iter().map(|fault| fault.message.clone() + "\n").collect()
    }
}
