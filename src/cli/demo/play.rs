//! One scene, played: a real client asks, and what came of it is read from the audit log.

use super::client::Ask;
use super::errands::Learnt;
use super::revocation::{self, Closed};
use super::scene::{Errand, Meanwhile, Scene};
use super::world::World;
use crate::evidence::{Evidence, Fact};
use crate::latency::Rtt;
use crate::policy::{Outcome, Reason};
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::error::Error;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What came of a scene.
#[derive(Debug)]
pub struct Played {
    pub status: u16,
    pub evidence: Evidence,
    pub outcome: Outcome,
    /// The requirement that decided. Empty: all are met.
    pub requirement: String,
    pub reason: Reason,
    /// The value it saw, as the policy language writes it.
    pub seen: String,
    /// Pieces of the answer that came before it was cut.
    pub cut_after: Option<usize>,
    /// How its WebSocket ended.
    pub closed: Option<Closed>,
    /// Why the API did not do it.
    pub refusal: Option<Refusal>,
    /// What an errand has to tell.
    pub told: String,
    /// What gives away too much, or is missing beside the answer.
    pub flaw: Option<String>,
    /// The request's whole audit record.
    pub record: Value,
}

/// What the API says when it does not do what was asked.
#[derive(Debug)]
pub struct Refusal {
    pub code: String,
    pub detail: String,
}

/// How long a record may take to reach the log.
const PATIENCE: Duration = Duration::from_secs(10);

/// # Errors
/// The scene cannot be played at all: a connection fails, or no record appears.
pub async fn play(world: &mut World, scene: &Scene) -> Result<Played, Box<dyn Error>> {
    let log = world.audit_log();
    let ended = match scene.errand {
        Errand::WhenEnded => world.notes.ended().await,
        _ => None,
    };
    let token = scene.login.map(|login| world.token(login)).transpose()?;
    let (path, body) = (world.notes.path(scene.path), world.notes.body(scene.errand)?);
    let ask = Ask { method: scene.method, path: &path, token: token.as_deref(), body: body.as_deref() };
    let mut client = world.client(scene).await?;
    for _ in 1..scene.times {
        client.ask(ask).await?.into_body().collect().await?;
    }
    let (response, heard) = match scene.meanwhile {
        Meanwhile::Revoked => {
            let (response, mut socket) = client.open(ask).await?;
            let closed = revocation::listen(world, &mut socket).await?;
            (response.map(|_| ()), Heard { cut_after: Some(closed.messages), closed: Some(closed), ..Heard::default() })
        }
        _ => {
            let (head, body) = client.ask(ask).await?.into_parts();
            (Response::from_parts(head, ()), listen(world, scene, body).await?)
        }
    };
    let id = response.headers().get("rangegate-request-id").and_then(|id| id.to_str().ok());
    let id = id.ok_or("the answer has no request id")?.to_owned();
    if let (Meanwhile::ReportedStolen { .. }, Some(laptop)) = (scene.meanwhile, scene.laptop) {
        // Found again, for whoever plays on.
        world.report(laptop, "active")?;
    }
    let record = found(&log, &id, |line| text(line, "/kind") == "request" && text(line, "/id") == id).await?;
    let mut played = Played::read(response.status().as_u16(), record)?;
    if played.outcome == Outcome::Observe {
        found(&log, &id, |line| text(line, "/kind") == "alert" && text(line, "/id") == id).await?;
    }
    played.hear(world, scene, heard)?;
    match (scene.errand, ended) {
        (Errand::WhenEnded, None) => played.flaw = Some("there was no grant that could end".to_owned()),
        (_, Some(ago)) if played.reason == Reason::GrantExpired => {
            played.told = format!("The grant had ended {ago} ms before she asked");
        }
        _ => {}
    }
    Ok(played)
}

impl Played {
    fn read(status: u16, record: Value) -> Result<Self, Box<dyn Error>> {
        let (outcome, would): (Outcome, Outcome) =
            (part(&record, "/decision/outcome")?, part(&record, "/decision/would")?);
        let mut reason: Reason = part(&record, "/decision/reason")?;
        let findings: Vec<Value> = part(&record, "/decision/findings")?;
        let decided = findings.iter().find(|finding| {
            text(finding, "/demand") == would.code()
                && ["/unmet", "/unknown"].iter().any(|verdict| text(finding, verdict) == reason.code())
        });
        let requirement = decided.and_then(|finding| {
            let scopes = SCOPES.map(|scope| text(finding, scope));
            scopes.into_iter().find(|requirement| !requirement.is_empty())
        });
        let requirement = requirement.unwrap_or_default().to_owned();
        if let Some(cut) = text(&record, "/end").strip_prefix("cut:") {
            reason = serde_json::from_value(cut.into())?;
        }
        Ok(Self {
            status,
            evidence: part(&record, "/evidence")?,
            outcome,
            requirement,
            reason,
            seen: decided.map(|finding| text(finding, "/seen").to_owned()).unwrap_or_default(),
            cut_after: None,
            closed: None,
            refusal: None,
            told: String::new(),
            flaw: None,
            record,
        })
    }

    /// What the client got, beside what the log says.
    fn hear(&mut self, world: &mut World, scene: &Scene, heard: Heard) -> Result<(), Box<dyn Error>> {
        if self.reason == Reason::Watched && String::from_utf8_lossy(&heard.body).contains("watch") {
            self.flaw = Some("the answer gives away that the person is watched".to_owned());
        }
        if scene.errand != Errand::None && self.outcome == Outcome::Forward {
            let answer: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
            match self.status {
                ..400 => {
                    let Learnt { told, laptop } = world.notes.learn(scene.errand, &answer)?;
                    self.told = told;
                    laptop.into_iter().for_each(|laptop| world.enrolled(laptop));
                }
                _ => {
                    let said = |name: &str| text(&answer, name).to_owned();
                    self.refusal = Some(Refusal { code: said("/reason"), detail: said("/detail") });
                }
            }
        }
        (self.cut_after, self.closed) = (heard.cut_after, heard.closed);
        Ok(())
    }

    /// The code of why it is as it is: the gate's, or the API's behind it.
    pub fn code(&self) -> &str {
        self.refusal.as_ref().map_or(self.reason.code(), |refusal| &refusal.code)
    }

    /// City and country that the databases gave the address.
    pub fn place(&self) -> String {
        let place = &self.evidence.network.place;
        match (&place.city, &place.country) {
            (Fact::Known(city), Fact::Known(country)) => format!("{city}, {country}"),
            (_, Fact::Known(country)) => country.to_string(),
            _ => "unknown".to_owned(),
        }
    }

    pub fn tcp(&self) -> Option<Rtt> {
        self.evidence.timing.tcp.known().map(|timing| timing.minimum)
    }

    pub fn tls(&self) -> Option<Rtt> {
        self.evidence.timing.tls.known().map(|timing| timing.minimum)
    }

    /// Where this is not what the story says, in words.
    pub fn differs(&self, scene: &Scene) -> Option<String> {
        let expected = &scene.expected;
        let said = shown(expected.outcome, expected.status, expected.requirement, expected.reason);
        let came = shown(self.outcome, self.status, &self.requirement, self.code());
        let cut = scene.meanwhile != Meanwhile::Nothing;
        match (said == came, cut == self.cut_after.is_some()) {
            (true, true) => self.flaw.clone().or_else(|| self.closed.as_ref()?.differs()),
            (false, _) => Some(format!("the story says {said}; it was {came}")),
            (true, false) => Some(format!("the answer was {}", if cut { "not cut" } else { "cut" })),
        }
    }
}

/// Where a finding names its requirement; the last is what nobody has to require.
const SCOPES: [&str; 4] = ["/baseline", "/resource", "/route", "/built-in"];

fn shown(outcome: Outcome, status: u16, requirement: &str, reason: &str) -> String {
    let requirement = if requirement.is_empty() { "no requirement" } else { requirement };
    format!("{} {status} ({requirement}: {reason})", outcome.code())
}

/// What came after the answer's head.
#[derive(Default)]
struct Heard {
    body: Vec<u8>,
    cut_after: Option<usize>,
    closed: Option<Closed>,
}

/// Reads the answer to its end, while what the scene says happens.
async fn listen(world: &World, scene: &Scene, mut body: Incoming) -> Result<Heard, Box<dyn Error>> {
    let mut heard = Heard::default();
    let mut pieces = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Ok(Heard { cut_after: Some(pieces), ..heard });
        };
        heard.body.extend(frame.into_data().unwrap_or_default());
        pieces += 1;
        if scene.meanwhile == (Meanwhile::ReportedStolen { after: pieces }) {
            world.report(scene.laptop.ok_or("nothing to steal")?, "revoked")?;
        }
    }
    Ok(heard)
}

/// The latest line of the log that holds `text` and is the one looked for, as soon as it is there.
async fn found(log: &Path, text: &str, is: impl Fn(&Value) -> bool) -> Result<Value, Box<dyn Error>> {
    let until = Instant::now() + PATIENCE;
    loop {
        let written = std::fs::read_to_string(log)?;
        let lines = written.lines().rev().filter(|line| line.contains(text));
        if let Some(line) = lines.filter_map(|line| serde_json::from_str(line).ok()).find(|line| is(line)) {
            return Ok(line);
        }
        if Instant::now() > until {
            return Err(format!("what was looked for about `{text}` is not in the audit log").into());
        }
        sleep(Duration::from_millis(5)).await;
    }
}

fn part<T: DeserializeOwned>(record: &Value, pointer: &str) -> Result<T, Box<dyn Error>> {
    let value = record.pointer(pointer).ok_or_else(|| format!("the audit record has no `{pointer}`"))?;
    Ok(T::deserialize(value)?)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
