//! What the commands that administer a running gateway share: how to reach it, and how to show what it answers.

mod client;
mod table;

pub use client::{Client, Sending};
pub use table::{Column, column, details, print};

use super::{Exit, Terminal};
use crate::config::Config;
use clap::Args;
use http::Method;
use serde_json::Value;
use std::path::PathBuf;

/// How the gateway is reached: over its Unix socket, or from elsewhere by its API.
#[derive(Debug, Args)]
pub struct Reach {
    /// The configuration that says where the gateway's socket is
    #[arg(long, short, value_name = "FILE", default_value = "rangegate.toml", help_heading = "Reaching the gateway")]
    config: PathBuf,
    /// The gateway's socket, without asking the configuration
    #[arg(long, value_name = "PATH", conflicts_with_all = ["config", "url"], help_heading = "Reaching the gateway")]
    socket: Option<PathBuf>,
    /// The API instead of the socket, such as `https://gate.corp.example`
    #[arg(long, value_name = "URL", conflicts_with = "config", help_heading = "Reaching the gateway")]
    url: Option<String>,
    /// PEM: this device's certificate and those above it
    #[arg(long, value_name = "FILE", requires_all = ["url", "key"], help_heading = "Reaching the gateway")]
    cert: Option<PathBuf>,
    /// PEM: the certificate's key
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "Reaching the gateway")]
    key: Option<PathBuf>,
    /// PEM: the authorities of the gateway's own certificate [default: the system's]
    #[arg(long, value_name = "FILE", requires = "url", help_heading = "Reaching the gateway")]
    ca: Option<PathBuf>,
    /// Holds the access token
    #[arg(long, value_name = "FILE", requires = "url", help_heading = "Reaching the gateway")]
    token_file: Option<PathBuf>,
    /// The answer as JSON, for programs
    #[arg(long, help_heading = "Reaching the gateway")]
    json: bool,
}

/// Why a command ends, and how.
pub type Failed = (Exit, String);

impl Reach {
    pub fn client(&self) -> Result<Client, Failed> {
        if let Some(url) = &self.url {
            let pair = self.cert.as_deref().zip(self.key.as_deref());
            return Client::https(url, self.ca.as_deref(), pair, self.token_file.as_deref())
                .map_err(|why| (Exit::Usage, why));
        }
        if let Some(socket) = &self.socket {
            return Ok(Client::socket(socket.clone()));
        }
        match Config::socket(&self.config) {
            Ok(Some(socket)) => Ok(Client::socket(socket)),
            Ok(None) => {
                let why = format!(
                    "`{}` has no `[control]`, so the gateway opens no socket\n  help: add one, or name the gateway with `--url`",
                    self.config.display()
                );
                Err((Exit::Usage, why))
            }
            Err(report) => {
                let help = "name the socket with `--socket`, or, from another machine, the gateway with `--url`";
                let report = report.render(false);
                // The word is said of the whole.
                let report = report.strip_prefix("error: ").unwrap_or(&report);
                Err((Exit::Usage, format!("{}\n  help: {help}", report.trim_end())))
            }
        }
    }

    /// Whether this device's certificate is all that is shown: nobody signs in.
    pub const fn is_device_alone(&self) -> bool {
        self.cert.is_some() && self.token_file.is_none()
    }

    /// Asks, and shows the answer: as JSON, or by `show`.
    pub fn run(
        &self,
        terminal: &mut Terminal,
        (method, path, body): (Method, String, Option<Value>),
        show: impl FnOnce(&mut Terminal, &Value),
    ) -> Exit {
        let done = self.client().and_then(|client| client.ask(method, &path, body));
        self.finish(terminal, done, show)
    }

    /// Asks for every page of a list, and shows it as a table.
    pub fn list(&self, terminal: &mut Terminal, path: &str, columns: &[Column]) -> Exit {
        let done = self.client().and_then(|client| client.all(path));
        self.finish(terminal, done, |terminal, answer| table::print(terminal, answer, columns))
    }

    pub fn finish(
        &self,
        terminal: &mut Terminal,
        done: Result<Value, Failed>,
        show: impl FnOnce(&mut Terminal, &Value),
    ) -> Exit {
        match done {
            Ok(answer) if self.json => {
                terminal.line(&serde_json::to_string_pretty(&answer).unwrap_or_default());
                Exit::Ok
            }
            Ok(answer) => {
                show(terminal, &answer);
                Exit::Ok
            }
            Err((exit, why)) => terminal.refuse(exit, &why),
        }
    }
}

/// A path with what somebody typed in it.
pub fn path(before: &str, typed: &str, after: &str) -> String {
    let mut path = before.to_owned();
    for byte in typed.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' | b'+' | b':' => {
                path.push(char::from(byte))
            }
            byte => path += &format!("%{byte:02X}"),
        }
    }
    path + after
}

/// `?a=b&c=d` of what is there.
pub fn query<const N: usize>(pairs: [(&str, Option<&str>); N]) -> String {
    let there = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let pairs: Vec<String> =
        there.map(|(name, value)| format!("{name}={}", path("", value, "").replace('+', "%2B"))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}
