//! What an author states of the organisation's records: `identity = { employment = "employee", home = { … } }`.

use super::facts::coordinates;
use crate::evidence::{Evidence, Fact, Home, Identity, IdentityStatus, Proofing};
use crate::policy::compile::role::EMPLOYMENTS;
use crate::policy::countries;
use crate::policy::criteria::identity::STATUSES;
use crate::policy::source::{Table, Value};
use std::sync::Arc;

/// Reads `identity`, and gives the stated login the groups of the record where it has any.
pub(super) fn lower(table: &mut Table<'_>, evidence: &mut Evidence) {
    let user = evidence.subject.known().map_or_else(|| "somebody".into(), |subject| Arc::clone(&subject.user));
    let Some(identity) = table.optional("identity", |value| record(value, &user, evidence)) else { return };
    evidence.subject = evidence.subject.clone().map(|subject| subject.with_groups_of(&identity));
    evidence.identity = Fact::Known(Arc::new(identity));
}

/// Somebody of whom nothing but a name is on record.
pub fn person(user: &str) -> Identity {
    Identity {
        user: user.into(),
        person: user.into(),
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
    }
}

fn record(value: Value<'_>, user: &str, evidence: &Evidence) -> Option<Identity> {
    let mut table = value.table()?;
    let text = |text: Option<&str>| text.map(Arc::from);
    let ago = |value: Option<std::time::Duration>| value.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let proofed = ago(table.optional("proofed", Value::duration));
    let left = ago(table.optional("proofing-left", Value::duration));
    let identity = Identity {
        groups: table.optional("groups", |value| value.list(|group| Some(Arc::from(group.name()?)))),
        employment: table.optional("employment", |value| value.one_of(&EMPLOYMENTS)),
        vendor: text(table.optional("vendor", Value::name)),
        manager: text(table.optional("manager", Value::name)),
        home: table.optional("home", home),
        proofing: proofed.map(|age| Proofing {
            method: "stated".into(),
            by: "the author".into(),
            at: evidence.at.plus_millis(age.saturating_neg()),
            until: left.map(|left| evidence.at.plus_millis(left)),
        }),
        status: table.or("status", IdentityStatus::Active, |value| value.one_of(&STATUSES)),
        ..person(user)
    };
    table.finish();
    Some(identity)
}

fn home(value: Value<'_>) -> Option<Home> {
    let mut table = value.table()?;
    let country = table.required("country", |country| countries::lower(country).and(country.text()));
    let home = Home {
        country: country.unwrap_or_default().into(),
        region: table.optional("region", Value::name).map(Arc::from),
        coordinates: table.optional("coordinates", coordinates),
        radius_km: table.optional("radius", Value::distance).map(|radius| radius.0),
    };
    table.finish();
    Some(home)
}
