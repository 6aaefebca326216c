//! `rangegate policy`: run the tests that stand beside the policies, and explain one decision.

use super::Exit;
use super::terminal::{Style, Terminal};
use crate::config::Report;
use crate::policy::cases::{self, CaseResult};
use crate::policy::diagnostic::Diagnostic;
use crate::policy::explain::explain;
use crate::policy::given::{self, Given};
use crate::policy::source::Source;
use crate::policy::{Context, Outcome, Policy};
use crate::store::policy_files;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Test and explain policies, without a gateway
#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    Test(TestArgs),
    Explain(ExplainArgs),
}

const TEST_EXAMPLES: &str = "\
A test stands in a policy file:
  [[test]]
  name = \"abroad the console stays shut\"
  given = { user = \"ann@corp.example\", country = \"FR\" }
  request = \"GET https://console.corp.example/\"
  expect = \"deny\"

Examples:
  rangegate policy test policies
  rangegate policy test policies --list hosting --list partners

Exits with 0 when all hold, 1 when one does not, 2 when a policy is at fault.";

/// Run the tests that stand in policy files
#[derive(Debug, Args)]
#[command(after_help = TEST_EXAMPLES)]
struct TestArgs {
    /// The directory of policy files, or one file
    #[arg(value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    #[command(flatten)]
    lists: ListArgs,
}

const EXPLAIN_EXAMPLES: &str = "\
What is not given is absent: nobody has signed in, no device is known, no round trip was measured. The words are
those of `given` in policy tests.

Examples:
  rangegate policy explain --request 'GET https://console.corp.example/' --given 'country = \"US\"'
  rangegate policy explain --request 'POST https://payroll.corp.example/runs/7/approve' \\
      --given user=ann@corp.example --given device=ann-laptop --given rtt=38ms";

/// Show what each requirement makes of a request, and the outcome
#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_EXAMPLES)]
struct ExplainArgs {
    /// Method and address, such as `GET https://console.corp.example/`
    #[arg(long, value_name = "REQUEST")]
    request: String,
    /// What is known: `country = "US"`, `rtt = "38ms"`; may be repeated
    #[arg(long, value_name = "FACT")]
    given: Vec<String>,
    /// The directory of policy files, or one file
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    #[command(flatten)]
    lists: ListArgs,
    /// The decision as one JSON object
    #[arg(long)]
    json: bool,
}

/// The lists that stand in the configuration, which these commands do without.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// A list of networks the policies may name; may be repeated
    #[arg(long = "list", value_name = "NAME", default_values = ["hosting", "anonymous"])]
    lists: Vec<String>,
}

impl ListArgs {
    pub fn context(&self) -> Context {
        Context { lists: self.lists.iter().map(|name| Arc::from(name.as_str())).collect(), ..Context::default() }
    }
}

pub fn run(args: &PolicyArgs, terminal: &mut Terminal) -> Exit {
    match &args.command {
        PolicyCommand::Test(args) => test(args, terminal),
        PolicyCommand::Explain(args) => explain_one(args, terminal),
    }
}

/// The policy in a directory or a single file, and the files it was made of.
///
/// # Errors
/// Every fault of every file.
pub fn load(dir: &Path, context: &Context) -> Result<(Policy, Vec<Source>), Report> {
    let sources = match dir.is_file() {
        true => policy_files::read_source(dir).map(|source| vec![source]).map_err(|fault| vec![fault]),
        false => policy_files::read_dir(dir),
    };
    let sources = sources.map_err(|diagnostics| Report { diagnostics, sources: Vec::new() })?;
    match Policy::compile(&sources, context) {
        Ok(policy) => Ok((policy, sources)),
        Err(diagnostics) => Err(Report { diagnostics, sources }),
    }
}

fn test(args: &TestArgs, terminal: &mut Terminal) -> Exit {
    let (policy, sources) = match load(&args.policies, &args.lists.context()) {
        Ok(loaded) => loaded,
        Err(report) => {
            terminal.report(&report);
            return Exit::Usage;
        }
    };
    if !policy.warnings().is_empty() {
        terminal.report(&Report { diagnostics: policy.warnings().to_vec(), sources: sources.clone() });
    }
    let results = cases::run(&policy);
    let mut failed = 0usize;
    for result in &results {
        failed += usize::from(!told(result, &policy, &sources, terminal));
    }
    if results.is_empty() {
        terminal.line("no tests: write `[[test]]` into a policy file");
    } else {
        terminal.line(&format!("{}, {failed} failed", counted(results.len(), "test")));
    }
    if failed == 0 { Exit::Ok } else { Exit::No }
}

/// One line for a test that holds; the whole explanation for one that does not. True: it holds.
fn told(result: &CaseResult<'_>, policy: &Policy, sources: &[Source], terminal: &mut Terminal) -> bool {
    let Some(difference) = result.difference() else {
        let ok = terminal.paint(Style::Good, "ok  ");
        terminal.line(&format!("{ok}  {}", result.case.name));
        return true;
    };
    let fail = terminal.paint(Style::Bad, "FAIL");
    terminal.line(&format!("{fail}  {}", result.case.name));
    let fault = Diagnostic::error(result.case.place.clone(), difference);
    terminal.line(&format!("      {}\n", fault.line(sources)));
    for line in explain(policy, &result.evidence).lines() {
        let line = colored(line, terminal);
        terminal.line(format!("      {line}").trim_end());
    }
    terminal.line("");
    false
}

fn explain_one(args: &ExplainArgs, terminal: &mut Terminal) -> Exit {
    let (policy, _) = match load(&args.policies, &args.lists.context()) {
        Ok(loaded) => loaded,
        Err(report) => {
            terminal.report(&report);
            return Exit::Usage;
        }
    };
    let request = match given::request(&args.request) {
        Ok(request) => request,
        Err(why) => return terminal.refuse(Exit::Usage, &format!("`{}` is not a request: {why}", args.request)),
    };
    let given = match Given::read(&args.given, &policy) {
        Ok(given) => given,
        Err((source, diagnostics)) => {
            terminal.report(&Report { diagnostics, sources: vec![source] });
            return Exit::Usage;
        }
    };
    let evidence = given.evidence(request, &policy);
    if args.json {
        match serde_json::to_string(&policy.decide(&evidence)) {
            Ok(json) => terminal.line(&json),
            Err(error) => return terminal.refuse(Exit::CannotRun, &error.to_string()),
        }
    } else {
        for line in explain(&policy, &evidence).lines() {
            let line = colored(line, terminal);
            terminal.line(&line);
        }
    }
    Exit::Ok
}

/// Colours the words that carry the answer: the finding in a row, the outcome.
fn colored(line: &str, terminal: &Terminal) -> String {
    if let Some(rest) = line.strip_prefix("outcome   ") {
        let (outcome, why) = rest.split_once(' ').unwrap_or((rest, ""));
        let style = match Outcome::ALL.into_iter().find(|known| known.code() == outcome) {
            Some(Outcome::Forward) => Style::Good,
            Some(Outcome::Deny) | None => Style::Bad,
            Some(_) => Style::Doubt,
        };
        return format!("outcome   {} {why}", terminal.paint(style, outcome));
    }
    if line.starts_with("REQUIREMENT ") {
        return terminal.paint(Style::Strong, line);
    }
    for (finding, style) in [("  met ", Style::Good), ("  unmet ", Style::Bad), ("  unknown ", Style::Doubt)] {
        if let Some((before, after)) = line.split_once(finding) {
            return format!("{before}  {} {after}", terminal.paint(style, finding.trim()));
        }
    }
    line.to_owned()
}

/// `1 test`, `2 tests`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
