//! The command line: what people type, what they read, and how it ends.

mod audit;
mod authority;
mod check;
mod completions;
pub mod demo;
mod device;
mod device_enrol;
mod emergency;
mod enrolment;
mod log;
mod policy;
mod replay;
mod secret;
mod serve;
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
    Device(device::DeviceArgs),
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
        Command::Device(args) => device::run(&args, &mut terminal),
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
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
