//! After the story: is the log whole, what does a record look like, and what can the reader try?

use super::client::Ask;
use super::play::Played;
use super::scene::{Laptop, Login};
use super::websocket::Heard;
use super::world::World;
use crate::audit::verify::{Log, verify};
use crate::cli::Terminal;
use crate::cli::terminal::Style;
use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// True: every line of the audit log follows from the one before.
pub fn verify_log(world: &World, terminal: &mut Terminal) -> Result<bool, Box<dyn Error>> {
    let report = Log::gather(&[world.audit_log()]).and_then(|log| verify(&log));
    let report = report.map_err(|(path, error)| format!("`{}` cannot be read: {error}", path.display()))?;
    let whole = report.fault_count == 0 && report.torn.is_none();
    let verdict = match whole {
        true => terminal.paint(Style::Good, "whole"),
        false => terminal.paint(Style::Bad, "NOT WHOLE"),
    };
    terminal
        .line(&format!("Audit log: {} lines, each chained to the one before by its hash; {verdict}.", report.lines));
    Ok(whole)
}

/// The parts of a record that say how it was decided, in the log's own words.
pub fn abridged(played: &Played, terminal: &mut Terminal) {
    let record = &played.record;
    let at = |pointer: &str| record.pointer(pointer).cloned().unwrap_or_default();
    let start =
        |pointer: &str| at(pointer).as_str().map(|hash| hash.chars().take(12).collect::<String>()).unwrap_or_default();
    let [tcp, tls, gap] =
        ["tcp/minimum", "tls/minimum", "relay_gap"].map(|part| at(&format!("/evidence/timing/{part}")));
    terminal.line("The relay's line in it, abridged (times in microseconds):");
    terminal.line(&format!(
        r#"  {{…"timing":{{"tcp":{{…"minimum":{tcp}…}},"tls":{{…"minimum":{tls}…}},…"relay_gap":{gap},…}},…"#
    ));
    terminal.line(&format!(
        r#"   "decision":{{…"resource":{},"outcome":{},…"reason":{},…}},…"#,
        at("/decision/resource"),
        at("/decision/outcome"),
        at("/decision/reason"),
    ));
    terminal.line(&format!(
        r#"   "id":{},…"seq":{},"prev":"{}…","hash":"{}…"}}"#,
        at("/id"),
        at("/seq"),
        start("/prev"),
        start("/hash"),
    ));
}

/// What to try while the gateway stays up: lines for a shell, comments included.
pub fn hints(world: &World, terminal: &mut Terminal) {
    let this = this_command();
    let (log, policies) = (world.audit_log(), &world.policies);
    let (log, policies) = (log.display(), policies.display());
    let mut hint = |about: &str, lines: &str| {
        let about = terminal.paint(Style::Strong, &format!("# {about}"));
        terminal.line(&format!("\n{about}\n{lines}"));
    };
    hint("Ann on her own laptop", &curl(world, Laptop::Ann, "/runs", ""));
    hint(
        "Her token on Bob's laptop; as a browser asks, for a page",
        &curl(world, Laptop::Bob, "/runs", "-H 'Accept: text/html' "),
    );
    hint(
        "Ann approves a pay run without a grant; as a program asks, for JSON",
        &curl(world, Laptop::Ann, "/runs/7/approve", "-X POST "),
    );
    hint(
        "The audit log: its last line, whether it is whole, and what other policies would have decided",
        &format!("tail -n 1 {log}\n{this} audit verify {log}\n{this} replay {log} --policy {policies}"),
    );
    let socket = world.socket();
    let socket = socket.display();
    hint(
        "What is open (Ann left a WebSocket), who held what, whose laptop Dan's was; `--help` says what can be done",
        &["live list", "grant list --all", "device list"]
            .map(|list| format!("{this} {list} --socket {socket}"))
            .join("\n"),
    );
    hint(
        "Suspend Ann: what she has open ends at once, and her line above is refused until she is active again",
        &["suspend", "activate"]
            .map(|what| format!("{this} identity {what} ann@corp.example --socket {socket}"))
            .join("\n"),
    );
    hint(
        "What a policy makes of a request that nobody sent; change one, and the gateway reads it within a second",
        &format!(
            "{this} policy explain --policies {policies} --given rtt=38ms --given user=ann@corp.example \\\n  \
             --request 'POST https://payroll.corp.example/runs/7/approve'"
        ),
    );
    hint("What operators see", &format!("curl http://{}/metrics", world.operations));
}

/// Ann opens a WebSocket and leaves it, so that there is something to see and to cut.
///
/// # Errors
/// It does not open.
pub async fn leave_open(world: &World) -> Result<(), Box<dyn Error>> {
    let token = world.token(Login { on: Laptop::Ann, minutes_ago: 1 })?;
    let ask = Ask { method: "GET", path: "/live", token: Some(&token), body: None };
    let mut client = world.dial(Laptop::Ann, "payroll").await?;
    let (_, mut socket) = client.open(ask).await?;
    tokio::spawn(async move { while socket.next().await == Heard::Message {} });
    Ok(())
}

/// The line to paste. The token is Ann's, whosever the laptop is.
fn curl(world: &World, laptop: Laptop, path: &str, more: &str) -> String {
    let directory = world.directory().display();
    let (id, port, token) = (laptop.id(), world.direct.port(), Laptop::Ann.id());
    format!(
        "curl --cacert {directory}/ca.pem --cert {directory}/{id}.pem --key {directory}/{id}.key \\\n  \
         --resolve payroll.corp.example:{port}:127.0.0.1 -H @{directory}/{token}.token \\\n  \
         {more}https://payroll.corp.example:{port}{path}"
    )
}

/// How this very binary is called from here.
fn this_command() -> String {
    let Ok(path) = env::current_exe() else { return "rangegate".to_owned() };
    let here = env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(PathBuf::from));
    here.unwrap_or(path).display().to_string()
}

/// How often Ann signs in again, so that the lines to paste keep working.
const SIGN_IN_EVERY: Duration = Duration::from_secs(60);

/// Keeps Ann's token fresh for as long as it is polled.
///
/// # Errors
/// The temporary directory is gone.
pub async fn keep_signed_in(world: &World) -> Result<Infallible, Box<dyn Error>> {
    loop {
        tokio::time::sleep(SIGN_IN_EVERY).await;
        world.write_token(Laptop::Ann)?;
    }
}
