//! `Idempotency-Key`: a submission that is sent again is answered again and done once.
//!
//! The answers are kept in memory, for a while: that is for a client that did not hear the first one. What must not
//! happen twice whatever happens to this process, versions and unique keys in the store see to.

use super::answer::Answer;
use super::asking::Asking;
use super::problem::Problem;
use crate::evidence::Moment;
use crate::store::Digest;
use http::HeaderName;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Answers kept at once.
const MOST: usize = 4096;
/// For how long, milliseconds.
const KEPT: u64 = 600_000;
/// The longest key.
const LONGEST: usize = 128;

#[derive(Default)]
pub struct Submissions(Mutex<HashMap<Digest, Submission>>);

struct Submission {
    at: Moment,
    /// Of what was asked.
    asked: Digest,
    /// None: it is still under way.
    answer: Option<Answer>,
}

/// A submission under way. Dropped without an answer it may be sent again.
pub struct Pending<'s> {
    submissions: &'s Submissions,
    name: Digest,
}

/// What to do with a submission.
pub enum Known<'s> {
    /// Carry it out, and say what came of it.
    New(Pending<'s>),
    Answered(Answer),
}

/// The client's name for this submission.
pub fn key(asking: &Asking) -> Result<Option<&str>, Problem> {
    let Some(value) = asking.headers.get(&KEY) else { return Ok(None) };
    let text = value.to_str().ok().map(|text| text.trim_matches('"'));
    match text.filter(|text| (1..=LONGEST).contains(&text.len())) {
        Some(text) => Ok(Some(text)),
        None => Err(Problem::invalid(format!("an idempotency key has 1 to {LONGEST} visible characters"))),
    }
}

impl Submissions {
    /// Looks a submission up by whoever sends it and its key. `body` is what was sent.
    pub fn begin(&self, asking: &Asking, key: &str, body: &[u8]) -> Result<Known<'_>, Problem> {
        let now = asking.at();
        let evidence = asking.evidence();
        let subject = evidence.subject.known().map_or("", |subject| &*subject.user);
        let device = evidence.device.known().map_or("", |device| &*device.id);
        let name = digest([subject, device, key].map(str::as_bytes));
        let asked = digest([asking.method.as_str().as_bytes(), asking.path.as_bytes(), body]);
        let mut known = self.lock();
        known.retain(|_, submission| now.since(submission.at) < KEPT);
        match known.get(&name) {
            Some(other) if other.asked != asked => {
                Err(Problem::conflict("this idempotency key was used for something else").with("reason", "key-reused"))
            }
            Some(Submission { answer: Some(answer), .. }) => Ok(Known::Answered(answer.clone())),
            Some(_) => Err(Problem::conflict("this submission is still under way").with("reason", "under-way")),
            None if known.len() >= MOST => Err(Problem::away("too many submissions are kept at the moment")),
            None => {
                known.insert(name, Submission { at: now, asked, answer: None });
                Ok(Known::New(Pending { submissions: self, name }))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Submission>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending<'_> {
    pub fn answered(self, answer: &Answer) {
        if let Some(submission) = self.submissions.lock().get_mut(&self.name) {
            submission.answer = Some(answer.clone());
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut known = self.submissions.lock();
        if known.get(&self.name).is_some_and(|submission| submission.answer.is_none()) {
            known.remove(&self.name);
        }
    }
}

/// Of parts that cannot run into each other.
fn digest<const N: usize>(parts: [&[u8]; N]) -> Digest {
    let lengths = parts.map(|part| (part.len() as u64).to_le_bytes());
    Digest::of_parts(lengths.iter().zip(parts).flat_map(|(length, part)| [length.as_slice(), part]))
}
