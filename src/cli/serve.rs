//! `rangegate serve`: from the configuration file to the running gateway.

use super::{ConfigArg, Exit, Terminal, log};
use crate::config::Config;
use clap::Args;

const EXAMPLES: &str = "\
Signals:
  SIGHUP   read configuration, policies, certificates and databases again
  SIGTERM  take no new connections, finish what runs, then exit

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
    let config = match Config::load(&args.config.config) {
        Ok(config) => config,
        Err(report) => {
            terminal.report(&report);
            return Exit::Usage;
        }
    };
    terminal.report(&config.warnings);
    // The one line that is not here yet: `gateway::serve(config)`.
    terminal.refuse(Exit::CannotRun, "this build cannot serve")
}
