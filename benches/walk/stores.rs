//! Rangegate on both sides: what a large store costs a request, beside a small one.

use crate::fixture::{Fixture, Person};
use crate::peer::Peer;
use crate::rangegate::{self, Known};
use crate::token::USER;
use ::rangegate::store::StoreSettings;
use rangegate_benches::Result;
use rangegate_benches::fleet::{self, Fleet, Member};
use std::net::SocketAddr;
use std::path::Path;

/// Devices, people and grants of the small store.
const SMALL: usize = 100;

/// People who ask, each from a device of their own. Both stores know them.
pub const PEOPLE: usize = 64;

/// One gateway with a store of `devices`, a tenth as many people and a grant for each; and one with a hundred of each.
pub async fn peers(
    program: &Path,
    fixture: &Fixture,
    upstream: SocketAddr,
    people: &[Person],
    devices: usize,
) -> Result<[Peer; 2]> {
    let tenth = (devices / 10).max(1);
    let large = (format!("{devices} devices"), "large.db", devices, tenth);
    let small = (format!("{SMALL} devices"), "small.db", SMALL, SMALL);
    let mut peers = Vec::new();
    for (name, store, devices, people_and_grants) in [large, small] {
        eprintln!("  filling a store with {name} …");
        let fleet = Fleet { devices, people: people_and_grants, grants: people_and_grants, at: fleet::now()? };
        fleet.fill(&StoreSettings::sqlite(fixture.path(store)), &members(fixture, people)).await?.0.close().await;
        let server = rangegate::gateway(program, fixture, upstream, Known::Store(store)).await?;
        peers.push(Peer { name, server, reads_tokens: true });
    }
    peers.try_into().map_err(|_| "two gateways are compared".into())
}

fn members(fixture: &Fixture, people: &[Person]) -> Vec<Member> {
    let ann = Member { user: USER.to_owned(), sha256: fixture.known.sha256() };
    let others = people.iter().map(|one| Member { user: one.user.clone(), sha256: one.device.sha256() });
    std::iter::once(ann).chain(others).collect()
}
