//! Who is compared, and on which rows.

use crate::fixture::{Fixture, Person};
use crate::load::Shape;
use crate::nginx;
use crate::peer::{Caller, Knows, Peer};
use crate::rangegate::{self, Known};
use crate::{Group, Options, rung};
use rangegate_benches::Result;
use std::net::SocketAddr;
use std::path::Path;

#[derive(Debug)]
pub struct Comparison {
    /// The last is what the others are held against.
    pub peers: Vec<Peer>,
    pub rows: Vec<&'static Row>,
    /// Who asks where a row has many.
    pub people: Vec<Person>,
}

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    pub group: Group,
    pub what: &'static str,
    pub shape: Shape,
    pub caller: Caller,
    /// The most the first gateway may cost, as a share of the second.
    pub target: f64,
}

const HTTP1: Shape = Shape::Http1 { connections: 16 };
const HTTP2: Shape = Shape::Http2 { connections: 50, streams: 10 };
const HTTP2_FEW: Shape = Shape::Http2 { connections: 10, streams: 10 };
const HANDSHAKE: Shape = Shape::Handshake { at_a_time: 4 };

const ROWS: &[Row] = &[
    Row { group: Group::H1, what: "HTTP/1.1, 16 connections", shape: HTTP1, caller: Caller::Device, target: 1.0 },
    Row { group: Group::H1, what: "  with a bearer token", shape: HTTP1, caller: Caller::Person, target: 1.0 },
    Row { group: Group::H2, what: "HTTP/2, 50 × 10 streams", shape: HTTP2, caller: Caller::Device, target: 1.0 },
    Row { group: Group::H2, what: "  with a bearer token", shape: HTTP2, caller: Caller::Person, target: 1.0 },
    Row { group: Group::H2, what: "HTTP/2, 10 × 10 streams", shape: HTTP2_FEW, caller: Caller::Device, target: 1.0 },
    Row {
        group: Group::Handshake,
        what: "new connection + 1 request",
        shape: HANDSHAKE,
        caller: Caller::Device,
        target: 0.5,
    },
];

const MANY1: Shape = Shape::Http1 { connections: 64 };
const MANY2: Shape = Shape::Http2 { connections: 64, streams: 10 };

/// With a large store beside a small one.
const STORE_ROWS: &[Row] = &[
    Row { group: Group::H1, what: "HTTP/1.1, 64 people", shape: MANY1, caller: Caller::People, target: 1.1 },
    Row { group: Group::H2, what: "HTTP/2, 64 people × 10", shape: MANY2, caller: Caller::People, target: 1.1 },
    Row {
        group: Group::Handshake,
        what: "new connection + 1 request",
        shape: HANDSHAKE,
        caller: Caller::People,
        target: 1.1,
    },
];

impl Comparison {
    /// Starts the peers, and has each prove what it is. Without `program` nginx is compared with itself.
    pub async fn start(
        options: &Options,
        program: Option<&Path>,
        fixture: &Fixture,
        upstream: SocketAddr,
    ) -> Result<Self> {
        let nginx = |name| nginx(name, fixture, upstream);
        let (peers, people) = match (program, options.stores) {
            (None, _) => (vec![nginx("nginx a").await?, nginx("nginx").await?], Vec::new()),
            (Some(program), Some(devices)) => stores(program, fixture, upstream, devices).await?,
            (Some(program), None) => {
                let mut peers = Vec::new();
                if options.floor {
                    peers.push(rung("relay", "the system calls alone", Knows::Nobody, fixture, upstream).await?);
                    peers.push(rung("floor", "the libraries alone", Knows::Certificates, fixture, upstream).await?);
                }
                peers.push(rangegate(program, fixture, upstream).await?);
                peers.push(nginx("nginx").await?);
                (peers, Vec::new())
            }
        };
        for peer in &peers {
            peer.prove(fixture).await?;
        }
        let rows = if options.stores.is_some() { STORE_ROWS } else { ROWS };
        let wanted = |row: &&Row| {
            (options.only.is_empty() || options.only.contains(&row.group))
                // A rung below a gateway knows no people.
                && (!options.floor || row.caller == Caller::Device)
        };
        Ok(Self { peers, rows: rows.iter().filter(wanted).collect(), people })
    }
}

async fn rangegate(program: &Path, fixture: &Fixture, upstream: SocketAddr) -> Result<Peer> {
    let server = rangegate::gateway(program, fixture, upstream, &Known::file()).await?;
    Ok(Peer { name: "rangegate".to_owned(), version: rangegate::version(program)?, server, knows: Knows::People })
}

async fn nginx(name: &str, fixture: &Fixture, upstream: SocketAddr) -> Result<Peer> {
    let server = nginx::gateway(&name.replace(' ', "-"), fixture, upstream).await?;
    Ok(Peer { name: name.to_owned(), version: nginx::version()?, server, knows: Knows::Devices })
}

async fn rung(name: &str, what: &str, knows: Knows, fixture: &Fixture, upstream: SocketAddr) -> Result<Peer> {
    let server = rung::start(name, fixture, upstream).await?;
    Ok(Peer { name: name.to_owned(), version: what.to_owned(), server, knows })
}

#[cfg(feature = "memory")]
use crate::stores::peers as stores;

#[cfg(not(feature = "memory"))]
async fn stores(_: &Path, _: &Fixture, _: SocketAddr, _: usize) -> Result<(Vec<Peer>, Vec<Person>)> {
    Err("`--stores` fills databases with the gateway's own code: build with `--features memory`".into())
}
