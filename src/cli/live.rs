//! `rangegate live` and `rangegate session`: what is open right now, and the end of it.

use super::control::{Column, Reach, column, path, print, query};
use super::{Exit, Terminal};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  rangegate live                                               everything that is open
  rangegate live list --user ann@corp.example
  rangegate live cut 01JDQ… --reason 'left the building'

Whoever is cut may come again: to keep somebody out, suspend the person or the device.";

/// See who is connected to what, and end it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct LiveArgs {
    #[command(subcommand)]
    command: Option<LiveCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum LiveCommand {
    /// Every open request, stream and WebSocket: whose, from where, and why it is allowed; what `live` alone shows
    List(ListArgs),
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

#[derive(Debug, Args)]
struct ListArgs {
    #[arg(long)]
    user: Option<String>,
    #[arg(long)]
    device: Option<String>,
    #[arg(long)]
    resource: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

/// See who has something open, from which device
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SessionArgs {
    #[command(subcommand)]
    command: Option<SessionCommand>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Subcommand)]
enum SessionCommand {
    /// People and devices with something open, and what; what `session` alone shows
    List {
        #[command(flatten)]
        reach: Reach,
    },
}

pub fn run(args: &LiveArgs, terminal: &mut Terminal) -> Exit {
    match &args.command {
        None => list(&args.list, terminal),
        Some(LiveCommand::List(args)) => list(args, terminal),
        Some(LiveCommand::Cut { id, reason, reach }) => {
            let body = reason.as_ref().map(|reason| json!({ "reason": reason }));
            reach.run(terminal, (Method::POST, path("/v1/live/", id, "/cut"), body), |terminal, _| {
                terminal.line(&format!("{id}: cut"));
            })
        }
    }
}

fn list(args: &ListArgs, terminal: &mut Terminal) -> Exit {
    let ListArgs { user, device, resource, reach } = args;
    let asked = query([("user", user.as_deref()), ("device", device.as_deref()), ("resource", resource.as_deref())]);
    let done = reach.client().and_then(|client| client.all(&format!("/v1/live{asked}")));
    reach.finish(terminal, done, |terminal, answer| print(terminal, &in_words(answer), &COLUMNS))
}

const COLUMNS: [Column; 8] = [
    column("USER", "user"),
    column("DEVICE", "device"),
    column("SINCE", "since"),
    column("FROM", "from"),
    column("ROUND TRIP", "round-trip"),
    column("WHAT", "what"),
    column("WHY", "why"),
    column("ID", "id"),
];

/// What is open, as people say it: a cell for each question they have.
fn in_words(answer: &Value) -> Value {
    let items = answer.get("items").and_then(Value::as_array).into_iter().flatten();
    json!({ "items": items.map(line).collect::<Vec<_>>() })
}

fn line(open: &Value) -> Value {
    let text = |name: &str| open.get(name).and_then(Value::as_str);
    let said = |name: &str| text(name).unwrap_or_default();
    // To the second, which is enough to find it in the log.
    let since = said("since").get(..19).map(|second| second.replace('T', " "));
    let from = match (text("address"), text("country")) {
        (Some(address), Some(country)) => Some(format!("{address} {country}")),
        (address, _) => address.map(str::to_owned),
    };
    let round_trip = open.get("round-trip-ms").and_then(Value::as_f64).map(|ms| format!("{ms:.1} ms"));
    let method = if open.get("upgrade") == Some(&Value::Bool(true)) { "WebSocket" } else { said("method") };
    let what = format!("{}: {method} {}", text("resource").unwrap_or("-"), shortened(said("path")));
    // By whichever of their names: it is the account that counts.
    let user = text("user").map(|user| text("alias").map_or(user.to_owned(), |alias| format!("{user} as {alias}")));
    json!({
        "user": user, "device": text("device"), "since": since, "from": from, "round-trip": round_trip,
        "what": what, "why": why(open), "id": text("id"),
    })
}

/// `laptop, no-relay; by payroll-approver`, or under what reservation it flows.
fn why(open: &Value) -> String {
    let all = |name: &str| {
        let items = open.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    let text = |name: &str| open.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut why = match text("outcome") {
        "forward" => all("met"),
        outcome => format!("{outcome}, {}", text("reason")),
    };
    let grants = all("grants");
    if !grants.is_empty() {
        why = format!("{why}; by {grants}");
    }
    why
}

/// The end of a path says less than its beginning.
fn shortened(path: &str) -> String {
    const MOST: usize = 40;
    match path.char_indices().nth(MOST) {
        Some((end, _)) => path.get(..end).unwrap_or(path).to_owned() + "…",
        None => path.to_owned(),
    }
}

pub fn session(args: &SessionArgs, terminal: &mut Terminal) -> Exit {
    let reach = match &args.command {
        None => &args.reach,
        Some(SessionCommand::List { reach }) => reach,
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_answers_who_what_since_when_from_where_and_why() {
        let open = json!({
            "id": "01J", "since": "2026-05-28T20:26:40.123Z", "user": "ann@corp.example", "device": "ann-laptop",
            "address": "192.0.2.7", "country": "DE", "round-trip-ms": 12.345, "resource": "payroll", "method": "GET",
            "host": "payroll.corp.example", "path": "/runs/7", "upgrade": true, "outcome": "forward",
            "reason": "all-met", "met": ["laptop", "no-relay"], "grants": ["payroll-approver"],
        });
        let line = line(&open);
        assert_eq!(line["since"], "2026-05-28 20:26:40");
        assert_eq!((&line["from"], &line["round-trip"]), (&json!("192.0.2.7 DE"), &json!("12.3 ms")));
        assert_eq!(line["what"], "payroll: WebSocket /runs/7");
        assert_eq!(line["why"], "laptop, no-relay; by payroll-approver");
    }

    #[test]
    fn an_account_is_named_by_its_own_name_first() {
        let open = |alias: Value| json!({ "user": "ann@corp.example", "alias": alias, "path": "/" });
        assert_eq!(line(&open(Value::Null))["user"], "ann@corp.example");
        assert_eq!(line(&open(json!("ann.lee@corp.example")))["user"], "ann@corp.example as ann.lee@corp.example");
    }

    #[test]
    fn what_is_only_watched_says_so_and_what_is_not_known_is_left_out() {
        let open = json!({
            "id": "01J", "since": "2026-05-28T20:26:40.123Z", "user": null, "device": null, "method": "POST",
            "host": "a.example", "path": "/ä".repeat(30), "upgrade": false, "outcome": "observe",
            "reason": "country-outside", "met": [], "grants": [],
        });
        let line = line(&open);
        assert_eq!((&line["why"], &line["from"]), (&json!("observe, country-outside"), &Value::Null));
        assert_eq!(line["what"], format!("-: POST {}…", "/ä".repeat(20)));
    }
}
