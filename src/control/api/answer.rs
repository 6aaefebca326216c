//! What the API answers when it did what was asked.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::Value;

#[derive(Clone, Debug)]
pub struct Answer {
    status: StatusCode,
    body: Bytes,
    kind: &'static str,
    version: Option<u64>,
    location: Option<String>,
}

impl Answer {
    pub fn ok(value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("plain values always serialize");
        Self { status: StatusCode::OK, body: body.into(), kind: "application/json", version: None, location: None }
    }

    pub fn created(value: &impl Serialize, location: String) -> Self {
        Self { status: StatusCode::CREATED, location: Some(location), ..Self::ok(value) }
    }

    /// Text of another kind, such as a certificate.
    pub fn text(kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), kind, ..Self::ok(&Value::Null) }
    }

    #[must_use]
    pub fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The version that `If-Match` may name.
    #[must_use]
    pub fn version(self, version: u64) -> Self {
        Self { version: Some(version), ..self }
    }

    pub fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(version) = self.version {
            fields.insert(ETAG, HeaderValue::try_from(format!("\"{version}\"")).expect("digits in quotes"));
        }
        if let Some(location) = self.location.and_then(|location| HeaderValue::try_from(location).ok()) {
            fields.insert(LOCATION, location);
        }
        response
    }
}
