//! `rangegate device`: what a device does for itself, and what administrators do to it.

use super::{Exit, Terminal, device_admin, device_enrol};
use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  rangegate device enrol --url https://enrol.corp.example      asks for the invitation code
  rangegate device renew --url https://enrol.corp.example      daily, by a timer
  rangegate device invite ann@corp.example --expires-in 8h      on the gateway; shows the code
  rangegate device revoke d_7k2m… --reason lost                 what it has open ends at once";

/// Enrol this device, and look after all of them
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DeviceArgs {
    #[command(subcommand)]
    command: DeviceCommand,
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    Enrol(device_enrol::EnrolArgs),
    Renew(device_enrol::RenewArgs),
    #[command(flatten)]
    Administer(device_admin::Administer),
}

pub fn run(args: &DeviceArgs, terminal: &mut Terminal) -> Exit {
    match &args.command {
        DeviceCommand::Enrol(args) => device_enrol::enrol(args, terminal),
        DeviceCommand::Renew(args) => device_enrol::renew(args, terminal),
        DeviceCommand::Administer(command) => device_admin::administer(command, terminal),
    }
}
