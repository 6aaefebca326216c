//! `[[test]]`: what an author expects of a policy, beside the policy.

use super::decide::Policy;
use super::decision::{Decision, Verdict};
use super::diagnostic::{Diagnostic, Place, nearest, quoted};
use super::given::{self, Given};
use super::good_standing;
use super::outcome::Outcome;
use super::source::{Table, Value};
use crate::evidence::{Evidence, Request};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One expectation.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: Arc<str>,
    /// Of the name.
    pub place: Place,
    pub request: Request,
    pub expect: Outcome,
    given: Given,
    /// The requirements that are not met, all of them; None: the outcome alone is expected.
    because: Option<Vec<(Arc<str>, Place)>>,
}

/// What became of a case.
#[derive(Debug)]
pub struct CaseResult<'p> {
    pub case: &'p Case,
    pub evidence: Evidence,
    pub decision: Decision,
}

/// Decides every case of a policy.
pub fn run(policy: &Policy) -> Vec<CaseResult<'_>> {
    let decide = |case| {
        let Case { given, request, .. }: &Case = case;
        let evidence = given.evidence(request.clone(), policy);
        CaseResult { case, decision: policy.decide(&evidence), evidence }
    };
    policy.cases().iter().map(decide).collect()
}

impl CaseResult<'_> {
    /// What differs from what was expected; None: nothing.
    pub fn difference(&self) -> Option<String> {
        let unmet: BTreeSet<&str> = self
            .decision
            .findings
            .iter()
            .filter(|finding| finding.verdict != Verdict::Met)
            .map(|finding| &*finding.requirement)
            .collect();
        let because = self.case.because.as_ref();
        let expected: Option<BTreeSet<&str>> = because.map(|because| because.iter().map(|(id, _)| &**id).collect());
        let as_expected = expected.as_ref().is_none_or(|expected| *expected == unmet);
        if self.decision.outcome == self.case.expect && as_expected {
            return None;
        }
        let because = |ids: &BTreeSet<&str>| match ids.len() {
            0 => String::new(),
            _ => format!(" because of {}", quoted(&ids.iter().copied().collect::<Vec<_>>())),
        };
        let reason = if unmet.is_empty() { format!(" ({})", self.decision.reason.code()) } else { String::new() };
        Some(format!(
            "expected {}{}, got {}{}{reason}",
            self.case.expect.code(),
            expected.as_ref().map(because).unwrap_or_default(),
            self.decision.outcome.code(),
            because(&unmet),
        ))
    }
}

impl Case {
    pub(super) fn lower(mut table: Table<'_>, lists: &[Arc<str>]) -> Option<Self> {
        let name = table.required("name", |name| Some((name.words()?, name.place())));
        let given = match table.has("given") {
            true => table.optional("given", |given| Given::lower(given, lists)),
            false => Some(Given::default()),
        };
        let request = table.required("request", |request| {
            request.parsed("a request", "GET https://payroll.corp.example/runs", given::request)
        });
        let outcomes = Outcome::ALL.map(|outcome| (outcome.code(), outcome));
        let expect = table.required("expect", |expect| expect.one_of(&outcomes));
        let because = table.optional("because", |value| value.list(|id| Some((Arc::from(id.name()?), id.place()))));
        table.optional("given", Some::<Value<'_>>);
        table.finish();
        let (name, place) = name?;
        Some(Self { name: name.into(), place, given: given?, request: request?, expect: expect?, because })
    }

    /// Reports requirements that no request like this has to meet.
    pub(super) fn check(&self, policy: &Policy) -> Vec<Diagnostic> {
        let mut applying: Vec<&str> =
            policy.requirements_of(&self.request).iter().map(|requirement| &*requirement.id).collect();
        if !applying.is_empty() {
            applying.push(good_standing::ID);
        }
        let unknown = self.because.iter().flatten().filter(|(id, _)| !applying.contains(&&**id));
        unknown
            .map(|(id, place)| {
                let fault = Diagnostic::error(place.clone(), format!("no requirement `{id}` applies to this request"));
                match nearest(id, applying.iter().copied()) {
                    Some(near) => fault.suggest(place.clone(), format!("\"{near}\"")),
                    None if applying.is_empty() => fault.label("the request addresses no resource"),
                    None => fault.help(format!("those that do: {}", quoted(&applying))),
                }
            })
            .collect()
    }
}
