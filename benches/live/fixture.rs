//! What the gateway is given: a device for each of the people, a policy, settings. Made anew for every run.

use rangegate_benches::certificates::{Authority, hex};
use rangegate_benches::{Result, settings};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

pub const HOST: &str = "chat.bench.example";

/// One person's device.
pub struct Device {
    pub owner: String,
    /// SHA-256 of the certificate, lower-case hex.
    pub fingerprint: String,
    pub connector: TlsConnector,
}

/// Writes the gateway's certificates into `directory`; the devices are not registered anywhere yet.
pub fn make(directory: &Path, people: usize) -> Result<Vec<Device>> {
    let authority = Authority::new()?;
    authority.write(directory, &[HOST])?;
    (0..people).map(|number| device(number, &authority)).collect()
}

fn device(number: usize, authority: &Authority) -> Result<Device> {
    let device = authority.device(&format!("laptop-{number}"))?;
    let config = authority.client(rustls::crypto::aws_lc_rs::default_provider(), Some(&device))?;
    Ok(Device {
        owner: format!("person-{number}@bench.example"),
        fingerprint: hex(&device.sha256()),
        connector: TlsConnector::from(Arc::new(config)),
    })
}

/// All but the store, the socket and the number of connections is the default.
pub fn settings(address: SocketAddr, operations: SocketAddr) -> String {
    let common = settings::common(address, operations, "audit.jsonl");
    format!(
        r#"{common}
[limits]
connections-per-address = 8192
drain-timeout = "1s"
[store]
path = "store.db"
[control]
socket = "rangegate.sock"
"#
    )
}

/// What each exchange is decided on. `version` is told by a comment only: everything has to be decided again.
pub fn policy(upstream: SocketAddr, version: u32) -> String {
    format!(
        r#"# {version}
[[resource]]
id = "chat"
hosts = ["{HOST}"]
upstream = "http://{upstream}"

  [[resource.require]]
  id = "company-device"
  that = {{ device = {{ known = true, class = ["corporate"] }} }}
  [[resource.require]]
  id = "local"
  that = {{ cidr = "127.0.0.0/8" }}
  [[resource.require]]
  id = "near"
  that = {{ rtt = {{ below = "10s" }} }}
  [[resource.require]]
  id = "not-too-often"
  that = {{ rate = {{ limit = 100000000, per = "1s", by = "device" }} }}
"#
    )
}
