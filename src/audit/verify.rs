//! Finds every changed, missing, inserted, moved or cut line of a log.
//!
//! The files are read in the order given, as one chain. The head is read before the last file, so that a
//! running gateway may go on writing. Lines cut from the end are noticed because the last file must end
//! in a `file-closed` line or as far as the head says.

use super::chain::{Chain, Link, Sealed};
use super::file::{LONGEST_LINE, head};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Faults kept; more are only counted.
const MOST_FAULTS: usize = 100;

/// What to verify: files in the order of their lines, and where the end of the last is remembered.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub files: Vec<PathBuf>,
    pub head: Option<PathBuf>,
}

impl Log {
    /// Makes a list out of paths: a directory stands for the log in it, rotated files first.
    ///
    /// # Errors
    /// When a directory cannot be read, with its path.
    pub fn gather(paths: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        let mut log = Self::default();
        for path in paths {
            if path.is_dir() {
                log.directory(path).map_err(|error| (path.clone(), error))?;
            } else if !path.exists() && head::path(path).exists() {
                // The file is gone, and its head says what was in it.
                log.head = Some(head::path(path));
            } else {
                log.files.push(path.clone());
            }
        }
        if log.head.is_none() {
            log.head = log.files.last().map(|last| head::path(last)).filter(|head| head.exists());
        }
        Ok(log)
    }

    fn directory(&mut self, directory: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("jsonl") => files.push(path),
                Some("head") => self.head = Some(path),
                _ => {}
            }
        }
        // Digits sort before letters: `audit.000000000001.jsonl`, then `audit.jsonl`.
        files.sort();
        self.files.append(&mut files);
        Ok(())
    }
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub files: usize,
    /// Whole lines read.
    pub lines: u64,
    /// Numbers of the first and last line.
    pub first: Option<u64>,
    pub last: Option<u64>,
    pub faults: Vec<Fault>,
    pub fault_count: u64,
    /// A final line without its end: what a crash leaves, or a write still going on.
    pub torn: Option<Place>,
    /// What is no fault and worth knowing.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    pub file: PathBuf,
    /// Counted from 1. Zero: the file as a whole.
    pub line: u64,
}

/// Something that a gateway did not write this way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    #[serde(flatten)]
    pub place: Place,
    pub kind: FaultKind,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The line is not as it was written.
    Changed,
    /// Lines before this one are gone.
    Missing,
    /// The line stands where it was not written, or was never written by a gateway.
    Inserted,
    /// The line before this one is whole, but not the one that stood there.
    Replaced,
    /// Lines are gone from the end.
    Cut,
    /// Nothing tells where the log ends.
    HeadMissing,
}

/// Reads the log once, in constant memory.
///
/// # Errors
/// When a file cannot be read, with its path.
pub fn verify(log: &Log) -> Result<Report, (PathBuf, io::Error)> {
    let mut run = Run::default();
    for (index, path) in log.files.iter().enumerate() {
        run.last_file = index + 1 == log.files.len();
        if run.last_file {
            run.read_head(log.head.as_deref())?;
        }
        run.file(path).map_err(|error| (path.clone(), error))?;
    }
    if log.files.is_empty() {
        run.read_head(log.head.as_deref())?;
    }
    run.end(log);
    Ok(run.report)
}

#[derive(Default)]
struct Run {
    report: Report,
    /// The end of the chain so far.
    chain: Option<Chain>,
    head: Option<Chain>,
    /// There is a head, and nothing in it can be made out.
    garbled: bool,
    /// The hash the line has whose number the head names.
    at_head: Option<Link>,
    /// The last line read closes its file.
    closed: bool,
    last_file: bool,
    place: Option<Place>,
}

/// The little that is read of a line.
#[derive(Deserialize)]
struct Line<'a> {
    schema: u32,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    event: Option<Cow<'a, str>>,
}

impl Run {
    fn read_head(&mut self, path: Option<&Path>) -> Result<(), (PathBuf, io::Error)> {
        let Some(path) = path else { return Ok(()) };
        match head::read(path).map_err(|error| (path.to_owned(), error))? {
            Ok(head) => self.head = head,
            Err(()) => {
                self.place = Some(Place { file: path.to_owned(), line: 0 });
                self.garbled = true;
                self.fault(FaultKind::Changed, "the head cannot be made out".to_owned());
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> io::Result<()> {
        self.report.files += 1;
        let mut reader = BufReader::with_capacity(256 << 10, File::open(path)?);
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text)?;
            if read == 0 {
                break;
            }
            self.place = Some(Place { file: path.to_owned(), line: number });
            match text.strip_suffix(b"\n") {
                Some(line) => self.line(line, number == 1),
                None if read as u64 == LONGEST_LINE => {
                    self.fault(FaultKind::Inserted, "longer than any line a gateway writes".to_owned());
                    reader.skip_until(b'\n')?;
                }
                None if self.last_file => self.report.torn = self.place.clone(),
                None => self.fault(FaultKind::Changed, "the line has no end, and more files follow".to_owned()),
            }
        }
        Ok(())
    }

    fn line(&mut self, text: &[u8], first: bool) {
        self.report.lines += 1;
        let Some(sealed) = Sealed::parse(text) else {
            // Its number is lost; the next line will say that it is missing.
            return self.fault(FaultKind::Changed, "this is no line of an audit log".to_owned());
        };
        let line = match serde_json::from_slice::<Line<'_>>(text) {
            Ok(line) if sealed.intact() => line,
            _ => return self.changed(&sealed),
        };
        if line.schema != u32::from(super::line::SCHEMA) {
            self.note(format!("line {} has schema {}, which this version does not know", sealed.seq, line.schema));
        }
        let event = if line.kind == "control" { line.event.as_deref() } else { None };
        self.closed = event == Some("file-closed");
        self.follows(&sealed, first && event == Some("file-opened"));
        self.report.first.get_or_insert(sealed.seq);
        self.report.last = Some(sealed.seq);
        if self.head.is_some_and(|head| head.seq == sealed.seq) {
            self.at_head = Some(sealed.hash);
        }
        self.chain = Some(Chain { seq: sealed.seq, last: sealed.hash });
    }

    /// Holds an intact line against the one before it.
    fn follows(&mut self, sealed: &Sealed<'_>, opens: bool) {
        let Some(chain) = self.chain else { return self.begins(sealed, opens) };
        let (seq, next) = (sealed.seq, chain.next());
        if seq > next {
            let gap = lines_are(next, seq - 1);
            self.fault(FaultKind::Missing, format!("{gap} missing before line {seq}"));
        } else if seq < next {
            self.fault(FaultKind::Inserted, format!("line {seq} stands after line {}", chain.seq));
        } else if sealed.prev != chain.last {
            let text = format!("line {} is not the one that line {seq} was written after", chain.seq);
            self.fault(FaultKind::Replaced, text);
        }
    }

    fn begins(&mut self, sealed: &Sealed<'_>, opens: bool) {
        let seq = sealed.seq;
        let genesis = sealed.prev == Link::GENESIS;
        if !opens || (seq == 1) != genesis {
            self.fault(FaultKind::Missing, format!("the log begins in the middle, with line {seq}"));
        } else if !genesis {
            self.note(format!("the log begins with line {seq}; earlier files were not given"));
        }
    }

    fn changed(&mut self, sealed: &Sealed<'_>) {
        self.fault(FaultKind::Changed, "the line is not as it was written".to_owned());
        self.closed = false;
        // Its own hash is what the next line was written after; its number is believed only where
        // there is no better.
        let seq = self.chain.map_or(sealed.seq, |chain| chain.next());
        self.report.first.get_or_insert(seq);
        self.chain = Some(Chain { seq, last: sealed.hash });
        if self.head.is_some_and(|head| head.seq == seq) {
            self.at_head = Some(sealed.hash);
        }
    }

    fn end(&mut self, log: &Log) {
        let Some(last) = log.files.last().or(log.head.as_ref()) else { return };
        self.place = Some(Place { file: last.clone(), line: 0 });
        let reached = self.chain.map_or(0, |chain| chain.seq);
        match self.head {
            Some(head) if head.seq > reached => {
                let gap = lines_are(reached + 1, head.seq);
                self.fault(FaultKind::Cut, format!("{gap} missing from the end"));
            }
            Some(head) if self.at_head.is_some_and(|hash| hash != head.last) => {
                self.fault(FaultKind::Replaced, format!("line {} is not the one the head remembers", head.seq));
            }
            Some(_) => {}
            None if self.closed || self.garbled => {}
            None => {
                let head = head::path(last);
                self.fault(
                    FaultKind::HeadMissing,
                    format!("lines may be missing from the end: there is no `{}`", head.display()),
                );
            }
        }
    }

    fn fault(&mut self, kind: FaultKind, text: String) {
        self.report.fault_count += 1;
        if self.report.faults.len() < MOST_FAULTS
            && let Some(place) = self.place.clone()
        {
            self.report.faults.push(Fault { place, kind, text });
        }
    }

    fn note(&mut self, text: String) {
        if self.report.notes.len() < MOST_FAULTS {
            self.report.notes.push(text);
        }
    }
}

fn lines_are(first: u64, last: u64) -> String {
    if first == last { format!("line {first} is") } else { format!("lines {first} to {last} are") }
}
