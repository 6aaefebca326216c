//! The request as it will be forwarded: one canonical reading, or the reason there is none.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    #[serde(rename = "http/1.0")]
    Http10,
    #[serde(rename = "http/1.1")]
    Http11,
    #[serde(rename = "http/2")]
    Http2,
}

/// A protocol the client asks to switch to (RFC 9110 section 7.8, RFC 8441).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upgrade {
    Websocket,
}

/// What was asked. `host` and `path` are canonical: policy matches them and the upstream gets them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Shown to people and written to the audit log; 26 characters of Crockford base 32.
    pub id: String,
    pub protocol: Protocol,
    pub method: Cow<'static, str>,
    /// Lower case, without port and trailing dot. Empty when malformed.
    pub host: String,
    /// Absolute, percent-decoded only where RFC 3986 calls it equivalent, no dot segments. Without the query.
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// Why the request has no single reading; then it is denied whatever policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub malformed: Option<Malformed>,
}

macro_rules! malformed {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal,)+) => {
        /// Why a request is refused before policy looks at it. A closed vocabulary.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Malformed {
            $($(#[doc = $doc])+ #[serde(rename = $code)] $name,)+
        }

        impl Malformed {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// One plain sentence for whoever reads a record.
            pub const fn explain(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

malformed! {
    /// The bytes are not HTTP.
    Syntax = "malformed-syntax",
    /// Two ways to find the end of the body, or a way that HTTP forbids.
    AmbiguousFraming = "ambiguous-framing",
    /// A bare CR, bare LF, NUL or other control byte where none may stand.
    ControlByte = "control-byte",
    /// No `Host` and no `:authority`.
    HostMissing = "host-missing",
    /// Several hosts, or `Host` differs from `:authority` or the request target.
    HostRepeated = "host-repeated",
    /// The host is not a name or address, or carries userinfo.
    HostInvalid = "host-invalid",
    /// The host is not the name the TLS connection was opened for: 421 (RFC 9110 section 15.5.20).
    Misdirected = "misdirected",
    /// The target is not in origin form, or an absolute form that names another scheme.
    TargetForm = "target-form",
    /// An encoded slash, backslash, NUL or percent sign: two readings.
    PathEncoding = "path-encoding",
    /// A dot segment, an empty segment or a path parameter beside dots.
    PathSegments = "path-segments",
    /// Too many header fields or too many bytes of them.
    HeadersTooLarge = "headers-too-large",
    /// A header field that HTTP forbids here.
    HeaderInvalid = "header-invalid",
    /// An upgrade other than WebSocket, or a broken WebSocket handshake.
    Upgrade = "upgrade-refused",
    /// `CONNECT` or `TRACE`, or no method token.
    Method = "method-refused",
    /// The address of the client is missing where a forwarder must name it.
    ForwarderMissing = "forwarder-missing",
}
