//! Who is asking, by a verified token.

use super::Moment;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub issuer: Arc<str>,
    /// The `sub` claim: unique within the issuer.
    pub id: Arc<str>,
    /// The name policies and the device registry use; which claim it comes from is configuration.
    pub user: Arc<str>,
    pub groups: Vec<Arc<str>>,
    /// Names of assurance the configuration gives to `acr` and `amr` values: `passkey`, `mfa`.
    pub assurance: Vec<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<Arc<str>>,
    /// When the person last proved who they are (`auth_time`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<Moment>,
    pub expires: Moment,
    /// `cnf.x5t#S256` as lower-case hex: the certificate the token was issued to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_to: Option<Arc<str>>,
}
