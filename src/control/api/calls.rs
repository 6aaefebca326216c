//! Signed calls: what people choose in a chat tool, brought by its bot (docs/webhooks.md).
//!
//! The signature stands in the place of a login: it says that the bot knows who chose. Everything else holds as if
//! that person had called.

use super::answer::Answer;
use super::asking::Asking;
use super::grants::{self, Said};
use super::problem::Problem;
use crate::access::{Action, Actor};
use crate::audit::AdminActor;
use crate::control::grants::NewGrant;
use crate::control::webhook::{Before, SIGNATURE};
use crate::control::{Administrator, Who};
use crate::evidence::Fact;
use http::{HeaderName, StatusCode};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Chosen {
    action: Choice,
    /// Who chose.
    user: Arc<str>,
    grant: Option<Arc<str>>,
    note: Option<Arc<str>>,
    role: Option<Arc<str>>,
    reason: Option<Arc<str>>,
    /// Seconds.
    duration: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Choice {
    Ask,
    Approve,
    Refuse,
    Withdraw,
    End,
}

pub async fn call(administrator: &Administrator, asking: &mut Asking) -> Result<Answer, Problem> {
    asking.only(&[])?;
    let body = asking.bytes().await?;
    let name = asking.parameter(0).to_owned();
    // One answer whether there is no such hook, it may not act, or the signature is bad: nothing to learn by trying.
    let Some(hook) = administrator.webhooks.named(&name).filter(|hook| hook.acts) else { return Err(unsigned()) };
    let signature = asking.header(&HeaderName::from_static(SIGNATURE));
    let signed = hook.verify(signature, &body, asking.at()).map_err(|why| {
        tracing::warn!(webhook = name, %why, "a call was not believed");
        unsigned()
    })?;
    let chosen: Chosen = asking.json().await?;
    match administrator.called(hook, &signed).await? {
        Before::Never => {
            let answer = carry_out(administrator, asking, &name, chosen).await?;
            administrator.answered(hook, &signed, answer.keep()).await;
            Ok(answer)
        }
        before => {
            tracing::warn!(webhook = name, "a call came again, and nothing was done");
            match before {
                Before::Answered(kept) => Answer::again(&kept).ok_or_else(repeated),
                _ => Err(repeated()),
            }
        }
    }
}

async fn carry_out(
    administrator: &Administrator,
    asking: &Asking,
    hook: &str,
    chosen: Chosen,
) -> Result<Answer, Problem> {
    let (actor, who) = person(administrator, asking, hook, &chosen)?;
    if chosen.action == Choice::Ask {
        let new = NewGrant {
            role: chosen.role.ok_or_else(|| missing("role"))?,
            reason: chosen.reason.or(chosen.note).unwrap_or_else(|| "".into()),
            duration: chosen.duration,
            break_glass: false,
        };
        return grants::asked(administrator, &who, &actor, &new, None, None).await;
    }
    let id = chosen.grant.ok_or_else(|| missing("grant"))?;
    let said = Said { note: chosen.note };
    let action = match chosen.action {
        Choice::Ask | Choice::Approve => Action::Approve { note: said.note },
        Choice::Refuse => Action::Refuse { why: said.why()? },
        Choice::Withdraw => Action::Withdraw,
        Choice::End => Action::End { why: said.why()? },
    };
    grants::stepped(administrator, &who, &actor, &id, &action, None).await
}

/// A bot vouches for who chose, and for nothing else of them: without a record there are no groups to go by.
fn person(
    administrator: &Administrator,
    asking: &Asking,
    hook: &str,
    chosen: &Chosen,
) -> Result<(Actor, Who), Problem> {
    let Fact::Known(identity) = administrator.memory.identity(&chosen.user) else {
        return Err(Problem::unfit(format!("there is no identity record of `{}`", chosen.user)));
    };
    let actor = administrator.recorded(&identity, &[]);
    let who = AdminActor {
        user: Some(Arc::clone(&actor.user)),
        person: Some(Arc::clone(&actor.person)),
        device: None,
        issuer: Some(format!("webhook:{hook}").into()),
    };
    Ok((actor, Who { actor: who, request: Some(asking.request_id().to_owned()) }))
}

fn unsigned() -> Problem {
    let detail = "the call is not signed by anybody who may act here";
    Problem::new(StatusCode::UNAUTHORIZED, "unsigned", "Not signed", detail)
}

fn repeated() -> Problem {
    let detail = "this very call was made before: to try again, sign it anew";
    Problem::conflict(detail).with("reason", "call-repeated")
}

fn missing(what: &str) -> Problem {
    Problem::unfit(format!("`{what}` is missing"))
}
