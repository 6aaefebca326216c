//! A store as lines of JSON: a backup of PostgreSQL that goes into either database.
//!
//! The first line says what it is, the last how many of each kind there are and what the bytes before it hash to, so
//! that a file cut short or altered is seen before anything is restored.

use super::document::{Document, Kind, Revision};
use super::sighting::Seen;
use super::{Digest, Sighting};
use crate::evidence::Moment;
use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};
use std::sync::Arc;

/// The number of this format.
const FORMAT: u32 = 1;

/// No line of ours is longer, bytes: what is longer is no backup.
const LONGEST: u64 = 16 << 20;

/// What a store holds, piece by piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Document(Document),
    Handle { space: String, value: String, kind: Kind, id: Arc<str> },
    Seen(Seen),
}

/// How much there is of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    pub documents: u64,
    pub handles: u64,
    pub sightings: u64,
}

impl Counts {
    pub(super) fn count(&mut self, item: &Item) {
        match item {
            Item::Document(_) => self.documents += 1,
            Item::Handle { .. } => self.handles += 1,
            Item::Seen(_) => self.sightings += 1,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Line {
    Store { format: u32, revision: u64 },
    Document { kind: String, id: Arc<str>, version: u64, changed: Moment, body: Arc<str> },
    Handle { space: String, value: String, kind: String, id: Arc<str> },
    Sighting { device: Arc<str>, first: Sighting, last: Sighting },
    End { counts: Counts, sha256: Digest },
}

/// Writes a dump, line by line.
pub(super) struct Writer<W> {
    out: W,
    hash: Context,
    counts: Counts,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W, revision: Revision) -> io::Result<Self> {
        let mut writer = Self { out, hash: Context::new(&SHA256), counts: Counts::default() };
        writer.line(&Line::Store { format: FORMAT, revision: revision.0 })?;
        Ok(writer)
    }

    pub(super) fn item(&mut self, item: Item) -> io::Result<()> {
        self.counts.count(&item);
        self.line(&match item {
            Item::Document(Document { kind, id, version, changed, body }) => {
                Line::Document { kind: kind.word().to_owned(), id, version, changed, body }
            }
            Item::Handle { space, value, kind, id } => Line::Handle { space, value, kind: kind.word().to_owned(), id },
            Item::Seen(Seen { device, first, last }) => Line::Sighting { device, first, last },
        })
    }

    pub(super) fn finish(mut self) -> io::Result<(W, Counts)> {
        let sha256 = digest(self.hash.clone());
        self.line(&Line::End { counts: self.counts, sha256 })?;
        self.out.flush()?;
        Ok((self.out, self.counts))
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.hash.update(&text);
        self.out.write_all(&text)
    }
}

/// Reads a whole dump, hands on each item, and returns the revision it is of.
///
/// # Errors
/// What is wrong with the file, and at which line. Only when there is none is it whole.
pub(super) fn read(
    mut from: impl BufRead,
    mut each: impl FnMut(Item) -> io::Result<()>,
) -> Result<(Revision, Counts), String> {
    let mut hash = Context::new(&SHA256);
    let mut counts = Counts::default();
    let mut revision = None;
    let mut text = String::new();
    for number in 1_u64.. {
        let place = |why: String| format!("line {number}: {why}");
        text.clear();
        let length = io::Read::take(&mut from, LONGEST).read_line(&mut text).map_err(|error| {
            place(if error.kind() == io::ErrorKind::InvalidData {
                "it is not UTF-8 text".to_owned()
            } else {
                super::policy_files::in_words(&error)
            })
        })?;
        if length == 0 {
            return Err("it was cut short: the last line is missing".to_owned());
        }
        let line: Line = serde_json::from_str(&text).map_err(|error| match number {
            1 => "it is no backup of a store".to_owned(),
            _ => place(error.to_string()),
        })?;
        let kind_of = |word: &str| Kind::of(word).ok_or_else(|| place(format!("`{word}` is no kind of document")));
        let item = match line {
            Line::Store { format: FORMAT, revision: of } if number == 1 => {
                revision = Some(Revision(of));
                hash.update(text.as_bytes());
                continue;
            }
            Line::Store { format, .. } if number == 1 => {
                return Err(format!("it has format {format}, this version knows {FORMAT}"));
            }
            Line::Store { .. } => return Err(place("it begins again".to_owned())),
            Line::End { counts: said, sha256 } => {
                return match revision {
                    Some(revision) if said == counts && sha256 == digest(hash) => Ok((revision, counts)),
                    Some(_) => Err("it was altered: its contents are not what its last line says".to_owned()),
                    None => Err("it is no backup of a store".to_owned()),
                };
            }
            Line::Document { kind, id, version, changed, body } => {
                Item::Document(Document { kind: kind_of(&kind)?, id, version, changed, body })
            }
            Line::Handle { space, value, kind, id } => Item::Handle { space, value, kind: kind_of(&kind)?, id },
            Line::Sighting { device, first, last } => Item::Seen(Seen { device, first, last }),
        };
        if revision.is_none() {
            return Err("it is no backup of a store".to_owned());
        }
        hash.update(text.as_bytes());
        counts.count(&item);
        each(item).map_err(|error| place(error.to_string()))?;
    }
    Err("it does not end".to_owned())
}

fn digest(hash: Context) -> Digest {
    Digest::from_bytes(hash.finish().as_ref()).expect("a SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let document = |id: &str| {
            let body = format!("{{\"user\":\"{id}\\u0000\\n\"}}").into();
            Item::Document(Document { kind: Kind::Identity, id: id.into(), version: 7, changed: Moment(5), body })
        };
        let mut writer = Writer::new(Vec::new(), Revision(9)).expect("written");
        writer.item(document("ann")).expect("written");
        writer.item(document("zoë\n")).expect("written");
        let handle = Item::Handle { space: "user".into(), value: "a".into(), kind: Kind::Identity, id: "ann".into() };
        writer.item(handle).expect("written");
        writer.finish().expect("written").0
    }

    #[test]
    fn it_reads_back() {
        let mut items = Vec::new();
        let (revision, counts) = read(sample().as_slice(), |item| {
            items.push(item);
            Ok(())
        })
        .expect("whole");
        assert_eq!((revision, counts), (Revision(9), Counts { documents: 2, handles: 1, sightings: 0 }));
        assert!(matches!(&items[1], Item::Document(document) if &*document.id == "zoë\n" && document.version == 7));
    }

    #[test]
    fn no_damage_goes_unseen() {
        let whole = sample();
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut], |_| Ok(())).is_err() || cut == whole.len() - 1, "cut at {cut}");
        }
        for at in 0..whole.len() - 1 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert!(read(flipped.as_slice(), |_| Ok(())).is_err(), "flipped at {at}");
        }
        assert_eq!(read(b"PK\x03\x04".as_slice(), |_| Ok(())), Err("it is no backup of a store".to_owned()));
    }
}
