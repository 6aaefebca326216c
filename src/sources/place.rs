//! Everything known of the client's address, assembled once per connection and again when a database changes.

use super::geo::{Geo, nowhere};
use super::lists::Lists;
use crate::evidence::{Fact, Fault, Moment, Network, Via};
use arc_swap::ArcSwap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The sources that know addresses.
#[derive(Clone)]
pub struct Networks {
    pub geo: Arc<Geo>,
    pub lists: Arc<Lists>,
    /// Above every generation of the networks that these took the place of.
    epoch: u64,
}

impl Networks {
    pub fn new(geo: Arc<Geo>, lists: Arc<Lists>) -> Self {
        Self { geo, lists, epoch: 0 }
    }

    /// For a new configuration: whatever was looked up in `self` is out of date.
    #[must_use]
    pub fn succeed(&self, geo: Arc<Geo>, lists: Arc<Lists>) -> Self {
        Self { geo, lists, epoch: self.generation() + 1 }
    }

    /// Looks everything up afresh. `client` is `None` when a forwarder that must name the client named none.
    pub fn locate(&self, peer: IpAddr, client: Option<IpAddr>, via: Via, now: Moment) -> Network {
        let peer = peer.to_canonical();
        let Some(address) = client.map(|address| address.to_canonical()) else {
            let unknown = Fault::AddressUnknown;
            return Network {
                address: Fact::Unavailable(unknown),
                peer,
                via,
                place: nowhere(Fact::Unavailable(unknown)),
                asn: Fact::Unavailable(unknown),
                lists: self.lists.unknown(unknown),
            };
        };
        let (place, asn) = self.geo.lookup(address, now);
        let lists = self.lists.memberships(address, &asn);
        Network { address: Fact::Known(address), peer, via, place, asn, lists }
    }

    /// Of a client on this very machine, over a Unix socket: there is no address, and so it is on no list.
    pub fn here(&self) -> Network {
        Network {
            address: Fact::Absent,
            peer: Ipv4Addr::UNSPECIFIED.into(),
            via: Via::Direct,
            place: nowhere(Fact::Absent),
            asn: Fact::Absent,
            lists: self.lists.none(),
        }
    }

    /// Reads again what changed on disk; true when anything did. Blocks; for a thread of its own.
    pub fn reload_if_changed(&self) -> bool {
        // both, always: `||` would skip the lists
        self.geo.reload_if_changed() | self.lists.reload_if_changed()
    }

    /// Changes with every reload of any source.
    pub fn generation(&self) -> u64 {
        self.epoch + self.geo.generation() + self.lists.generation()
    }
}

/// What a connection remembers of its client's network.
pub struct Located {
    current: ArcSwap<Remembered>,
    /// There is no network to look up.
    here: bool,
}

struct Remembered {
    network: Arc<Network>,
    generation: u64,
    at: Moment,
}

/// A database grows too old while a connection lives, so what was looked up is looked up again after this.
const REMEMBERED_MS: u64 = 60_000;

impl Located {
    /// For a new connection.
    pub fn new(networks: &Networks, peer: IpAddr, client: Option<IpAddr>, via: Via, now: Moment) -> Self {
        Self { current: ArcSwap::from_pointee(Remembered::fresh(networks, peer, client, via, now)), here: false }
    }

    /// For a connection over a Unix socket.
    pub fn here(networks: &Networks, now: Moment) -> Self {
        Self { current: ArcSwap::from_pointee(Remembered::here(networks, now)), here: true }
    }

    /// The client's network at `now`. Behind a forwarder each request may name another client.
    pub fn get(&self, networks: &Networks, client: Option<IpAddr>, now: Moment) -> Arc<Network> {
        let remembered = self.current.load();
        let known = &remembered.network;
        if remembered.generation == networks.generation()
            && now.0.abs_diff(remembered.at.0) < REMEMBERED_MS
            && (self.here || known.address.known().copied() == client.map(|address| address.to_canonical()))
        {
            return Arc::clone(known);
        }
        let fresh = match self.here {
            true => Remembered::here(networks, now),
            false => Remembered::fresh(networks, known.peer, client, known.via, now),
        };
        let network = Arc::clone(&fresh.network);
        self.current.store(Arc::new(fresh));
        network
    }
}

impl Remembered {
    fn here(networks: &Networks, now: Moment) -> Self {
        let generation = networks.generation();
        Self { network: Arc::new(networks.here()), generation, at: now }
    }

    fn fresh(networks: &Networks, peer: IpAddr, client: Option<IpAddr>, via: Via, now: Moment) -> Self {
        // Read before the lookup: a reload in between makes this out of date, not the next one.
        let generation = networks.generation();
        Self { network: Arc::new(networks.locate(peer, client, via, now)), generation, at: now }
    }
}
