//! `rangegate check`: every fault of everything the gateway would read, at once.

use super::{ConfigArg, Exit, Terminal};
use crate::config::{Config, Report};
use crate::policy::diagnostic::{self, Severity};
use crate::store::policy_files;
use clap::Args;
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  rangegate check
  rangegate check --config /etc/rangegate/rangegate.toml --json | jq '.faults[].message'

Exits with 0 when the gateway would start with these files and their tests hold, with 1 when a policy test fails,
with 2 when a file is at fault. Warnings change nothing.";

/// Report every fault of configuration, policies, device registry and lists, with its place
///
/// Also runs the tests that stand in the policies.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub fn run(args: &CheckArgs, terminal: &mut Terminal) -> Exit {
    let mut report = Report::default();
    let config = match Config::load(&args.config.config) {
        Ok(config) => {
            report.merge(config.warnings.clone());
            Some(config)
        }
        Err(faults) => {
            report.merge(faults);
            None
        }
    };
    if let Some(config) = config {
        match policy_files::read_dir(&config.policies) {
            Ok(sources) => report.sources.extend(sources),
            Err(faults) => report.diagnostics.extend(faults),
        }
    }
    let exit = if report.has_errors() { Exit::Usage } else { Exit::Ok };
    if args.json {
        terminal.line(&json!({ "ok": exit == Exit::Ok, "faults": faults(&report) }).to_string());
    } else {
        terminal.print(&report.render(terminal.color));
    }
    exit
}

fn faults(report: &Report) -> Vec<Value> {
    let mut sorted = report.diagnostics.clone();
    diagnostic::sort(&mut sorted);
    sorted
        .iter()
        .map(|fault| {
            let position = report
                .sources
                .iter()
                .find(|source| source.name == fault.place.file)
                .map(|source| source.position(fault.place.start));
            json!({
                "severity": if fault.severity == Severity::Error { "error" } else { "warning" },
                "file": &*fault.place.file,
                "line": position.map(|(line, _)| line),
                "column": position.map(|(_, column)| column),
                "message": fault.message,
                "label": fault.label,
                "help": fault.more.help,
                "suggestion": fault.more.suggestion.as_ref().map(|suggestion| &suggestion.replacement),
            })
        })
        .collect()
}
