//! The versioned JSON API over the administrator: `rangegate:api` (docs/api.md, docs/openapi.json).
//!
//! Policy has decided that the request may be made; what is left to say no to is about the thing itself: somebody else's
//! grant, another version, a name that is taken.

mod answer;
mod asking;
mod calls;
mod devices;
mod enrolment;
mod grants;
mod idempotency;
mod identities;
mod live;
mod page;
mod problem;
pub mod routes;
mod show;

use super::Administrator;
use crate::enforce::builtin::{Answering, Builtin, Call};
use answer::Answer;
use asking::{Asking, decoded};
use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;
use idempotency::{Known, Submissions};
use problem::Problem;
use routes::Operation;
use std::sync::Arc;

/// The service.
pub struct Api {
    /// None: the gateway has no store, and nothing to administer.
    administrator: Option<Arc<Administrator>>,
    submissions: Arc<Submissions>,
}

impl Api {
    pub fn new(administrator: Option<Arc<Administrator>>) -> Self {
        Self { administrator, submissions: Arc::default() }
    }

    async fn respond(&self, call: Call) -> Response<Full<Bytes>> {
        let request = call.decided.evidence.request.id.clone();
        match self.carry_out(call).await {
            Ok(answer) => answer.response(),
            Err(problem) => problem.response(&request),
        }
    }

    async fn carry_out(&self, call: Call) -> Result<Answer, Problem> {
        let mut asking = Asking::read(call)?;
        let path = asking.path.clone();
        let (operation, parameters) = routes::find(&asking.method, &path)?;
        let parameters: Option<Vec<String>> = parameters.into_iter().map(decoded).collect();
        asking.parameters = parameters.ok_or_else(|| Problem::not_found("such path"))?;
        let Some(administrator) = &self.administrator else {
            return Err(Problem::away("this gateway keeps nothing: its configuration has no `[store]`"));
        };
        // A file is read as it comes, and what is read only may end where its reader does.
        if operation == Operation::ImportIdentities || asking.method.is_safe() {
            return operate(administrator, operation, &mut asking).await;
        }
        // The last that depends on the client: what it asks for is done, told and kept whether it stays or not.
        let body = asking.bytes().await?;
        let (done, submissions) = (Arc::clone(administrator), Arc::clone(&self.submissions));
        administrator
            .to_its_end(async move { submit(&done, &submissions, operation, &mut asking, &body).await })
            .await?
    }
}

/// Does it, unless it was done under this key before.
async fn submit(
    administrator: &Arc<Administrator>,
    submissions: &Arc<Submissions>,
    operation: Operation,
    asking: &mut Asking,
    body: &[u8],
) -> Result<Answer, Problem> {
    // Calls are remembered by their signatures.
    let keyed = asking.method == Method::POST && operation != Operation::Call;
    let Some(key) = keyed.then(|| idempotency::key(asking)).transpose()?.flatten().map(str::to_owned) else {
        return operate(administrator, operation, asking).await;
    };
    match submissions.begin(asking, &key, body)? {
        Known::Answered(answer) => Ok(answer),
        Known::New(pending) => {
            let answer = operate(administrator, operation, asking).await?;
            pending.answered(&answer);
            Ok(answer)
        }
    }
}

impl Builtin for Api {
    fn answer(&self, call: Call) -> Answering<'_> {
        Box::pin(self.respond(call))
    }
}

async fn operate(
    administrator: &Arc<Administrator>,
    operation: Operation,
    asking: &mut Asking,
) -> Result<Answer, Problem> {
    use crate::access::Action;
    match operation {
        Operation::Me => grants::me(administrator, asking),
        Operation::MyGrants => grants::mine(administrator, asking).await,
        Operation::Waiting => grants::waiting(administrator, asking).await,
        Operation::Roles => grants::roles(administrator, asking),
        Operation::Grants => grants::all(administrator, asking).await,
        Operation::AskGrant => grants::ask(administrator, asking).await,
        Operation::BreakGlass => grants::break_glass(administrator, asking).await,
        Operation::Grant => grants::one(administrator, asking).await,
        Operation::ApproveGrant => {
            grants::step(administrator, asking, |said| Ok(Action::Approve { note: said.note })).await
        }
        Operation::RefuseGrant => {
            grants::step(administrator, asking, |said| Ok(Action::Refuse { why: said.why()? })).await
        }
        Operation::WithdrawGrant => grants::step(administrator, asking, |_| Ok(Action::Withdraw)).await,
        Operation::EndGrant => grants::step(administrator, asking, |said| Ok(Action::End { why: said.why()? })).await,
        Operation::ReviewGrant => {
            grants::step(administrator, asking, |said| Ok(Action::Review { note: said.note })).await
        }
        Operation::RevokeGrant => {
            grants::step(administrator, asking, |said| Ok(Action::Revoke { why: said.why()? })).await
        }
        Operation::Identities => identities::list(administrator, asking).await,
        Operation::ImportIdentities => identities::import(administrator, asking).await,
        Operation::Identity => identities::one(administrator, asking).await,
        Operation::PutIdentity | Operation::PatchIdentity => identities::set(administrator, asking, operation).await,
        Operation::Devices => devices::list(administrator, asking).await,
        Operation::RegisterDevice => devices::register(administrator, asking).await,
        Operation::Device => devices::one(administrator, asking).await,
        Operation::PatchDevice => devices::change(administrator, asking).await,
        Operation::SuspendDevice
        | Operation::WatchDevice
        | Operation::ResumeDevice
        | Operation::RevokeDevice
        | Operation::TransferDevice => devices::stand(administrator, asking, operation).await,
        Operation::Invitations => enrolment::list(administrator, asking).await,
        Operation::Invite => enrolment::invite(administrator, asking).await,
        Operation::WithdrawInvitation => enrolment::withdraw(administrator, asking).await,
        Operation::Enrol => enrolment::enrol(administrator, asking).await,
        Operation::Renew => enrolment::renew(administrator, asking).await,
        Operation::Authority => enrolment::authority(administrator, asking),
        Operation::RevocationList => enrolment::revocation_list(administrator, asking),
        Operation::Call => calls::call(administrator, asking).await,
        Operation::Live => live::list(administrator, asking),
        Operation::Cut => live::cut(administrator, asking).await,
        Operation::Sessions => live::sessions(administrator, asking),
        Operation::Store => live::store(administrator, asking).await,
    }
}
