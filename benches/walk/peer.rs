//! A gateway under measurement, and the proof that it is one.

use crate::cpu::{self, Reading};
use crate::fixture::{CONSOLE, Fixture, PAYROLL, Person};
use crate::load::{Client, Shape};
use crate::nginx::Server;
use rangegate_benches::Result;
use std::time::Duration;

#[derive(Debug)]
pub struct Peer {
    /// In the head of the table.
    pub name: String,
    /// What it is, in a line.
    pub version: String,
    pub server: Server,
    pub knows: Knows,
}

/// What a peer knows of who asks; each knows what those before it know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Knows {
    /// It carries plain HTTP/1.1 for anybody.
    Nobody,
    /// Whether a certificate is of the authority, and which it is.
    Certificates,
    /// Whether a device is listed.
    Devices,
    People,
}

/// As whom a row asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The listed device.
    Device,
    /// The listed device and a bearer token in every request.
    Person,
    /// As many people as there are, each on a connection with their device and a bearer token in every request.
    People,
}

impl Peer {
    pub fn speaks(&self, shape: Shape) -> bool {
        self.knows > Knows::Nobody || matches!(shape, Shape::Http1 { .. })
    }

    pub fn client(&self, fixture: &Fixture, caller: Caller) -> Result<Client> {
        if self.knows == Knows::Nobody {
            return Ok(Client::plain(self.server.address, CONSOLE));
        }
        let (host, bearer) = match caller {
            Caller::Device => (CONSOLE, None),
            Caller::Person | Caller::People => (PAYROLL, Some(fixture.ann.bearer.clone())),
        };
        Client::new(fixture, Some(&fixture.ann.device), self.server.address, host, bearer)
    }

    /// All that ask, at least one.
    pub fn clients(&self, fixture: &Fixture, caller: Caller, people: &[Person]) -> Result<Vec<Client>> {
        if caller != Caller::People || people.is_empty() {
            return Ok(vec![self.client(fixture, caller)?]);
        }
        let client = |person: &Person| {
            Client::new(fixture, Some(&person.device), self.server.address, PAYROLL, Some(person.bearer.clone()))
        };
        people.iter().map(client).collect()
    }

    /// A gateway that lets everybody through is fast. One lets the listed device through, tells the upstream whose it is,
    /// and refuses another device of the same authority, a device of another, a client without a certificate and, where
    /// it reads tokens, a resource for people to a device alone. A rung below has to prove what it claims to know.
    pub async fn prove(&self, fixture: &Fixture) -> Result<()> {
        self.forwards(fixture, Caller::Device).await?;
        if self.knows >= Knows::Devices {
            self.forwards(fixture, Caller::Person).await?;
        }
        let client = |device, host| Client::new(fixture, device, self.server.address, host, None);
        let mut refused = Vec::new();
        if self.knows >= Knows::Certificates {
            refused.push((client(None, CONSOLE)?, "a client without a certificate"));
            refused.push((client(Some(&fixture.foreign), CONSOLE)?, "a device of another authority"));
        }
        if self.knows >= Knows::Devices {
            refused.push((client(Some(&fixture.stranger), CONSOLE)?, "an unlisted device"));
        }
        if self.knows >= Knows::People {
            refused.push((client(Some(&fixture.ann.device), PAYROLL)?, "a device without a person"));
        }
        for (client, who) in refused {
            // Refused in the handshake or by an answer: both are refusals.
            if let Ok((200, _)) = client.get("/seen").await {
                return Err(self.fault(&format!("lets {who} through")));
            }
        }
        Ok(())
    }

    async fn forwards(&self, fixture: &Fixture, caller: Caller) -> Result<()> {
        let mut last = String::new();
        // Key sets and the like may still be on their way.
        for _ in 0..50 {
            match self.client(fixture, caller)?.get("/seen").await {
                Ok((200, seen)) if !seen.is_empty() || self.knows == Knows::Nobody => return Ok(()),
                Ok((200, _)) => return Err(self.fault("tells the upstream nothing of the client")),
                Ok((status, body)) => last = format!("status {status}\n{}", String::from_utf8_lossy(&body)),
                Err(why) => last = why.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(self.fault(&format!("does not forward for the listed device ({caller:?}): {last}")))
    }

    /// CPU time so far, read when the last answers' log records and closed connections have been dealt with.
    pub async fn settled(&self) -> Result<Reading> {
        tokio::time::sleep(Duration::from_millis(60)).await;
        cpu::read(self.server.process.id())
    }

    pub fn fault(&self, what: &str) -> Box<dyn std::error::Error + Send + Sync> {
        format!("{} {what}\nit said:\n{}", self.name, self.server.process.said()).into()
    }
}
