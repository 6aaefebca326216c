//! What the API answers when it did what was asked.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Debug)]
pub struct Answer {
    status: StatusCode,
    body: Bytes,
    kind: &'static str,
    version: Option<u64>,
    location: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Kept {
    status: u16,
    body: String,
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

    /// An answer in JSON as text, to be given again.
    pub fn keep(&self) -> String {
        let (status, version, location) = (self.status.as_u16(), self.version, self.location.clone());
        let kept = Kept { status, body: String::from_utf8_lossy(&self.body).into_owned(), version, location };
        serde_json::to_string(&kept).expect("plain values always serialize")
    }

    /// What was kept. None: it is no such text.
    pub fn again(kept: &str) -> Option<Self> {
        let Kept { status, body, version, location } = serde_json::from_str(kept).ok()?;
        let status = StatusCode::from_u16(status).ok()?;
        Some(Self { status, body: body.into(), version, location, ..Self::ok(&Value::Null) })
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
