//! A WebSocket that is open while an operator revokes the laptop it comes from, and how long it takes to end.

use super::client::Ask;
use super::scene::{Laptop, Login};
use super::websocket::{Heard, WebSocket};
use super::world::World;
use http_body_util::BodyExt as _;
use std::error::Error;
use std::time::{Duration, Instant};

/// How a WebSocket ended.
#[derive(Debug)]
pub struct Closed {
    pub code: u16,
    pub reason: String,
    /// Messages before that.
    pub messages: usize,
    asked: Instant,
    answered: Instant,
    at: Instant,
}

/// Nobody is left waiting for longer, whatever else the machine does.
const AT_MOST: Duration = Duration::from_secs(1);

/// Listens for a first message, has Olga revoke the laptop, and listens to the end.
///
/// # Errors
/// Nothing is heard at all, or the revocation is refused.
pub async fn listen(world: &World, socket: &mut WebSocket) -> Result<Closed, Box<dyn Error>> {
    let olga = Login { on: Laptop::Olga, minutes_ago: 20 };
    let mut operator = world.dial(olga.on, "gate").await?;
    let (token, path) = (world.token(olga)?, format!("/v1/devices/{}/revoke", world.notes.device));
    let revoke = Ask { method: "POST", path: &path, token: Some(&token), body: Some(r#"{"reason":"reported lost"}"#) };
    if socket.next().await != Heard::Message {
        return Err("the WebSocket ended before anything was revoked".into());
    }
    let asked = Instant::now();
    let revoked = async {
        let answer = operator.ask(revoke).await?;
        let answered = Instant::now();
        let (status, body) = (answer.status(), answer.into_body().collect().await?.to_bytes());
        match status.is_success() {
            true => Ok(answered),
            false => Err(Box::<dyn Error>::from(format!("{status}: {}", String::from_utf8_lossy(&body)))),
        }
    };
    let ended = async {
        let mut messages = 1;
        loop {
            match socket.next().await {
                Heard::Message => messages += 1,
                Heard::Closed { code, reason } => return Ok((code, reason, messages, Instant::now())),
            }
        }
    };
    let (answered, (code, reason, messages, at)) = tokio::try_join!(revoked, ended)?;
    Ok(Closed { code, reason, messages, asked, answered, at })
}

impl Closed {
    /// Where this is not what a revocation has to do.
    pub fn differs(&self) -> Option<String> {
        let took = self.at.saturating_duration_since(self.answered);
        let wrong = (self.code, &*self.reason) != (1008, "device-revoked") || took > AT_MOST;
        wrong.then(|| {
            format!("the WebSocket was closed with {} `{}`, {took:.1?} after the answer", self.code, self.reason)
        })
    }

    /// When, beside the answer to whoever revoked.
    pub fn when(&self) -> String {
        let (early, late) =
            (self.answered.saturating_duration_since(self.at), self.at.saturating_duration_since(self.answered));
        let beside = match early > late {
            true => format!("{:.1} ms before", millis(early)),
            false => format!("{:.1} ms after", millis(late)),
        };
        format!(
            "{beside} her answer came, {:.1} ms after she asked",
            millis(self.at.saturating_duration_since(self.asked))
        )
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
