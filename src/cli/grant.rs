//! `rangegate grant`: ask for a role, approve, refuse, and see who holds what until when.

use super::control::{Reach, column, details, path, query};
use super::{Exit, Terminal};
use crate::policy::source::units;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  rangegate grant roles                                         what can be asked for
  rangegate grant ask payroll-approver --reason 'PAY-1234: run 7' --for 30m
  rangegate grant list --waiting                                what waits for you
  rangegate grant approve g_4d8k… --note 'run 7 only'
  rangegate grant end g_4d8k… --why 'done'";

/// Ask for a role, approve, and see who holds what until when
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct GrantArgs {
    #[command(subcommand)]
    command: GrantCommand,
}

#[derive(Debug, Subcommand)]
enum GrantCommand {
    /// What can be asked for, for how long, and who approves
    Roles {
        #[command(flatten)]
        reach: Reach,
    },
    /// Ask for a role
    Ask {
        role: String,
        /// Why; some roles want a ticket number
        #[arg(long, default_value = "")]
        reason: String,
        /// For how long, such as `30m` [default: as the role says]
        #[arg(long = "for", value_name = "DURATION")]
        duration: Option<String>,
        /// Take it at once, without approval: alerted, on this device only, to be accounted for. When nobody can sign
        /// in, leave out `--token-file`: the device's `--cert` speaks for its owner
        #[arg(long)]
        break_glass: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Grants: your own, unless told otherwise
    List {
        /// What waits for your approval or review
        #[arg(long, conflicts_with = "all")]
        waiting: bool,
        /// Everybody's, for operators and auditors
        #[arg(long)]
        all: bool,
        /// With `--all`: only this person's
        #[arg(long, requires = "all")]
        user: Option<String>,
        /// With `--all`: only of this role
        #[arg(long, requires = "all")]
        role: Option<String>,
        /// With `--all`: only `waiting`, `held` or `over`
        #[arg(long, requires = "all")]
        state: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// One grant, with everything that was said
    Show {
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Approve somebody's request
    Approve(Noted),
    /// Refuse somebody's request
    Refuse(Why),
    /// Take back your own request before it is answered
    Withdraw {
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// End a grant before its time: your own, or one you may approve
    End(Why),
    /// End anybody's grant or request, for operators
    Revoke(Why),
    /// Say that you looked at what was done behind broken glass
    Review(Noted),
}

#[derive(Debug, Args)]
struct Noted {
    id: String,
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
struct Why {
    id: String,
    #[arg(long)]
    why: String,
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: &GrantArgs, terminal: &mut Terminal) -> Exit {
    let noted = |args: &Noted, what: &str, terminal: &mut Terminal| {
        let body = args.note.as_ref().map(|note| json!({ "note": note }));
        args.reach.run(terminal, (Method::POST, path("/v1/grants/", &args.id, what), body), told)
    };
    let why = |args: &Why, before: &str, what: &str, terminal: &mut Terminal| {
        let body = Some(json!({ "note": args.why }));
        args.reach.run(terminal, (Method::POST, path(before, &args.id, what), body), told)
    };
    match &args.command {
        GrantCommand::Roles { reach } => {
            let columns = [
                column("ROLE", "id"),
                column("OPENS", "opens"),
                column("LONGEST (s)", "longest"),
                column("APPROVALS", "approvals"),
                column("BY GROUPS", "approvers.groups"),
                column("BY USERS", "approvers.users"),
                column("REASON LIKE", "reason.like"),
                column("BREAK-GLASS", "break-glass"),
            ];
            let done = reach.client().and_then(|client| client.ask(Method::GET, "/v1/roles", None));
            reach.finish(terminal, done, |terminal, answer| super::control::print(terminal, answer, &columns))
        }
        GrantCommand::Ask { role, reason, duration, break_glass, reach } => {
            let seconds = match duration.as_deref().map(units::duration).transpose() {
                Ok(duration) => duration.map(|duration| duration.as_secs()),
                Err(why) => return terminal.refuse(Exit::Usage, &format!("`--for`: {why}")),
            };
            let body = json!({ "role": role, "reason": reason, "duration": seconds, "break-glass": break_glass });
            // While nobody can sign in the device's certificate is enough for that, and for nothing else.
            let path = if *break_glass && reach.is_device_alone() { "/v1/break-glass" } else { "/v1/grants" };
            reach.run(terminal, (Method::POST, path.to_owned(), Some(body)), told)
        }
        GrantCommand::List { waiting, all, user, role, state, reach } => {
            let asked = match (waiting, all) {
                (true, _) => "/v1/me/waiting".to_owned(),
                (_, true) => {
                    let pairs = [("user", user.as_deref()), ("role", role.as_deref()), ("state", state.as_deref())];
                    format!("/v1/grants{}", query(pairs))
                }
                _ => "/v1/me/grants".to_owned(),
            };
            let columns = [
                column("ID", "id"),
                column("ROLE", "role"),
                column("USER", "user"),
                column("STATE", "state.is"),
                column("HELD UNTIL", "held-until"),
                column("REASON", "reason"),
            ];
            reach.list(terminal, &asked, &columns)
        }
        GrantCommand::Show { id, reach } => {
            reach.run(terminal, (Method::GET, path("/v1/grants/", id, ""), None), details)
        }
        GrantCommand::Approve(args) => noted(args, "/approve", terminal),
        GrantCommand::Review(args) => noted(args, "/review", terminal),
        GrantCommand::Refuse(args) => why(args, "/v1/grants/", "/refuse", terminal),
        GrantCommand::End(args) => why(args, "/v1/grants/", "/end", terminal),
        GrantCommand::Revoke(args) => why(args, "/v1/revocations/grants/", "", terminal),
        GrantCommand::Withdraw { id, reach } => {
            reach.run(terminal, (Method::POST, path("/v1/grants/", id, "/withdraw"), None), told)
        }
    }
}

/// Where it stands, in a line.
fn told(terminal: &mut Terminal, grant: &Value) {
    let said = |name: &str| grant.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let state = grant.get("state").and_then(|state| state.get("is")).and_then(Value::as_str).unwrap_or_default();
    let until = match grant.get("held-until").and_then(Value::as_str) {
        Some(until) => format!(", held until {until}"),
        None => String::new(),
    };
    terminal.line(&format!("{}  {} for {}: {state}{until}", said("id"), said("role"), said("user")));
}
