//! The story as a table: two lines a scene, the second says why.

use super::play::Played;
use super::story::{Meanwhile, Scene};
use crate::cli::Terminal;
use crate::cli::terminal::Style;
use crate::latency::Rtt;
use crate::policy::Outcome;

/// Column widths; the last is as wide as it likes.
const WIDTHS: [usize; 5] = [34, 17, 8, 11, 28];

pub fn head(terminal: &mut Terminal) {
    let top = cells(["", "", "  round", "trip", ""]);
    terminal.line(top.trim_end());
    let titles = cells(["WHO", "FROM", "   TCP", "    TLS", "ASKED"]) + "OUTCOME";
    let titles = terminal.paint(Style::Strong, &titles);
    terminal.line(&titles);
}

pub fn act(title: &str, terminal: &mut Terminal) {
    let title = terminal.paint(Style::Strong, title);
    terminal.line("");
    terminal.line(&title);
}

pub fn row(scene: &Scene, played: &Played, differs: Option<&str>, terminal: &mut Terminal) {
    let asked = format!("{} {}{}", scene.method, scene.host, scene.path);
    let line = cells([
        &format!("  {}", scene.who),
        &played.place,
        &millis(played.tcp),
        &millis(played.tls),
        &asked,
    ]);
    let outcome = terminal.paint(style(played), &outcome(played));
    terminal.line(&format!("{line}{outcome}"));
    terminal.line(&format!("    {}", why(played)));
    if let Some(differs) = differs {
        let wrong = terminal.paint(Style::Bad, "NOT AS THE STORY SAYS");
        terminal.line(&format!("    {wrong}: {differs}"));
    }
    let _ = Meanwhile::Nothing;
}

fn outcome(played: &Played) -> String {
    let what = match played.outcome {
        Outcome::Forward if played.cut_after.is_some() => "cut",
        outcome => outcome.code(),
    };
    format!("{what} {}", played.status)
}

fn style(played: &Played) -> Style {
    match played.outcome {
        Outcome::Forward if played.cut_after.is_some() => Style::Bad,
        Outcome::Forward => Style::Good,
        Outcome::Deny => Style::Bad,
        _ => Style::Doubt,
    }
}

/// The reason in words, what was seen, and the codes to find it by in policies and in the audit log.
fn why(played: &Played) -> String {
    let words = played.reason.explain().trim_end_matches('.');
    let seen = if played.seen.is_empty() { String::new() } else { format!(" [{}]", played.seen) };
    let code = played.reason.code();
    match played.requirement.is_empty() {
        true => format!("{words}{seen} ({code})"),
        false => format!("{words}{seen} ({}: {code})", played.requirement),
    }
}

/// `0.03`, `12.4`, `171` and the unit; a dash for what nobody can know.
fn millis(rtt: Option<Rtt>) -> String {
    let Some(rtt) = rtt else { return "     -".to_owned() };
    let ms = rtt.as_millis_f64();
    match ms {
        ..1.0 => format!("{ms:>6.2} ms"),
        ..100.0 => format!("{ms:>6.1} ms"),
        _ => format!("{ms:>6.0} ms"),
    }
}

fn cells(cells: [&str; 5]) -> String {
    cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:width$}")).collect()
}
