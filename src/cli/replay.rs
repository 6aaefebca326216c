//! `rangegate replay`: what would another policy have decided?

use super::policy::{ListArgs, load};
use super::{Exit, Terminal};
use crate::audit::replay::{Change, Group, Replay};
use crate::audit::verify::Log;
use crate::audit::visible::printable;
use crate::store::policy_files::in_words;
use clap::Args;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Example:
  rangegate replay audit.jsonl --policy policies-next

Exits with 0 when nothing would change, with 1 when something would, with 2 when the log or a policy is at fault.";

/// Decide recorded requests again under another policy, and print what would change
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// Audit logs, rotated ones first, or the directory they are in
    #[arg(required = true, value_name = "PATH")]
    logs: Vec<PathBuf>,
    /// The policy directory to decide by
    #[arg(long, value_name = "DIR")]
    policy: PathBuf,
    #[command(flatten)]
    lists: ListArgs,
    /// The report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ReplayArgs, terminal: &mut Terminal) -> Exit {
    let (policy, _) = match load(&args.policy, &args.lists.context()) {
        Ok(loaded) => loaded,
        Err(report) => {
            terminal.report(&report);
            return Exit::Usage;
        }
    };
    let log = match Log::gather(&args.logs) {
        Ok(log) => log,
        Err((path, error)) => return unread(terminal, &path, &error),
    };
    if log.files.is_empty() {
        let why = "there is no audit log here\n  help: name the log, such as `audit.jsonl`, or its directory";
        return terminal.refuse(Exit::Usage, why);
    }
    let mut replay = Replay::default();
    for path in &log.files {
        let read = File::open(path).and_then(|file| {
            let mut lines = BufReader::with_capacity(256 << 10, file);
            replay.file(&path.display().to_string(), &mut lines, &mut |evidence| policy.decide(evidence))
        });
        if let Err(error) = read {
            return unread(terminal, path, &error);
        }
    }
    if args.json {
        terminal.line(&serde_json::to_string_pretty(&replay).unwrap_or_default());
    } else {
        terminal.print(&told(&replay));
    }
    match (replay.changed, replay.unreadable_count) {
        (_, 1..) => Exit::Usage,
        (0, 0) => Exit::Ok,
        _ => Exit::No,
    }
}

fn unread(terminal: &mut Terminal, path: &Path, error: &io::Error) -> Exit {
    terminal.refuse(Exit::Usage, &format!("`{}` cannot be read: {}", path.display(), in_words(error)))
}

fn told(replay: &Replay) -> String {
    let mut text = String::new();
    for line in &replay.unreadable {
        text += &format!("{}:{}: not decided again: {}\n", line.file, line.line, line.error);
    }
    let more = replay.unreadable_count.saturating_sub(replay.unreadable.len() as u64);
    if more > 0 {
        text += &format!("and {more} more lines not decided again\n");
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
