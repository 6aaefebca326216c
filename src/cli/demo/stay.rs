//! After the story: is the log whole, what does a record look like, and what can the reader try?

use super::play::Played;
use super::story::Laptop;
use super::world::World;
use crate::audit::verify::{Log, verify};
use crate::cli::Terminal;
use crate::cli::terminal::Style;
use serde_json::{Map, Value};
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// True: every line of the audit log follows from the one before.
pub fn verify_log(world: &World, terminal: &mut Terminal) -> Result<bool, Box<dyn Error>> {
    let report = Log::gather(&[world.audit_log()]).and_then(|log| verify(&log));
    let report = report.map_err(|(path, error)| format!("`{}` cannot be read: {error}", path.display()))?;
    let whole = report.fault_count == 0 && report.torn.is_none();
    let verdict = match whole {
        true => terminal.paint(Style::Good, "whole"),
        false => terminal.paint(Style::Bad, "NOT WHOLE"),
    };
    terminal.line(&format!("Audit log: {} lines, each chained to the one before by its hash; {verdict}.", report.lines));
    Ok(whole)
}

/// The parts of a record that decided, in the log's own words.
pub fn abridged(played: &Played, terminal: &mut Terminal) {
    let record = &played.record;
    let timing = |part: &str| record.pointer(&format!("/evidence/timing/{part}")).cloned().unwrap_or_default();
    let unmet = record.pointer("/decision/findings").and_then(Value::as_array).into_iter().flatten();
    let unmet: Vec<_> = unmet.filter(|finding| finding["verdict"] != "met").cloned().collect();
    terminal.line("");
    terminal.line("The relay's line in it, abridged (microseconds):");
    for (key, value) in [
        ("id", record["id"].clone()),
        ("tcp", timing("tcp/known/minimum")),
        ("tls", timing("tls/known/minimum")),
        ("relay_gap", timing("relay_gap")),
        ("decision", pick(&record["decision"], &["policy", "resource", "outcome", "reason"])),
        ("unmet", Value::Array(unmet)),
        ("hash", record["hash"].clone()),
    ] {
        terminal.line(&format!("  {key:<10} {value}"));
    }
}

fn pick(value: &Value, keys: &[&str]) -> Value {
    let picked = keys.iter().map(|key| ((*key).to_owned(), value[*key].clone()));
    Value::Object(picked.collect::<Map<_, _>>())
}

/// What to try while the gateway stays up.
pub fn hints(world: &World, terminal: &mut Terminal) {
    let this = this_command();
    let (log, policies) = (world.audit_log(), &world.policies);
    let (log, policies) = (log.display(), policies.display());
    let payroll = "https://payroll.corp.example";
    let mut hint = |about: &str, command: &str| {
        let about = terminal.paint(Style::Strong, about);
        terminal.line(&format!("\n{about}\n{command}"));
    };
    hint("Ann on her own laptop", &curl(world, Laptop::Ann, "/runs", ""));
    hint("Her token on Bob's laptop", &curl(world, Laptop::Bob, "/runs", ""));
    hint("She approves a pay run without a grant", &curl(world, Laptop::Ann, "/runs/7/approve", "-X POST "));
    hint("The same as a page, as a browser shows it", &curl(world, Laptop::Ann, "/runs/7/approve", "-X POST -H 'Accept: text/html' "));
    hint(
        "What was recorded, whether the log is whole, and what other policies would have decided",
        &format!("  tail -n 1 {log}\n  {this} audit verify {log}\n  {this} replay {log} --policy {policies}"),
    );
    hint(
        "Why a policy decides as it does, without any of this",
        &format!(
            "  {this} policy explain --policies {policies} --request 'POST {payroll}/runs/7/approve' \\\n    \
             --given user=ann@corp.example --given device=ann-laptop --given rtt=38ms"
        ),
    );
    hint("What operators see", &format!("  curl http://{}/metrics", world.operations));
}

/// The line to paste. The token is Ann's, whoever's laptop it is.
fn curl(world: &World, laptop: Laptop, path: &str, more: &str) -> String {
    let directory = world.directory().display();
    let (id, port, token) = (laptop.id(), world.direct.port(), Laptop::Ann.id());
    let mut line = String::new();
    let _ = writeln!(line, "  curl --cacert {directory}/ca.pem --cert {directory}/{id}.pem --key {directory}/{id}.key \\");
    let _ = writeln!(line, "    --resolve payroll.corp.example:{port}:127.0.0.1 -H @{directory}/{token}.token \\");
    let _ = write!(line, "    {more}https://payroll.corp.example:{port}{path}");
    line
}

/// How this very binary is called from here.
fn this_command() -> String {
    let Ok(path) = env::current_exe() else { return "rangegate".to_owned() };
    let here = env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(PathBuf::from));
    here.unwrap_or(path).display().to_string()
}

/// How often Ann signs in again, so that the lines to paste keep working.
const SIGN_IN_EVERY: Duration = Duration::from_secs(60);

/// Keeps the token fresh until Ctrl-C or SIGTERM.
///
/// # Errors
/// The temporary directory is gone, or signals cannot be heard.
pub async fn until_interrupted(world: &World) -> Result<(), Box<dyn Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            () = tokio::time::sleep(SIGN_IN_EVERY) => drop(world.write_token(Laptop::Ann)?),
        }
    }
}
