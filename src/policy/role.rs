//! A role: a privilege that is asked for, approved, and held for a while.

use super::criteria::schedule::Schedule;
use crate::evidence::Employment;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One `[[role]]`. Durations are milliseconds.
#[derive(Clone, Debug)]
pub struct Role {
    pub id: Arc<str>,
    /// The resources whose policies may ask for it, sorted; it counts nowhere else. Never empty.
    pub opens: Box<[Arc<str>]>,
    /// How long it may be held at most.
    pub longest_ms: u64,
    /// How long it is held when nothing is said; no more than `longest_ms`.
    pub default_ms: u64,
    pub reason: ReasonRule,
    pub approval: Approval,
    /// Who may ask for it. None: anybody with an account.
    pub ask: Option<Askers>,
    /// When it may be asked for, approved and held. None: always.
    pub hours: Option<Schedule>,
    /// How long after one was held the same person may not ask for it again.
    pub cool_down_ms: u64,
    /// How long a request waits to be approved.
    pub ask_within_ms: u64,
    pub break_glass: Option<BreakGlass>,
}

/// Whether the text can be the id of a role, or of anything else that quotas, audit records and metrics carry: 1 to 64
/// lower-case letters, digits, `-`, `_` or `.`.
pub fn is_id(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(good)
}

/// What a request must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReasonRule {
    Optional,
    Required,
    Like(Pattern),
}

/// What an ordinary request needs to become a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// Nothing: it is held at once.
    Unneeded,
    /// As many different people.
    By { approvers: Approvers, people: u8 },
    /// There is no ordinary way, only breaking the glass.
    Never,
}

/// Who may approve; any of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvers {
    pub named: People,
    /// The asker's manager, as the identity has it.
    pub manager: bool,
    /// The owner of what the role opens.
    pub owner: Option<People>,
}

/// Who may ask: everything named must hold, one item of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Askers {
    /// In one of the groups or one of the accounts. None: whoever.
    pub people: Option<People>,
    pub employment: Option<Box<[Employment]>>,
}

/// The way in when nobody can be asked: at once, alerted, to be reviewed, on one device only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlass {
    pub people: People,
    pub longest_ms: u64,
    /// Who looks at it afterwards. None: the role's approvers, which it then has.
    pub reviewers: Option<People>,
}

/// Accounts and groups: one of either is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    pub users: Box<[Arc<str>]>,
    pub groups: Box<[Arc<str>]>,
}

/// What a reason looks like: `#` is a digit, `?` any one character, `*` any number of them, all else is itself.
/// The whole reason is compared, in case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Arc<str>);

impl Role {
    pub fn opens(&self, resource: &str) -> bool {
        self.opens.iter().any(|opened| **opened == *resource)
    }

    /// How many different people have to approve; none when nobody can.
    pub const fn people_needed(&self) -> Option<u8> {
        match &self.approval {
            Approval::Unneeded => Some(0),
            Approval::By { people, .. } => Some(*people),
            Approval::Never => None,
        }
    }
}

impl People {
    pub fn include(&self, user: &str, groups: &[Arc<str>]) -> bool {
        self.users.iter().any(|named| **named == *user) || self.groups.iter().any(|named| groups.contains(named))
    }

    /// Everybody, where each is named; None: a group's members.
    pub fn all_named(&self) -> Option<&[Arc<str>]> {
        self.groups.is_empty().then_some(&*self.users)
    }

    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }
}

impl Askers {
    pub fn include(&self, user: &str, groups: &[Arc<str>], employment: Option<Employment>) -> bool {
        let people = self.people.as_ref().is_none_or(|people| people.include(user, groups));
        let employed = |allowed: &[Employment]| employment.is_some_and(|has| allowed.contains(&has));
        people && self.employment.as_deref().is_none_or(employed)
    }
}

impl Approvers {
    /// The most different people who could ever approve what `asker` asks for, or whoever asks; None: a group's
    /// members, and nobody knows how many.
    pub fn most(&self, asker: Option<&str>) -> Option<usize> {
        let named = || std::iter::once(&self.named).chain(&self.owner);
        if named().any(|people| !people.groups.is_empty()) {
            return None;
        }
        let users: BTreeSet<&str> = named().flat_map(|people| people.users.iter().map(|user| &**user)).collect();
        let users = users.iter().filter(|user| asker != Some(**user)).count();
        Some(users + usize::from(self.manager))
    }
}

impl Pattern {
    /// The longest pattern, in bytes.
    const LONGEST: usize = 200;

    /// # Errors
    /// Says what a pattern looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > Self::LONGEST || text.chars().any(char::is_control) {
            return Err(format!("expected at most {} characters on one line", Self::LONGEST));
        }
        if text.chars().all(|c| c == '*' || c.is_whitespace()) {
            return Err("this asks for nothing: `#` is a digit, `?` any character, `*` any number of them".to_owned());
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes at most as many steps as the product of both lengths.
    pub fn matches(&self, reason: &str) -> bool {
        let (pattern, reason): (Vec<char>, Vec<char>) = (self.0.chars().collect(), reason.chars().collect());
        let (mut p, mut r) = (0, 0);
        // Where the last `*` stands, and how much of the reason it has taken so far.
        let mut star: Option<(usize, usize)> = None;
        while let Some(c) = reason.get(r) {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, r));
                    p += 1;
                }
                Some(wanted) if *wanted == '?' || wanted == c || (*wanted == '#' && c.is_ascii_digit()) => {
                    (p, r) = (p + 1, r + 1);
                }
                _ => {
                    let Some((at, taken)) = star else { return false };
                    star = Some((at, taken + 1));
                    (p, r) = (at + 1, taken + 1);
                }
            }
        }
        pattern.iter().skip(p).all(|rest| *rest == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_held_against_the_whole_reason() {
        for (pattern, reason, matches) in [
            ("INC-#######", "INC-1234567", true),
            ("INC-#######", "INC-123456", false),
            ("INC-#######", "INC-12345678", false),
            ("INC-#######", "see INC-1234567", false),
            ("INC-#######", "inc-1234567", false),
            ("INC-#######", "INC-123456é", false),
            ("INC-####*", "INC-1234: the ledger is stuck", true),
            ("*INC-####*", "the ledger, INC-1234", true),
            ("*-##*x", "a-1-12-34yx", true),
            ("*-##*x", "a-1-12-34xy", false),
            ("?", "é", true),
            ("?", "", false),
            ("CHG ##", "CHG 12", true),
            ("a*b*c", "abbbbbc", true),
            ("a*b*c", "abbbbb", false),
        ] {
            let parsed = Pattern::parse(pattern).expect("a pattern");
            assert_eq!(parsed.matches(reason), matches, "{pattern} {reason}");
        }
        for nothing in ["", " ", "*", "* *", "a\nb"] {
            assert!(Pattern::parse(nothing).is_err(), "{nothing:?}");
        }
        assert!(Pattern::parse(&"#".repeat(201)).is_err());
    }

    #[test]
    fn a_hostile_reason_costs_little() {
        let pattern = Pattern::parse(&"*#".repeat(100)).expect("a pattern");
        assert!(!pattern.matches(&"9".repeat(99)));
        assert!(!pattern.matches(&"a".repeat(10_000)));
    }

    #[test]
    fn one_account_or_one_group_is_enough_and_employment_is_asked_beside() {
        let people = People { users: ["ann".into()].into(), groups: ["ops".into()].into() };
        assert!(people.include("ann", &[]) && people.include("bob", &["ops".into()]));
        assert!(!people.include("bob", &["opsy".into()]) && !People::default().include("ann", &["ops".into()]));
        let askers = Askers { people: Some(people), employment: Some([Employment::Employee].into()) };
        assert!(askers.include("ann", &[], Some(Employment::Employee)));
        assert!(!askers.include("ann", &[], Some(Employment::Vendor)));
        assert!(!askers.include("ann", &[], None), "unknown never passes");
    }

    #[test]
    fn only_groups_have_no_end() {
        let users =
            |users: &[&str]| People { users: users.iter().map(|user| Arc::from(*user)).collect(), ..People::default() };
        let mut approvers = Approvers { named: users(&["ann", "bob"]), manager: true, owner: None };
        assert_eq!((approvers.most(None), approvers.most(Some("ann"))), (Some(3), Some(2)));
        approvers.owner = Some(users(&["eve"]));
        assert_eq!(
            (approvers.most(None), approvers.most(Some("eve")), approvers.most(Some("x"))),
            (Some(4), Some(3), Some(4))
        );
        approvers.owner = Some(users(&["ann"]));
        assert_eq!((approvers.most(None), approvers.most(Some("ann"))), (Some(3), Some(2)), "one person in two places");
        approvers.owner = Some(People { groups: ["g".into()].into(), ..People::default() });
        assert_eq!(approvers.most(None), None);
    }
}
