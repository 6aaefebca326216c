//! HTML, and the one style sheet it is allowed to use.
//!
//! Every page stands alone: no script, no image, no font, nothing from elsewhere. The style sheet is in the page
//! and named by its digest in the content security policy, so that text that slipped in could not even be styled.

mod refusal;

pub use refusal::refusal;

use base64::Engine as _;
use http::HeaderValue;
use std::sync::LazyLock;

/// The text between `<style>` and `</style>`, byte for byte.
pub const STYLE: &str = include_str!("../../../templates/style.css");

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
    let digest = base64::prelude::BASE64_STANDARD.encode(digest);
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("a digest in base64 is header text")
});

/// The `Content-Security-Policy` of every page.
pub fn content_security_policy() -> HeaderValue {
    POLICY.clone()
}
