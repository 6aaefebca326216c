//! A gateway under measurement, and the proof that it is one.

use crate::cpu::{self, Reading};
use crate::fixture::{CONSOLE, Fixture};
use crate::load::Client;
use crate::process::Process;
use rangegate_benches::Result;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Debug)]
pub struct Peer {
    /// In the head of the table.
    pub name: String,
    pub process: Process,
    pub address: SocketAddr,
}

impl Peer {
    /// A gateway that lets everybody through is fast. This one lets the listed device through, tells the upstream whose
    /// it is, and refuses another device of the same authority and a client without a certificate.
    pub async fn prove(&self, fixture: &Fixture) -> Result<()> {
        let ask = async |device, path| Client::new(fixture, device, self.address, CONSOLE, None)?.get(path).await;
        let (status, seen) = ask(Some(&fixture.known), "/seen").await?;
        if status != 200 || seen.is_empty() {
            let seen = String::from_utf8_lossy(&seen).into_owned();
            return Err(self.fault(&format!("does not forward for the listed device: status {status}\n{seen}")));
        }
        for (device, who) in [(Some(&fixture.stranger), "an unlisted device"), (None, "a client without a certificate")] {
            // Refused in the handshake or by an answer: both are refusals.
            if let Ok((200, _)) = ask(device, "/seen").await {
                return Err(self.fault(&format!("lets {who} through")));
            }
        }
        Ok(())
    }

    /// CPU time so far, read when the last answers' log records and closed connections have been dealt with.
    pub async fn settled(&self) -> Result<Reading> {
        tokio::time::sleep(Duration::from_millis(60)).await;
        cpu::read(self.process.id())
    }

    pub fn fault(&self, what: &str) -> Box<dyn std::error::Error + Send + Sync> {
        format!("{} {what}\nit said:\n{}", self.name, self.process.said()).into()
    }
}
