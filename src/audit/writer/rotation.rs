//! From one file of the log to the next: when one is full or old, and when somebody took it away.

use super::{Unwritten, Writer};
use crate::audit::record::ControlEvent;
use std::time::{Duration, Instant};

/// How often it looks whether somebody moved the file away.
const LOOK: Duration = Duration::from_secs(1);
/// How long it goes on in a file that could not be renamed before it tries again.
const ROTATE_RETRY: Duration = Duration::from_secs(60);
/// Room left for the `file-closed` line.
const CLOSING: u64 = 512;

impl Writer {
    /// Whether what was encoded from `start` on belongs into the next file.
    pub(super) fn rotation_due(&self, start: usize) -> bool {
        let large = self.log.len() + self.buffer.len() as u64 + CLOSING > self.settings.rotate_bytes
            && self.log.len() + start as u64 > CLOSING;
        let past = |at: Option<Instant>| at.is_some_and(|at| self.now >= at);
        (large || past(self.rotate_at)) && self.not_before.is_none_or(|at| past(Some(at)))
    }

    /// Ends the file and begins the next.
    pub(super) fn rotate(&mut self) -> Result<(), Unwritten> {
        if !self.closing {
            self.note(ControlEvent::FileClosed, format!("continues in line {}", self.chain.next() + 1));
            self.closing = true;
        }
        self.flush()?;
        self.closing = false;
        if self.settings.sync_every.is_some() {
            self.sync();
        }
        match self.log.rotate(self.chain.next()) {
            Ok(rotated) => {
                let name = rotated.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.begin_file(format!("continues line {} of `{name}`", self.chain.seq));
                if let Some(keep) = self.settings.keep
                    && let Err(error) = self.log.prune(keep)
                {
                    tracing::warn!(%error, "an old audit log could not be removed");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the audit log could not be rotated: it grows on");
                self.metrics.write_failed();
                self.not_before = Instant::now().checked_add(ROTATE_RETRY);
            }
        }
        Ok(())
    }

    /// Notes the beginning of a file.
    pub(super) fn begin_file(&mut self, detail: String) {
        self.now = Instant::now();
        self.rotate_at = self.now.checked_add(self.settings.rotate_after);
        self.note(ControlEvent::FileOpened, detail);
    }

    /// Looks now and then whether the path still names the file being written.
    pub(super) fn look(&mut self) -> Result<(), Unwritten> {
        if self.failing.is_none() && self.now.saturating_duration_since(self.looked) < LOOK {
            return Ok(());
        }
        self.looked = self.now;
        if !self.log.disturbed() {
            return Ok(());
        }
        tracing::error!(path = %self.log.path().display(), "the audit log was moved, removed or cut by somebody else");
        if let Err(error) = self.log.reopen(self.chain.next()) {
            return Err(self.fail(&error));
        }
        self.begin_file(format!("was disturbed from outside; continues line {}", self.chain.seq));
        Ok(())
    }
}
