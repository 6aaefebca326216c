//! A requirement: criteria joined by `all`, `any` and `not`, and what it demands when they are not met.

use super::criterion::{Criterion, Judgement};
use super::decision::{Finding, Remedy, Scope, Verdict};
use super::outcome::Outcome;
use super::seen::Seen;
use crate::evidence::Evidence;
use std::sync::Arc;

#[derive(Debug)]
pub struct Requirement {
    pub id: Arc<str>,
    pub scope: Scope,
    pub that: Node,
    /// What is demanded when `that` is not met; None: what the criteria themselves demand. Never `Forward`.
    pub otherwise: Option<Outcome>,
}

/// Criteria, joined. `All` and `Any` are never empty.
#[derive(Debug)]
pub enum Node {
    All(Box<[Node]>),
    Any(Box<[Node]>),
    Not(Box<Node>),
    Is(Criterion),
}

/// What a node says: the judgement is that of the criterion that speaks for it, the verdict the node's own.
struct Answer<'p> {
    verdict: Verdict,
    demand: Outcome,
    judgement: Judgement,
    /// The criterion that can name a remedy. None under `not`: nobody can be asked to lose something.
    criterion: Option<&'p Criterion>,
}

impl Requirement {
    /// What this requirement finds in `evidence`. It demands `Forward` exactly when it is met.
    pub fn find(&self, evidence: &Evidence) -> Finding {
        let answer = self.that.answer(evidence);
        let demand = match (answer.verdict, self.otherwise) {
            (Verdict::Met, _) => Outcome::Forward,
            (_, Some(otherwise)) => otherwise,
            (_, None) => answer.demand,
        };
        Finding {
            scope: self.scope,
            requirement: Arc::clone(&self.id),
            verdict: answer.verdict,
            reason: answer.judgement.reason,
            demand,
            remedy: self.remedy(demand, answer.criterion, evidence),
            seen: answer.judgement.seen,
        }
    }

    /// Every criterion of the requirement, wherever it stands.
    pub fn criteria(&self) -> Vec<&Criterion> {
        let mut criteria = Vec::new();
        self.that.collect(&mut criteria);
        criteria
    }

    /// What can be done about `demand`. The page for an outcome must not offer another outcome's way out.
    fn remedy(&self, demand: Outcome, decided: Option<&Criterion>, evidence: &Evidence) -> Remedy {
        match demand {
            Outcome::Forward | Outcome::Observe | Outcome::Decoy => Remedy::None,
            Outcome::Deny => match decided {
                Some(criterion @ Criterion::Rate(_)) => criterion.remedy(evidence),
                _ => Remedy::None,
            },
            Outcome::StepUp | Outcome::RequireGrant => decided
                .filter(|criterion| criterion.demand() == demand)
                .or_else(|| self.criteria().into_iter().find(|criterion| criterion.demand() == demand))
                .map_or(Remedy::Login { with: None, within_seconds: None }, |criterion| criterion.remedy(evidence)),
        }
    }
}

impl Node {
    fn answer(&self, evidence: &Evidence) -> Answer<'_> {
        match self {
            Self::Is(criterion) => {
                let judgement = criterion.judge(evidence);
                let demand = if judgement.verdict == Verdict::Met { Outcome::Forward } else { criterion.demand() };
                Answer { verdict: judgement.verdict, demand, judgement, criterion: Some(criterion) }
            }
            Self::Not(node) => node.answer(evidence).negated(),
            Self::All(nodes) => fold(nodes, evidence, Answer::and),
            Self::Any(nodes) => fold(nodes, evidence, Answer::or),
        }
    }

    /// A criterion that keeps this from ever being unmet: whatever is known of a request, it is met or unknown.
    pub fn never_false(&self) -> Option<&'static str> {
        match self {
            Self::Is(criterion) => criterion.only_known(),
            Self::Not(_) => None,
            Self::Any(nodes) => nodes.iter().find_map(Self::never_false),
            Self::All(nodes) => {
                let mut all = nodes.iter().map(Self::never_false);
                all.next()?.filter(|_| all.all(|node| node.is_some()))
            }
        }
    }

    fn collect<'p>(&'p self, criteria: &mut Vec<&'p Criterion>) {
        match self {
            Self::Is(criterion) => criteria.push(criterion),
            Self::Not(node) => node.collect(criteria),
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().for_each(|node| node.collect(criteria)),
        }
    }
}

fn fold<'p>(nodes: &'p [Node], evidence: &Evidence, join: fn(Answer<'p>, Answer<'p>) -> Answer<'p>) -> Answer<'p> {
    nodes.iter().map(|node| node.answer(evidence)).reduce(join).unwrap_or_else(|| {
        // an empty list does not compile; were there one, it would refuse
        let judgement =
            Judgement { verdict: Verdict::Unknown, reason: super::Reason::NothingRequired, seen: Seen::Nothing };
        Answer { verdict: Verdict::Unknown, demand: Outcome::Deny, judgement, criterion: None }
    })
}

impl Answer<'_> {
    /// Unknown stays unknown: what cannot be seen passes neither a test nor its opposite.
    fn negated(self) -> Self {
        let (verdict, demand) = match self.verdict {
            Verdict::Met => (Verdict::Unmet, Outcome::Deny),
            Verdict::Unmet => (Verdict::Met, Outcome::Forward),
            Verdict::Unknown => (Verdict::Unknown, Outcome::Deny),
        };
        Self { verdict, demand, criterion: None, ..self }
    }

    /// The heavier demand speaks; one unmet is enough for unmet.
    fn and(self, other: Self) -> Self {
        let verdict = match (self.verdict, other.verdict) {
            (Verdict::Unmet, _) | (_, Verdict::Unmet) => Verdict::Unmet,
            (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
            (Verdict::Met, Verdict::Met) => Verdict::Met,
        };
        let speaker = if other.demand > self.demand { other } else { self };
        Self { verdict, ..speaker }
    }

    /// The lighter demand is made; one met is enough for met, and demands nothing.
    fn or(self, other: Self) -> Self {
        let verdict = match (self.verdict, other.verdict) {
            (Verdict::Met, _) | (_, Verdict::Met) => Verdict::Met,
            (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
            (Verdict::Unmet, Verdict::Unmet) => Verdict::Unmet,
        };
        // What is asked for is the easiest way in; the reason is what was found first, as far as it was found.
        let (demand, criterion) =
            if other.demand < self.demand { (other.demand, other.criterion) } else { (self.demand, self.criterion) };
        let other_speaks = match verdict {
            Verdict::Met => self.verdict != Verdict::Met,
            _ => self.judgement.verdict == Verdict::Unknown && other.judgement.verdict == Verdict::Unmet,
        };
        let judgement = if other_speaks { other.judgement } else { self.judgement };
        Self { verdict, demand, judgement, criterion }
    }
}
