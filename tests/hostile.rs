//! A running gateway under attack, over real TLS: what clients, upstreams, disks and files may do to it, and what comes
//! of it. Each test has a gateway of its own and ends in a bounded time.

#[path = "support/client.rs"]
mod client;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/mmdb.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod mmdb;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/upstream.rs"]
mod upstream;
#[path = "hostile/wire.rs"]
mod wire;

#[path = "hostile/files.rs"]
mod files;
#[path = "hostile/http2.rs"]
mod http2;
#[path = "hostile/identity.rs"]
mod identity;
#[path = "hostile/slowness.rs"]
mod slowness;
#[path = "hostile/smuggling.rs"]
mod smuggling;
#[path = "hostile/tokens.rs"]
mod tokens;
#[path = "hostile/upstreams.rs"]
mod upstreams;
