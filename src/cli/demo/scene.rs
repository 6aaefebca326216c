//! What a scene of the story is made of: people, laptops, ways to the gateway, and what has to come of it.

use super::client::Http;
use super::issuer::Person;
use crate::policy::Outcome;
use std::net::Ipv4Addr;

pub const ANN: Person = Person { user: "ann@corp.example", groups: &["payroll", "admins"] };
pub const BOB: Person = Person { user: "bob@corp.example", groups: &["payroll"] };
pub const CAROL: Person = Person { user: "carol@corp.example", groups: &["payroll-leads"] };
pub const DAN: Person = Person { user: "dan@corp.example", groups: &["payroll"] };
pub const EVE: Person = Person { user: "eve@corp.example", groups: &["admins"] };
pub const FRANK: Person = Person { user: "frank@corp.example", groups: &["payroll"] };
pub const OLGA: Person = Person { user: "olga@corp.example", groups: &["rangegate-operators"] };

/// What HR knows of them, as it is imported at the start.
pub const PEOPLE: &str = "\
user,name,groups,employment,manager,status
ann@corp.example,Ann,payroll;admins,employee,carol@corp.example,active
bob@corp.example,Bob,payroll,employee,carol@corp.example,active
carol@corp.example,Carol,payroll-leads,employee,,active
dan@corp.example,Dan,payroll,employee,carol@corp.example,active
eve@corp.example,Eve,admins,contractor,olga@corp.example,active
frank@corp.example,Frank,payroll,employee,carol@corp.example,watched
olga@corp.example,Olga,rangegate-operators,employee,,active
";

/// A laptop with a certificate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Laptop {
    Ann,
    /// Its certificate stands on the revocation list.
    AnnOld,
    Bob,
    Carol,
    /// In no registry, until it is enrolled in the story.
    Dan,
    /// Watched.
    Eve,
    Frank,
    Olga,
}

impl Laptop {
    /// Those that stand in the registry from the start.
    pub const REGISTERED: [Self; 7] =
        [Self::Ann, Self::AnnOld, Self::Bob, Self::Carol, Self::Eve, Self::Frank, Self::Olga];

    /// Its id in the device registry, and the name of its files.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Ann => "ann-laptop",
            Self::AnnOld => "ann-old-laptop",
            Self::Bob => "bob-laptop",
            Self::Carol => "carol-laptop",
            Self::Dan => "dan-laptop",
            Self::Eve => "eve-laptop",
            Self::Frank => "frank-laptop",
            Self::Olga => "olga-laptop",
        }
    }

    pub const fn owner(self) -> &'static Person {
        match self {
            Self::Ann | Self::AnnOld => &ANN,
            Self::Bob => &BOB,
            Self::Carol => &CAROL,
            Self::Dan => &DAN,
            Self::Eve => &EVE,
            Self::Frank => &FRANK,
            Self::Olga => &OLGA,
        }
    }
}

/// The token a request carries: whoever owns the laptop it was issued to, and when they signed in.
#[derive(Clone, Copy, Debug)]
pub struct Login {
    pub on: Laptop,
    pub minutes_ago: i64,
}

/// How a request reaches the gateway.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Direct,
    /// Through a relay that nobody announces, with the laptop so many milliseconds of round trip behind it.
    Relay {
        behind_ms: u64,
    },
    /// Through the balancer, from this address, so many milliseconds of round trip away.
    Balancer {
        client: Ipv4Addr,
        away_ms: u64,
    },
}

/// What happens while the answer is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    Nothing,
    /// The laptop is reported stolen, after so many pieces of the answer.
    ReportedStolen {
        after: usize,
    },
    /// Olga revokes the laptop through the API while a WebSocket is open.
    Revoked,
}

/// What a request brings to the API or waits for, and what is learnt from the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    None,
    /// Dan is invited; the code is learnt.
    Invite,
    /// A new key is shown with the code; Dan's laptop and its certificate are learnt.
    Enrol,
    /// Another new key, with the code that was used.
    EnrolAgain,
    /// A role is asked for; the grant's id is learnt.
    AskForGrant,
    /// An answer to what was asked for.
    Approve,
    /// It is asked once the grant has ended.
    WhenEnded,
}

/// What has to come of it.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub outcome: Outcome,
    pub status: u16,
    /// The requirement that decided. Empty: all are met.
    pub requirement: &'static str,
    /// Its reason code; for an answer that is cut, the reason of the cut; for a refusal by the API, the API's code.
    pub reason: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub struct Scene {
    pub who: &'static str,
    pub laptop: Option<Laptop>,
    pub login: Option<Login>,
    pub way: Way,
    pub http: Http,
    pub method: &'static str,
    /// The first label of `….corp.example`.
    pub host: &'static str,
    /// `…` stands for the grant's id.
    pub path: &'static str,
    /// How often it is asked; the last time counts.
    pub times: usize,
    pub meanwhile: Meanwhile,
    pub errand: Errand,
    pub expected: Expected,
}

impl Scene {
    /// False: what it does cannot be done twice.
    pub fn repeatable(&self) -> bool {
        matches!(self.errand, Errand::None | Errand::WhenEnded) && self.meanwhile != Meanwhile::Revoked
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Act {
    pub title: &'static str,
    pub scenes: &'static [Scene],
}

pub const fn expected(outcome: Outcome, status: u16, requirement: &'static str, reason: &'static str) -> Expected {
    Expected { outcome, status, requirement, reason }
}
