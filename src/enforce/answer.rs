//! What a requester gets when nothing is forwarded: a page, a problem, or a gRPC status.
//!
//! The same words in three shapes, chosen by what the request can read. None is cached, framed or sniffed, and
//! none says more than `portal/cause.rs` allows.

mod challenge;
mod grpc;
mod negotiation;
mod problem;

use crate::evidence::Request;
use crate::policy::{Decision, Outcome};
use crate::portal::cause::{Breakage, Cause};
use crate::portal::words::Words;
use crate::portal::{PortalSettings, pages};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use std::collections::BTreeMap;

/// What answers need besides the decision; one per configuration.
#[derive(Clone, Debug, Default)]
pub struct AnswerContext {
    pub portal: PortalSettings,
    /// Assurance name → the `acr` values that prove it, best first (`Assurance::acr` of every issuer).
    pub acr: BTreeMap<String, Vec<String>>,
}

/// The answer to a request whose decision forwards nothing. `headers` are the request's.
pub fn answer(
    decision: &Decision,
    request: &Request,
    headers: &HeaderMap,
    context: &AnswerContext,
) -> Response<Full<Bytes>> {
    let cause = Cause::of(decision);
    let challenge = challenge::of(&cause, request, context);
    let problem = problem::of(&cause, Some(decision));
    build(&cause, problem, challenge, request, headers, context)
}

/// The answer to a request that was allowed but came to nothing.
pub fn upstream_fault(
    breakage: Breakage,
    request: &Request,
    headers: &HeaderMap,
    context: &AnswerContext,
) -> Response<Full<Bytes>> {
    let cause = Cause::Broken(breakage);
    build(&cause, problem::of(&cause, None), None, request, headers, context)
}

/// Whether a request speaks gRPC.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    grpc::kind(headers).is_some()
}

fn build(
    cause: &Cause,
    problem: problem::Problem,
    challenge: Option<HeaderValue>,
    request: &Request,
    headers: &HeaderMap,
    context: &AnswerContext,
) -> Response<Full<Bytes>> {
    let words = Words::of(cause);
    let mut response = if let Some(kind) = grpc::kind(headers) {
        grpc::status(cause, &words, kind)
    } else if negotiation::wants_page(headers) {
        let retry = matches!(&*request.method, "GET" | "HEAD");
        let page = pages::refusal(cause, &words, &request.id, &request.host, retry, &context.portal);
        whole(cause.status(), "text/html; charset=utf-8", page.into(), request)
    } else {
        let document = problem.document(cause, &words, &request.id);
        whole(cause.status(), "application/problem+json", document, request)
    };
    let fields = response.headers_mut();
    if let Some(seconds) = cause.retry_after() {
        fields.insert(header::RETRY_AFTER, seconds.into());
    }
    if let Some(challenge) = challenge {
        fields.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if let Ok(id) = HeaderValue::try_from(&request.id) {
        fields.insert(REQUEST_ID, id);
    }
    fields.insert(header::VARY, HeaderValue::from_static("accept"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(header::CONTENT_SECURITY_POLICY, pages::content_security_policy());
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    fields.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

/// So that the reference can be had without reading the body: `curl -I`, gRPC, proxies.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("rangegate-request-id");

/// A response with its body, or for HEAD without it but with its length (RFC 9110 section 9.3.2).
fn whole(status: StatusCode, kind: &'static str, body: Bytes, request: &Request) -> Response<Full<Bytes>> {
    let length = body.len();
    let body = if request.method == "HEAD" { Bytes::new() } else { body };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

/// The outcome as outsiders see it: a decoy is not mentioned.
const fn public_outcome(decision: &Decision) -> &'static str {
    match decision.outcome {
        Outcome::StepUp => Outcome::StepUp.code(),
        Outcome::RequireGrant => Outcome::RequireGrant.code(),
        Outcome::Forward | Outcome::Observe | Outcome::Decoy | Outcome::Deny => Outcome::Deny.code(),
    }
}
