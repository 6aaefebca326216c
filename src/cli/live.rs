//! `rangegate live` and `rangegate session`: what is open right now, and the end of it.

use super::control::{Reach, column, path, query};
use super::{Exit, Terminal};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

const EXAMPLES: &str = "\
Examples:
  rangegate live list --user ann@corp.example
  rangegate live cut 01JDQ… --reason 'left the building'

Whoever is cut may come again: to keep somebody out, suspend the person or the device.";

/// See who is connected to what, and end it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LiveArgs {
    #[command(subcommand)]
    command: LiveCommand,
}

#[derive(Debug, Subcommand)]
enum LiveCommand {
    /// Every open request, stream and WebSocket: whose, from where, and why it is allowed
    List {
        #[arg(long)]
        user: Option<String>,
        #[arg(long)]
        device: Option<String>,
        #[arg(long)]
        resource: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// End one
    Cut {
        /// The request's id
        id: String,
        /// For the audit log
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
}

/// See who has something open, from which device
#[derive(Debug, Args)]
pub struct SessionArgs {
    #[command(subcommand)]
    command: SessionCommand,
}

#[derive(Debug, Subcommand)]
enum SessionCommand {
    /// People and devices with something open, and what
    List {
        #[command(flatten)]
        reach: Reach,
    },
}

pub fn run(args: &LiveArgs, terminal: &mut Terminal) -> Exit {
    match &args.command {
        LiveCommand::List { user, device, resource, reach } => {
            let asked =
                query([("user", user.as_deref()), ("device", device.as_deref()), ("resource", resource.as_deref())]);
            let columns = [
                column("ID", "id"),
                column("SINCE", "since"),
                column("USER", "user"),
                column("DEVICE", "device"),
                column("FROM", "address"),
                column("COUNTRY", "country"),
                column("RTT MS", "round-trip-ms"),
                column("RESOURCE", "resource"),
                column("PATH", "path"),
                column("WHY", "reason"),
                column("GRANTS", "grants"),
            ];
            reach.list(terminal, &format!("/v1/live{asked}"), &columns)
        }
        LiveCommand::Cut { id, reason, reach } => {
            let body = reason.as_ref().map(|reason| json!({ "reason": reason }));
            reach.run(terminal, (Method::POST, path("/v1/live/", id, "/cut"), body), |terminal, _| {
                terminal.line(&format!("{id}: cut"));
            })
        }
    }
}

pub fn session(args: &SessionArgs, terminal: &mut Terminal) -> Exit {
    let SessionCommand::List { reach } = &args.command;
    let columns = [
        column("USER", "user"),
        column("DEVICE", "device"),
        column("SINCE", "since"),
        column("OPEN", "exchanges"),
        column("FROM", "addresses"),
        column("RESOURCES", "resources"),
    ];
    reach.list(terminal, "/v1/sessions", &columns)
}
