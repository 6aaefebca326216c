//! Devices: list, read, register, change, and what is done to them as a whole.

use super::answer::Answer;
use super::asking::{Asking, Demand};
use super::page::{Items, Page, cursor};
use super::problem::Problem;
use super::routes::Operation;
use super::show;
use crate::control::Administrator;
use crate::control::administrator::Held;
use crate::control::devices::{DevicePatch, NewDevice, Standing};
use crate::control::fault::Fault;
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
    let account = |name: &str| administrator.account(&name.into());
    let (owner, class) = (asking.query.get("owner").map(|name| account(name)), asking.query.get("class"));
    let status = asking.asked("status", |text| match text {
        "active" => Some(DeviceStatus::Active),
        "watched" => Some(DeviceStatus::Watched),
        "suspended" => Some(DeviceStatus::Suspended),
        "revoked" => Some(DeviceStatus::Revoked),
        _ => None,
    })?;
    let wanted = |record: &DeviceRecord| {
        owner.as_ref().is_none_or(|owner| record.owner.as_deref().map(account).as_ref() == Some(owner))
            && class.is_none_or(|class| *record.class == **class)
            && status.is_none_or(|status| record.status == status)
    };
    // The store's devices, then those of the registry file.
    let page = Page::read(asking)?;
    let (stored, mut next) = match page.after.starts_with(FILED) {
        true => (Vec::new(), None),
        false => page.documents(administrator, Kind::Device, |record: &DeviceRecord| &record.id, &wanted).await?,
    };
    let mut filed = Vec::new();
    if next.is_none() {
        let (after, room) = (page.after.strip_prefix(FILED).unwrap_or_default(), page.limit - stored.len());
        filed = administrator.filed_after(after, room + 1, wanted);
        if filed.len() > room {
            filed.truncate(room);
            next = Some(cursor(&format!("{FILED}{}", filed.last().map_or(after, |last| &last.id))));
        }
    }
    let ids = stored.iter().map(|held| &held.value.id).chain(filed.iter().map(|record| &record.id));
    let seen = administrator.seen(ids.map(Arc::clone).collect()).await?;
    let stored = stored.iter().map(|held| shown(administrator, held, &seen));
    let items = stored.chain(filed.iter().map(|record| shown_filed(administrator, record, &seen))).collect();
    Ok(Answer::ok(&Items { items, next }))
}

/// How the place in a list of a device of the registry file begins. No id of the store holds a space.
const FILED: &str = "file ";

pub async fn one(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&[])?;
    let id = asking.parameter(0);
    match (administrator.device(id).await, administrator.filed(id)) {
        (Err(Fault::Unfit { .. }), Some(filed)) => {
            let seen = administrator.seen(vec![Arc::clone(&filed.id)]).await?;
            Ok(Answer::ok(&shown_filed(administrator, &filed, &seen)))
        }
        (held, _) => answer(administrator, &held?).await,
    }
}

pub async fn register(administrator: &Administrator, asking: &mut Asking) -> Result<Answer, Problem> {
    let new: NewDevice = asking.json().await?;
    let held = administrator.register(&asking.who(), &new).await?;
    let location = format!("/v1/devices/{}", held.value.id);
    Ok(Answer::created(&shown(administrator, &held, &[]), location).version(held.version))
}

pub async fn change(administrator: &Administrator, asking: &mut Asking) -> Result<Answer, Problem> {
    let patch: DevicePatch = asking.json().await?;
    let (demand, id) = (asking.if_match()?, asking.parameter(0).into());
    let check = |there| Demand::check(demand, there);
    let held = administrator.change_device(&asking.who(), &id, &patch, check).await?;
    answer(administrator, &held).await
}

pub async fn stand(
    administrator: &Administrator,
    asking: &mut Asking,
    operation: Operation,
) -> Result<Answer, Problem> {
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
    Ok(Answer::ok(&shown(administrator, held, &seen)).version(held.version))
}

fn shown(administrator: &Administrator, held: &Held<DeviceRecord>, seen: &[Seen]) -> Value {
    completed(administrator, show::held(held), "store", &held.value, seen)
}

/// What stands in a file has no version: nothing here changes it.
fn shown_filed(administrator: &Administrator, record: &DeviceRecord, seen: &[Seen]) -> Value {
    completed(administrator, show::plain(record), "file", record, seen)
}

/// With where it is kept, whose account its owner's name is of, and when it was seen.
fn completed(
    administrator: &Administrator,
    mut value: Value,
    source: &str,
    record: &DeviceRecord,
    seen: &[Seen],
) -> Value {
    value["source"] = source.into();
    if let Some(owner) = &record.owner {
        let account = administrator.account(owner);
        if account != *owner {
            value["owner"] = (*account).into();
            value["owner-alias"] = (**owner).into();
        }
    }
    if let Some(seen) = seen.iter().find(|seen| seen.device == record.id) {
        let mut both = show::plain(seen);
        if let Some(both) = both.as_object_mut() {
            both.remove("device");
        }
        value["seen"] = both;
    }
    value
}
