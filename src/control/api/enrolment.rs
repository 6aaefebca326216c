//! Invitations, a device's first certificate, and its next.

use super::answer::Answer;
use super::asking::Asking;
use super::page::{Items, Page};
use super::problem::Problem;
use super::show;
use crate::authority::Invitation;
use crate::authority::invitation::InvitationState;
use crate::control::administrator::Held;
use crate::control::enrolment::{Enrolled, NewInvitation};
use crate::control::{Administrator, Fault};
use crate::evidence::Moment;
use crate::store::Kind;
use http::header::ACCEPT;
use http::{HeaderName, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a device sends.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Submitted {
    #[serde(default)]
    code: Option<String>,
    /// PKCS#10, PEM; as a body of its own also DER.
    #[serde(deserialize_with = "text")]
    request: Vec<u8>,
}

/// The code beside a request that is the whole body.
const INVITATION: HeaderName = HeaderName::from_static("rangegate-invitation");

/// Certificates one after the other (RFC 8555 section 9.1).
const PEM: &str = "application/pem-certificate-chain";

fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    String::deserialize(deserializer).map(String::into_bytes)
}

pub async fn list(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&["limit", "cursor", "user", "state"])?;
    let user = asking.query.get("user");
    let state = asking.asked("state", |text| ["open", "used", "withdrawn", "over"].contains(&text).then(|| text.to_owned()))?;
    let now = asking.at();
    let wanted = |invitation: &Invitation| {
        user.is_none_or(|user| *invitation.user == **user)
            && state.as_ref().is_none_or(|state| state_of(invitation, now) == state)
    };
    let page = Page::read(asking)?;
    let found = page.documents(administrator, Kind::Invitation, |invitation: &Invitation| &invitation.id, wanted).await;
    let (found, next) = found?;
    Ok(Answer::ok(&Items { items: found.iter().map(|held| shown(held, now)).collect(), next }))
}

pub async fn invite(administrator: &Administrator, asking: &mut Asking) -> Result<Answer, Problem> {
    let new: NewInvitation = asking.json().await?;
    let (held, code) = administrator.invite(&asking.who(), &new).await?;
    let mut value = shown(&held, asking.at());
    value["code"] = code.to_string().into();
    Ok(Answer::created(&value, format!("/v1/invitations/{}", held.value.id)).version(held.version))
}

pub async fn withdraw(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    let held = administrator.withdraw_invitation(&asking.who(), &asking.parameter(0).into()).await?;
    Ok(Answer::ok(&shown(&held, asking.at())).version(held.version))
}

pub async fn enrol(administrator: &Administrator, asking: &mut Asking) -> Result<Answer, Problem> {
    let Submitted { code, request } = submitted(asking).await?;
    let code = code.ok_or_else(|| Problem::invalid("`code` is missing"))?;
    let address = asking.evidence().network.address.known().copied();
    let enrolled = administrator.enrol(&asking.who(), &code, &request, address).await?;
    certificate(administrator, asking, &enrolled)
}

pub async fn renew(administrator: &Administrator, asking: &mut Asking) -> Result<Answer, Problem> {
    let Submitted { code, request } = submitted(asking).await?;
    if code.is_some() {
        return Err(Problem::invalid("a renewal needs no code: the certificate of the connection is enough"));
    }
    let evidence = asking.evidence();
    let known = evidence.certificate.known().zip(evidence.device.known());
    let (certificate_shown, device) = known
        .map(|(certificate, device)| (Arc::clone(certificate), Arc::clone(device)))
        .ok_or_else(|| Problem::forbidden("the connection was opened without a certificate of a known device"))?;
    let enrolled = administrator.renew(&asking.who(), &certificate_shown, &device, &request).await?;
    certificate(administrator, asking, &enrolled)
}

/// The authority that issues here: what listeners and others trust.
pub fn authority(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&[])?;
    let issuing = administrator.issuing.as_ref().ok_or(Fault::NoAuthority)?;
    let pem = issuing.authority.certificate_pem();
    if asking.header(&ACCEPT).is_some_and(|accept| accept.contains(PEM)) {
        return Ok(Answer::text(PEM, pem));
    }
    Ok(Answer::ok(&show::plain(&json!({
        "certificate": pem,
        "not-after": issuing.authority.ends(),
        "lifetime": issuing.authority.lifetime().as_secs(),
    }))))
}

pub fn revocation_list(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&[])?;
    let issuing = administrator.issuing.as_ref().ok_or(Fault::NoAuthority)?;
    let list = issuing.list().ok_or_else(|| Problem::away("the list is not signed yet"))?;
    Ok(Answer::text("application/x-pem-file", list))
}

/// A certificate request as it is, with the code in a header, which is what tools send; or both in JSON.
async fn submitted(asking: &mut Asking) -> Result<Submitted, Problem> {
    if asking.content_type() != "application/pkcs10" {
        return asking.json().await;
    }
    let code = asking.header(&INVITATION).map(str::to_owned);
    Ok(Submitted { code, request: asking.bytes().await?.to_vec() })
}

fn certificate(administrator: &Administrator, asking: &Asking, enrolled: &Enrolled) -> Result<Answer, Problem> {
    let Enrolled { device, issued } = enrolled;
    if asking.header(&ACCEPT).is_some_and(|accept| accept.contains(PEM)) {
        return Ok(Answer::text(PEM, issued.pem.clone()).status(StatusCode::CREATED));
    }
    let authority = administrator.issuing.as_ref().map(|issuing| issuing.authority.certificate_pem());
    let half = i64::try_from(issued.not_after.since(issued.not_before) / 2).unwrap_or(i64::MAX);
    let value = show::plain(&json!({
        "device": device,
        "certificate": issued.pem,
        "authority": authority,
        "serial": issued.serial,
        "not-after": issued.not_after,
        "renew-after": issued.not_before.plus_millis(half),
    }));
    Ok(Answer::created(&value, format!("/v1/devices/{device}")))
}

fn shown(held: &Held<Invitation>, now: Moment) -> Value {
    let mut value = show::held(held);
    if let Some(object) = value.as_object_mut() {
        object.remove("code-sha256");
    }
    value["counts"] = (state_of(&held.value, now) == "open").into();
    value
}

fn state_of(invitation: &Invitation, now: Moment) -> &'static str {
    match invitation.state {
        InvitationState::Used { .. } => "used",
        InvitationState::Withdrawn { .. } => "withdrawn",
        InvitationState::Open if invitation.expires <= now => "over",
        InvitationState::Open => "open",
    }
}
