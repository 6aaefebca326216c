//! `rangegate audit verify`: is the log whole?

use super::{Exit, Terminal};
use crate::audit::verify::{Log, Place, Report, verify as read};
use crate::store::policy_files::in_words;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Look after the audit log
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    Verify(VerifyArgs),
}

const EXAMPLES: &str = "\
Examples:
  rangegate audit verify /var/log/rangegate
  rangegate audit verify audit.000000000001.jsonl audit.jsonl --head /mnt/safe/audit.head

Exits with 0 when the log is whole, with 1 when it is not, and with 2 when there is none or it cannot be read. A
final line without its end counts as not whole: a crash leaves one, and so does a gateway that is writing it now. So does
a log that is gone while its head still says what was in it.";

/// Find changed, missing, inserted, moved or cut lines
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct VerifyArgs {
    /// Files in the order they were written, or the directory they are in
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The head file, if it is not beside the last file: a copy kept elsewhere proves more
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// The report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &AuditArgs, terminal: &mut Terminal) -> Exit {
    match &args.command {
        AuditCommand::Verify(args) => verify(args, terminal),
    }
}

fn verify(args: &VerifyArgs, terminal: &mut Terminal) -> Exit {
    let report = Log::gather(&args.paths).and_then(|mut log| {
        log.head = args.head.clone().or(log.head);
        read(&log)
    });
    let report = match report {
        Ok(report) => report,
        Err((path, error)) => {
            let why = format!("`{}` cannot be read: {}", path.display(), in_words(&error));
            return terminal.refuse(Exit::Usage, &why);
        }
    };
    if report.files == 0 && report.fault_count == 0 {
        let why = "there is no audit log here\n  help: name the log, such as `audit.jsonl`, or its directory";
        return terminal.refuse(Exit::Usage, why);
    }
    if args.json {
        terminal.line(&serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        terminal.print(&told(&report));
    }
    if report.fault_count == 0 && report.torn.is_none() { Exit::Ok } else { Exit::No }
}

fn told(report: &Report) -> String {
    let mut text = String::new();
    let at = |place: &Place| match place.line {
        0 => place.file.display().to_string(),
        line => format!("{}:{line}", place.file.display()),
    };
    for fault in &report.faults {
        text += &format!("{}: {}\n", at(&fault.place), fault.text);
    }
    let more = report.fault_count.saturating_sub(report.faults.len() as u64);
    if more > 0 {
        text += &format!("and {more} more\n");
    }
    if let Some(place) = &report.torn {
        text += &format!("{}: the final line has no end: a crash, or a gateway that is writing it now\n", at(place));
    }
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    let range = match (report.first, report.last) {
        (Some(first), Some(last)) => format!(", numbers {first} to {last}"),
        _ => String::new(),
    };
    let verdict = if report.fault_count == 0 { "whole" } else { "NOT WHOLE" };
    let (lines, files) = (count(report.lines, "line"), count(report.files as u64, "file"));
    text += &format!("{verdict}: {lines} in {files}{range}, {}\n", count(report.fault_count, "fault"));
    text
}

/// `1 line`, `2 lines`.
fn count(number: u64, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}
