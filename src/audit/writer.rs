//! The writer thread: takes messages from the queue, counts them, and keeps the file whole.
//!
//! It sleeps without a timer while nothing happens. The first message wakes it; it then waits a moment
//! for company, so that a gateway pays for one wake-up and one write per batch. While messages keep
//! coming nobody wakes it: it comes to look. What cannot be written stays in the buffer, already
//! chained, and goes out first when the file can be written again.

mod rotation;

use super::chain::Chain;
use super::file::{LogFile, OpenError, Opened};
use super::fragments::Fragments;
use super::homes::Written;
use super::metrics::Fold;
use super::record::{Control, ControlEvent};
use super::sink::{Clock, Line, Sink};
use super::{AuditSettings, Metrics, closing, line};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long the writer waits for company after the first message of a batch.
const GATHER: Duration = Duration::from_millis(5);
/// After so many messages in one batch, more are sure to come.
const BUSY: usize = 4;
/// How long it waits before it tries again to write what could not be written.
const RETRY: Duration = Duration::from_millis(200);
/// Bytes gathered before they are written.
const CHUNK: usize = 256 << 10;

pub struct Writer {
    settings: AuditSettings,
    sink: Arc<Sink>,
    receiver: Receiver<Line>,
    metrics: Arc<Metrics>,
    clock: Clock,
    log: LogFile,
    chain: Chain,
    fragments: Fragments,
    fold: Fold,
    /// Whole lines, chained, not yet in the file.
    buffer: Vec<u8>,
    /// The places their messages hold.
    places: usize,
    /// When the first of them was sent.
    oldest: Option<Instant>,
    /// Messages taken from the queue since the writer last slept.
    taken: usize,
    /// Records that are in the buffer or in the file.
    written: Written,
    /// Who waits for what is in the buffer.
    waiting: Vec<oneshot::Sender<()>>,
    /// A message taken from the queue that is not in the buffer yet.
    held: Option<Line>,
    /// As it was when the turn, or the file, began: a clock is not asked for every line.
    now: Instant,
    /// When this file is to be rotated by age.
    rotate_at: Option<Instant>,
    /// Not before this, because the last rotation failed.
    not_before: Option<Instant>,
    /// The file's closing line is in the buffer or in the file.
    closing: bool,
    /// Since when, and why, nothing can be written.
    failing: Option<(Instant, String)>,
    looked: Instant,
    /// When the first line since the last sync was written.
    unsynced: Option<Instant>,
}

impl Writer {
    /// Opens the log and writes its first lines.
    pub fn start(
        settings: AuditSettings,
        sink: Arc<Sink>,
        receiver: Receiver<Line>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let Opened { log, chain, repairs } = LogFile::open(&settings.path)?;
        let age = log.first_moment().map_or(0, |first| clock().since(first));
        let now = Instant::now();
        let rotate_at = now.checked_add(settings.rotate_after.saturating_sub(Duration::from_millis(age)));
        let fold = Fold::new(Arc::clone(&metrics));
        let mut writer = Self {
            settings,
            sink,
            receiver,
            metrics,
            clock,
            log,
            chain,
            fragments: Fragments::default(),
            fold,
            buffer: Vec::with_capacity(CHUNK),
            places: 0,
            oldest: None,
            taken: 0,
            written: Written::default(),
            waiting: Vec::new(),
            held: None,
            now,
            rotate_at,
            not_before: None,
            closing: false,
            failing: None,
            looked: now,
            unsynced: None,
        };
        if writer.log.is_empty() {
            let detail = match chain.seq {
                0 => "begins the log".to_owned(),
                last => format!("continues line {last}"),
            };
            writer.note(ControlEvent::FileOpened, detail);
        }
        for repair in repairs {
            tracing::error!(path = %writer.log.path().display(), "audit log: {repair}");
            writer.note(ControlEvent::Repaired, repair);
        }
        writer.note(ControlEvent::Start, concat!("rangegate ", env!("CARGO_PKG_VERSION")));
        let written = writer.log.append(&writer.buffer, &writer.chain);
        writer.buffer.clear();
        match written {
            Ok(()) => Ok(writer),
            Err(error) => Err(OpenError::Io { path: writer.settings.path, doing: "written", error }),
        }
    }

    /// Until the log is closed.
    pub fn run(mut self) {
        let _ended = Sink::ends_with(&self.sink);
        loop {
            let written = self.turn().is_ok();
            self.give_back();
            if self.sink.unwritable.load(Ordering::Relaxed) == written {
                self.sink.unwritable.store(!written, Ordering::Relaxed);
            }
            let places = self.sink.places.load(Ordering::Relaxed);
            self.show_lag();
            if let Some(deadline) = self.sink.deadline.get() {
                let idle = places == 0 && self.sink.live.load(Ordering::Relaxed) == 0;
                if idle || Instant::now() >= *deadline {
                    return self.finish();
                }
                // The last records come from tasks that are ending too, and soon.
                thread::park_timeout(GATHER);
            } else if written {
                self.sleep();
            } else {
                thread::park_timeout(RETRY);
            }
        }
    }

    /// Writes everything that waits. After an error it is kept.
    fn turn(&mut self) -> Result<(), Unwritten> {
        self.now = Instant::now();
        self.look()?;
        while let Some(line) = self.held.take().or_else(|| self.receiver.try_recv().ok()) {
            if let Err(unwritten) = self.append(&line) {
                self.held = Some(line);
                return Err(unwritten);
            }
            self.count(&line);
            match line {
                Line::Request(record) => self.written.keep(record),
                Line::Written(told) => self.waiting.push(told),
                _ => {}
            }
            self.places += 1;
            self.taken += 1;
            if self.buffer.len() >= CHUNK {
                self.show_lag();
                self.flush()?;
            }
        }
        self.flush()?;
        self.report();
        self.flush()
    }

    /// Lays out what was written for those who opened it. When little happens it goes here and now: nobody may come for
    /// it, and this may sleep for long.
    fn give_back(&mut self) {
        if self.taken < BUSY {
            self.written.clear();
        }
        self.written.lay_out(&self.sink.homes);
    }

    /// Puts the line into the buffer; rotates first when the file would grow too large or is too old.
    fn append(&mut self, line: &Line) -> Result<(), Unwritten> {
        if self.failing.is_some() {
            // Not more than one buffer is chained ahead.
            self.flush()?;
        }
        self.oldest.get_or_insert_with(|| match line {
            Line::Request(record) => record.closed(),
            _ => self.now,
        });
        let (start, before) = (self.buffer.len(), self.chain);
        self.encode(line);
        if self.rotation_due(start) {
            self.buffer.truncate(start);
            self.chain = before;
            self.rotate()?;
            self.encode(line);
        }
        Ok(())
    }

    fn encode(&mut self, message: &Line) {
        let (buffer, chain) = (&mut self.buffer, &mut self.chain);
        match message {
            Line::Request(record) => {
                if let Some(alert) = &record.alert {
                    line::alert(buffer, chain, alert);
                }
                closing::request(buffer, chain, &mut self.fragments, record);
            }
            Line::Live(live) => line::live(buffer, chain, live),
            Line::Refused(refused) => line::refused(buffer, chain, refused),
            Line::Alert(alert) => line::alert(buffer, chain, alert),
            Line::Control(control) => line::control(buffer, chain, control),
            Line::Admin(admin) => line::admin(buffer, chain, admin),
            Line::Written(_) => {}
        }
    }

    fn count(&mut self, message: &Line) {
        match message {
            Line::Request(record) => {
                if let Some(alert) = &record.alert {
                    self.metrics.alert(alert);
                }
                self.fold.request(record);
            }
            Line::Live(live) => self.metrics.live(live),
            Line::Refused(refused) => self.metrics.refused(refused),
            Line::Alert(alert) => self.metrics.alert(alert),
            Line::Control(_) | Line::Admin(_) | Line::Written(_) => {}
        }
    }

    fn flush(&mut self) -> Result<(), Unwritten> {
        if !self.buffer.is_empty() {
            if let Err(error) = self.log.append(&self.buffer, &self.chain) {
                return Err(self.fail(&error));
            }
            self.buffer.clear();
            self.now = Instant::now();
            self.unsynced.get_or_insert(self.now);
        }
        if self.places > 0 {
            self.sink.places.fetch_sub(std::mem::take(&mut self.places), Ordering::Relaxed);
            self.oldest = None;
        }
        for told in self.waiting.drain(..) {
            // Whoever waited may have given up.
            let _ = told.send(());
        }
        if let Some((since, error)) = self.failing.take() {
            let text = format!("the log could not be written for {} ms: {error}", since.elapsed().as_millis());
            tracing::warn!("audit log: {text}");
            self.note(ControlEvent::Recovered, text);
        }
        if self.sync_due().is_some_and(|due| due <= Instant::now()) {
            self.sync();
        }
        Ok(())
    }

    fn fail(&mut self, error: &io::Error) -> Unwritten {
        self.metrics.write_failed();
        if self.failing.is_none() {
            let path = self.log.path().display();
            tracing::error!(%error, %path, "the audit log cannot be written: records are kept in memory");
            self.failing = Some((Instant::now(), error.to_string()));
        }
        Unwritten
    }

    /// Notes how many records found no place.
    fn report(&mut self) {
        let unrecorded = self.sink.unrecorded.swap(0, Ordering::Relaxed);
        if unrecorded > 0 {
            self.metrics.unrecorded(unrecorded);
            self.note(ControlEvent::Unrecorded, format!("{unrecorded} records found no place in the queue"));
        }
    }

    fn show_lag(&self) {
        let since = self.oldest.or(self.failing.as_ref().map(|(since, _)| *since));
        let places = self.sink.places.load(Ordering::Relaxed);
        self.metrics.lag(places, since.map_or(Duration::ZERO, |since| since.elapsed()));
    }

    fn note(&mut self, event: ControlEvent, detail: impl Into<String>) {
        let control = Control { at: (self.clock)(), event, detail: detail.into() };
        line::control(&mut self.buffer, &mut self.chain, &control);
    }

    fn sync_due(&self) -> Option<Instant> {
        self.unsynced?.checked_add(self.settings.sync_every?)
    }

    fn sync(&mut self) {
        self.unsynced = None;
        if let Err(error) = self.log.sync() {
            self.metrics.write_failed();
            tracing::error!(%error, "the audit log could not be flushed to the disk");
        }
    }

    /// Sleeps until there is a message or something to sync, then gathers.
    fn sleep(&mut self) {
        if std::mem::take(&mut self.taken) >= BUSY {
            return thread::park_timeout(GATHER);
        }
        self.sink.asleep.store(true, Ordering::Relaxed);
        // With the sender's fence: either this sees the message, or the sender sees it asleep.
        fence(Ordering::SeqCst);
        self.held = self.receiver.try_recv().ok();
        if self.held.is_none() {
            match self.sync_due() {
                Some(due) => thread::park_timeout(due.saturating_duration_since(Instant::now())),
                None => thread::park(),
            }
        }
        self.sink.asleep.store(false, Ordering::Relaxed);
        // Nobody wakes it now but `close`.
        thread::park_timeout(GATHER);
    }

    fn finish(mut self) {
        self.sink.closed.store(true, Ordering::Relaxed);
        if self.turn().is_ok() {
            self.note(ControlEvent::Stop, "");
            let _ = self.flush();
            self.sync();
        }
    }
}

/// What waits could not be written, and is kept.
struct Unwritten;
