//! Recorded evidence, decided again under another policy.
//!
//! Only closing records (`"kind":"request"`) with evidence are decided; other lines are passed over. Whether lines are
//! missing is not asked here, `verify` does that; a line that is not as it was written is not decided. Limits are decided by what was counted then: a limit
//! that the recorded policy did not have was not counted and is `Absent`.

use super::chain::Sealed;
use super::file::LONGEST_LINE;
use crate::evidence::Evidence;
use crate::policy::{Decision, Outcome};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

/// Request ids and users shown for each group.
const EXAMPLES: usize = 3;
/// Groups told apart. Beyond that they are counted together: old resource names come from the file.
const MOST_GROUPS: usize = 10_000;

/// What another policy would change.
#[derive(Debug, Default, Serialize)]
pub struct Replay {
    /// Records decided again.
    pub decided: u64,
    /// Of these, how many would have the same outcome at the same resource.
    pub same: u64,
    /// Of the same, how many for another reason.
    pub another_reason: u64,
    /// Of those decided, how many would differ.
    pub changed: u64,
    /// Records whose recorded outcome was not the policy's: the audit log could not be written.
    pub set_aside: u64,
    /// Lines of other kinds, and records of requests that ended before they were decided.
    pub passed_over: u64,
    /// Lines that cannot be read or are not as they were written, by file and line number; only the first few are kept.
    pub unreadable: Vec<Unreadable>,
    pub unreadable_count: u64,
    #[serde(serialize_with = "as_list")]
    pub groups: BTreeMap<Change, Group>,
}

/// What is grouped by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// The resource then; `-` when nothing was addressed.
    pub resource: String,
    /// The resource now, when it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now_at: Option<String>,
    pub from: Outcome,
    pub to: Outcome,
    /// Why, under the new policy.
    pub reason: &'static str,
}

#[derive(Debug, Default, Serialize)]
pub struct Group {
    pub count: u64,
    pub examples: Vec<Example>,
}

#[derive(Debug, Serialize)]
pub struct Example {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    pub request: String,
}

#[derive(Debug, Serialize)]
pub struct Unreadable {
    pub file: String,
    pub line: u64,
    pub error: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    evidence: Option<Evidence>,
    #[serde(default, borrow)]
    decision: Option<Recorded<'a>>,
}

#[derive(Deserialize)]
struct Recorded<'a> {
    #[serde(default, borrow)]
    resource: Option<Cow<'a, str>>,
    outcome: Outcome,
    #[serde(borrow)]
    reason: Cow<'a, str>,
}

impl Replay {
    /// Decides every record of one file again. Files may be given one after the other.
    ///
    /// # Errors
    /// When the file cannot be read. A line that makes no sense is counted and passed over.
    pub fn file(
        &mut self,
        name: &str,
        file: &mut impl BufRead,
        decide: &mut impl FnMut(&Evidence) -> Decision,
    ) -> io::Result<()> {
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            if file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text)? == 0 {
                break;
            }
            if text.last() != Some(&b'\n') && text.len() as u64 == LONGEST_LINE {
                self.unreadable(name, number, "the line is too long");
                file.skip_until(b'\n')?;
            } else if !text.trim_ascii().is_empty() {
                let altered = Sealed::parse(text.trim_ascii_end()).is_some_and(|sealed| !sealed.intact());
                match serde_json::from_slice::<Line<'_>>(&text) {
                    Ok(_) if altered => self.unreadable(name, number, "the line is not as it was written"),
                    Ok(line) => self.line(line, decide),
                    Err(error) => self.unreadable(name, number, &error.to_string()),
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, line: Line<'_>, decide: &mut impl FnMut(&Evidence) -> Decision) {
        let ("request", Some(evidence), Some(then)) = (&*line.kind, line.evidence, line.decision) else {
            self.passed_over += 1;
            return;
        };
        if then.reason == crate::policy::Reason::AuditUnavailable.code() {
            self.set_aside += 1;
            return;
        }
        let now = decide(&evidence);
        self.decided += 1;
        let resource = now.resource.as_ref().map(|resource| &*resource.id);
        let elsewhere = resource != then.resource.as_deref();
        if now.outcome == then.outcome && !elsewhere {
            self.same += 1;
            self.another_reason += u64::from(now.reason.code() != then.reason);
            return;
        }
        self.changed += 1;
        let name = |resource: Option<&str>| resource.unwrap_or("-").to_owned();
        let mut change = Change {
            resource: name(then.resource.as_deref()),
            now_at: elsewhere.then(|| name(resource)),
            from: then.outcome,
            to: now.outcome,
            reason: now.reason.code(),
        };
        if self.groups.len() >= MOST_GROUPS && !self.groups.contains_key(&change) {
            change.resource = "(others)".to_owned();
            change.now_at = None;
        }
        let group = self.groups.entry(change).or_default();
        group.count += 1;
        if group.examples.len() < EXAMPLES {
            let request = &evidence.request;
            group.examples.push(Example {
                id: request.id.clone(),
                user: evidence.subject.known().map(|subject| subject.user.to_string()),
                request: format!("{} {}{}", request.method, request.host, request.path),
            });
        }
    }

    fn unreadable(&mut self, file: &str, line: u64, error: &str) {
        self.unreadable_count += 1;
        if self.unreadable.len() < 10 {
            self.unreadable.push(Unreadable { file: file.to_owned(), line, error: error.to_owned() });
        }
    }
}

/// JSON has no maps with structured keys: a list of groups, each with its key's fields.
fn as_list<S: serde::Serializer>(groups: &BTreeMap<Change, Group>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        #[serde(flatten)]
        change: &'a Change,
        #[serde(flatten)]
        group: &'a Group,
    }
    serializer.collect_seq(groups.iter().map(|(change, group)| Row { change, group }))
}
