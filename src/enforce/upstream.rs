//! Connections to upstreams: pooled per core, with health, failover and deadlines.

use std::path::PathBuf;
use std::time::Duration;

/// How the gateway speaks to upstreams; one default and exceptions by origin.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// PEM authorities for https upstreams. None: the system's.
    pub ca: Option<PathBuf>,
    /// PEM chain and key presented to https upstreams.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    pub connect_timeout: Duration,
    /// From the request's last byte to the response's head.
    pub header_timeout: Duration,
    /// Between two pieces of a body.
    pub idle_timeout: Duration,
    /// The whole exchange; upgraded connections and streams are exempt once they flow. None: unbounded.
    pub total_timeout: Option<Duration>,
    /// Idle connections kept per origin and core.
    pub pool: usize,
}
