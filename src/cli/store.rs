//! `rangegate store`: a backup, the way back, and whether all of it is whole.

use super::{ConfigArg, Exit, Terminal};
use crate::config::Config;
use crate::store::{BackupFault, Checked, Counts, OpenFault, Store, StoreFault, StoreSettings};
use clap::{Args, Subcommand};
use serde_json::json;
use std::future::Future;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

/// Look after what the gateway remembers
#[derive(Debug, Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Check(CheckArgs),
}

const BACKUP: &str = "\
Examples:
  rangegate store backup /backup/rangegate-$(date +%F)
  rangegate store backup --config /etc/rangegate/rangegate.toml store.backup

A backup of a file is a file, one of PostgreSQL is lines of JSON; each restores into either. It holds everything there
is to know of people and devices, and no private keys: keep it as you keep those.";

/// Write everything the store holds, as of one moment, to a new file; the gateway runs on
#[derive(Debug, Args)]
#[command(after_help = BACKUP)]
struct BackupArgs {
    /// The file to make
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

const RESTORE: &str = "\
Examples:
  rangegate store restore store.backup              into an empty store
  rangegate store restore store.backup --replace    what the store holds is given up

Afterwards all of the backup is there, or nothing was touched. Gateways that follow the store learn of it at once.";

/// Fill the store from a backup of either database
#[derive(Debug, Args)]
#[command(after_help = RESTORE)]
struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Give up what the store holds
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    common: Common,
}

const CHECK: &str = "\
Exits with 0 when all is well and with 1 when something is wrong; the gateway runs on meanwhile.";

/// Look at every record, handle and sighting, and every page of a file
#[derive(Debug, Args)]
#[command(after_help = CHECK)]
struct CheckArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    config: ConfigArg,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &StoreArgs, terminal: &mut Terminal) -> Exit {
    let common = match &args.command {
        StoreCommand::Backup(args) => &args.common,
        StoreCommand::Restore(args) => &args.common,
        StoreCommand::Check(args) => &args.common,
    };
    let settings = match Config::store_settings(&common.config.config) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            let why = "the configuration has no `[store]`: nothing is kept in a database";
            return terminal.refuse(Exit::Usage, why);
        }
        Err(report) => {
            terminal.report(&report);
            return Exit::Usage;
        }
    };
    let outcome = match &args.command {
        StoreCommand::Backup(args) => to_the_end(async {
            let store = Store::open(&settings).await?;
            let counts = watched(&store, "backing up", store.backup(&args.file)).await?;
            Ok(told(terminal, common.json, &counts, &format!("backed up to `{}`", args.file.display())))
        }),
        StoreCommand::Restore(args) => to_the_end(async {
            let store = Store::open(&settings).await?;
            let counts = watched(&store, "restoring", store.restore(&args.file, args.replace)).await?;
            Ok(told(terminal, common.json, &counts, &format!("restored into {}", settings.database)))
        }),
        StoreCommand::Check(_) => to_the_end(async {
            let store = Store::open(&settings).await?;
            let checked = watched(&store, "checking", store.check(crate::gateway::clock::now())).await?;
            Ok(found(terminal, common.json, &checked, &settings))
        }),
    };
    outcome.unwrap_or_else(|fault| {
        let help = match fault {
            BackupFault::NotEmpty(_) => {
                "\n  help: `--replace` gives up what it holds; `rangegate store backup` keeps it"
            }
            _ => "",
        };
        terminal.refuse(exit_of(&fault), &format!("{fault}{help}"))
    })
}

fn to_the_end(work: impl Future<Output = Result<Exit, BackupFault>>) -> Result<Exit, BackupFault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| StoreFault::Other(format!("no runtime can be started: {error}")))?;
    runtime.block_on(work)
}

/// Shows people who wait how far it has come.
async fn watched<T>(store: &Store, what: &str, work: impl Future<Output = T>) -> T {
    let (shown, begun, mut work) = (std::io::stderr().is_terminal(), Instant::now(), pin!(work));
    let mut drawn = false;
    loop {
        match tokio::time::timeout(Duration::from_millis(500), &mut work).await {
            Ok(done) => {
                if drawn {
                    eprintln!();
                }
                return done;
            }
            Err(_) if shown => {
                let records = match store.handled() {
                    0 => String::new(),
                    records => format!("{records} records, "),
                };
                eprint!("\r{what}: {records}{} s", begun.elapsed().as_secs());
                drawn = true;
            }
            Err(_) => {}
        }
    }
}

fn told(terminal: &mut Terminal, json: bool, counts: &Counts, what: &str) -> Exit {
    if json {
        terminal.line(&json!(counts).to_string());
    } else {
        let Counts { documents, handles, sightings } = counts;
        terminal.line(&format!("{what}: {documents} documents, {handles} handles, {sightings} sightings"));
    }
    Exit::Ok
}

fn found(terminal: &mut Terminal, json: bool, checked: &Checked, settings: &StoreSettings) -> Exit {
    let Checked { revision, counts, kinds, faults, fault_count } = checked;
    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| (kind.word(), count)).collect();
    if json {
        let kinds: serde_json::Map<_, _> =
            kinds.iter().map(|(kind, count)| ((*kind).to_owned(), json!(count))).collect();
        let told = json!({
            "revision": revision, "counts": counts, "kinds": kinds, "faults": faults, "fault-count": fault_count,
        });
        terminal.line(&told.to_string());
    } else {
        faults.iter().for_each(|fault| terminal.line(fault));
        let more = fault_count - faults.len() as u64;
        if more > 0 {
            terminal.line(&format!("… and {more} more"));
        }
        let verdict = if faults.is_empty() { "whole" } else { "NOT WHOLE" };
        let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} of kind {kind}")).collect();
        let kinds = if kinds.is_empty() { "empty".to_owned() } else { kinds.join(", ") };
        let found = format!("{verdict}: {} at revision {revision}: {kinds}; {fault_count} faults", settings.database);
        terminal.line(&found);
    }
    if faults.is_empty() { Exit::Ok } else { Exit::No }
}

/// What the operator must mend: a name or a file, or the machine.
fn exit_of(fault: &BackupFault) -> Exit {
    match fault {
        BackupFault::NotEmpty(_) => Exit::No,
        BackupFault::Exists(_) | BackupFault::Unusable { .. } => Exit::Usage,
        BackupFault::Open(fault) => exit_of_open(fault),
        _ => Exit::CannotRun,
    }
}

/// The same for a store that cannot be opened, whatever for.
pub(super) const fn exit_of_open(fault: &OpenFault) -> Exit {
    match fault {
        OpenFault::Url(_)
        | OpenFault::PasswordFile { .. }
        | OpenFault::Authority { .. }
        | OpenFault::Newer { .. }
        | OpenFault::Altered { .. }
        | OpenFault::Foreign { .. } => Exit::Usage,
        OpenFault::File { .. } | OpenFault::ReadOnly { .. } | OpenFault::Database { .. } => Exit::CannotRun,
    }
}
