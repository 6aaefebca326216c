//! Who somebody is, as the organisation's own records say: not what a token claims.

use super::Moment;
use crate::latency::Coordinates;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One account, and the person behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// The account's name, as `Subject::user`.
    pub user: Arc<str>,
    /// The person: the same for all accounts of one human being. Never empty; the user's own name where nothing
    /// else is known.
    pub person: Arc<str>,
    /// Further names the same account goes by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Arc<str>>,
    /// Where present, these count and the token's groups do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<Arc<str>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employment: Option<Employment>,
    /// Whose employee a vendor's person is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<Arc<str>>,
    /// The manager's `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Home>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proofing: Option<Proofing>,
    pub status: IdentityStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Employment {
    Employee,
    Contractor,
    Vendor,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityStatus {
    #[default]
    Active,
    /// Under investigation, and not to know it: keeps what is not sensitive, recorded and alerted.
    Watched,
    Suspended,
}

/// Where the person works from, as human resources have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Home {
    /// ISO 3166-1 alpha-2.
    pub country: Arc<str>,
    /// ISO 3166-2, the part after the country: `AZ`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinates: Option<Coordinates>,
    /// How far around the coordinates still counts as home, kilometres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius_km: Option<f64>,
}

/// When somebody last made sure that the person is who they say (NIST SP 800-63A).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Proofing {
    /// What the organisation calls it: `in-person`, `video-ident`.
    pub method: Arc<str>,
    /// Who did it.
    pub by: Arc<str>,
    pub at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
}
