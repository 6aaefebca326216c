//! A permitted request on its way: which origin, how long, how often.

use super::alarm::Alarm;
use super::body::{Progress, RequestBody, ResponseBody, Silence, UpstreamBody};
use super::fault::Fault;
use super::headers::Owned;
use super::interim::Speaker;
use super::rate::MinRate;
use super::received::Received;
use super::replay::Replay;
use super::upstream::{Answer, Pool};
use super::wire::{Errand, Slot};
use crate::policy::{Origin, Permit};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header};
use smallvec::SmallVec;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// A request's head, ready for the upstream: canonical target, headers already ours.
#[derive(Debug)]
pub struct Passage {
    pub method: Method,
    /// Origin form: the canonical path and the query.
    pub target: Uri,
    /// With `Host` set to the canonical host.
    pub headers: HeaderMap,
    pub interim: Option<Speaker>,
}

/// A request's body: how far it has come, how long it may be silent, and how slowly it may come.
pub enum Outgoing {
    None,
    Some { body: Received, progress: Arc<Progress>, limit: Duration, rate: MinRate },
}

/// What came of it.
#[derive(Debug)]
pub struct Arrived {
    pub origin: Origin,
    pub response: Response<ResponseBody>,
    /// Origins tried, this one included.
    pub attempts: u8,
}

/// Nothing came of it.
#[derive(Debug)]
pub struct Failed {
    /// The last origin tried; none when the permit named none that could be.
    pub origin: Option<Origin>,
    pub fault: Fault,
    pub attempts: u8,
}

/// Sends the request to the first origin that takes it.
///
/// A request that never left may go to the next origin whatever its method. One that did leave is sent again
/// only when it is idempotent (RFC 9110 section 9.2.2) and had no body: no `POST` is ever sent twice.
pub async fn forward(
    permit: &Permit,
    pool: &Pool,
    passage: Passage,
    body: Outgoing,
    owned: &Arc<Owned>,
    now: std::time::Instant,
) -> Result<Arrived, Failed> {
    let health = pool.shared().health();
    let mut origins = health.order(permit.origins(), now);
    let bodyless = matches!(body, Outgoing::None);
    let replay = if bodyless && passage.method.is_idempotent() {
        // A kept connection may close while the request is on it: one more try at the only origin.
        if let [only] = origins[..] {
            origins.push(only);
        }
        Replay::of(&passage)
    } else {
        None
    };
    let (body, progress) = match body {
        Outgoing::None => (RequestBody::empty(), None),
        Outgoing::Some { body, progress, limit, rate } => {
            let silence = Silence::of_client(limit, rate, pool.alarm());
            (RequestBody::streaming(body, Arc::clone(&progress), silence, Arc::clone(owned)), Some(progress))
        }
    };
    let mut errand = Some(passage.errand(body));
    let mut last = Failed { origin: None, fault: Fault::Connect, attempts: 0 };
    let mut now = now;
    let tries: SmallVec<[&Origin; 4]> = origins;
    for (origin, attempts) in tries.into_iter().zip(1..) {
        if errand.is_none() {
            break;
        }
        match exchange(pool, origin, &mut errand, progress.as_deref(), owned, now).await {
            Ok(response) => {
                health.succeeded(origin);
                if let Some(progress) = &progress {
                    progress.answered();
                }
                return Ok(Arrived { origin: origin.clone(), response, attempts });
            }
            Err(fault) => {
                let fault = if progress.as_ref().is_some_and(|progress| progress.is_broken()) {
                    Fault::RequestBroken
                } else {
                    fault
                };
                now = std::time::Instant::now();
                if fault.blames_upstream() {
                    health.failed(origin, now);
                }
                last = Failed { origin: Some(origin.clone()), fault, attempts };
                if errand.is_none() && fault != Fault::HeaderTimeout && fault != Fault::TotalTimeout {
                    let again = replay.as_ref().and_then(Replay::passage);
                    errand = again.map(|passage| passage.errand(RequestBody::empty()));
                }
            }
        }
    }
    Err(last)
}

/// `now` is when this try begins. After a fault the request is still there only when it may go to the next origin.
async fn exchange(
    pool: &Pool,
    origin: &Origin,
    errand: &mut Slot,
    progress: Option<&Progress>,
    owned: &Arc<Owned>,
    now: std::time::Instant,
) -> Result<Response<ResponseBody>, Fault> {
    let endpoint = pool.endpoint(origin);
    let settings = &endpoint.client.settings;
    let begun = Instant::from_std(now);
    let end = settings.total_timeout.map(|total| begun + total);
    let mut alarm = pool.alarm();
    let sent = {
        let sending = pin!(endpoint.send(errand, now));
        within_silence(begun, settings.header_timeout, end, progress, &mut alarm, sending).await
    };
    let Answer { response, lease } = match sent {
        Ok(sent) => sent?,
        Err(fault) => {
            // Whether it left or not, its time is over.
            *errand = None;
            return Err(fault);
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Fault::Protocol);
    }
    if !has_one_end(&response) {
        return Err(Fault::Garbage);
    }
    let silence = Silence::new(settings.idle_timeout, end, alarm);
    Ok(response.map(|body| ResponseBody::Upstream(UpstreamBody::new(body, silence, lease, Arc::clone(owned)))))
}

/// Whether there is one way to tell where the answer's body ends. Hyper takes chunks where there is a length too, and
/// a length that came twice, or a list of them: who sends that, or somebody behind it, may mean the other.
pub fn has_one_end<B>(response: &Response<B>) -> bool {
    let (mut lengths, mut plain, mut codings, mut chunked) = (0, true, 0, false);
    for (name, value) in response.headers() {
        match *name {
            header::CONTENT_LENGTH => {
                lengths += 1;
                plain &= !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
            }
            header::TRANSFER_ENCODING => {
                codings += 1;
                chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            }
            _ => {}
        }
    }
    match (lengths, codings) {
        (0 | 1, 0) => plain,
        (0, 1) => chunked && response.version() == Version::HTTP_11,
        _ => false,
    }
}

/// Waits for `sending`, which has begun, while something moves: a body still going up pushes the deadline.
async fn within_silence<T>(
    begun: Instant,
    limit: Duration,
    end: Option<Instant>,
    progress: Option<&Progress>,
    alarm: &mut Alarm,
    mut sending: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Fault> {
    let mut quiet_until = begun + limit;
    poll_fn(|cx| {
        if let Poll::Ready(answer) = sending.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        loop {
            let deadline = end.map_or(quiet_until, |end| end.min(quiet_until));
            ready!(alarm.poll(deadline, cx));
            if end.is_some_and(|end| end <= Instant::now()) {
                return Poll::Ready(Err(Fault::TotalTimeout));
            }
            match progress.map(|progress| progress.last() + limit) {
                Some(later) if later > quiet_until => quiet_until = later,
                _ => return Poll::Ready(Err(Fault::HeaderTimeout)),
            }
        }
    })
    .await
}

impl Passage {
    pub fn errand(self, body: RequestBody) -> Errand {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.target;
        *request.headers_mut() = self.headers;
        Errand { request, interim: self.interim }
    }
}
