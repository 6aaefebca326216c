//! What the gateway itself serves, reached as an upstream: `rangegate:api`, `rangegate:assertion-keys`.
//!
//! A request for one takes the same walk as any other; by the time it gets here a policy has let it through.

use super::assertion::Signer;
use super::body::RequestBody;
use super::live::Registration;
use crate::policy::{Decided, Reason};
use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::{BodyExt, Full};
use std::fmt;
use std::future::Future;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;

pub use crate::policy::resource::API;

/// The published keys' name behind `rangegate:`.
pub const ASSERTION_KEYS: &str = "assertion-keys";

/// One such service.
pub trait Builtin: Send + Sync {
    fn answer(&self, call: Call) -> Answering<'_>;
}

pub type Answering<'a> = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send + 'a>>;

/// A request that may be answered, and what it was decided on.
pub struct Call {
    pub decided: Arc<Decided>,
    pub method: Method,
    /// Canonical path, and the query as it came.
    pub target: PathAndQuery,
    pub headers: HeaderMap,
    pub body: CallBody,
}

/// The request's body, read piece by piece. While it is read the request can be cut like any that is open.
pub struct CallBody {
    body: RequestBody,
    open: Option<Registration>,
}

/// Why a body did not arrive whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// The client left, or sent what is no body.
    Broken,
    /// It stopped coming.
    Late,
    TooLarge,
    /// The permission ended meanwhile.
    Cut(Reason),
}

impl CallBody {
    pub const fn new(body: RequestBody, open: Registration) -> Self {
        Self { body, open: Some(open) }
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// Any but `TooLarge`.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, BodyFault> {
        loop {
            let Some(open) = &self.open else { return Ok(None) };
            let frame = tokio::select! {
                biased;
                reason = open.cut() => return Err(BodyFault::Cut(reason)),
                frame = self.body.frame() => frame,
            };
            match frame {
                None => self.open = None,
                Some(Err(error)) if error.kind() == ErrorKind::TimedOut => return Err(BodyFault::Late),
                Some(Err(_)) => return Err(BodyFault::Broken),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Ok(Some(data)),
                    // Trailers mean nothing here.
                    Err(_) => {}
                },
            }
        }
    }

    /// The whole of it, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// Any.
    pub async fn whole(mut self, limit: usize) -> Result<Bytes, BodyFault> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > limit {
                return Err(BodyFault::TooLarge);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

/// Every service by its name.
#[derive(Clone)]
pub struct Services(Arc<[(&'static str, Arc<dyn Builtin>)]>);

impl Services {
    pub fn new(services: impl IntoIterator<Item = (&'static str, Arc<dyn Builtin>)>) -> Self {
        Self(services.into_iter().collect())
    }

    pub fn find(&self, name: &str) -> Option<&Arc<dyn Builtin>> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, service)| service)
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// The keys that verify the gateway's word to upstreams (RFC 7517).
pub struct AssertionKeys(pub Arc<ArcSwap<Signer>>);

impl Builtin for AssertionKeys {
    fn answer(&self, _: Call) -> Answering<'_> {
        let mut response = Response::new(Full::new(self.0.load().jwks()));
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        Box::pin(std::future::ready(response))
    }
}
