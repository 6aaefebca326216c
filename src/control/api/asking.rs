//! One request to the API, read: who asks, for what, and what was sent along.

use super::problem::Problem;
use crate::audit::AdminActor;
use crate::control::Who;
use crate::control::fault::Fault;
use crate::enforce::builtin::{BodyFault, Call, CallBody};
use crate::evidence::{Evidence, Fact, Moment};
use crate::policy::Decided;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, IF_MATCH};
use http::{HeaderMap, Method};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A JSON body of anything but an import is no longer than this.
pub const BODY: usize = 256 * 1024;

pub struct Asking {
    pub decided: Arc<Decided>,
    pub method: Method,
    pub path: String,
    /// What stands in the place of `{…}` in the path, in order.
    pub parameters: Vec<String>,
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    body: Body,
}

enum Body {
    Coming(CallBody),
    Here(Bytes),
    Taken,
}

impl Asking {
    pub fn read(call: Call) -> Result<Self, Problem> {
        let Call { decided, method, target, headers, body } = call;
        let mut query = BTreeMap::new();
        for pair in target.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| decoded(&text.replace('+', " "));
            let (name, value) =
                decode(name).zip(decode(value)).ok_or_else(|| Problem::invalid("the query is no UTF-8"))?;
            if query.insert(name.clone(), value).is_some() {
                return Err(Problem::invalid(format!("`{name}` stands twice in the query")));
            }
        }
        let path = target.path().to_owned();
        Ok(Self { decided, method, path, parameters: Vec::new(), query, headers, body: Body::Coming(body) })
    }

    pub fn evidence(&self) -> &Evidence {
        &self.decided.evidence
    }

    /// When the request was decided.
    pub fn at(&self) -> Moment {
        self.evidence().at
    }

    pub fn request_id(&self) -> &str {
        &self.evidence().request.id
    }

    pub fn parameter(&self, index: usize) -> &str {
        self.parameters.get(index).map_or("", String::as_str)
    }

    /// The query's `name`, read by `parse`.
    pub fn asked<T>(&self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        match self.query.get(name) {
            None => Ok(None),
            Some(text) => match parse(text) {
                Some(value) => Ok(Some(value)),
                None => Err(Problem::invalid(format!("`{name}` cannot be `{text}`"))),
            },
        }
    }

    /// Refuses what nobody reads: a misspelt filter would otherwise show everything.
    pub fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.query.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Problem::invalid(format!("there is no parameter `{name}`"))),
            None => Ok(()),
        }
    }

    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn content_type(&self) -> &str {
        let whole = self.header(&CONTENT_TYPE).unwrap_or_default();
        whole.split(';').next().unwrap_or_default().trim()
    }

    /// The version that `If-Match` demands. `*` demands that there is one.
    pub fn if_match(&self) -> Result<Option<Demand>, Problem> {
        let Some(text) = self.header(&IF_MATCH) else { return Ok(None) };
        if text.trim() == "*" {
            return Ok(Some(Demand::Any));
        }
        let digits = text.trim().strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let version = digits.and_then(|digits| digits.parse().ok());
        version.map(|version| Some(Demand::Version(version))).ok_or_else(Problem::changed)
    }

    /// The whole body. It stays here for whoever reads it next.
    pub async fn bytes(&mut self) -> Result<Bytes, Problem> {
        let bytes = match std::mem::replace(&mut self.body, Body::Taken) {
            Body::Coming(body) => body.whole(BODY).await.map_err(|fault| match fault {
                BodyFault::TooLarge => Problem::too_large(BODY),
                fault => fault.into(),
            })?,
            Body::Here(bytes) => bytes,
            Body::Taken => Bytes::new(),
        };
        self.body = Body::Here(bytes.clone());
        Ok(bytes)
    }

    /// The body as it comes; none when it was read already.
    pub fn body(&mut self) -> Option<CallBody> {
        match std::mem::replace(&mut self.body, Body::Taken) {
            Body::Coming(body) => Some(body),
            Body::Here(_) | Body::Taken => None,
        }
    }

    /// The body as JSON of this shape.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        if !matches!(self.content_type(), "application/json" | "application/merge-patch+json") {
            return Err(Problem::new(
                http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media-type",
                "This cannot be read",
                "the body has to be `application/json`",
            ));
        }
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| Problem::invalid(format!("the body: {error}")))
    }

    pub fn who(&self) -> Who {
        Who { actor: self.actor(), request: Some(self.request_id().to_owned()) }
    }

    /// Who asks, for the audit.
    fn actor(&self) -> AdminActor {
        let evidence = self.evidence();
        let subject = evidence.subject.known();
        AdminActor {
            user: subject.map(|subject| Arc::clone(&subject.user)),
            person: self.person(),
            device: evidence.device.known().map(|device| Arc::clone(&device.id)),
            issuer: subject.map(|subject| Arc::clone(&subject.issuer)),
        }
    }

    /// The human being: as the organisation's records say, else the account itself.
    fn person(&self) -> Option<Arc<str>> {
        match &self.evidence().identity {
            Fact::Known(identity) => Some(Arc::clone(&identity.person)),
            _ => self.evidence().subject.known().map(|subject| Arc::clone(&subject.user)),
        }
    }
}

/// What `If-Match` demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    Any,
    Version(u64),
}

impl Demand {
    /// Whether what there is will do.
    pub fn check(demand: Option<Self>, there: Option<u64>) -> Result<(), Fault> {
        match (demand, there) {
            (None, _) | (Some(Self::Any), Some(_)) => Ok(()),
            (Some(Self::Version(wanted)), Some(there)) if wanted == there => Ok(()),
            _ => Err(Fault::Changed),
        }
    }
}

/// Percent-decoded; none when that is no UTF-8 or no encoding.
pub fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}
