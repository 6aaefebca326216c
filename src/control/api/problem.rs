//! What the API says when it does not do what was asked: `application/problem+json` (RFC 9457).

use crate::access::Refusal;
use crate::authority::IssueFault;
use crate::control::fault::Fault;
use crate::enforce::builtin::BodyFault;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// A refusal or a failure, in words and for programs.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub status: StatusCode,
    /// The last part of the problem's type: a closed vocabulary (docs/api.md).
    pub code: &'static str,
    pub title: &'static str,
    /// A sentence for whoever asked.
    pub detail: String,
    /// Further members, such as `faults`.
    pub more: Map<String, Value>,
    pub retry_after: Option<u32>,
    pub allow: Option<String>,
}

/// How long a store that is away should be left alone.
const STORE_RETRY: u32 = 5;

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, title, detail: detail.into(), more: Map::new(), retry_after: None, allow: None }
    }

    /// What was sent cannot be read.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", "This cannot be read", detail)
    }

    /// What was sent can be read, and cannot be done.
    pub fn unfit(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unfit", "This cannot be done", detail)
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", format!("there is no {what}"))
    }

    /// Nothing is told of what the asker may not see.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not for you to do", detail)
    }

    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Something else stands in the way", detail)
    }

    /// `If-Match` names another version (RFC 9110 section 13.1.1).
    pub fn changed() -> Self {
        let detail = "it was changed in the meantime: read it again and decide again";
        Self::new(StatusCode::PRECONDITION_FAILED, "changed", "This is no longer so", detail)
    }

    pub fn too_large(limit: usize) -> Self {
        let detail = format!("at most {limit} bytes are taken here");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "This is too large", detail)
    }

    pub fn method(allowed: &[&str]) -> Self {
        let allow = allowed.join(", ");
        let detail = format!("this path takes {allow}");
        let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", "Not in this way", detail);
        Self { allow: Some(allow), ..problem }
    }

    fn wait(detail: String, wait: Duration) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", "A short pause, please", detail);
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
        Self { retry_after: Some(seconds), ..problem }
    }

    pub fn away(detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not at the moment", detail);
        Self { retry_after: Some(STORE_RETRY), ..problem }
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }

    pub fn response(self, request: &str) -> Response<Full<Bytes>> {
        #[derive(Serialize)]
        struct Document<'a> {
            #[serde(rename = "type")]
            kind: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            request_id: &'a str,
            #[serde(flatten)]
            more: &'a Map<String, Value>,
        }
        let document = Document {
            kind: format!("tag:rangegate,2026:api/{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            request_id: request,
            more: &self.more,
        };
        let body = serde_json::to_vec(&document).expect("text and numbers always serialize");
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            fields.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = self.allow.and_then(|allow| HeaderValue::try_from(allow).ok()) {
            fields.insert(ALLOW, allow);
        }
        response
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let told = fault.to_string();
        match fault {
            Fault::Access(refusal) => {
                let title = "The rules of this role say no";
                let problem = Self::new(StatusCode::CONFLICT, "refused", title, told).with("reason", refusal.code());
                match refusal {
                    Refusal::AlreadyAsked { id } => problem.with("grant", &*id),
                    Refusal::AlreadyHeld { id, .. } => problem.with("grant", &*id),
                    Refusal::NoSuchRole => Self { status: StatusCode::NOT_FOUND, ..problem },
                    _ if is_about_who(&refusal) => Self { status: StatusCode::FORBIDDEN, ..problem },
                    _ => problem,
                }
            }
            Fault::NotFound(what) => Self::not_found(what),
            Fault::Changed => Self::changed(),
            Fault::Unfit { code, why } => Self::unfit(why).with("reason", code),
            Fault::SelfChange { .. } => Self::forbidden(told).with("reason", "self-change"),
            Fault::Taken { .. } => Self::conflict(told),
            Fault::Busy | Fault::Away(_) | Fault::Unrecorded | Fault::NoAuthority => Self::away(told),
            Fault::Invitation(_) => Self::forbidden(told).with("reason", "invitation"),
            Fault::Owner(_) => Self::forbidden(told).with("reason", "owner"),
            Fault::Guesses(wait) => Self::wait(told, wait),
            Fault::Renewed(wait) => Self::wait(told, wait).with("reason", "too-many-certificates"),
            Fault::Issue(fault) => {
                let problem = match &fault {
                    IssueFault::Request(request) => Self::unfit(told).with("help", request.help()),
                    _ => Self::away(told),
                };
                problem.with("reason", fault.code())
            }
            Fault::Admit(fault) => {
                // Which device it is that has the key is not for whoever brings it.
                Self::forbidden("this key, or this device, cannot have a certificate").with("reason", fault.code())
            }
        }
    }
}

/// Another person might.
const fn is_about_who(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Suspended
            | Refusal::MayNotAsk
            | Refusal::MayNotBreakGlass
            | Refusal::SelfApproval
            | Refusal::SamePerson
            | Refusal::NotAnApprover
            | Refusal::NotYours
            | Refusal::SelfReview
            | Refusal::NotAReviewer
    )
}

impl From<BodyFault> for Problem {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "This is too large", ""),
            BodyFault::Late => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "late", "This came too slowly", "the body stopped coming")
            }
            BodyFault::Broken => Self::invalid("the body broke off"),
            BodyFault::Cut(reason) => {
                Self::forbidden(format!("the permission for this ended meanwhile ({})", reason.code()))
            }
        }
    }
}
