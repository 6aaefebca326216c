//! WebSocket through the gate: RFC 6455 upgrades and RFC 8441 extended CONNECT, to an HTTP/1.1 upstream.
//!
//! Not one byte of the new protocol goes upstream before the upstream's 101; a refused upgrade is an ordinary
//! response and HTTP goes on.

use super::answered::Answered;
use super::body::{RequestBody, ResponseBody, Silence, UpstreamBody};
use super::fault::Fault;
use super::forward::{Arrived, Failed, Passage, has_one_end};
use super::headers::Owned;
use super::live::Registration;
use super::stream::{Gone, Opening};
use super::upstream::Pool;
use super::websocket::{self, Closing, Ended, RelaySettings};
use crate::audit::{End, LiveEntry};
use crate::policy::{Origin, Permit, Reason};
use crate::sources::timing::TlsSamples;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Instant;

/// The client's side of a WebSocket handshake.
#[derive(Debug)]
pub struct Handshake {
    pub client: Opening,
    /// RFC 8441: the client speaks HTTP/2 and sends neither key nor `Connection`.
    pub extended_connect: bool,
}

/// What came of it: a tunnel to relay, or the upstream's refusal.
pub enum Opened {
    Tunnel(Ready),
    Refused(Arrived),
}

/// A tunnel whose upstream said yes; the client's side opens when `response` is sent.
pub struct Ready {
    pub origin: Origin,
    pub response: Response<ResponseBody>,
    pub client: Opening,
    pub upstream: OnUpgrade,
    pub attempts: u8,
}

/// Opens the upstream's side. Like any request that never left, it may go to the next origin.
pub async fn open(
    permit: &Permit,
    pool: &Pool,
    mut passage: Passage,
    handshake: Handshake,
    owned: &Arc<Owned>,
) -> Result<Opened, Failed> {
    let key = prepare(&mut passage, handshake.extended_connect);
    let health = pool.shared().health();
    let mut last = Failed { origin: None, fault: Fault::Connect, attempts: 0 };
    let mut errand = Some(passage.errand(RequestBody::empty()));
    for (origin, attempts) in health.order(permit.origins(), Instant::now()).into_iter().zip(1..) {
        if errand.is_none() {
            break;
        }
        let endpoint = pool.endpoint(origin);
        let settings = &endpoint.client.settings;
        let sent = tokio::time::timeout(settings.header_timeout, endpoint.send_alone(&mut errand)).await;
        let sent = sent.unwrap_or_else(|_| {
            errand = None;
            Err(Fault::HeaderTimeout)
        });
        match sent {
            Ok(mut response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let origin = origin.clone();
                if !agrees(response.headers(), &key) {
                    return Err(Failed { origin: Some(origin), fault: Fault::Protocol, attempts });
                }
                health.succeeded(&origin);
                let upstream = hyper::upgrade::on(&mut response);
                let mut answer = Response::new(ResponseBody::empty());
                if !handshake.extended_connect {
                    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                }
                *answer.headers_mut() = std::mem::take(response.headers_mut());
                let ready = Ready { origin, response: answer, client: handshake.client, upstream, attempts };
                return Ok(Opened::Tunnel(ready));
            }
            Ok(response) if !has_one_end(&response) => {
                return Err(Failed { origin: Some(origin.clone()), fault: Fault::Garbage, attempts });
            }
            // To a client of HTTP/2 that would be a yes (RFC 8441 section 5), and is none.
            Ok(response) if handshake.extended_connect && response.status().is_success() => {
                return Err(Failed { origin: Some(origin.clone()), fault: Fault::Protocol, attempts });
            }
            Ok(response) => {
                health.succeeded(origin);
                let idle = settings.idle_timeout;
                let response = response.map(|body| {
                    ResponseBody::Upstream(UpstreamBody::new(
                        Answered::Http1(body),
                        Silence::new(idle, None, pool.alarm()),
                        None,
                        Arc::clone(owned),
                    ))
                });
                return Ok(Opened::Refused(Arrived { origin: origin.clone(), response, attempts }));
            }
            Err(fault) => {
                health.failed(origin, Instant::now());
                last = Failed { origin: Some(origin.clone()), fault, attempts };
            }
        }
    }
    Err(last)
}

/// Both sides' bytes, until one ends or the tunnel is cut. Keeps the record and the registration until then.
pub async fn relay(
    sides: (Opening, OnUpgrade),
    settings: RelaySettings,
    samples: Arc<TlsSamples>,
    mut record: LiveEntry,
    open: Registration,
) {
    // Fails when the client is gone before our answer reached it; the record then says so by being dropped.
    let upstream = async { sides.1.await.map_err(|_| Gone) };
    let Ok((client, upstream)) = tokio::try_join!(sides.0.open(), upstream) else { return };
    let closing = async {
        let why = open.cut().await;
        record.cutting(why.code());
        if why == Reason::Draining { Closing::going_away() } else { Closing::policy(why.code()) }
    };
    let sink = |rtt, source| samples.record(rtt, source);
    let summary = websocket::relay(client, TokioIo::new(upstream), settings, closing, sink).await;
    record.flow().add_received(summary.from_client.bytes);
    record.flow().add_sent(summary.from_upstream.bytes);
    record.finish(match summary.ended {
        // Only for the word's sake: a cut has named its reason already.
        Ended::Cut => End::Cut(Reason::Draining.code()),
        Ended::Idle => End::Timeout,
        Ended::ClientViolation => End::Cut("websocket-violation"),
        Ended::UpstreamViolation => End::UpstreamError,
        Ended::Client | Ended::Upstream => End::Complete,
    });
}

/// The head of the client's answer: `Connection` and `Upgrade` for HTTP/1.1, neither for HTTP/2.
pub fn switch(headers: &mut HeaderMap, extended_connect: bool) {
    if extended_connect {
        headers.remove(SEC_WEBSOCKET_ACCEPT);
    } else {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
}

/// Writes the upgrade anew; returns the key whose digest the upstream must answer with.
fn prepare(passage: &mut Passage, extended_connect: bool) -> HeaderValue {
    passage.method = Method::GET;
    passage.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    passage.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    passage.headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    if extended_connect {
        passage.headers.insert(SEC_WEBSOCKET_KEY, new_key());
    }
    passage.headers.get(SEC_WEBSOCKET_KEY).cloned().unwrap_or_else(|| HeaderValue::from_static(""))
}

fn new_key() -> HeaderValue {
    let mut nonce = [0; 16];
    // RFC 6455 section 4.1: the nonce guards against confused caches, not against attackers.
    let _ = aws_lc_rs::rand::fill(&mut nonce);
    HeaderValue::from_str(&STANDARD.encode(nonce)).expect("base64 is a valid header value")
}

fn agrees(headers: &HeaderMap, key: &HeaderValue) -> bool {
    let upgrades = headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let accepted = headers.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
    upgrades && accepted == Some(accept(key.as_bytes()).as_bytes())
}

/// RFC 6455 section 4.2.2: SHA-1 of key and GUID, base64.
pub fn accept(key: &[u8]) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(context.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 section 1.3.
    #[test]
    fn the_accept_value_is_the_one_in_the_rfc() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
