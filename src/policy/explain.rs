//! A decision as a table: each requirement, what it found, and what came of it. Plain text, no colours.

use super::decide::Policy;
use super::decision::{Decision, Scope, Verdict};
use super::resource::Mode;
use crate::evidence::{Emergency, Evidence};
use std::fmt::Write as _;

/// Explains what `policy` makes of `evidence`. Ends with a newline.
pub fn explain(policy: &Policy, evidence: &Evidence) -> String {
    let decision = policy.decide(evidence);
    let mut out = String::new();
    let request = &evidence.request;
    let resource = decision.resource.as_ref().map_or("none", |resource| &resource.id);
    let _ = writeln!(out, "request   {} https://{}{}", request.method, request.host, request.path);
    let _ = writeln!(out, "resource  {resource}");
    let _ = writeln!(out, "policy    {}\n", decision.policy);
    if !decision.findings.is_empty() {
        out.push_str(&align(&rows(&decision)));
        out.push('\n');
    }
    let _ = writeln!(out, "outcome   {} ({})", decision.outcome.code(), decision.reason.code());
    let _ = writeln!(out, "          {}", decision.reason.explain());
    if decision.would != decision.outcome {
        let why = match (evidence.emergency, decision.resource.as_ref().map(|resource| resource.mode)) {
            (Emergency::Off, Some(Mode::Observe)) => format!("`{resource}` is observed, not enforced"),
            (Emergency::Off, _) => "something outside the policy decided".to_owned(),
            (Emergency::Observe | Emergency::Deny, _) => "the emergency switch is on".to_owned(),
        };
        let _ = writeln!(out, "would be  {}, but {why}", decision.would.code());
    }
    out
}

fn rows(decision: &Decision) -> Vec<[String; 6]> {
    let mut rows = vec![["REQUIREMENT", "SCOPE", "FINDING", "SEEN", "DEMANDS", "WHY"].map(str::to_owned)];
    for finding in &decision.findings {
        let seen = finding.seen.to_string();
        rows.push([
            finding.requirement.to_string(),
            scope(finding.scope).to_owned(),
            verdict(finding.verdict).to_owned(),
            if seen.is_empty() { "-".to_owned() } else { seen },
            if finding.verdict == Verdict::Met { "-".to_owned() } else { finding.demand.code().to_owned() },
            finding.reason.explain().to_owned(),
        ]);
    }
    rows
}

/// Pads every column but the last to its widest cell.
fn align(rows: &[[String; 6]]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

const fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Baseline => "baseline",
        Scope::Resource => "resource",
        Scope::Route => "route",
    }
}

const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Unmet => "unmet",
        Verdict::Unknown => "unknown",
    }
}
