//! The story: who asks for what, from where, and what has to come of it.

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
    Relay { behind_ms: u64 },
    /// Through the balancer, from this address, so many milliseconds of round trip away.
    Balancer { client: Ipv4Addr, away_ms: u64 },
}

/// What happens while the answer is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    Nothing,
    /// The laptop is reported stolen, after so many pieces of the answer.
    ReportedStolen { after: usize },
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

/// What every scene is, unless it says otherwise: Ann as she works every day.
const USUAL: Scene = Scene {
    who: "Ann on her own laptop",
    laptop: Some(Laptop::Ann),
    login: Some(Login { on: Laptop::Ann, minutes_ago: 20 }),
    way: Way::Direct,
    http: Http::Two,
    method: "GET",
    host: "payroll",
    path: "/runs",
    times: 1,
    meanwhile: Meanwhile::Nothing,
    expected: expected(Outcome::Forward, 200, "", "all-met"),
};

/// A passkey shown a minute ago: what the payroll asks of those whose connection it cannot measure.
const JUST_NOW: Option<Login> = Some(Login { on: Laptop::Ann, minutes_ago: 1 });

pub const STORY: &[Act] = &[
    Act {
        title: "Who is asking, and on what",
        scenes: &[
            USUAL,
            Scene {
                who: "Ann's token on Bob's laptop",
                laptop: Some(Laptop::Bob),
                expected: expected(Outcome::Deny, 403, "bound-laptop", "token-elsewhere"),
                ..USUAL
            },
            Scene {
                who: "Ann's token, no certificate",
                laptop: None,
                http: Http::One,
                expected: expected(Outcome::Deny, 403, "bound-laptop", "certificate-absent"),
                ..USUAL
            },
            Scene {
                who: "Ann's old laptop, revoked",
                laptop: Some(Laptop::AnnOld),
                login: Some(Login { on: Laptop::AnnOld, minutes_ago: 20 }),
                expected: expected(Outcome::Deny, 403, "bound-laptop", "certificate-revoked"),
                ..USUAL
            },
        ],
    },
    Act {
        title: "From where",
        scenes: &[
            Scene {
                who: "Ann, abroad",
                login: JUST_NOW,
                way: Way::Balancer { client: Ipv4Addr::new(203, 0, 113, 70), away_ms: 190 },
                expected: expected(Outcome::Deny, 403, "in-country", "country-outside"),
                ..USUAL
            },
            Scene {
                who: "Ann, by way of a rented server",
                login: JUST_NOW,
                way: Way::Balancer { client: Ipv4Addr::new(203, 0, 113, 7), away_ms: 12 },
                expected: expected(Outcome::Deny, 403, "no-hosting", "list-on"),
                ..USUAL
            },
            Scene {
                who: "Ann, abroad, reading the wiki",
                way: Way::Balancer { client: Ipv4Addr::new(203, 0, 113, 200), away_ms: 138 },
                host: "wiki",
                path: "/Home",
                expected: expected(Outcome::Observe, 200, "work-countries", "country-outside"),
                ..USUAL
            },
        ],
    },
    Act {
        title: "How far away the hands are",
        scenes: &[
            Scene {
                who: "Ann's laptop, behind a relay",
                way: Way::Relay { behind_ms: 170 },
                expected: expected(Outcome::StepUp, 401, "no-relay", "relay-gap-above"),
                ..USUAL
            },
            Scene {
                who: "Ann, whose address says Hawaii",
                way: Way::Balancer { client: Ipv4Addr::new(192, 0, 2, 10), away_ms: 2 },
                host: "console",
                path: "/",
                expected: expected(Outcome::Deny, 403, "place-possible", "too-near"),
                ..USUAL
            },
        ],
    },
    Act {
        title: "What they may do now",
        scenes: &[
            Scene {
                who: "Ann, approving without a grant",
                login: JUST_NOW,
                method: "POST",
                path: "/runs/7/approve",
                expected: expected(Outcome::RequireGrant, 403, "approver", "grants-absent"),
                ..USUAL
            },
            Scene {
                who: "Ann, signed in nine hours ago",
                login: Some(Login { on: Laptop::Ann, minutes_ago: 540 }),
                host: "console",
                path: "/",
                expected: expected(Outcome::StepUp, 401, "administrator", "login-too-old"),
                ..USUAL
            },
            Scene {
                who: "Ann's sixth report in a minute",
                http: Http::One,
                host: "reports",
                path: "/2026/q1",
                times: 6,
                expected: expected(Outcome::Deny, 429, "unhurried", "rate-exceeded"),
                ..USUAL
            },
            Scene {
                who: "Eve, under investigation",
                laptop: Some(Laptop::Eve),
                login: Some(Login { on: Laptop::Eve, minutes_ago: 20 }),
                host: "console",
                path: "/",
                expected: expected(Outcome::Decoy, 200, "not-watched", "device-status-other"),
                ..USUAL
            },
            Scene {
                who: "Bob's laptop, stolen mid-answer",
                laptop: Some(Laptop::Bob),
                login: Some(Login { on: Laptop::Bob, minutes_ago: 20 }),
                path: "/stream",
                meanwhile: Meanwhile::ReportedStolen { after: 3 },
                expected: expected(Outcome::Forward, 200, "", "device-status-other"),
                ..USUAL
            },
        ],
    },
];

const fn expected(
    outcome: Outcome,
    status: u16,
    requirement: &'static str,
    reason: &'static str,
) -> Expected {
    Expected { outcome, status, requirement, reason }
}
