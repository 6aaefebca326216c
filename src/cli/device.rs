//! `rangegate device`: what a device does for itself.

use super::{Exit, Terminal, device_enrol};
use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  rangegate device enrol --url https://enrol.corp.example      asks for the invitation code
  rangegate device renew --url https://enrol.corp.example      daily, by a timer";

/// Enrol this device and keep its certificate fresh
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
}

pub fn run(args: &DeviceArgs, terminal: &mut Terminal) -> Exit {
    match &args.command {
        DeviceCommand::Enrol(args) => device_enrol::enrol(args, terminal),
        DeviceCommand::Renew(args) => device_enrol::renew(args, terminal),
    }
}
