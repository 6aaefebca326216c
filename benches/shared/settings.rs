//! The part of `rangegate.toml` that every benchmark's gateway has.

use std::net::SocketAddr;

/// Tables only, so that keys of the document itself go before it and further tables behind it. Certificates are those
/// that [`Authority::write`](crate::certificates::Authority::write) wrote beside the file; the audit file is small,
/// because millions of requests fill a disk.
pub fn common(address: SocketAddr, operations: SocketAddr, audit: &str) -> String {
    format!(
        r#"
[[listener]]
address = "{address}"
client-certificates = "requested"
[[listener.certificate]]
chain = "server.pem"
key = "server.key"
[listener.trust]
authorities = ["ca.pem"]
revocation-lists = ["ca.crl"]
[audit]
path = "{audit}"
rotate-size = "64MiB"
keep = 1
[portal]
organisation = "Bench"
[operations]
address = "{operations}"
"#
    )
}
