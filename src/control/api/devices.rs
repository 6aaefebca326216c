//! Devices: list, read, register, change, and what is done to them as a whole.

use super::answer::Answer;
use super::asking::{Asking, Demand};
use super::page::{Items, Page};
use super::problem::Problem;
use super::routes::Operation;
use super::show;
use crate::control::Administrator;
use crate::control::administrator::Held;
use crate::control::devices::{DevicePatch, NewDevice, Standing};
use crate::evidence::DeviceStatus;
use crate::store::{DeviceRecord, Kind, Seen};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// What may be said of it, and to whom it goes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Said {
    reason: Option<String>,
    to: Option<Arc<str>>,
}

pub async fn list(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&["limit", "cursor", "owner", "class", "status"])?;
    let (owner, class) = (asking.query.get("owner"), asking.query.get("class"));
    let status = asking.asked("status", |text| match text {
        "active" => Some(DeviceStatus::Active),
        "watched" => Some(DeviceStatus::Watched),
        "suspended" => Some(DeviceStatus::Suspended),
        "revoked" => Some(DeviceStatus::Revoked),
        _ => None,
    })?;
    let wanted = |record: &DeviceRecord| {
        owner.is_none_or(|owner| record.owner.as_deref() == Some(owner))
            && class.is_none_or(|class| *record.class == **class)
            && status.is_none_or(|status| record.status == status)
    };
    let page = Page::read(asking)?;
    let (found, next) = page.documents(administrator, Kind::Device, |record: &DeviceRecord| &record.id, wanted).await?;
    let seen = administrator.seen(found.iter().map(|held| Arc::clone(&held.value.id)).collect()).await?;
    Ok(Answer::ok(&Items { items: found.iter().map(|held| shown(held, &seen)).collect(), next }))
}

pub async fn one(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&[])?;
    let held = administrator.device(asking.parameter(0)).await?;
    answer(administrator, &held).await
}

pub async fn register(administrator: &Administrator, asking: &mut Asking) -> Result<Answer, Problem> {
    let new: NewDevice = asking.json().await?;
    let held = administrator.register(&asking.who(), &new).await?;
    let location = format!("/v1/devices/{}", held.value.id);
    Ok(Answer::created(&shown(&held, &[]), location).version(held.version))
}

pub async fn change(administrator: &Administrator, asking: &mut Asking) -> Result<Answer, Problem> {
    let patch: DevicePatch = asking.json().await?;
    let (demand, id) = (asking.if_match()?, asking.parameter(0).into());
    let check = |there| Demand::check(demand, there);
    let held = administrator.change_device(&asking.who(), &id, &patch, check).await?;
    answer(administrator, &held).await
}

pub async fn stand(administrator: &Administrator, asking: &mut Asking, operation: Operation) -> Result<Answer, Problem> {
    let said: Said = if asking.bytes().await?.is_empty() { Said::default() } else { asking.json().await? };
    let standing = match (operation, said.to) {
        (Operation::TransferDevice, Some(to)) => Standing::Transfer { to },
        (Operation::TransferDevice, None) => return Err(Problem::unfit("say to whom, in `to`")),
        (_, Some(_)) => return Err(Problem::unfit("`to` belongs to a transfer")),
        (Operation::SuspendDevice, None) => Standing::Suspend,
        (Operation::WatchDevice, None) => Standing::Watch,
        (Operation::ResumeDevice, None) => Standing::Resume,
        (_, None) => Standing::Revoke,
    };
    let (demand, id) = (asking.if_match()?, asking.parameter(0).into());
    let check = |there| Demand::check(demand, there);
    let held = administrator.stand(&asking.who(), &id, &standing, said.reason.as_deref(), check).await?;
    answer(administrator, &held).await
}

async fn answer(administrator: &Administrator, held: &Held<DeviceRecord>) -> Result<Answer, Problem> {
    let seen = administrator.seen(vec![Arc::clone(&held.value.id)]).await?;
    Ok(Answer::ok(&shown(held, &seen)).version(held.version))
}

fn shown(held: &Held<DeviceRecord>, seen: &[Seen]) -> Value {
    let mut value = show::held(held);
    if let Some(seen) = seen.iter().find(|seen| seen.device == held.value.id) {
        let mut both = show::plain(seen);
        if let Some(both) = both.as_object_mut() {
            both.remove("device");
        }
        value["seen"] = both;
    }
    value
}
