//! Passphrases and codes: from a file, the environment or the terminal, and never from the command line, where every
//! process of the machine could read them.

use crate::store::policy_files::in_words;
use std::env;
use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Where a secret may come from; the first that is there counts.
#[derive(Clone, Copy, Debug)]
pub struct Secret<'a> {
    /// What it is, for the prompt: `passphrase of the authority`.
    pub what: &'static str,
    pub file: Option<&'a Path>,
    pub variable: &'static str,
    /// A new one is typed twice.
    pub new: bool,
}

impl Secret<'_> {
    /// The first line.
    ///
    /// # Errors
    /// It is nowhere, or two typings differ.
    pub fn get(self) -> Result<String, String> {
        if let Some(path) = self.file {
            let text = fs::read_to_string(path)
                .map_err(|why| format!("the {} `{}`: {}", self.what, path.display(), in_words(&why)))?;
            return Ok(first_line(&text));
        }
        if let Some(text) = env::var_os(self.variable) {
            let text = text.into_string().map_err(|_| format!("${} is no text", self.variable))?;
            return Ok(first_line(&text));
        }
        if !io::stdin().is_terminal() {
            return Err(format!("the {} is missing: name a file that holds it, or set ${}", self.what, self.variable));
        }
        let typed = prompt(self.what)?;
        if self.new && prompt(&format!("{} again", self.what))? != typed {
            return Err(format!("the {} was typed differently", self.what));
        }
        Ok(typed)
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Asks at the terminal, which shows nothing of the answer.
fn prompt(what: &str) -> Result<String, String> {
    let words = |why: io::Error| format!("the terminal cannot be asked: {}", in_words(&why));
    let _silent = Silent::new();
    let mut terminal = io::stderr().lock();
    write!(terminal, "{what}: ").and_then(|()| terminal.flush()).map_err(words)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(words)?;
    let _ = writeln!(terminal);
    Ok(first_line(&line))
}

/// The terminal does not show what is typed until this is dropped. By `stty`, which every system has.
struct Silent;

impl Silent {
    fn new() -> Self {
        stty("-echo");
        Self
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        stty("echo");
    }
}

/// A terminal without it shows the answer; that is no reason not to take it.
fn stty(argument: &str) {
    let _ = Command::new("stty").arg(argument).stdin(Stdio::inherit()).stderr(Stdio::null()).status();
}
