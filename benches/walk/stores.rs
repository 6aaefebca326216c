//! Rangegate on both sides: what a large store costs a request, beside a small one.

use crate::fixture::{Fixture, Person};
use crate::peer::{Knows, Peer};
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
const PEOPLE: usize = 64;

/// People also have to be in order and to hold a grant.
const GRANT: &str = r#"
  [[resource.require]]
  id = "on-call"
  that = { grant = "oncall" }
[[role]]
id = "oncall"
opens = "payroll"
longest = "8h"
approvers = { group = "leads" }
"#;

/// A gateway with a store of `devices`, a tenth as many people and a grant for each; one with a hundred of each; and
/// those who ask.
pub async fn peers(
    program: &Path,
    fixture: &Fixture,
    upstream: SocketAddr,
    devices: usize,
) -> Result<(Vec<Peer>, Vec<Person>)> {
    let people = (0..PEOPLE).map(|number| person(number, fixture)).collect::<Result<Vec<_>>>()?;
    let tenth = (devices / 10).max(1);
    let mut peers = Vec::new();
    for (name, devices, others) in [("rangegate-large", devices, tenth), ("rangegate-small", SMALL, SMALL)] {
        eprintln!("  filling a store with {devices} devices …");
        let store = format!("{name}.db");
        let fleet = Fleet { devices, people: others, grants: others, at: fleet::now()? };
        fleet.fill(&StoreSettings::sqlite(fixture.path(&store)), &members(fixture, &people)).await?.0.close().await;
        let known = Known { name, setting: format!("store.path = \"{store}\""), policy: GRANT };
        let server = rangegate::gateway(program, fixture, upstream, &known).await?;
        let version = rangegate::version(program)?;
        peers.push(Peer { name: format!("{devices} devices"), version, server, knows: Knows::People });
    }
    Ok((peers, people))
}

fn person(number: usize, fixture: &Fixture) -> Result<Person> {
    let device = fixture.authority.device(&format!("laptop-{number}"))?;
    Ok(Person { bearer: fixture.signer.bearer(&user(number), &device.sha256())?, device })
}

fn user(number: usize) -> String {
    format!("person-{number}@bench.example")
}

fn members(fixture: &Fixture, people: &[Person]) -> Vec<Member> {
    let ann = Member { user: USER.to_owned(), sha256: fixture.ann.device.sha256() };
    let member = |(number, one): (usize, &Person)| Member { user: user(number), sha256: one.device.sha256() };
    std::iter::once(ann).chain(people.iter().enumerate().map(member)).collect()
}
