//! The whole gateway over real TLS on loopback: what goes in, what comes out, and what is written about it.

#[path = "support/client.rs"]
mod client;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/mmdb.rs"]
#[allow(dead_code, reason = "shared by tests that each use a part of it")]
mod mmdb;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/upstream.rs"]
mod upstream;

#[path = "walk/authorities.rs"]
mod authorities;
#[path = "walk/outcomes.rs"]
mod outcomes;
#[path = "walk/handshakes.rs"]
mod handshakes;
#[path = "walk/headers.rs"]
mod headers;
#[path = "walk/multiplexed.rs"]
mod multiplexed;
#[path = "walk/streams.rs"]
mod streams;
#[path = "walk/websockets.rs"]
mod websockets;
#[path = "walk/recut.rs"]
mod recut;
#[path = "walk/stopping.rs"]
mod stopping;
#[path = "walk/failover.rs"]
mod failover;
#[path = "walk/reloading.rs"]
mod reloading;
#[path = "walk/reconfiguring.rs"]
mod reconfiguring;
#[path = "walk/crowds.rs"]
mod crowds;
#[path = "walk/curl.rs"]
mod curl;
#[path = "walk/operations.rs"]
mod operations;
#[path = "walk/records.rs"]
mod records;
#[path = "walk/renewing.rs"]
mod renewing;
#[path = "walk/relays.rs"]
mod relays;
