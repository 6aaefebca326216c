//! The story: who asks for what, from where, and what has to come of it.

use super::client::Http;
use super::scene::{Act, Errand, Laptop, Login, Meanwhile, Scene, Way, expected};
use crate::policy::Outcome;
use std::net::Ipv4Addr;

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
    errand: Errand::None,
    expected: expected(Outcome::Forward, 200, "", "all-met"),
};

/// A passkey shown a minute ago: what the payroll asks of those whose connection it cannot measure.
const JUST_NOW: Option<Login> = Some(Login { on: Laptop::Ann, minutes_ago: 1 });

/// Olga, who runs the gate, at its API.
const OPERATOR: Scene = Scene {
    laptop: Some(Laptop::Olga),
    login: Some(Login { on: Laptop::Olga, minutes_ago: 20 }),
    method: "POST",
    host: "gate",
    ..USUAL
};

/// A laptop that nobody knows yet, and that has a code to show.
const UNKNOWN: Scene =
    Scene { laptop: None, login: None, method: "POST", host: "gate", path: "/v1/enrolments", ..USUAL };

/// Dan, who has just signed in on the laptop that was enrolled.
const DAN: Scene = Scene { laptop: Some(Laptop::Dan), login: Some(Login { on: Laptop::Dan, minutes_ago: 1 }), ..USUAL };

/// Ann at the API, and what she wants to do with what she gets there.
const ANN_ASKS: Scene = Scene { login: JUST_NOW, method: "POST", host: "gate", path: "/v1/grants", ..USUAL };
const ANN_APPROVES: Scene = Scene { login: JUST_NOW, method: "POST", path: "/runs/7/approve", ..USUAL };

const FRANK: Scene =
    Scene { laptop: Some(Laptop::Frank), login: Some(Login { on: Laptop::Frank, minutes_ago: 1 }), ..USUAL };

pub const STORY: &[Act] = &[
    Act {
        title: "Who is asking, and on what",
        scenes: &[
            USUAL,
            Scene {
                who: "Ann's token on Bob's laptop",
                laptop: Some(Laptop::Bob),
                // RFC 6750 section 3.1: a token that is not good here is answered with 401.
                expected: expected(Outcome::Deny, 401, "bound-laptop", "token-elsewhere"),
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
                // The second request finds the round trip measured; no rule here has the first wait for it.
                times: 2,
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
                expected: expected(Outcome::RequireGrant, 403, "approver", "grant-missing"),
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
                expected: expected(Outcome::Forward, 200, "", "device-revoked"),
                ..USUAL
            },
        ],
    },
    Act {
        title: "What the gate remembers",
        scenes: &[
            Scene {
                who: "Olga, who runs it, invites Dan",
                path: "/v1/invitations",
                errand: Errand::Invite,
                expected: expected(Outcome::Forward, 201, "", "all-met"),
                ..OPERATOR
            },
            Scene {
                who: "Dan's new laptop, with the code",
                errand: Errand::Enrol,
                expected: expected(Outcome::Forward, 201, "", "all-met"),
                ..UNKNOWN
            },
            Scene {
                who: "Another laptop, with that code",
                errand: Errand::EnrolAgain,
                expected: expected(Outcome::Forward, 403, "", "invitation"),
                ..UNKNOWN
            },
            Scene { who: "Dan on the laptop just enrolled", ..DAN },
            Scene {
                who: "Ann asks for the grant",
                errand: Errand::AskForGrant,
                expected: expected(Outcome::Forward, 201, "", "all-met"),
                ..ANN_ASKS
            },
            Scene {
                who: "Ann approves it herself",
                path: "/v1/grants/…/approve",
                errand: Errand::Approve,
                expected: expected(Outcome::Forward, 403, "", "self-approval"),
                ..ANN_ASKS
            },
            Scene {
                who: "Carol approves it",
                laptop: Some(Laptop::Carol),
                login: Some(Login { on: Laptop::Carol, minutes_ago: 20 }),
                path: "/v1/grants/…/approve",
                errand: Errand::Approve,
                ..ANN_ASKS
            },
            Scene { who: "Ann, approving with it", ..ANN_APPROVES },
            Scene {
                who: "Ann, the moment it ends",
                errand: Errand::WhenEnded,
                expected: expected(Outcome::RequireGrant, 403, "approver", "grant-expired"),
                ..ANN_APPROVES
            },
            Scene {
                who: "Dan's WebSocket, laptop lost",
                http: Http::One,
                path: "/live",
                meanwhile: Meanwhile::Revoked,
                expected: expected(Outcome::Forward, 101, "", "device-revoked"),
                ..DAN
            },
            Scene {
                who: "Frank, watched, reads the wiki",
                host: "wiki",
                path: "/Home",
                expected: expected(Outcome::Observe, 200, "good-standing", "watched"),
                ..FRANK
            },
            Scene {
                who: "Frank, watched, wants more",
                expected: expected(Outcome::Deny, 403, "good-standing", "watched"),
                ..FRANK
            },
        ],
    },
];
