//! `rangegate audit verify`: is the log whole?

use crate::audit::verify::{Log, Place, Report, verify as read};
use std::path::PathBuf;
use std::process::ExitCode;

/// Look after the audit log.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Verify(VerifyArgs),
}

/// Find changed, missing, inserted, moved or cut lines.
///
/// Exit codes: 0 the log is whole; 1 it is not; 2 it cannot be read; 3 it is whole but for a final line
/// without its end, which a crash leaves.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Files in the order they were written, or the directory they are in.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The head file, if it is not beside the last file: a copy kept elsewhere proves more.
    #[arg(long, value_name = "FILE")]
    pub head: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs one of the audit commands.
pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::Verify(args) => verify(args),
    }
}

/// Verifies and prints what was found.
pub fn verify(args: &VerifyArgs) -> ExitCode {
    let report = Log::gather(&args.paths).and_then(|mut log| {
        log.head = args.head.clone().or(log.head);
        read(&log)
    });
    let report = match report {
        Ok(report) => report,
        Err((path, error)) => {
            eprintln!("error: `{}` cannot be read: {error}", path.display());
            return ExitCode::from(2);
        }
    };
    if report.files == 0 {
        eprintln!("error: there is no audit log here\n  help: name the log, such as `audit.jsonl`, or its directory");
        return ExitCode::from(2);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        print!("{}", told(&report));
    }
    match (report.fault_count, &report.torn) {
        (0, None) => ExitCode::SUCCESS,
        (0, Some(_)) => ExitCode::from(3),
        _ => ExitCode::from(1),
    }
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
    let (lines, files) = (report.lines, report.files);
    text += &format!("{verdict}: {lines} lines in {files} files{range}, {} faults\n", report.fault_count);
    text
}
