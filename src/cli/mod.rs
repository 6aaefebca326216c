//! The command line: what people type, what they read, and how it ends.

mod audit;
mod authority;
mod check;
mod completions;
pub mod demo;
mod control;
mod device;
mod device_admin;
mod device_enrol;
mod emergency;
mod enrolment;
mod grant;
mod identity;
mod live;
mod log;
mod policy;
mod replay;
mod secret;
mod serve;
mod store;
mod terminal;
mod version;

pub use terminal::Terminal;

use clap::{Args, ColorChoice, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; the answer is yes.
    Ok = 0,
    /// Done; the answer is no: a test failed, a chain is broken, a decision would change.
    No = 1,
    /// The command line or a file it names is at fault.
    Usage = 2,
    /// The machine stands in the way: a port is taken, a permission is missing.
    CannotRun = 3,
}

const ABOUT: &str = "\
Rangegate stands in front of internal web systems and lets a request pass when the device is the right one, bound to
the right person, from the right place, within the right round-trip time, with the privilege it needs right now.";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the answer is no: a test failed, a chain is broken, a decision would change
  2  the command line, the configuration or a policy is at fault
  3  cannot run: a port is taken, a permission is missing

Examples:
  rangegate demo
  rangegate check --config rangegate.toml
  rangegate serve --config rangegate.toml";

#[derive(Debug, Parser)]
#[command(name = "rangegate", version, about = "A zero-trust gateway that also measures how far away the hands are", long_about = ABOUT, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// When to use colours; NO_COLOR is respected
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto, help_heading = "Everywhere")]
    color: ColorChoice,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Demo(DemoArgs),
    Check(check::CheckArgs),
    Policy(policy::PolicyArgs),
    Replay(replay::ReplayArgs),
    Audit(audit::AuditArgs),
    Emergency(emergency::EmergencyArgs),
    Authority(authority::AuthorityArgs),
    Identity(identity::IdentityArgs),
    Device(device::DeviceArgs),
    Invitation(device_admin::InvitationArgs),
    Grant(grant::GrantArgs),
    Session(live::SessionArgs),
    Live(live::LiveArgs),
    Store(store::StoreArgs),
    Completions(completions::CompletionsArgs),
    Version(version::VersionArgs),
}

/// Play a story on this machine: throw-away certificates, real clients, real decisions
///
/// Makes certificates, two small upstreams, a token issuer and the gateway with the policies in `policies/`, plays
/// a story against them and prints it as a table. Then stays up, with `curl` lines to try.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Exit after the story; 1 when a row differs from what the story says
    #[arg(long)]
    pub once: bool,
    /// The gateway's port on loopback; 0 takes a free one
    #[arg(long, default_value_t = 8443)]
    pub port: u16,
}

/// The configuration file, wherever a command needs one.
#[derive(Debug, Args)]
struct ConfigArg {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", default_value = "rangegate.toml")]
    config: PathBuf,
}

/// Runs the command the process was started with.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no reason to fail: whoever closed it has read enough.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { Exit::Ok as u8 });
        }
    };
    let mut terminal = Terminal::new(cli.color);
    let exit = match cli.command {
        Command::Serve(args) => serve::run(&args, &mut terminal),
        Command::Demo(args) => demo::run(&args, &mut terminal),
        Command::Check(args) => check::run(&args, &mut terminal),
        Command::Policy(args) => policy::run(&args, &mut terminal),
        Command::Replay(args) => replay::run(&args, &mut terminal),
        Command::Audit(args) => audit::run(&args, &mut terminal),
        Command::Emergency(args) => emergency::run(&args, &mut terminal),
        Command::Authority(args) => authority::run(&args, &mut terminal),
        Command::Identity(args) => identity::run(&args, &mut terminal),
        Command::Device(args) => device::run(&args, &mut terminal),
        Command::Invitation(args) => device_admin::invitation(&args, &mut terminal),
        Command::Grant(args) => grant::run(&args, &mut terminal),
        Command::Session(args) => live::session(&args, &mut terminal),
        Command::Live(args) => live::run(&args, &mut terminal),
        Command::Store(args) => store::run(&args, &mut terminal),
        Command::Completions(args) => completions::run(&args, &mut terminal),
        Command::Version(args) => version::run(&args, &mut terminal),
    };
    ExitCode::from(terminal.finish(exit) as u8)
}

/// The command's own description, for completions.
fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    /// The commands that can be typed, with their arguments, below this one: `authority init`, ….
    fn typed(command: &clap::Command, before: &str, found: &mut Vec<(String, bool)>) {
        let name = format!("{before} {}", command.get_name());
        if !command.is_subcommand_required_set() {
            found.push((name.clone(), command.get_arguments().any(|argument| argument.get_id() == "json")));
        }
        for below in command.get_subcommands() {
            typed(below, &name, found);
        }
    }

    #[test]
    fn every_command_that_administers_answers_in_json() {
        let mut found = Vec::new();
        for name in ["authority", "identity", "device", "invitation", "grant", "session", "live", "store"] {
            let root = command();
            typed(root.find_subcommand(name).expect("a command of this name"), "", &mut found);
        }
        let without: Vec<&str> = found.iter().filter(|(_, json)| !json).map(|(name, _)| &**name).collect();
        assert_eq!(without, [""; 0], "of {found:#?}");
        for name in [" authority init", " device renew", " grant review", " live", " live cut", " store backup"] {
            assert!(found.iter().any(|(found, _)| found == name), "{name} of {found:#?}");
        }
    }

    #[test]
    fn what_is_open_is_listed_without_saying_so() {
        let parsed = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        for line in ["rangegate live", "rangegate session", "rangegate live --user ann --json", "rangegate live list"] {
            assert!(parsed(line), "{line}");
        }
        for line in ["rangegate live --user ann cut 01J", "rangegate session --json list", "rangegate live cut"] {
            assert!(!parsed(line), "{line}");
        }
    }
}
