//! `rangegate check`: every fault of everything the gateway would read, at once.

mod start;

use super::policy::counted;
use super::{ConfigArg, Exit, Terminal};
use crate::config::{Beside, Config, Report};
use crate::gateway::clock;
use crate::policy::diagnostic::{self, Diagnostic, Place, Severity};
use crate::policy::source::Source;
use crate::policy::{Context, Policy, cases};
use crate::sources::lists::{ListSettings, Set};
use crate::store::{policy_files, registry};
use clap::Args;
use serde_json::{Value, json};
use std::sync::Arc;

const EXAMPLES: &str = "\
Examples:
  rangegate check
  rangegate check --config /etc/rangegate/rangegate.toml --json | jq -r '.faults[].message'

Exits with 0 when every file is good and every policy test holds, with 1 when a test fails, with 2 when a file is at
fault. Warnings change nothing.";

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

/// What was found, and what a policy without faults holds.
#[derive(Default)]
struct Found {
    report: Report,
    devices: usize,
    resources: usize,
    requirements: usize,
    roles: usize,
    tests: usize,
    failed: usize,
}

pub fn run(args: &CheckArgs, terminal: &mut Terminal) -> Exit {
    let path = &args.config.config;
    let mut found = Found::default();
    match Config::load(path) {
        Ok(config) => {
            found.report.diagnostics.extend(start::faults(&config, clock::now()));
            found.report.merge(config.warnings);
        }
        Err(faults) => found.report.merge(faults),
    }
    if let Some(beside) = Config::beside(path) {
        found.devices(&beside);
        beside.lists.iter().for_each(|list| found.list(list));
        found.policies(&beside);
    }
    // A failed test is reported like a fault, and is not one: the files can be used.
    let exit = match diagnostic::has_errors(&found.report.diagnostics) {
        false => Exit::Ok,
        true if found.failed == found.report.diagnostics.iter().filter(|fault| fault.is_error()).count() => Exit::No,
        true => Exit::Usage,
    };
    if args.json {
        terminal.line(&found.as_json(exit).to_string());
    } else {
        terminal.print(&found.report.render(terminal.color));
        terminal.line(&found.summary(exit));
    }
    exit
}

impl Found {
    /// A registry that cannot be opened was reported where it is named.
    fn devices(&mut self, beside: &Beside) {
        let Some(path) = beside.devices.as_ref().filter(|path| path.is_file()) else { return };
        match registry::load(path) {
            Ok(devices) => self.devices = devices.len(),
            Err((diagnostics, sources)) => self.report.merge(Report { diagnostics, sources }),
        }
    }

    fn policies(&mut self, beside: &Beside) {
        let sources = match policy_files::read_dir(&beside.policies) {
            Ok(sources) => sources,
            // A directory that is named and missing was reported where it is named.
            Err(_) if !beside.policies.exists() && diagnostic::has_errors(&self.report.diagnostics) => return,
            Err(faults) => return self.report.diagnostics.extend(faults),
        };
        let lists = beside.lists.iter().map(|list| Arc::from(list.name.as_str())).collect();
        match Policy::compile(&sources, &Context { lists, ..Context::default() }) {
            Ok(policy) => self.policy(&policy),
            Err(faults) => self.report.diagnostics.extend(faults),
        }
        self.report.sources.extend(sources);
    }

    fn policy(&mut self, policy: &Policy) {
        self.report.diagnostics.extend_from_slice(policy.warnings());
        self.resources = policy.resources().count();
        self.requirements = policy.requirements().count();
        self.roles = policy.roles().len();
        for result in cases::run(policy) {
            self.tests += 1;
            if let Some(difference) = result.difference() {
                self.failed += 1;
                let fault = Diagnostic::error(result.case.place.clone(), "this test fails").label(difference);
                self.report.diagnostics.push(fault.help("`rangegate policy test` shows what each requirement found"));
            }
        }
    }

    /// A list that cannot be opened was reported where it is named.
    fn list(&mut self, list: &ListSettings) {
        let Ok(source) = policy_files::read_source(&list.path) else { return };
        let Err(faults) = Set::parse(&list.path, source.text.as_bytes()) else { return };
        for fault in faults {
            let place = match fault.line {
                Some(number) => line_place(&source, number),
                None => Place::file(Arc::clone(&source.name)),
            };
            self.report.diagnostics.push(Diagnostic::error(place, fault.message).help(fault.help));
        }
        self.report.sources.push(source);
    }

    fn summary(&self, exit: Exit) -> String {
        let errors = self.report.diagnostics.iter().filter(|fault| fault.is_error()).count();
        match exit {
            Exit::Ok => format!(
                "ok: {}, {}, {}, {}, {}",
                counted(self.resources, "resource"),
                counted(self.requirements, "requirement"),
                counted(self.roles, "role"),
                counted(self.tests, "test"),
                counted(self.devices, "device")
            ),
            Exit::No => format!("{} of {} failed", self.failed, counted(self.tests, "test")),
            _ => format!("{} found", counted(errors, "fault")),
        }
    }

    fn as_json(&self, exit: Exit) -> Value {
        let mut sorted = self.report.diagnostics.clone();
        diagnostic::sort(&mut sorted);
        let faults: Vec<Value> = sorted.iter().map(|fault| self.fault_as_json(fault)).collect();
        json!({
            "ok": exit == Exit::Ok,
            "devices": self.devices,
            "resources": self.resources,
            "requirements": self.requirements,
            "roles": self.roles,
            "tests": self.tests,
            "failed": self.failed,
            "faults": faults,
        })
    }

    fn fault_as_json(&self, fault: &Diagnostic) -> Value {
        let source = self.report.sources.iter().find(|source| source.name == fault.place.file);
        let position = source.map(|source| source.position(fault.place.start));
        json!({
            "severity": if fault.severity == Severity::Error { "error" } else { "warning" },
            "file": &*fault.place.file,
            "line": position.map(|(line, _)| line),
            "column": position.map(|(_, column)| column),
            "message": fault.message,
            "label": fault.label,
            "help": fault.more.help,
            "notes": fault.more.notes,
            "suggestion": fault.more.suggestion.as_ref().map(|suggestion| &suggestion.replacement),
        })
    }
}

/// The whole line `number`, counted from 1, without its end.
fn line_place(source: &Source, number: usize) -> Place {
    let mut lines = source.text.split_inclusive('\n');
    let start = lines.by_ref().take(number.saturating_sub(1)).map(str::len).sum();
    Place::new(&source.name, start..start + lines.next().unwrap_or_default().trim_end().len())
}
