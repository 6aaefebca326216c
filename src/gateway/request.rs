//! The walk. Once per request; one way in, one way out; it cannot fail.

use super::clock;
use super::connection::Connection;
use super::sanitize::{Client, Head, sanitize};
use super::worker::Worker;
use crate::audit::AuditedBody;
use crate::enforce::Inbound;
use crate::enforce::body::{self, ResponseBody};
use crate::enforce::interim::Speaker;
use crate::enforce::received::Received;
use crate::enforce::stream::Opening;
use crate::enforce::tunnel::Handshake;
use crate::evidence;
use crate::sources::gather::Asked;
use http::{HeaderValue, Method};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response};
use std::sync::Arc;

/// The response that a listener sends back, with the record that follows it.
pub type Answer = Response<AuditedBody<ResponseBody>>;

/// `interim` may be spoken through until the answer is handed over. `as_of`: the generation of what is open when
/// `worker` was taken.
pub async fn walk(
    worker: Arc<Worker>,
    connection: Arc<Connection>,
    request: Request<Received>,
    interim: Option<Speaker>,
    as_of: u64,
) -> Answer {
    let now = clock::now();
    let (parts, body) = request.into_parts();
    let extended_connect = parts.method == Method::CONNECT;
    let id = worker.next_id(now);
    let policy = worker.shared.policies.current();
    let head = sanitize(id.text, parts, &connection.arrival(&worker.shared.limits, &policy));
    let mut entry = worker.shared.audit.open(&connection.facts, &head.request, now);
    let sources = &worker.shared.sources;
    let (request, client, mut inbound) = split(head, id.value, body, &connection, extended_connect);
    inbound.interim = interim;
    inbound.as_of = as_of;
    let asked = Asked { request: &request, headers: &inbound.headers, client: &client.address, via: client.via };
    let addressed = policy.address(&request);
    let evidence = sources.gather(&worker.tokens, &connection.connected, asked, &addressed, now).await;
    let decision = addressed.decide(&evidence);
    // Not held while the upstream is waited for: a thread that holds many reads every pointer the slow way.
    drop(policy);
    let decided = entry.record(evidence, decision);
    let response = worker.enforcer.enforce(&decided, inbound, &mut entry, now).await;
    connection.upgraded(response.status() == http::StatusCode::SWITCHING_PROTOCOLS);
    entry.follow_with(response, body::blame)
}

/// What the sources ask about, and what the enforcer sends on.
fn split(
    head: Head,
    id: HeaderValue,
    body: Received,
    connection: &Connection,
    extended_connect: bool,
) -> (Arc<evidence::Request>, Client, Box<Inbound>) {
    let Head { request, method, target, host, headers, client, mut extensions, .. } = head;
    let (opening, body) = match body {
        Received::Tunnel(opened) => (Some(Opening::Http2(opened)), Received::Nothing),
        body if request.upgrade.is_some() => (extensions.remove::<OnUpgrade>().map(Opening::Http1), body),
        body => (None, body),
    };
    let handshake = opening.filter(|_| request.upgrade.is_some()).map(|client| Handshake { client, extended_connect });
    let inbound = Box::new(Inbound {
        method,
        target,
        headers,
        host,
        id,
        client: connection.client_values(&client),
        body,
        interim: None,
        handshake,
        connected: Arc::clone(&connection.connected),
        as_of: 0,
    });
    (request, client, inbound)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the future that a walk is.
    fn size<F>(_: impl Fn(Arc<Worker>, Arc<Connection>, Request<Received>, Option<Speaker>, u64) -> F) -> usize {
        size_of::<F>()
    }

    /// Each HTTP/1 connection has one for as long as it lives, and each HTTP/2 stream is moved with one.
    #[test]
    fn a_walk_is_small() {
        let size = size(walk);
        assert!(size <= 5 * 1024, "{size} bytes");
    }
}
