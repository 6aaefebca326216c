//! Identities: list, read, set, import.

use super::answer::Answer;
use super::asking::{Asking, Demand};
use super::page::{Items, Page};
use super::problem::Problem;
use super::routes::Operation;
use super::show;
use crate::control::Administrator;
use crate::control::identities::Change;
use crate::control::import::patch::Patch;
use crate::control::import::{Format, Import};
use crate::evidence::{Fact, Identity, IdentityStatus};
use crate::store::Kind;
use serde_json::{Map, Value};
use std::sync::Arc;

pub async fn list(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&["limit", "cursor", "person", "status"])?;
    let person = asking.query.get("person").cloned();
    let status = asking.asked("status", |text| match text {
        "active" => Some(IdentityStatus::Active),
        "watched" => Some(IdentityStatus::Watched),
        "suspended" => Some(IdentityStatus::Suspended),
        _ => None,
    })?;
    let wanted = |identity: &Identity| {
        person.as_ref().is_none_or(|person| *identity.person == **person)
            && status.is_none_or(|status| identity.status == status)
    };
    let page = Page::read(asking)?;
    let found = page.documents(administrator, Kind::Identity, |identity: &Identity| &identity.user, wanted).await;
    let (found, next) = found?;
    Ok(Answer::ok(&Items { items: found.iter().map(show::held).collect(), next }))
}

pub async fn one(administrator: &Administrator, asking: &Asking) -> Result<Answer, Problem> {
    asking.only(&[])?;
    let held = administrator.identity(asking.parameter(0)).await?;
    Ok(Answer::ok(&show::held(&held)).version(held.version))
}

/// PUT makes it what is sent; PATCH changes what is named (RFC 7396).
pub async fn set(administrator: &Administrator, asking: &mut Asking, operation: Operation) -> Result<Answer, Problem> {
    let mut object: Map<String, Value> = asking.json().await?;
    let mut user: Arc<str> = asking.parameter(0).into();
    // As it was read: what answers add is no part of it.
    object.remove("version");
    object.remove("changed");
    match object.get("user") {
        None => drop(object.insert("user".to_owned(), (*user).into())),
        Some(Value::String(named)) if **named == *user => {}
        Some(_) => return Err(Problem::unfit("`user` is another than the path's")),
    }
    let patch = Patch(object);
    patch.user().map_err(Problem::unfit)?;
    let demand = asking.if_match()?;
    let change = match operation {
        Operation::PatchIdentity => {
            // Changing nobody makes nobody: a mistyped name is told.
            user = Arc::clone(&administrator.identity(&user).await?.value.user);
            Change::Merge(patch)
        }
        _ => Change::Replace(patch),
    };
    let (check, oneself) = (|there| Demand::check(demand, there), administrator.oneself(asking.evidence()));
    let (held, fresh) = administrator.set_identity(&asking.who(), &oneself, &user, &change, check).await?;
    let shown = show::held(&held);
    let answer = match fresh {
        true => Answer::created(&shown, format!("/v1/identities/{}", held.value.user)),
        false => Answer::ok(&shown),
    };
    Ok(answer.version(held.version))
}

/// The body is a file: CSV, or JSON as an array or one object after the other.
pub async fn import(administrator: &Arc<Administrator>, asking: &mut Asking) -> Result<Answer, Problem> {
    asking.only(&["dry-run"])?;
    let dry_run = asking.asked("dry-run", |text| match text {
        "" | "true" => Some(true),
        "false" => Some(false),
        _ => None,
    })?;
    let format = match asking.content_type() {
        "text/csv" => Format::Csv,
        "application/json" | "application/x-ndjson" => Format::Json,
        _ => {
            let detail = "an import is `text/csv`, `application/json` or `application/x-ndjson`";
            let status = http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Problem::new(status, "media-type", "This cannot be read", detail));
        }
    };
    let memory = Arc::clone(&administrator.memory);
    let current = Arc::new(move |user: &str| match memory.identity(user) {
        Fact::Known(identity) if *identity.user == *user => Some(identity),
        _ => None,
    });
    // Rows are many, and this thread serves requests.
    let aside = |_| Problem::away("the import broke off");
    let oneself = administrator.oneself(asking.evidence());
    let mut import = Import::new(format, oneself.clone());
    if let Some(mut body) = asking.body() {
        while let Some(piece) = body.piece().await? {
            let current = Arc::clone(&current);
            let read = move || {
                import.push(&piece, &*current);
                import
            };
            import = tokio::task::spawn_blocking(read).await.map_err(aside)?;
            if import.is_too_long() {
                return Err(Problem::unfit("an import has at most 5,000,000 rows"));
            }
        }
    }
    let rows = tokio::task::spawn_blocking(move || import.end(&*current)).await.map_err(aside)?;
    if rows.fault_count > 0 {
        let number = |count: u64, of: &str| format!("{count} {of}{}", if count == 1 { "" } else { "s" });
        let (faults, count) = (number(rows.fault_count, "fault"), number(rows.count, "row"));
        let detail = format!("{faults} in {count}, and nothing was changed");
        return Err(Problem::unfit(detail)
            .with("reason", "rows")
            .with("fault_count", rows.fault_count)
            .with("faults", serde_json::to_value(&rows.faults).unwrap_or_default()));
    }
    // It is all here. From now on it does not matter whether the client stays.
    let (done, who, dry_run) = (Arc::clone(administrator), asking.who(), dry_run.unwrap_or(false));
    let importing = async move { done.import(&who, &oneself, rows, dry_run).await };
    let imported = administrator.to_its_end(importing).await??;
    let mut shown = serde_json::to_value(&imported).unwrap_or_default();
    if let Some(changes) = shown.get_mut("changes") {
        show::put_into_words(changes);
    }
    Ok(Answer::ok(&shown))
}
