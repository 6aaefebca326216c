//! One scene, played: a real client asks, and what came of it is read from the audit log.

use super::client::Ask;
use super::scene::{Meanwhile, Scene};
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
    /// The request's whole audit record.
    pub record: Value,
}

/// How long a record may take to reach the log.
const PATIENCE: Duration = Duration::from_secs(10);

/// # Errors
/// The scene cannot be played at all: a connection fails, or no record appears.
pub async fn play(world: &World, scene: &Scene) -> Result<Played, Box<dyn Error>> {
    let token = scene.login.map(|login| world.token(login)).transpose()?;
    let ask = Ask { method: scene.method, path: scene.path, token: token.as_deref() };
    let mut client = world.client(scene).await?;
    for _ in 1..scene.times {
        client.ask(ask).await?.into_body().collect().await?;
    }
    let response = client.ask(ask).await?;
    let status = response.status().as_u16();
    let id = response.headers().get("rangegate-request-id").and_then(|id| id.to_str().ok());
    let id = id.ok_or("the answer has no request id")?.to_owned();
    let cut_after = listen(world, scene, response).await?;
    if let (Meanwhile::ReportedStolen { .. }, Some(laptop)) = (scene.meanwhile, scene.laptop) {
        // Found again, for whoever plays on.
        world.report(laptop, "active")?;
    }
    let record = recorded(&world.audit_log(), &id).await?;
    Played::read(status, cut_after, record)
}

impl Played {
    fn read(status: u16, cut_after: Option<usize>, record: Value) -> Result<Self, Box<dyn Error>> {
        let (outcome, would): (Outcome, Outcome) =
            (part(&record, "/decision/outcome")?, part(&record, "/decision/would")?);
        let mut reason: Reason = part(&record, "/decision/reason")?;
        let findings: Vec<Value> = part(&record, "/decision/findings")?;
        let decided = findings.iter().find(|finding| {
            text(finding, "/demand") == would.code()
                && ["/unmet", "/unknown"].iter().any(|verdict| text(finding, verdict) == reason.code())
        });
        let requirement = decided.and_then(|finding| {
            let scopes = ["/baseline", "/resource", "/route"].map(|scope| text(finding, scope));
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
            cut_after,
            record,
        })
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
        let came = shown(self.outcome, self.status, &self.requirement, self.reason.code());
        let cut = matches!(scene.meanwhile, Meanwhile::ReportedStolen { .. });
        match (said == came, cut == self.cut_after.is_some()) {
            (true, true) => None,
            (false, _) => Some(format!("the story says {said}; it was {came}")),
            (true, false) => Some(format!("the answer was {}", if cut { "not cut" } else { "cut" })),
        }
    }
}

fn shown(outcome: Outcome, status: u16, requirement: &str, reason: &str) -> String {
    let requirement = if requirement.is_empty() { "no requirement" } else { requirement };
    format!("{} {status} ({requirement}: {reason})", outcome.code())
}

/// Reads the answer to its end, while what the scene says happens. The number of pieces, if it was cut.
async fn listen(world: &World, scene: &Scene, response: Response<Incoming>) -> Result<Option<usize>, Box<dyn Error>> {
    let mut body = response.into_body();
    let mut pieces = 0;
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return Ok(Some(pieces));
        }
        pieces += 1;
        if scene.meanwhile == (Meanwhile::ReportedStolen { after: pieces }) {
            world.report(scene.laptop.ok_or("nothing to steal")?, "revoked")?;
        }
    }
    Ok(None)
}

/// The closed record of the request, as soon as it is in the log.
async fn recorded(log: &Path, id: &str) -> Result<Value, Box<dyn Error>> {
    let until = Instant::now() + PATIENCE;
    loop {
        let written = std::fs::read_to_string(log)?;
        let lines = written.lines().rev().filter(|line| line.contains(id));
        let mut records = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(record) = records.find(|record| text(record, "/kind") == "request" && text(record, "/id") == id) {
            return Ok(record);
        }
        if Instant::now() > until {
            return Err(format!("request {id} is not in the audit log").into());
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
