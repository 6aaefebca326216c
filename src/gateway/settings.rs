//! What an operator sets about listeners and limits.

use crate::sources::certificate::TrustSettings;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Asked for; without a good one the request is still decided, and the refusal gets a page and a record.
    #[default]
    Requested,
    /// The handshake fails without a good one.
    Required,
    /// Not asked for.
    Off,
}

/// A server certificate: chosen by SNI from the names in it.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    pub chain: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug)]
pub struct ListenerSettings {
    pub name: String,
    pub address: SocketAddr,
    pub certificates: Vec<ServerCertificate>,
    pub client_certificates: ClientCertificates,
    pub trust: TrustSettings,
    /// Peers that must begin with a PROXY protocol header. All others must not.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Peers whose `X-Forwarded-For` is believed, from the right.
    pub forwarders: Vec<IpNet>,
}

/// Bounds on what one client can make the gateway hold or wait for.
#[derive(Clone, Debug)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_address: usize,
    pub handshake_timeout: Duration,
    pub header_timeout: Duration,
    /// Idle keep-alive and idle HTTP/2 connections are closed after this.
    pub idle_timeout: Duration,
    /// A request body that delivers nothing for this long is cut.
    pub body_timeout: Duration,
    pub header_bytes: u32,
    pub header_count: usize,
    pub http2_streams: u32,
    /// From SIGTERM to the last connection being cut.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            connections_per_address: 4_096,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            body_timeout: Duration::from_secs(30),
            header_bytes: 16 * 1024,
            header_count: 100,
            http2_streams: 100,
            drain_timeout: Duration::from_secs(30),
        }
    }
}
