//! What can go wrong between the gateway and an upstream.

/// A closed vocabulary; audit and metrics use `code()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The name has no address, or no address answered.
    Connect,
    ConnectTimeout,
    /// The upstream's certificate is not good, or TLS failed otherwise.
    Tls,
    /// Nothing came within the header timeout.
    HeaderTimeout,
    /// The connection ended before the response's head.
    Closed,
    /// What came is not HTTP, or too large.
    Garbage,
    /// The upstream speaks another HTTP version than the policy says, or switched protocols unasked.
    Protocol,
    /// The whole exchange took too long.
    TotalTimeout,
    /// The client's body stopped coming.
    RequestBody,
    /// The client broke its body off: it left, or sent what is no body.
    RequestBroken,
}

impl Fault {
    pub const ALL: [Self; 10] = [
        Self::Connect,
        Self::ConnectTimeout,
        Self::Tls,
        Self::HeaderTimeout,
        Self::Closed,
        Self::Garbage,
        Self::Protocol,
        Self::TotalTimeout,
        Self::RequestBody,
        Self::RequestBroken,
    ];

    pub const fn code(self) -> &'static str {
        match self {
            Self::Connect => "upstream-unreachable",
            Self::ConnectTimeout => "upstream-connect-timeout",
            Self::Tls => "upstream-tls",
            Self::HeaderTimeout => "upstream-header-timeout",
            Self::Closed => "upstream-closed",
            Self::Garbage => "upstream-garbage",
            Self::Protocol => "upstream-protocol",
            Self::TotalTimeout => "upstream-total-timeout",
            Self::RequestBody => "request-body",
            Self::RequestBroken => "request-broken",
        }
    }

    /// Whose fault a transport error is.
    pub fn of(error: &hyper::Error) -> Self {
        if error.is_parse() || error.is_parse_too_large() {
            Self::Garbage
        } else if error.is_user() {
            let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
            let late = cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::TimedOut);
            if late { Self::RequestBody } else { Self::RequestBroken }
        } else {
            Self::Closed
        }
    }

    /// True when the upstream is to blame, so that its health suffers.
    pub const fn blames_upstream(self) -> bool {
        !matches!(self, Self::RequestBody | Self::RequestBroken)
    }
}
