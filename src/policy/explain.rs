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
        Scope::BuiltIn => "built-in",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Context;
    use crate::policy::given::{self, Given};
    use crate::policy::source::Source;

    #[test]
    fn the_table_shows_each_requirement_and_what_came_of_it() {
        let text = "[[resource]]\nid = 'app'\nhosts = ['app.example']\nupstream = 'http://127.0.0.1:1'\nmode = 'observe'\n\
                    [[resource.require]]\nid = 'at-home'\nthat = { country = 'US' }\n\
                    [[resource.require]]\nid = 'no-relay'\nthat = { relay-gap = { below = '30ms' } }\n\
                    [[resource.require]]\nid = 'signed-in'\nthat = { login = { known = true } }\n";
        let policy = Policy::compile(&[Source::new("t", text)], &Context::default()).expect("compiles");
        let given = Given::read(&["user=ann, rtt='12ms', tls-rtt='190ms'".to_owned(), "user=ann".to_owned()], &policy);
        assert!(given.is_err(), "twice the same key");
        let given = Given::read(&["user = 'ann', rtt = '12ms', tls-rtt = '190ms'".to_owned()], &policy).expect("reads");
        let evidence = given.evidence(given::request("GET https://app.example/x").expect("a request"), &policy);
        let expected = format!(
            "\
request   GET https://app.example/x
resource  app
policy    {}

REQUIREMENT  SCOPE     FINDING  SEEN    DEMANDS  WHY
at-home      resource  unknown  -       deny     The databases know no country for the address.
no-relay     resource  unmet    178 ms  deny     TLS answers from farther away than TCP: something in between splits the connection.
signed-in    resource  met      ann     -        The login has everything asked of it.

outcome   observe (relay-gap-above)
          TLS answers from farther away than TCP: something in between splits the connection.
would be  deny, but `app` is observed, not enforced
",
            policy.version()
        );
        assert_eq!(explain(&policy, &evidence), expected);
    }

    #[test]
    fn without_a_resource_there_is_no_table() {
        let text = "[[resource]]\nid = 'app'\nhosts = ['app.example']\nupstream = 'http://127.0.0.1:1'\n\
                    [[resource.require]]\nid = 'at-home'\nthat = { country = 'US' }\n";
        let policy = Policy::compile(&[Source::new("t", text)], &Context::default()).expect("compiles");
        let evidence =
            Given::default().evidence(given::request("GET https://other.example/").expect("a request"), &policy);
        let told = explain(&policy, &evidence);
        assert!(
            told.contains("resource  none")
                && told
                    .ends_with("outcome   deny (nothing-addressed)\n          No resource has this host and path.\n"),
            "{told}"
        );
    }
}
