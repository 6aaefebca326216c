//! `rangegate serve`: from the configuration file to the running gateway.

use super::{ConfigArg, Exit, Terminal, log, store};
use crate::config::Config;
use crate::gateway::{ConfigurationFile, Gateway, Running, Settings, StartFault};
use clap::Args;
use sd_notify::NotifyState;
use std::path::Path;
use tokio::signal::unix::{Signal, SignalKind, signal};

const EXAMPLES: &str = "\
Signals:
  SIGHUP   read the configuration and all files that it names again
  SIGTERM  take no new connections, finish what runs, then exit; a second one ends at once what still runs

Example:
  rangegate serve --config /etc/rangegate/rangegate.toml --log info,rangegate::sources=debug";

/// Run the gateway
///
/// Reads the configuration, opens its listeners and decides requests until SIGTERM. Under systemd it says when it
/// is ready and takes over sockets it is handed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    log: log::LogArgs,
}

pub fn run(args: &ServeArgs, terminal: &mut Terminal) -> Exit {
    if let Err(why) = log::start(&args.log) {
        return terminal.refuse(Exit::Usage, &why);
    }
    let path = args.config.config.clone();
    let file = ConfigurationFile::new(path.clone(), move || reread(&path));
    let config = match Config::load(&args.config.config) {
        Ok(config) => config,
        Err(report) => {
            terminal.report(&report);
            return Exit::Usage;
        }
    };
    terminal.report(&config.warnings);
    let prepared = match Gateway::prepare(&config.settings) {
        Ok(prepared) => prepared,
        Err(fault) => return terminal.refuse(exit_of(&fault), &fault.to_string()),
    };
    // From here on the log speaks; standard output is for whoever asked a question.
    terminal.flush();
    match attend(prepared.following(file)) {
        Ok(()) => Exit::Ok,
        Err(why) => terminal.refuse(Exit::CannotRun, &why.to_string()),
    }
}

/// The settings as they are in the file now.
fn reread(path: &Path) -> Result<Settings, String> {
    let config = Config::load(path).map_err(|report| report.render(false).trim_end().to_owned())?;
    if !config.warnings.diagnostics.is_empty() {
        tracing::warn!("in the new configuration:\n{}", config.warnings.render(false).trim_end());
    }
    Ok(config.settings)
}

/// What the operator must mend: a file, or the machine.
fn exit_of(fault: &StartFault) -> Exit {
    match fault {
        StartFault::Bind { .. }
        | StartFault::Socket { .. }
        | StartFault::Io(_)
        | StartFault::Audit(_)
        | StartFault::Memory(_) => Exit::CannotRun,
        StartFault::Store(fault) => store::exit_of_open(fault),
        _ => Exit::Usage,
    }
}

/// Serves until SIGTERM or SIGINT, and reloads on SIGHUP.
fn attend(gateway: Gateway) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let running = gateway.start()?;
    for address in running.addresses() {
        tracing::info!(%address, "listening");
    }
    tracing::info!(address = %running.operations(), "operations");
    tell_systemd(&[NotifyState::Ready]);
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        while signals.next().await == Told::Reload {
            tell_systemd(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?]);
            running.reload();
            tell_systemd(&[NotifyState::Ready]);
        }
        tracing::info!("draining");
        tell_systemd(&[NotifyState::Stopping]);
        drain(running, signals).await
    })
}

/// Stops, at once when told a second time.
async fn drain(running: Running, mut signals: Signals) -> Result<(), Box<dyn std::error::Error>> {
    let hurry = running.hurry();
    let mut stopping = tokio::task::spawn_blocking(move || running.stop());
    loop {
        tokio::select! {
            stopped = &mut stopping => return Ok(stopped?),
            told = signals.next() => if told == Told::Stop {
                tracing::warn!("told to stop again: what is still open is cut");
                hurry();
            }
        }
    }
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Reload,
    Stop,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hangup.recv() => Told::Reload,
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
        }
    }
}

/// Outside systemd there is nobody to tell.
fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd was not told");
    }
}
