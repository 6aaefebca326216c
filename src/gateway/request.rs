//! The walk. Once per request; one way in, one way out; it cannot fail.

use super::clock;
use super::connection::Connection;
use super::sanitize::sanitize;
use super::worker::Worker;
use crate::audit::AuditedBody;
use crate::enforce::body::ResponseBody;
use hyper::body::Incoming;
use hyper::{Request, Response};
use std::sync::Arc;

pub async fn walk(
    worker: &Worker,
    connection: &Connection,
    request: Request<Incoming>,
) -> Response<AuditedBody<ResponseBody>> {
    let now = clock::now();
    let _busy = connection.busy();
    let (asked, head, body) = sanitize(request, connection.seen_by_sanitize(), worker.next_id(now));
    let mut entry = worker.shared.audit.open(now, connection.facts());
    let policy = worker.shared.policies.current();
    let evidence = worker.sources.gather(&connection.sources, asked, &head.headers, &policy, now).await;
    let evidence = Arc::new(evidence);
    let decision = policy.decide(&evidence);
    let decision = entry.record(Arc::clone(&evidence), decision);
    let response = worker.enforcer.enforce(&decision, &evidence, head, body, &mut entry).await;
    entry.follow(response)
}
