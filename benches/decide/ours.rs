//! Rangegate's side: a compiled policy and ready evidence.

use crate::scenario::{INSIDE, OUTSIDE, Scenario, TEAMS};
use rangegate::evidence::Evidence;
use rangegate::policy::given::{self, Given};
use rangegate::policy::source::Source;
use rangegate::policy::{Context, Outcome, Policy, diagnostic};
use rangegate_benches::Result;
use std::hint::black_box;

#[derive(Debug)]
pub struct Ours {
    policy: Policy,
    evidence: Vec<Evidence>,
}

impl Ours {
    pub fn build(scenario: &Scenario) -> Result<Self> {
        let source = Source::new("bench.toml", scenario.rangegate());
        let context = Context { lists: vec!["hosting".into()], ..Context::default() };
        let compiled = Policy::compile(std::slice::from_ref(&source), &context);
        let policy = compiled.map_err(|faults| diagnostic::render(&faults, &[source], false))?;
        let all = |country| -> Result<Vec<Evidence>> {
            scenario.targets().into_iter().map(|target| evidence(scenario, &policy, target, country)).collect()
        };
        for (country, expected) in [(INSIDE, Outcome::Forward), (OUTSIDE, Outcome::Deny)] {
            if let Some(wrong) =
                all(country)?.iter().map(|evidence| policy.decide(evidence)).find(|made| made.outcome != expected)
            {
                return Err(format!("rangegate decides {wrong:?} for {country}").into());
            }
        }
        let evidence = all(INSIDE)?;
        Ok(Self { policy, evidence })
    }

    /// One decision, with all its findings, on the `turn`th request.
    pub fn decide(&self, turn: usize) {
        black_box(self.policy.decide(black_box(&self.evidence[turn % self.evidence.len()])));
    }
}

fn evidence(scenario: &Scenario, policy: &Policy, target: usize, country: &str) -> Result<Evidence> {
    let teams: Vec<String> = (0..TEAMS).map(|team| format!("'team-{team}'")).collect();
    let stated = [
        "at = '2026-03-04T10:00:00Z'".to_owned(),
        "user = 'ann@corp.example', login-age = '2h'".to_owned(),
        format!("groups = [{}]", teams.join(", ")),
        "device = 'ann-laptop', device-class = 'corporate', bound = true".to_owned(),
        format!("country = '{country}', lists = [], rtt = '38ms'"),
    ];
    let given = Given::read(&stated, policy)
        .map_err(|(source, faults)| diagnostic::render(&faults, std::slice::from_ref(&source), false))?;
    Ok(given.evidence(given::request(&scenario.request(target))?, policy))
}
