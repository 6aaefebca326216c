//! The answer in gRPC's own terms: HTTP 200 and a status in the header block ("Trailers-Only").

use crate::portal::cause::{Breakage, Cause};
use crate::portal::words::Words;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use std::fmt::Write as _;

/// The media type to answer with when the request is gRPC or gRPC-Web.
pub(super) fn kind(headers: &HeaderMap) -> Option<&'static str> {
    let sent = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let sent = sent.split([';', '+']).next()?.trim();
    ["application/grpc", "application/grpc-web", "application/grpc-web-text"]
        .into_iter()
        .find(|kind| kind.eq_ignore_ascii_case(sent))
}

pub(super) fn status(cause: &Cause, words: &Words, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("grpc-status", code(cause).into());
    let message = percent_encoded(&format!("{}: {} {}", words.title, words.said, words.next));
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert("grpc-message", message);
    }
    if let Some(seconds) = cause.retry_after() {
        // Clients that retry on their own wait this long (gRPC proposal A6).
        headers.insert("grpc-retry-pushback-ms", seconds.saturating_mul(1000).into());
    }
    response
}

/// The codes of google.rpc.Code.
const fn code(cause: &Cause) -> u16 {
    const INVALID_ARGUMENT: u16 = 3;
    const DEADLINE_EXCEEDED: u16 = 4;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match cause {
        Cause::Malformed(crate::evidence::Malformed::Misdirected) => UNAVAILABLE,
        Cause::Malformed(_) | Cause::Broken(Breakage::BrokenRequest) => INVALID_ARGUMENT,
        Cause::SignIn(_) | Cause::SignInAgain { .. } => UNAUTHENTICATED,
        Cause::TooMany { .. } => RESOURCE_EXHAUSTED,
        Cause::Unchecked | Cause::Broken(Breakage::BadAnswer | Breakage::Unreachable) => UNAVAILABLE,
        Cause::Broken(Breakage::TimedOut | Breakage::SlowRequest) => DEADLINE_EXCEEDED,
        Cause::Broken(Breakage::Internal) => INTERNAL,
        Cause::Account
        | Cause::Certificate
        | Cause::Device
        | Cause::Grant { .. }
        | Cause::Connection
        | Cause::Hours
        | Cause::Closed
        | Cause::Refused => PERMISSION_DENIED,
    }
}

/// UTF-8 with everything but printable ASCII, and `%` itself, as `%XX` (gRPC over HTTP/2, "Status-Message").
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}
