//! The walk. Once per request; one way in, one way out; it cannot fail.

use super::clock;
use super::connection::Connection;
use super::sanitize::{Client, Head, sanitize};
use super::worker::Worker;
use crate::audit::AuditedBody;
use crate::enforce::body::{self, ResponseBody};
use crate::enforce::tunnel::Handshake;
use crate::enforce::{Inbound, headers};
use crate::evidence;
use crate::sources::gather::Asked;
use http::{HeaderValue, Method};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response};
use std::sync::Arc;

/// The response that a listener sends back, with the record that follows it.
pub type Answer = Response<AuditedBody<ResponseBody>>;

pub async fn walk(worker: &Worker, connection: &Connection, request: Request<Incoming>) -> Answer {
    let now = clock::now();
    let (parts, body) = request.into_parts();
    let extended_connect = parts.method == Method::CONNECT;
    let policy = worker.shared.policies.current();
    let head = sanitize(worker.next_id(now), parts, &connection.arrival(&worker.shared.limits, &policy));
    let mut entry = worker.shared.audit.open(&connection.facts, &head.request, now);
    let sources = &worker.shared.sources;
    let (request, client, inbound) = split(head, body, connection, extended_connect);
    let asked = Asked { request, headers: &inbound.headers, client: &client.address, via: client.via };
    let evidence = sources.gather(&worker.tokens, &connection.connected, asked, &policy, now).await;
    let decision = policy.decide(&evidence);
    let decided = entry.record(evidence, decision);
    let response = worker.enforcer.enforce(&decided, inbound, &mut entry, now).await;
    connection.upgraded(response.status() == http::StatusCode::SWITCHING_PROTOCOLS);
    entry.follow_with(response, body::blame)
}

/// What the sources ask about, and what the enforcer sends on.
fn split(
    head: Head,
    body: Incoming,
    connection: &Connection,
    extended_connect: bool,
) -> (evidence::Request, Client, Inbound) {
    let Head { request, method, target, port, headers, client, mut extensions, .. } = head;
    let handshake = request.upgrade.and_then(|_| {
        let client = extensions.remove::<OnUpgrade>()?;
        Some(Handshake { client, extended_connect })
    });
    let inbound = Inbound {
        method,
        target,
        headers,
        host: host(&request.host, port),
        client: connection.client_values(&client),
        body,
        handshake,
        connected: Arc::clone(&connection.connected),
    };
    (request, client, inbound)
}

fn host(name: &str, port: Option<u16>) -> HeaderValue {
    match port {
        Some(port) => headers::text(&format!("{name}:{port}")),
        None => headers::text(name),
    }
}
