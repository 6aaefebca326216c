//! What a scene of the story is made of: people, laptops, ways to the gateway, and what has to come of it.

use super::client::Http;
use super::issuer::Person;
use crate::policy::Outcome;
use std::net::Ipv4Addr;

pub const ANN: Person = Person { user: "ann@corp.example", groups: &["payroll", "admins"] };
pub const BOB: Person = Person { user: "bob@corp.example", groups: &["payroll"] };
pub const EVE: Person = Person { user: "eve@corp.example", groups: &["admins"] };

/// A laptop with a certificate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Laptop {
    Ann,
    /// Its certificate stands on the revocation list.
    AnnOld,
    Bob,
    /// Watched.
    Eve,
}

impl Laptop {
    pub const ALL: [Self; 4] = [Self::Ann, Self::AnnOld, Self::Bob, Self::Eve];

    /// Its id in the device registry, and the name of its files.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Ann => "ann-laptop",
            Self::AnnOld => "ann-old-laptop",
            Self::Bob => "bob-laptop",
            Self::Eve => "eve-laptop",
        }
    }

    pub const fn owner(self) -> &'static Person {
        match self {
            Self::Ann | Self::AnnOld => &ANN,
            Self::Bob => &BOB,
            Self::Eve => &EVE,
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
}

/// What has to come of it.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub outcome: Outcome,
    pub status: u16,
    /// The requirement that decided. Empty: all are met.
    pub requirement: &'static str,
    /// Its reason code; for an answer that is cut, the reason of the cut.
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
    pub path: &'static str,
    /// How often it is asked; the last time counts.
    pub times: usize,
    pub meanwhile: Meanwhile,
    pub expected: Expected,
}

#[derive(Clone, Copy, Debug)]
pub struct Act {
    pub title: &'static str,
    pub scenes: &'static [Scene],
}

pub const fn expected(outcome: Outcome, status: u16, requirement: &'static str, reason: &'static str) -> Expected {
    Expected { outcome, status, requirement, reason }
}
