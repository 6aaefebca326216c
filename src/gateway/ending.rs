//! What is good up to a moment: revocation lists and the gateway's own certificates. Whoever lets one run out is told.

use crate::control::moment;
use crate::evidence::Moment;
use crate::sources::certificate::{Ending, Trust};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;

/// What it is that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// Nobody below its issuer is let in without it.
    List,
    /// People whose certificates were revoked since are let in (`when-list-expired = "ignore"`).
    ListIgnored,
    /// The gateway itself writes the next one.
    OwnList,
    /// A listener's own.
    Certificate,
}

/// What stands in a file, and up to when it is good.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry {
    pub path: PathBuf,
    pub at: Moment,
    pub thing: Thing,
}

/// How near its end something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Good,
    /// Within a day.
    Soon,
    Over,
}

impl Expiry {
    pub fn new(thing: Thing, Ending { path, at }: Ending) -> Self {
        Self { path, at, thing }
    }

    /// The revocation lists that a trust rests on. `own`: the one that this gateway writes.
    pub fn lists(trust: &Trust, own: Option<&Path>) -> impl Iterator<Item = Self> {
        let thing = move |end: &Ending| match own {
            Some(own) if end.path == own => Thing::OwnList,
            _ if trust.denies_without_list() => Thing::List,
            _ => Thing::ListIgnored,
        };
        trust.lists().iter().map(move |end| Self::new(thing(end), end.clone()))
    }

    /// One that the gateway writes is renewed long before its end and is never about to end.
    pub fn stage(&self, now: Moment) -> Stage {
        if self.at <= now {
            Stage::Over
        } else if self.at <= now.plus_millis(DAY) && self.thing != Thing::OwnList {
            Stage::Soon
        } else {
            Stage::Good
        }
    }

    /// What has come of it, as a sentence without its file. None: it is good.
    pub fn told(&self, now: Moment) -> Option<String> {
        let what = match self.thing {
            Thing::Certificate => "the server certificate",
            _ => "the revocation list",
        };
        let at = moment::text(self.at);
        match self.stage(now) {
            Stage::Good => None,
            Stage::Soon => Some(format!("{what} expires within a day, at {at}")),
            Stage::Over => Some(format!("{what} expired at {at}")),
        }
    }

    /// What follows from its end.
    pub const fn consequence(&self) -> &'static str {
        match self.thing {
            Thing::List => "without a list that is good no client certificate of its issuer is accepted",
            Thing::ListIgnored => "what was revoked since then is not known, and is accepted",
            Thing::OwnList => {
                "the gateway writes the next one when it runs; until then no client certificate of its issuer is accepted"
            }
            Thing::Certificate => "clients refuse a server certificate that has expired",
        }
    }
}

/// What has been told, so that each end is told once before it comes and once when it has come.
pub struct Told {
    since: Moment,
    stages: BTreeMap<Expiry, Stage>,
}

impl Told {
    pub const fn new(now: Moment) -> Self {
        Self { since: now, stages: BTreeMap::new() }
    }

    /// What is nearer its end than was told before.
    pub fn news(&mut self, mut all: Vec<Expiry>, now: Moment) -> Vec<Expiry> {
        all.sort();
        all.dedup();
        let before = std::mem::take(&mut self.stages);
        let mut news = Vec::new();
        for expiry in all {
            let known = before.get(&expiry).copied().unwrap_or(Stage::Good);
            // The gateway's own list: it may have been away for long, and is about to write the next.
            let patience = if expiry.thing == Thing::OwnList { MINUTE } else { 0 };
            let waits = now < self.since.plus_millis(patience) || now < expiry.at.plus_millis(patience);
            let stage = match expiry.stage(now) {
                Stage::Over if patience > 0 && waits => Stage::Good,
                stage => stage,
            };
            if stage > known {
                news.push(expiry.clone());
            }
            self.stages.insert(expiry, stage.max(known));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment(1_800_000_000_000);

    fn expiry(thing: Thing, at: i64) -> Expiry {
        Expiry::new(thing, Ending { path: "ca.crl".into(), at: NOW.plus_millis(at) })
    }

    #[test]
    fn an_end_is_told_once_before_it_comes_and_once_when_it_has_come() {
        let mut told = Told::new(NOW);
        let list = expiry(Thing::List, DAY + 10);
        let mut at = |millis, list: &Expiry| {
            let news = told.news(vec![list.clone(), list.clone()], NOW.plus_millis(millis));
            news.into_iter().map(|expiry| expiry.stage(NOW.plus_millis(millis))).collect::<Vec<_>>()
        };
        assert_eq!(at(9, &list), []);
        assert_eq!([at(10, &list), at(11, &list)], [vec![Stage::Soon], vec![]]);
        assert_eq!([at(DAY + 9, &list), at(DAY + 10, &list), at(DAY + 11, &list)], [vec![], vec![Stage::Over], vec![]]);
        // Another list in its place, already over.
        assert_eq!(at(DAY + 12, &expiry(Thing::List, 7)), [Stage::Over]);
        assert_eq!(at(DAY + 13, &expiry(Thing::List, 30 * DAY)), []);
    }

    #[test]
    fn the_gateways_own_list_is_told_of_when_it_was_not_renewed() {
        let mut told = Told::new(NOW);
        let old = expiry(Thing::OwnList, -30 * DAY);
        assert_eq!(told.news(vec![old.clone()], NOW), []);
        assert_eq!(told.news(vec![old.clone()], NOW.plus_millis(MINUTE)), [old]);
        let near = expiry(Thing::OwnList, 2 * MINUTE);
        assert_eq!(told.news(vec![near.clone()], NOW.plus_millis(2 * MINUTE - 1)), []);
        assert_eq!(told.news(vec![near.clone()], NOW.plus_millis(3 * MINUTE)), [near]);
    }

    #[test]
    fn what_ends_is_told_with_its_moment() {
        assert_eq!(expiry(Thing::List, DAY + 1).told(NOW), None);
        let soon = expiry(Thing::Certificate, DAY).told(NOW).expect("told");
        assert_eq!(soon, "the server certificate expires within a day, at 2027-01-16T08:00:00.000Z");
        assert_eq!(
            expiry(Thing::List, 0).told(NOW).expect("told"),
            "the revocation list expired at 2027-01-15T08:00:00.000Z"
        );
    }
}
