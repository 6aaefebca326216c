//! What is open, who holds it, and how the store is.

use super::answer::Answer;
use super::asking::Asking;
use super::page::Page;
use super::problem::Problem;
use super::show;
use crate::control::Administrator;
use crate::control::live::Open;
use crate::evidence::Fact;
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Said {
    reason: Option<String>,
}

pub fn list(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&["limit", "cursor", "user", "device", "resource"])?;
    let asked = |name: &str, has: Option<&str>| asking.query.get(name).is_none_or(|asked| Some(asked.as_str()) == has);
    let user = asking.query.get("user").map(|name| administrator.account(&name.as_str().into()));
    let wanted = |open: &Open| {
        (user.is_none() || user == open.user)
            && asked("device", open.device.as_deref())
            && asked("resource", open.resource.as_deref())
    };
    let open = administrator.open().into_iter().filter(wanted).collect();
    let place = |open: &Open| format!("{:020} {}", open.since.millis(), open.id);
    Ok(Answer::ok(&Page::read(asking)?.of(open, place, show::plain)))
}

pub async fn cut(administrator: &Administrator, asking: &mut Asking) -> Result<Answer, Problem> {
    let said: Said = if asking.bytes().await?.is_empty() { Said::default() } else { asking.json().await? };
    let id = asking.parameter(0);
    administrator.cut(&asking.who(), id, said.reason.as_deref()).await?;
    Ok(Answer::ok(&json!({ "id": id, "cut": true })))
}

pub fn sessions(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&["limit", "cursor"])?;
    let place = |session: &crate::control::live::Session| {
        format!("{} {}", session.user.as_deref().unwrap_or_default(), session.device.as_deref().unwrap_or_default())
    };
    Ok(Answer::ok(&Page::read(asking)?.of(administrator.sessions(), place, show::plain)))
}

/// How the store is, and how old what is decided on.
pub async fn store(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&[])?;
    let age = match administrator.memory.age((administrator.clock)()) {
        Fact::Known(age) => Some(age),
        _ => None,
    };
    let importing = administrator.importing.progress();
    let fault = administrator.store.since(administrator.memory.revision()).await.err();
    Ok(Answer::ok(&json!({
        "database": administrator.store.settings().database.to_string(),
        "reachable": fault.is_none(),
        "fault": fault.map(|fault| fault.to_string()),
        "revision": administrator.memory.revision().0,
        "age-ms": age,
        "importing": importing.map(|(rows, written)| json!({ "rows": rows, "written": written })),
    })))
}
