//! The story as a table: two lines a scene, the second says why.

use super::play::Played;
use super::scene::{Scene, Way};
use crate::cli::Terminal;
use crate::cli::terminal::Style;
use crate::evidence::Fact;
use crate::latency::Rtt;
use crate::policy::{Outcome, Reason};

/// Who, from where, asked: to the left. The round trips between them to the right; the outcome last, as it comes.
const WHO: usize = 35;
const FROM: usize = 15;
const ROUND_TRIP: usize = 8;
const ASKED: usize = 31;

pub fn head(terminal: &mut Terminal) {
    let titles = line("WHO", "FROM", "TCP ms", "TLS ms", "ASKED") + "OUTCOME";
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
    let (tcp, tls) = (millis(played.tcp()), millis(played.tls()));
    let start = line(&format!("  {}", scene.who), &played.place(), &tcp, &tls, &asked);
    let outcome = terminal.paint(style(played), &outcome(played));
    terminal.line(&format!("{start}{outcome}"));
    terminal.line(&format!("      {}", why(scene, played)));
    if let Some(differs) = differs {
        let wrong = terminal.paint(Style::Bad, "NOT AS THE STORY SAYS");
        terminal.line(&format!("      {wrong}: {differs}"));
    }
}

pub fn legend(terminal: &mut Terminal) {
    terminal.line("");
    terminal.line(
        "TCP and TLS: the least round trip to whoever ends the TCP connection, and to whoever holds the TLS key.",
    );
    terminal.line(
        "A dash: it was not measured, or cannot be (behind a balancer, TCP is the balancer's own). Never guessed.",
    );
}

fn line(who: &str, from: &str, tcp: &str, tls: &str, asked: &str) -> String {
    format!("{who:WHO$}{from:FROM$}{tcp:>ROUND_TRIP$}{tls:>ROUND_TRIP$}   {asked:ASKED$}")
}

/// `0.03`, `12.4`, `171`; never zero; a dash for what is not known.
fn millis(rtt: Option<Rtt>) -> String {
    match rtt.map(Rtt::as_millis_f64) {
        None => "-".to_owned(),
        Some(..0.01) => "<0.01".to_owned(),
        Some(ms @ ..1.0) => format!("{ms:.2}"),
        Some(ms @ ..100.0) => format!("{ms:.1}"),
        Some(ms) => format!("{ms:.0}"),
    }
}

fn outcome(played: &Played) -> String {
    let status = played.status;
    match played.cut_after {
        None if played.refusal.is_some() => format!("refused {status}"),
        Some(_) => format!("{status}, then cut"),
        None => format!("{} {status}", played.outcome.code()),
    }
}

fn style(played: &Played) -> Style {
    match played.outcome {
        _ if played.cut_after.is_some() || played.refusal.is_some() => Style::Bad,
        Outcome::Forward => Style::Good,
        Outcome::Deny => Style::Bad,
        _ => Style::Doubt,
    }
}

/// The reason in words, and the codes to find it by in the policies and in the audit log.
fn why(scene: &Scene, played: &Played) -> String {
    let code = played.code();
    let codes = if played.requirement.is_empty() { code.to_owned() } else { format!("{}: {code}", played.requirement) };
    let words = played.reason.explain().trim_end_matches('.');
    let timing = &played.evidence.timing;
    let words = match (&scene.way, &timing.relay_gap, &timing.nearness) {
        (Way::Relay { .. }, Fact::Known(gap), _) if played.outcome == Outcome::StepUp => {
            format!("The TLS end is {gap} behind the TCP end: a relay. Show a passkey again")
        }
        (_, _, Fact::Known(nearness)) if played.reason == Reason::TooNear => {
            let place = played.place();
            let (measured, floor) = (nearness.measured, nearness.floor);
            format!("It answered in {measured}; from {place} light alone takes {floor}: the place is false")
        }
        _ if played.reason == Reason::Watched => watched(played).to_owned(),
        _ => match (played.cut_after, &*played.seen) {
            (_, seen) if played.outcome == Outcome::Decoy => {
                format!("The device is {seen}: a copy answers in which nothing is real")
            }
            _ if !played.told.is_empty() => played.told.clone(),
            _ if let Some(refusal) = &played.refusal => begun(&refusal.detail),
            _ if let Some(closed) = &played.closed => {
                format!("Olga revokes it: closed ({}) {}", closed.code, closed.when())
            }
            (Some(pieces), _) => format!("Reported stolen after {pieces} pieces of the answer; the rest never came"),
            (None, "") => words.to_owned(),
            (None, seen) => format!("{words}: {seen}"),
        },
    };
    let also = if played.outcome == Outcome::Observe && played.reason != Reason::Watched {
        "; let through, and reported"
    } else {
        ""
    };
    format!("{words}{also} ({codes})")
}

fn watched(played: &Played) -> &'static str {
    match played.outcome {
        Outcome::Observe => "Watched: what is not sensitive is let through, recorded and reported",
        _ => "Watched, says the log; the answer is a plain denial that does not tell",
    }
}

/// The first part of a sentence, with a capital.
fn begun(sentence: &str) -> String {
    let part = sentence.split([':', ';']).next().unwrap_or_default();
    let mut letters = part.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
