//! Who is asking, by a verified token.

use super::{Identity, Moment};
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

impl Subject {
    /// The subject in the groups that the organisation's own record names, where it names any: then those of the
    /// token do not count.
    #[must_use]
    pub fn with_groups_of(self: Arc<Self>, identity: &Identity) -> Arc<Self> {
        match &identity.groups {
            Some(groups) if *groups != self.groups => {
                let mut subject = Arc::unwrap_or_clone(self);
                subject.groups.clone_from(groups);
                Arc::new(subject)
            }
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::IdentityStatus;

    #[test]
    fn the_record_overrides_the_token() {
        let subject = Arc::new(Subject {
            issuer: "https://id.example".into(),
            id: "1".into(),
            user: "ann".into(),
            groups: vec!["admins".into()],
            assurance: Vec::new(),
            acr: None,
            amr: Vec::new(),
            authenticated: None,
            expires: Moment(1),
            bound_to: None,
        });
        let mut identity = Identity {
            user: "ann".into(),
            person: "ann".into(),
            aliases: Vec::new(),
            name: None,
            email: None,
            groups: None,
            employment: None,
            vendor: None,
            manager: None,
            home: None,
            proofing: None,
            status: IdentityStatus::Active,
        };
        let groups = |identity: &Identity| Arc::clone(&subject).with_groups_of(identity).groups.clone();
        assert_eq!(groups(&identity), ["admins".into()], "a record without groups says nothing of them");
        identity.groups = Some(vec!["staff".into()]);
        assert_eq!(groups(&identity), ["staff".into()]);
        identity.groups = Some(Vec::new());
        assert_eq!(groups(&identity), [] as [Arc<str>; 0], "no groups is an answer");
    }
}
