//! `rangegate emergency`: everything to observe, everything to deny, or back to what policy says.

use super::{ConfigArg, Exit, Terminal};
use crate::config::Config;
use crate::evidence::Emergency;
use crate::store;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  rangegate emergency deny                    refuse everything, now
  rangegate emergency observe                 a faulty policy locks people out: let them through, watched and recorded
  rangegate emergency off                     policy decides again";

/// Throw the emergency switch of a running gateway
///
/// Writes the file named by `emergency` in the configuration. The gateway looks at it every second, and the change
/// is audited. The switch works when the rest of the configuration is at fault.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EmergencyArgs {
    /// What becomes of requests
    #[arg(value_name = "WHAT")]
    switch: Switch,
    #[command(flatten)]
    config: ConfigArg,
    /// The switch's file, without asking the configuration
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    /// What policy would refuse is let through, watched and recorded
    Observe,
    /// Everything is refused
    Deny,
    /// Policy decides
    Off,
}

pub fn run(args: &EmergencyArgs, terminal: &mut Terminal) -> Exit {
    let path = match &args.file {
        Some(path) => path.clone(),
        None => match Config::emergency_file(&args.config.config) {
            Ok(path) => path,
            Err(report) => {
                terminal.report(&report);
                return terminal
                    .refuse(Exit::Usage, "the configuration does not say where the switch is: name it with `--file`");
            }
        },
    };
    let (emergency, meaning) = match args.switch {
        Switch::Observe => (Emergency::Observe, "what policy would refuse is let through, watched and recorded"),
        Switch::Deny => (Emergency::Deny, "everything is refused"),
        Switch::Off => (Emergency::Off, "policy decides"),
    };
    match store::emergency::write(&path, emergency) {
        Ok(()) => {
            terminal.line(&format!("emergency {}: {meaning} ({})", store::emergency::word(emergency), path.display()));
            Exit::Ok
        }
        Err(why) => {
            let why = store::policy_files::in_words(&why);
            terminal
                .refuse(Exit::CannotRun, &format!("the emergency file `{}` cannot be written: {why}", path.display()))
        }
    }
}
