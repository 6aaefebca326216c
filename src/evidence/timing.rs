//! How long the client's answers take, at two heights of the stack, and what that says of its place.

use super::Fact;
use crate::latency::{Kilometres, Rtt};
use serde::{Deserialize, Serialize};

/// The kernel's view of this connection at this request (`TCP_INFO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpTiming {
    /// The SYN-ACK sample read right after accept: never a delayed acknowledgement.
    pub first: Rtt,
    /// The smallest of the kernel's windowed minimum and all earlier readings of this connection.
    pub minimum: Rtt,
    /// The kernel's smoothed estimate; inflated by delayed acknowledgements, for display only.
    pub smoothed: Rtt,
    pub variation: Rtt,
}

/// Which frame's acknowledgement was timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsSource {
    Http2Settings,
    Http2Ping,
    WebsocketPing,
}

/// Round trips to the endpoint that holds the TLS key, with no signature in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsTiming {
    pub minimum: Rtt,
    pub samples: u32,
    /// Where the minimum came from.
    pub source: TlsSource,
}

/// A place the round trip proves false, or not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nearness {
    /// True: the answer came back faster than light in fibre allows from the claimed place.
    pub too_near: bool,
    /// The least round trip physics allows from the claimed place, tolerance taken off.
    pub floor: Rtt,
    /// The round trip held against it.
    pub measured: Rtt,
}

/// The measured facts, and those that follow from them by `latency/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    pub tcp: Fact<TcpTiming>,
    pub tls: Fact<TlsTiming>,
    /// Minima over this device's recent connections from this address.
    pub device_tcp: Fact<Rtt>,
    pub device_tls: Fact<Rtt>,
    /// Best TLS minimum minus best TCP minimum: a relay that splits TCP cannot hide it.
    pub relay_gap: Fact<Rtt>,
    /// From the gateway's configured place to the place claimed for the address.
    pub distance: Fact<Kilometres>,
    /// How much the best round trip exceeds what is expected over that distance.
    pub excess: Fact<Rtt>,
    pub nearness: Fact<Nearness>,
}
