//! One administrative step as the log has it: who did what to what, and what came of it.

use crate::evidence::Moment;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// Never holds a secret: no codes, no keys, no tokens.
#[derive(Clone, Debug, Serialize)]
pub struct Admin {
    #[serde(skip)]
    pub at: Moment,
    /// The request that asked for it. None: the gateway did it by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub actor: AdminActor,
    /// A closed vocabulary, `noun-verb`: `grant-approve`, `device-revoke`.
    pub action: &'static str,
    /// The kind and the id of what it is about: `grant g_…`.
    pub target: String,
    pub outcome: AdminOutcome,
    /// Why it was refused or failed, or what the actor gave as a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// What changed, and only that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AdminActor {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    /// The human being behind the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Arc<str>>,
    /// Who vouched for the actor: a token issuer, `unix`; none: nobody, such as a device that enrols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminOutcome {
    Done,
    /// The rules say no.
    Refused,
    /// The store could not be written.
    Failed,
}
