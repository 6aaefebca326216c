//! What scenes bring to the API, and what is learnt from its answers: a code, a laptop, a grant.

use super::pki::Identity;
use super::scene::{DAN, Errand};
use crate::authority::pem;
use crate::evidence::Moment;
use crate::gateway::clock;
use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde_json::{Value, json};
use std::error::Error;
use std::time::Duration;

/// How long the grant is asked for.
pub const GRANT_SECONDS: u64 = 4;

const ROLE: &str = "payroll-approver";
const TICKET: &str = "PAY-1207: run 7";

/// What one scene learnt and a later one needs.
#[derive(Debug, Default)]
pub struct Notes {
    code: String,
    grant: String,
    /// When it ends.
    until: Option<Moment>,
    /// The device that was enrolled.
    pub device: String,
    /// Of the request for a certificate that is under way.
    key: Option<KeyPair>,
}

/// What came of an errand.
#[derive(Debug, Default)]
pub struct Learnt {
    /// For the reader; empty when there is nothing to say.
    pub told: String,
    /// The laptop that got a certificate.
    pub laptop: Option<Identity>,
}

impl Notes {
    pub fn path(&self, path: &str) -> String {
        path.replace('…', &self.grant)
    }

    /// Waits until the grant is over by the clock, which is the gateway's too: from that moment on it counts no more.
    ///
    /// How many milliseconds ago it ended; None when there was no grant.
    pub async fn ended(&self) -> Option<u64> {
        let until = self.until?;
        loop {
            match until.since(clock::now()) {
                0 => return Some(clock::now().since(until)),
                left => tokio::time::sleep(Duration::from_millis(left)).await,
            }
        }
    }

    /// The body of the request, if it has one.
    ///
    /// # Errors
    /// No key can be made.
    pub fn body(&mut self, errand: Errand) -> Result<Option<String>, rcgen::Error> {
        let body = match errand {
            Errand::None | Errand::WhenEnded => return Ok(None),
            Errand::Invite => json!({ "user": DAN.user }),
            Errand::Enrol | Errand::EnrolAgain => {
                let key = self.key.insert(KeyPair::generate()?);
                let mut params = CertificateParams::default();
                params.distinguished_name = DistinguishedName::new();
                let request = params.serialize_request(key)?;
                json!({ "code": self.code, "request": pem::encode("CERTIFICATE REQUEST", request.der()) })
            }
            Errand::AskForGrant => json!({ "role": ROLE, "reason": TICKET, "duration": GRANT_SECONDS }),
            Errand::Approve => json!({ "note": "run 7 only" }),
        };
        Ok(Some(body.to_string()))
    }

    /// # Errors
    /// A good answer lacks what it is there for.
    pub fn learn(&mut self, errand: Errand, answer: &Value) -> Result<Learnt, Box<dyn Error>> {
        let text =
            |name: &str| answer.get(name).and_then(Value::as_str).ok_or_else(|| format!("no `{name}`: {answer}"));
        let told = match errand {
            Errand::None | Errand::EnrolAgain | Errand::WhenEnded => String::new(),
            Errand::Invite => {
                self.code = text("code")?.to_owned();
                format!("A code for {} that counts once, until {}", text("user")?, day(text("expires")?))
            }
            Errand::Enrol => {
                let key = self.key.take().ok_or("no key was made")?;
                let laptop = Identity::issued(text("certificate")?, key)?;
                self.device = text("device")?.to_owned();
                let until = day(text("not-after")?);
                let told = format!("The key was made on the laptop; its certificate is good until {until}");
                return Ok(Learnt { told, laptop: Some(laptop) });
            }
            Errand::AskForGrant => {
                self.grant = text("id")?.to_owned();
                format!("{ROLE} for {GRANT_SECONDS} s, reason `{}`: it waits for an approval", text("reason")?)
            }
            Errand::Approve => {
                let until: Timestamp = text("held-until")?.parse()?;
                self.until = Some(Moment(until.as_millisecond()));
                format!("The grant is {} for {GRANT_SECONDS} s, from this moment on", text("phase")?)
            }
        };
        Ok(Learnt { told, laptop: None })
    }
}

/// The date of a time.
fn day(time: &str) -> &str {
    time.split('T').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_answer_says_the_next_request_brings() {
        let mut notes = Notes::default();
        let told = notes
            .learn(Errand::Invite, &json!({ "code": "7H2K", "user": "dan", "expires": "2026-11-23T10:00:00Z" }))
            .unwrap()
            .told;
        assert!(told.contains("dan") && !told.contains("7H2K"), "{told}");
        let body: Value = serde_json::from_str(&notes.body(Errand::Enrol).unwrap().unwrap()).unwrap();
        assert_eq!(body["code"], "7H2K");
        assert!(body["request"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        notes.learn(Errand::AskForGrant, &json!({ "id": "g_1", "reason": "PAY-1" })).unwrap();
        assert_eq!(notes.path("/v1/grants/…/approve"), "/v1/grants/g_1/approve");
        assert_eq!(notes.path("/runs"), "/runs");
        assert!(notes.learn(Errand::Invite, &json!({ "user": "dan" })).is_err());
    }
}
