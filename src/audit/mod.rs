//! One closed record for every request: opened before anything is looked up, closed when the last byte has gone.
//!
//! ```text
//! request tasks                                  one writer thread
//! open ─▶ record ─▶ follow ─▶ (end or drop) ──▶  queue ─▶ JSON line ─▶ chain ─▶ file ─▶ head
//!                                                              └─▶ metrics
//! ```
//!
//! A slot in the queue is taken when a record opens, so a request that was decided always has its place.
//! Serializing, hashing, writing and counting happen on the writer thread. While the file cannot be
//! written, records wait in memory and new requests are denied (or forwarded, by setting).

pub mod admin;
pub mod body;
pub mod calendar;
pub mod chain;
mod closing;
pub mod entry;
mod facts;
pub mod file;
mod findings;
mod fragments;
mod homes;
pub mod line;
pub mod metrics;
mod pen;
pub mod record;
pub mod replay;
pub mod shortened;
pub mod sink;
mod slots;
pub mod verify;
pub mod visible;
mod writer;

pub use admin::{Admin, AdminActor, AdminOutcome};
pub use body::{AuditedBody, CountedBody, Ending};
pub use entry::{Entry, LiveEntry};
pub use metrics::Metrics;
pub use record::{Alert, AlertKind, Connection, ConnectionFault, ControlEvent, End, Exchange, Flow, Refused, Tls};

use crate::evidence::{Moment, Request};
use crate::policy::Decided;
use record::{Control, Live, LiveEvent};
use sink::{Line, Sink};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What becomes of a request whose record cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenUnwritable {
    #[default]
    Deny,
    Forward,
}

#[derive(Clone, Debug)]
pub struct AuditSettings {
    pub path: PathBuf,
    /// Rotate before the file grows past this many bytes.
    pub rotate_bytes: u64,
    /// Rotate when the file is this old.
    pub rotate_after: Duration,
    /// Rotated files kept; older ones are removed. None: all are kept.
    pub keep: Option<u32>,
    /// Records that may wait for the writer; beyond that the audit counts as unwritable.
    pub queue: usize,
    pub when_unwritable: WhenUnwritable,
    /// Flush to the disk (`fdatasync`) at least this often while records arrive. None: leave it to the kernel.
    pub sync_every: Option<Duration>,
}

/// The audit log of a running gateway. Cheap to clone; every clone writes to the same file.
#[derive(Clone)]
pub struct Audit {
    sink: Arc<Sink>,
    metrics: Arc<Metrics>,
}

/// Lines are to come until it is dropped.
pub struct MoreToCome(Arc<Sink>);

impl Drop for MoreToCome {
    fn drop(&mut self) {
        self.0.live_closed();
    }
}

impl Audit {
    /// Opens the log, repairs what a crash left, continues its chain and starts the writer thread.
    /// `clock` dates the lines the writer makes itself.
    ///
    /// # Errors
    /// When the log cannot be opened, is in use by another gateway, or its first line cannot be written.
    pub fn start(
        settings: AuditSettings,
        clock: impl Fn() -> Moment + Send + 'static,
    ) -> Result<Self, file::OpenError> {
        let metrics = Arc::new(Metrics::new());
        let sink = sink::start(settings, Arc::clone(&metrics), Box::new(clock))?;
        Ok(Self { sink, metrics })
    }

    /// Begins the record of one request. From here on something will be written.
    pub fn open(&self, connection: &Arc<Connection>, request: &Arc<Request>, now: Moment) -> Entry {
        Entry::open(Arc::clone(&self.sink), Arc::clone(connection), Arc::clone(request), now)
    }

    /// Whether a request that opens now could be recorded; what `/readyz` asks.
    pub fn writable(&self) -> bool {
        self.sink.writable()
    }

    /// Records that are open or not yet in the file.
    pub fn waiting(&self) -> usize {
        self.sink.waiting()
    }

    /// Records a connection that was refused before it carried a request.
    pub fn refused(&self, refused: Refused) {
        self.sink.offer(Line::Refused(Box::new(refused)));
    }

    /// Records something a person should look at.
    pub fn alert(&self, alert: Alert) {
        self.sink.insist(Line::Alert(Box::new(alert)));
    }

    /// As `alert`, for the finding `code` about `device`, unless it was raised within the last minute.
    pub fn finding(&self, device: &str, code: &'static str, alert: Alert) {
        if self.sink.findings.is_news(device, code, alert.at) {
            self.alert(alert);
        }
    }

    /// Records something that happened to the gateway itself: a reload, the emergency switch.
    pub fn control(&self, event: ControlEvent, detail: impl Into<String>, now: Moment) {
        self.sink.insist(Line::Control(Box::new(Control { at: now, event, detail: detail.into() })));
    }

    /// Records an administrative step.
    pub fn admin(&self, admin: Admin) {
        self.sink.insist(Line::Admin(Box::new(admin)));
    }

    /// Says that lines are still to come, although nothing is open: a log that is being closed waits for them.
    pub fn more_to_come(&self) -> MoreToCome {
        self.sink.live_opened();
        MoreToCome(Arc::clone(&self.sink))
    }

    /// Waits until what was recorded before is in the file, so that a crash of this process cannot lose it any more.
    /// Where the file cannot be written, this gives up after a second: the records are kept in memory.
    pub async fn written(&self) {
        let (told, hear) = oneshot::channel();
        self.sink.insist(Line::Written(told));
        let _ = tokio::time::timeout(Duration::from_secs(1), hear).await;
    }

    /// Records that what lives long was decided again. `id` is its request's.
    pub fn redecided(&self, id: &str, decided: Arc<Decided>, now: Moment) {
        self.live(id, LiveEvent::Redecided { decided }, now);
    }

    /// Records that what lives long is being cut. Its closing record follows when it has ended.
    pub fn cut(&self, id: &str, reason: &'static str, now: Moment) {
        self.live(id, LiveEvent::Cut { reason }, now);
    }

    fn live(&self, id: &str, event: LiveEvent, now: Moment) {
        self.sink.insist(Line::Live(Box::new(Live { at: now, id: id.to_owned(), event })));
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Waits for open records to close and for the writer to write them, then ends the log with a
    /// `stop` line. Requests opened after this are denied. Blocks for at most `deadline`.
    ///
    /// # Errors
    /// The number of records that could not be written in time.
    pub fn close(&self, deadline: Duration) -> Result<(), usize> {
        self.sink.close(deadline)
    }
}
