//! The request tasks' end of the audit queue: bounded, without a lock, asleep when nothing happens.
//!
//! The bound is a count of places, taken before a message exists and given back once its line is in the
//! file. The queue itself is `std`'s unbounded channel, which needs no lock to send.

use super::admin::Admin;
use super::findings::Findings;
use super::homes::Homes;
use super::record::{Alert, Control, Live, Record, Refused};
use super::writer::Writer;
use super::{AuditSettings, Metrics, WhenUnwritable, file};
use crate::evidence::Moment;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Dates the lines the writer makes itself.
pub(super) type Clock = Box<dyn Fn() -> Moment + Send>;

/// What can be written; each becomes one line, but for the last.
#[derive(Debug)]
pub enum Line {
    Request(Box<Record>),
    Live(Box<Live>),
    Refused(Box<Refused>),
    Alert(Box<Alert>),
    Control(Box<Control>),
    Admin(Box<Admin>),
    /// Somebody waits until what was sent before is in the file.
    Written(oneshot::Sender<()>),
}

pub struct Sink {
    sender: Sender<Line>,
    capacity: usize,
    when_unwritable: WhenUnwritable,
    /// Places taken: by open records, by messages in the queue, by lines not yet in the file.
    pub(super) places: AtomicUsize,
    /// What will still be recorded and holds no place: closing records of live ones, changes that are being made.
    pub(super) live: AtomicUsize,
    /// Records that found no place.
    pub(super) unrecorded: AtomicU64,
    pub(super) unwritable: AtomicBool,
    /// No more records: the log has ended, or the writer died.
    pub(super) closed: AtomicBool,
    /// The writer sleeps until somebody wakes it.
    pub(super) asleep: AtomicBool,
    /// What alerts about devices were raised lately.
    pub(super) findings: Findings,
    /// Written records on their way back to the cores.
    pub(super) homes: Homes,
    writer: OnceLock<Thread>,
    /// When the writer has to be done; set once by `close`.
    pub(super) deadline: OnceLock<Instant>,
    /// The number of records lost, once the writer is done.
    done: Mutex<Option<usize>>,
    finished: Condvar,
}

/// Opens the log, writes its first lines and starts the writer thread.
pub(super) fn start(
    settings: AuditSettings,
    metrics: Arc<Metrics>,
    clock: Clock,
) -> Result<Arc<Sink>, file::OpenError> {
    let (sender, receiver) = mpsc::channel();
    let sink = Arc::new(Sink {
        sender,
        capacity: settings.queue,
        when_unwritable: settings.when_unwritable,
        places: AtomicUsize::new(0),
        live: AtomicUsize::new(0),
        unrecorded: AtomicU64::new(0),
        unwritable: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        asleep: AtomicBool::new(false),
        findings: Findings::default(),
        homes: Homes::default(),
        writer: OnceLock::new(),
        deadline: OnceLock::new(),
        done: Mutex::new(None),
        finished: Condvar::new(),
    });
    let path = settings.path.clone();
    let writer = Writer::start(settings, Arc::clone(&sink), receiver, metrics, clock)?;
    let thread = thread::Builder::new()
        .name("audit".to_owned())
        .spawn(move || writer.run())
        .map_err(|error| file::OpenError::Io { path, doing: "given a writer thread", error })?;
    let _ = sink.writer.set(thread.thread().clone());
    Ok(sink)
}

impl Sink {
    /// Takes a place for a record to come.
    pub fn reserve(&self) -> bool {
        self.reserve_within(self.capacity)
    }

    fn reserve_within(&self, limit: usize) -> bool {
        // Added first and taken back if too many, so that the usual case is one instruction. A
        // neighbour may be refused early while the queue is brimful, never admitted late.
        if self.places.fetch_add(1, Ordering::Relaxed) < limit && !self.closed.load(Ordering::Relaxed) {
            return true;
        }
        self.places.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Whether a request may be let through, given whether its record has a place.
    pub fn admits(&self, place: bool) -> bool {
        self.when_unwritable == WhenUnwritable::Forward || (place && !self.unwritable.load(Ordering::Relaxed))
    }

    pub fn writable(&self) -> bool {
        !self.unwritable.load(Ordering::Relaxed)
            && !self.closed.load(Ordering::Relaxed)
            && self.places.load(Ordering::Relaxed) < self.capacity
    }

    pub fn waiting(&self) -> usize {
        self.places.load(Ordering::Relaxed)
    }

    /// Sends a message that has a place.
    pub fn send(&self, line: Line) {
        if self.sender.send(line).is_err() {
            self.places.fetch_sub(1, Ordering::Relaxed);
            self.unrecorded();
            return;
        }
        // With the writer's fence: either it sees the message, or this sees it asleep.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Sends a message if there is a place for it, and gives it back if not.
    pub fn try_send(&self, line: Line) -> Option<Line> {
        if !self.reserve() {
            return Some(line);
        }
        self.send(line);
        None
    }

    /// Sends a message that strangers can cause at will. It gets a place only while half are free, so
    /// that a flood of refused connections cannot get requests refused.
    pub fn offer(&self, line: Line) {
        if self.reserve_within(self.capacity / 2) { self.send(line) } else { self.unrecorded() }
    }

    /// Sends a message whose number something else bounds: connections, or an operator's patience.
    pub fn insist(&self, line: Line) {
        self.places.fetch_add(1, Ordering::Relaxed);
        self.send(line);
    }

    /// Counts a record that found no place; the log will say how many there were.
    pub fn unrecorded(&self) {
        self.unrecorded.fetch_add(1, Ordering::Relaxed);
    }

    pub fn live_opened(&self) {
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    pub fn live_closed(&self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    /// Ends the log; see `Audit::close`.
    pub fn close(&self, within: Duration) -> Result<(), usize> {
        let deadline = *self.deadline.get_or_init(|| Instant::now() + within);
        self.wake();
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *done {
                Some(0) => return Ok(()),
                Some(lost) => return Err(lost),
                None => {}
            }
            // The writer keeps the deadline; the extra moment is for its last write.
            let left = (deadline + Duration::from_secs(1)).saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.places.load(Ordering::Relaxed));
            }
            done = self.finished.wait_timeout(done, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Dropped by the writer as its last act, even when it panics.
    pub(super) fn ends_with(sink: &Arc<Self>) -> impl Drop + use<> {
        Ended(Arc::clone(sink))
    }

    fn ended(&self) {
        self.unwritable.store(true, Ordering::Relaxed);
        self.closed.store(true, Ordering::Relaxed);
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.places.load(Ordering::Relaxed));
        self.finished.notify_all();
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }
}

struct Ended(Arc<Sink>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended();
    }
}
