//! `rangegate identity`: who people are, one by one and from a file.

use super::control::{Client, Failed, Reach, Sending, column, details, path, query};
use super::{Exit, Terminal};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  rangegate identity import people.csv --dry-run         what would change, and every row that is at fault
  rangegate identity set ann@corp.example manager=eve@corp.example groups=staff,payroll
  rangegate identity suspend ann@corp.example            everything ann has open ends at once";

/// Say who people are
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct IdentityArgs {
    #[command(subcommand)]
    command: IdentityCommand,
}

#[derive(Debug, Subcommand)]
enum IdentityCommand {
    /// Everybody
    List {
        /// Only accounts of this person
        #[arg(long)]
        person: Option<String>,
        /// `active`, `watched` or `suspended`
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// One account, by its name or an alias
    Show {
        user: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Change what is named; without a value it is taken away
    ///
    /// Members: person, aliases, name, email, groups, employment, vendor, manager, status, home.country, home.region,
    /// home.radius-km, home.coordinates.latitude, home.coordinates.longitude, proofing.method, proofing.by,
    /// proofing.at, proofing.until. Lists are separated by commas.
    Set {
        user: String,
        #[arg(required = true, value_name = "MEMBER=VALUE")]
        members: Vec<String>,
        /// The account need not exist
        #[arg(long)]
        new: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// End everything the person has open, and let nothing new begin
    Suspend {
        user: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Leave the person what is not sensitive, record everything, and do not tell
    Watch {
        user: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Lift a suspension, or stop watching
    Activate {
        user: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Bring in a CSV or JSON file
    ///
    /// Importing the same file again changes nothing. What the file has no column for stays as it is. When one row is
    /// at fault nothing is changed, and every such row is named.
    Import {
        file: PathBuf,
        /// Show what would change
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        reach: Reach,
    },
}

pub fn run(args: &IdentityArgs, terminal: &mut Terminal) -> Exit {
    let status = |user: &str, status: &str| {
        (Method::PATCH, path("/v1/identities/", user, ""), Some(json!({ "status": status })))
    };
    match &args.command {
        IdentityCommand::List { person, status, reach } => {
            let asked = query([("person", person.as_deref()), ("status", status.as_deref())]);
            let columns = [
                column("USER", "user"),
                column("NAME", "name"),
                column("EMPLOYMENT", "employment"),
                column("GROUPS", "groups"),
                column("MANAGER", "manager"),
                column("STATUS", "status"),
            ];
            reach.list(terminal, &format!("/v1/identities{asked}"), &columns)
        }
        IdentityCommand::Show { user, reach } => {
            reach.run(terminal, (Method::GET, path("/v1/identities/", user, ""), None), details)
        }
        IdentityCommand::Set { user, members, new, reach } => match object(members) {
            Ok(object) => {
                let method = if *new { Method::PUT } else { Method::PATCH };
                reach.run(terminal, (method, path("/v1/identities/", user, ""), Some(object)), details)
            }
            Err(why) => terminal.refuse(Exit::Usage, &why),
        },
        IdentityCommand::Suspend { user, reach } => reach.run(terminal, status(user, "suspended"), details),
        IdentityCommand::Watch { user, reach } => reach.run(terminal, status(user, "watched"), details),
        IdentityCommand::Activate { user, reach } => reach.run(terminal, status(user, "active"), details),
        IdentityCommand::Import { file, dry_run, reach } => {
            let done = import(file, *dry_run, reach);
            reach.finish(terminal, done, told)
        }
    }
}

/// `home.country=US` as a merge patch.
fn object(members: &[String]) -> Result<Value, String> {
    let mut object = Map::new();
    for member in members {
        let (name, value) = member.split_once('=').ok_or_else(|| format!("`{member}` is not `member=value`"))?;
        let value = match name {
            _ if value.is_empty() => Value::Null,
            "groups" | "aliases" => value.split(',').map(|item| Value::from(item.trim())).collect(),
            "home.radius-km" | "home.coordinates.latitude" | "home.coordinates.longitude" => {
                let number = value.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
                Value::Number(number.ok_or_else(|| format!("`{value}` is not a number"))?)
            }
            _ => value.into(),
        };
        let mut place = &mut object;
        let mut rest = name;
        while let Some((first, more)) = rest.split_once('.') {
            let inner = place.entry(first).or_insert_with(|| Value::Object(Map::new()));
            place = inner.as_object_mut().ok_or_else(|| format!("`{first}` is taken away and changed at once"))?;
            rest = more;
        }
        place.insert(rest.to_owned(), value);
    }
    Ok(object.into())
}

fn import(path: &PathBuf, dry_run: bool, reach: &Reach) -> Result<Value, Failed> {
    let kind = match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        Some("ndjson" | "jsonl") => "application/x-ndjson",
        _ => {
            return Err((
                Exit::Usage,
                format!("`{}`: expected a name in `.csv`, `.json` or `.ndjson`", path.display()),
            ));
        }
    };
    let unreadable = |why: &std::io::Error| {
        (Exit::Usage, format!("`{}` cannot be read: {}", path.display(), crate::store::policy_files::in_words(why)))
    };
    let file = File::open(path).map_err(|why| unreadable(&why))?;
    let size = file.metadata().map_err(|why| unreadable(&why))?.len();
    let (shown, mut last) = (std::io::stderr().is_terminal() && size > 1 << 20, 101);
    let client = reach.client()?;
    let (done, waiting) = mpsc::channel::<()>();
    if shown {
        let watcher = reach.client()?;
        std::thread::spawn(move || watch(&watcher, &waiting));
    }
    let sending = Sending::new(file, move |sent| {
        let percent = sent.saturating_mul(100) / size.max(1);
        if shown && percent != last {
            last = percent;
            eprint!("\rsending {percent:3} %");
        }
    });
    let reply = client.upload(&format!("/v1/identities?dry-run={dry_run}"), kind, sending);
    drop(done);
    if shown {
        eprintln!();
    }
    let reply = reply?;
    let broken = reply.value.get("fault_count").is_some();
    reply
        .good()
        .map_err(|(exit, why)| if broken { (Exit::Usage, format!("`{}`: {why}", path.display())) } else { (exit, why) })
}

/// Shows how far the gateway has come with what it was sent, until the other end of the channel is gone.
fn watch(client: &Client, done: &mpsc::Receiver<()>) {
    while done.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout) {
        let Ok(store) = client.ask(Method::GET, "/v1/store", None) else { return };
        let number = |name: &str| store.get("importing").and_then(|import| import.get(name)).and_then(Value::as_u64);
        if let (Some(rows), Some(written)) = (number("rows"), number("written"))
            && done.try_recv() == Err(TryRecvError::Empty)
        {
            eprint!("\rwriting {:3} % of {rows} rows", written.saturating_mul(100) / rows.max(1));
        }
    }
}

fn told(terminal: &mut Terminal, answer: &Value) {
    let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    let dry = answer.get("dry-run").and_then(Value::as_bool).unwrap_or_default();
    if dry {
        for change in answer.get("changes").and_then(Value::as_array).into_iter().flatten() {
            let user = change.get("user").and_then(Value::as_str).unwrap_or_default();
            let (sign, before) = match change.get("before") {
                None | Some(Value::Null) => ("+", String::new()),
                Some(before) => ("~", format!("{before} -> ")),
            };
            let after = change.get("after").map(ToString::to_string).unwrap_or_default();
            terminal.line(&format!("{sign} {user}  {before}{after}"));
        }
    }
    let would = if dry { "would be " } else { "" };
    let rows = count("rows");
    terminal.line(&format!(
        "{rows} row{}: {} {would}added, {} {would}changed, {} as they were",
        if rows == 1 { "" } else { "s" },
        count("added"),
        count("changed"),
        count("unchanged")
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_become_a_merge_patch() {
        let members =
            ["groups=a, b", "home.country=US", "home.coordinates.latitude=1.5", "manager="].map(str::to_owned);
        let expected = json!({
            "groups": ["a", "b"], "home": { "country": "US", "coordinates": { "latitude": 1.5 } }, "manager": null,
        });
        assert_eq!(object(&members), Ok(expected));
        assert!(object(&["home=".to_owned(), "home.country=US".to_owned()]).is_err());
        assert!(object(&["groups".to_owned()]).is_err());
    }
}
