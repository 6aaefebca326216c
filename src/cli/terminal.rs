//! Standard output and error as commands use them: locked, buffered, and calm about closed pipes.

use super::Exit;
use crate::config::Report;
use clap::ColorChoice;
use std::env;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, StdoutLock, Write};

/// Where a command's answer goes. Once a write has failed nothing more is written.
#[derive(Debug)]
pub struct Terminal {
    out: BufWriter<StdoutLock<'static>>,
    failed: Option<io::Error>,
    /// Whether the answer may be coloured.
    pub color: bool,
    color_err: bool,
}

/// What a colour says. Never the only bearer of it.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    Good,
    Doubt,
    Bad,
    Strong,
}

impl Terminal {
    pub fn new(choice: ColorChoice) -> Self {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|value| value == "dumb");
        let color = |is_terminal: bool| match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => is_terminal && !plain,
        };
        Self {
            color: color(io::stdout().is_terminal()),
            color_err: color(io::stderr().is_terminal()),
            out: BufWriter::new(io::stdout().lock()),
            failed: None,
        }
    }

    /// Writes text as it is.
    pub fn print(&mut self, text: &str) {
        self.write(text.as_bytes());
    }

    pub fn line(&mut self, text: &str) {
        self.print(text);
        self.print("\n");
    }

    pub fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_none()
            && let Err(error) = self.out.write_all(bytes)
        {
            self.failed = Some(error);
        }
    }

    /// Text in the style, when the answer may be coloured.
    pub fn paint(&self, style: Style, text: &str) -> String {
        let code = match style {
            _ if !self.color => return text.to_owned(),
            Style::Good => "32",
            Style::Doubt => "33",
            Style::Bad => "1;31",
            Style::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Shows what is buffered: for commands that stay.
    pub fn flush(&mut self) {
        if self.failed.is_none()
            && let Err(error) = self.out.flush()
        {
            self.failed = Some(error);
        }
    }

    /// Says on standard error why the command ends.
    pub fn refuse(&mut self, exit: Exit, why: &str) -> Exit {
        self.flush();
        let (style, reset) = if self.color_err { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        let _ = writeln!(io::stderr().lock(), "{style}error{reset}: {why}");
        exit
    }

    /// Shows diagnostics on standard error.
    pub fn report(&mut self, report: &Report) {
        self.flush();
        let _ = io::stderr().lock().write_all(report.render(self.color_err).as_bytes());
    }

    /// Writes what is left. A reader that closed the pipe has read enough; a disk that is full has not.
    pub fn finish(mut self, exit: Exit) -> Exit {
        self.flush();
        match self.failed.take() {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                let _ = writeln!(io::stderr().lock(), "error: the answer cannot be written: {error}");
                Exit::CannotRun
            }
            _ => exit,
        }
    }
}
