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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Answers kept at once: of one sender, and of all.
const EACH: usize = 64;
const MOST: usize = 4096;
/// For how long, milliseconds.
const KEPT: u64 = 600_000;
/// The longest key.
const LONGEST: usize = 128;

#[derive(Default)]
pub struct Submissions(Mutex<HashMap<Digest, Submission>>);

struct Submission {
    at: Moment,
    /// Whose it is.
    sender: Digest,
    /// Of what was asked.
    asked: Digest,
    /// None: it is still under way.
    answer: Option<Answer>,
}

/// A submission under way. Dropped without an answer it may be sent again.
pub struct Pending {
    submissions: Arc<Submissions>,
    name: Digest,
}

/// What to do with a submission.
pub enum Known {
    /// Carry it out, and say what came of it.
    New(Pending),
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
    pub fn begin(self: &Arc<Self>, asking: &Asking, key: &str, body: &[u8]) -> Result<Known, Problem> {
        let evidence = asking.evidence();
        let subject = evidence.subject.known().map_or("", |subject| &*subject.user);
        let device = evidence.device.known().map_or("", |device| &*device.id);
        let name = digest([subject, device, key].map(str::as_bytes));
        let asked = digest([asking.method.as_str().as_bytes(), asking.path.as_bytes(), body]);
        // However many devices somebody has; a device without its owner; and who has neither, by where they are.
        let sender = match (subject, device) {
            ("", "") => evidence.network.address.known().map(ToString::to_string).unwrap_or_default(),
            ("", device) => device.to_owned(),
            (subject, _) => subject.to_owned(),
        };
        self.enter(name, digest([sender.as_bytes()]), asked, asking.at())
    }

    fn enter(self: &Arc<Self>, name: Digest, sender: Digest, asked: Digest, now: Moment) -> Result<Known, Problem> {
        let mut known = self.lock();
        known.retain(|_, submission| now.since(submission.at) < KEPT);
        match known.get(&name) {
            Some(other) if other.asked != asked => {
                let problem = Problem::conflict("this idempotency key was used for something else");
                return Err(problem.with("reason", "key-reused"));
            }
            Some(Submission { answer: Some(answer), .. }) => return Ok(Known::Answered(answer.clone())),
            Some(_) => {
                let problem = Problem::conflict("this submission is still under way");
                return Err(problem.with("reason", "under-way"));
            }
            None => {}
        }
        make_room(&mut known, EACH, |other| other.sender == sender)?;
        make_room(&mut known, MOST, |_| true)?;
        known.insert(name, Submission { at: now, sender, asked, answer: None });
        Ok(Known::New(Pending { submissions: Arc::clone(self), name }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Submission>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    pub fn answered(self, answer: &Answer) {
        if let Some(submission) = self.submissions.lock().get_mut(&self.name) {
            submission.answer = Some(answer.clone());
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut known = self.submissions.lock();
        if known.get(&self.name).is_some_and(|submission| submission.answer.is_none()) {
            known.remove(&self.name);
        }
    }
}

/// Where there are `most` of these, the oldest answer goes: its client has had the longest time to hear it, and nobody's
/// next submission waits for what somebody else has sent.
fn make_room(
    known: &mut HashMap<Digest, Submission>,
    most: usize,
    these: impl Fn(&Submission) -> bool,
) -> Result<(), Problem> {
    if known.values().filter(|submission| these(submission)).count() < most {
        return Ok(());
    }
    let answered = known.iter().filter(|(_, submission)| submission.answer.is_some() && these(submission));
    let oldest = answered.min_by_key(|(_, submission)| submission.at).map(|(name, _)| *name);
    let oldest = oldest.ok_or_else(|| Problem::away("too many submissions are under way at the moment"))?;
    known.remove(&oldest);
    Ok(())
}

/// Of parts that cannot run into each other.
fn digest<const N: usize>(parts: [&[u8]; N]) -> Digest {
    let lengths = parts.map(|part| (part.len() as u64).to_le_bytes());
    Digest::of_parts(lengths.iter().zip(parts).flat_map(|(length, part)| [length.as_slice(), part]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(sender: &str, key: usize) -> (Digest, Digest) {
        (digest([sender.as_bytes(), &key.to_le_bytes()]), digest([sender.as_bytes()]))
    }

    /// Sends it and has it answered, unless it was.
    fn send(submissions: &Arc<Submissions>, sender: &str, key: usize, now: i64) -> &'static str {
        let (name, sender) = named(sender, key);
        match submissions.enter(name, sender, Digest::of(b"asked"), Moment(now)) {
            Ok(Known::New(pending)) => {
                pending.answered(&Answer::ok(&()));
                "done"
            }
            Ok(Known::Answered(_)) => "again",
            Err(_) => "refused",
        }
    }

    #[test]
    fn whoever_sends_many_forgets_their_own_and_keeps_nobody_out() {
        let submissions = Arc::<Submissions>::default();
        assert_eq!(send(&submissions, "ann", 0, 0), "done");
        for key in 0..5000 {
            assert_eq!(send(&submissions, "eve", key, 1 + key as i64), "done", "{key}");
        }
        assert_eq!(submissions.lock().len(), 1 + EACH);
        assert_eq!(send(&submissions, "ann", 0, 5001), "again");
        assert_eq!(send(&submissions, "eve", 4999, 5001), "again", "the newest of hers are kept");
        assert_eq!(send(&submissions, "eve", 5000 - EACH, 5001), "again");
        assert_eq!(send(&submissions, "eve", 4999 - EACH, 5001), "done", "and the oldest are not");
    }

    #[test]
    fn there_is_an_end_to_what_is_kept_of_all() {
        let submissions = Arc::<Submissions>::default();
        for sender in 0..MOST + 10 {
            assert_eq!(send(&submissions, &sender.to_string(), 0, sender as i64), "done");
        }
        assert_eq!(submissions.lock().len(), MOST);
        assert_eq!(send(&submissions, &(MOST + 9).to_string(), 0, 5000), "again");
    }

    #[test]
    fn what_is_under_way_is_not_forgotten() {
        let submissions = Arc::<Submissions>::default();
        let begin = |key| {
            let (name, sender) = named("ann", key);
            submissions.enter(name, sender, Digest::of(b"asked"), Moment(0))
        };
        let pending: Vec<_> = (0..EACH).map(begin).collect();
        assert!(pending.iter().all(Result::is_ok));
        assert!(begin(EACH).is_err());
        assert!(begin(0).is_err(), "it is under way");
        assert_eq!(send(&submissions, "bob", 0, 0), "done");
        drop(pending);
        assert!(begin(EACH).is_ok());
    }
}
