//! What is protected, and where it lives.

use super::role::People;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// How to speak to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    Http,
    Https,
    /// HTTP/2 in clear text with prior knowledge.
    H2c,
    /// Served by the gateway itself: `rangegate:api`, `rangegate:assertion-keys`.
    Builtin,
}

/// Where an upstream listens: scheme, host and port. For `Scheme::Builtin` the host is the service's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    pub scheme: Scheme,
    pub host: Arc<str>,
    pub port: u16,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Http => write!(f, "http://{}:{}", self.host, self.port),
            Scheme::Https => write!(f, "https://{}:{}", self.host, self.port),
            Scheme::H2c => write!(f, "h2c://{}:{}", self.host, self.port),
            Scheme::Builtin => write!(f, "rangegate:{}", self.host),
        }
    }
}

/// Whether a resource's findings bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    #[default]
    Enforce,
    /// Shadow: what would be refused is forwarded and raises an alert.
    Observe,
}

/// What a person under investigation, who is not to know it, may still reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sensitivity {
    /// Let through, recorded, an alert raised.
    Low,
    /// A plain denial.
    #[default]
    High,
}

/// One protected resource as the policy names it.
#[derive(Clone, Debug)]
pub struct Resource {
    pub id: Arc<str>,
    pub mode: Mode,
    pub sensitivity: Sensitivity,
    /// Who answers for it; may approve roles that ask for the owner.
    pub owner: Option<People>,
    /// Tried in order of health; never empty.
    pub upstreams: Arc<[Origin]>,
    /// Who answers when the outcome is `decoy`. None: a decoy outcome refuses.
    pub decoy: Option<Arc<[Origin]>>,
}

impl Origin {
    /// The administration of the gateway: `rangegate:api`.
    pub fn administers(&self) -> bool {
        self.scheme == Scheme::Builtin && *self.host == *API
    }
}

impl Resource {
    /// Whoever is let through here administers the gateway: nothing here is only watched.
    pub fn administers(&self) -> bool {
        self.upstreams.iter().any(Origin::administers)
    }
}

/// The administration's name behind `rangegate:`.
pub const API: &str = "api";
