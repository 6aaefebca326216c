//! `rangegate replay`: what would another policy have decided?

use crate::audit::line::printable;
use crate::audit::replay::{Change, Group, Replay};
use crate::evidence::Evidence;
use crate::policy::Decision;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Decide recorded requests again under another policy, and print what would change.
///
/// Exit codes: 0 nothing would change; 1 something would; 2 the log or the policy cannot be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Audit logs, rotated ones first.
    #[arg(required = true, value_name = "AUDIT.JSONL")]
    pub logs: Vec<PathBuf>,
    /// The policy directory to decide by.
    #[arg(long, value_name = "DIR")]
    pub policy: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Replays and prints. `load` compiles a policy directory, or says everything that is wrong with it.
pub fn run<D: FnMut(&Evidence) -> Decision>(
    args: &Args,
    load: impl FnOnce(&Path) -> Result<D, String>,
) -> ExitCode {
    let mut decide = match load(&args.policy) {
        Ok(decide) => decide,
        Err(diagnostics) => {
            eprintln!("{}", diagnostics.trim_end());
            return ExitCode::from(2);
        }
    };
    let mut replay = Replay::default();
    for path in &args.logs {
        let read = File::open(path).and_then(|file| {
            replay.file(&path.display().to_string(), &mut BufReader::with_capacity(256 << 10, file), &mut decide)
        });
        if let Err(error) = read {
            eprintln!("error: `{}` cannot be read: {error}", path.display());
            return ExitCode::from(2);
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&replay).unwrap_or_default());
    } else {
        print!("{}", told(&replay));
    }
    match (replay.changed, replay.unreadable_count) {
        (_, 1..) => ExitCode::from(2),
        (0, 0) => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}

fn told(replay: &Replay) -> String {
    let mut text = String::new();
    for line in &replay.unreadable {
        text += &format!("{}:{}: cannot be read: {}\n", line.file, line.line, line.error);
    }
    let more = replay.unreadable_count.saturating_sub(replay.unreadable.len() as u64);
    if more > 0 {
        text += &format!("and {more} more lines that cannot be read\n");
    }
    let mut groups: Vec<_> = replay.groups.iter().collect();
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
    for (change, group) in groups {
        text += &row(change, group);
    }
    text += &format!(
        "{} of {} decided requests would change; {} stay the same",
        replay.changed, replay.decided, replay.same
    );
    let also = [
        (replay.another_reason, "of these for another reason"),
        (replay.set_aside, "refused because the log could not be written, not decided again"),
        (replay.passed_over, "other lines passed over"),
    ];
    for (count, what) in also {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    text.push('\n');
    text
}

fn row(change: &Change, group: &Group) -> String {
    let place = match &change.now_at {
        Some(now) => format!("{} (now {now})", printable(&change.resource)),
        None => printable(&change.resource).into_owned(),
    };
    let (from, to) = (change.from.code(), change.to.code());
    let mut text = format!("{:>8}  {place}: {from} → {to}, because {}\n", group.count, change.reason);
    for example in &group.examples {
        let user = printable(example.user.as_deref().unwrap_or("nobody known"));
        text += &format!("          {}  {user}  {}\n", printable(&example.id), printable(&example.request));
    }
    text
}
