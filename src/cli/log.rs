//! Structured logs on standard error.

use clap::{Args, ValueEnum};
use std::env;
use std::io::{self, IsTerminal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{fmt, registry};

/// The HTTP/2 library warns of every answer to a PING that it did not send itself; the gateway sends its own.
const DEFAULT: &str = "info,h2=error";

#[derive(Debug, Args)]
pub struct LogArgs {
    /// What to log: a level, or levels by module. Default: RANGEGATE_LOG, else `info`
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How logs are written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// A line for people
    Text,
    /// One JSON object a line
    Json,
}

/// Starts logging for a command whose output people read: warnings and errors only, unless RANGEGATE_LOG says more.
pub fn start_quietly() {
    let targets = env::var("RANGEGATE_LOG").ok().and_then(|filter| filter.parse::<Targets>().ok());
    let targets =
        targets.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN).with_target("h2", LevelFilter::ERROR));
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let _ = registry().with(targets).with(lines).try_init();
}

/// Starts logging for the rest of the process.
///
/// # Errors
/// The filter cannot be read.
pub fn start(args: &LogArgs) -> Result<(), String> {
    let (origin, filter) = match &args.log {
        Some(filter) => ("--log", filter.clone()),
        None => ("RANGEGATE_LOG", env::var("RANGEGATE_LOG").unwrap_or_else(|_| DEFAULT.to_owned())),
    };
    let targets: Targets = filter.parse().map_err(|_| {
        format!("`{filter}` is no log filter ({origin})\n  help: write a level such as `debug`, or levels by module such as `info,rangegate::sources=debug`")
    })?;
    let subscriber = registry().with(targets);
    let started = match args.log_format {
        LogFormat::Text => {
            subscriber.with(fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal())).try_init()
        }
        LogFormat::Json => subscriber.with(fmt::layer().json().with_writer(io::stderr)).try_init(),
    };
    // Only a second start can fail, and then logging runs already.
    let _ = started;
    Ok(())
}
