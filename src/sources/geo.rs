//! Place and autonomous system of an address, from MaxMind-format databases.
//!
//! The databases of a kind are tried in order and the first that knows the address answers. One that cannot be read
//! hides those behind it: nobody knows what it would have said. An IPv6 address is not in an IPv4 database.

mod database;
mod record;

pub use database::DatabaseStatus;

use crate::evidence::{Asn, Fact, Fault, Moment, Place};
use arc_swap::ArcSwap;
use database::{Answer, Database};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeoSettings {
    /// Country or city databases, tried in order; one may hold IPv4 and another IPv6.
    pub places: Vec<PathBuf>,
    /// ASN databases, tried in order.
    pub asns: Vec<PathBuf>,
    /// Beyond this age a database's answers are `Unavailable`. None: any age will do.
    pub max_age: Option<Duration>,
}

/// All databases as they are now; lookups take no lock.
pub struct Geo {
    loaded: ArcSwap<Loaded>,
    max_age: Option<Duration>,
    /// Held while reloading, so that two reloads cannot undo each other.
    reloading: Mutex<()>,
}

struct Loaded {
    places: Vec<Arc<Database>>,
    asns: Vec<Arc<Database>>,
    generation: u64,
}

impl Geo {
    /// Reads every database. One that is missing or corrupt is a warning here and a fault in each lookup, never an error:
    /// the gateway starts, and what depends on the database is refused.
    pub fn load(settings: &GeoSettings) -> Self {
        let load = |paths: &[PathBuf]| paths.iter().map(|path| Arc::new(Database::load(path))).collect();
        let loaded = Loaded { places: load(&settings.places), asns: load(&settings.asns), generation: 0 };
        Self { loaded: ArcSwap::from_pointee(loaded), max_age: settings.max_age, reloading: Mutex::new(()) }
    }

    /// What the databases say of `address` at `now`. Well under two microseconds; call it once per connection.
    pub fn lookup(&self, address: IpAddr, now: Moment) -> (Place, Fact<Asn>) {
        // `::ffff:192.0.2.1` is 192.0.2.1, and most databases know it only by that name.
        let address = address.to_canonical();
        let loaded = self.loaded.load();
        let place = match self.first(&loaded.places, address, now, record::place) {
            Fact::Known((place, built)) => Place { built: Fact::Known(built), ..place },
            Fact::Absent => nowhere(Fact::Absent),
            Fact::Invalid(fault) | Fact::Unavailable(fault) => nowhere(Fact::Unavailable(fault)),
        };
        let asn = self.first(&loaded.asns, address, now, record::asn).and_then(|(asn, _)| asn);
        (place, asn)
    }

    /// Reads again what changed on disk; true when anything did. It blocks for as long as reading takes (65 to 105 ms for
    /// 63 MB), so it belongs on a thread of its own. A database that cannot be read any more keeps answering from its
    /// last good content, with a warning.
    pub fn reload_if_changed(&self) -> bool {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.loaded.load_full();
        let (places, asns) = (reloaded(&before.places), reloaded(&before.asns));
        let same = |a: &[Arc<Database>], b: &[Arc<Database>]| a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b));
        if same(&before.places, &places) && same(&before.asns, &asns) {
            return false;
        }
        self.loaded.store(Arc::new(Loaded { places, asns, generation: before.generation + 1 }));
        true
    }

    /// Grows with every reload: what was looked up under an older one is out of date.
    pub fn generation(&self) -> u64 {
        self.loaded.load().generation
    }

    /// For metrics and the readiness page: every database, its age and what is wrong with it.
    pub fn databases(&self) -> Vec<DatabaseStatus> {
        let loaded = self.loaded.load();
        loaded.places.iter().chain(&loaded.asns).map(|database| database.status()).collect()
    }

    /// The answer of the first database that knows `address`, and when that database was built.
    fn first<T>(
        &self,
        databases: &[Arc<Database>],
        address: IpAddr,
        now: Moment,
        read: fn(&record::Found<'_>) -> T,
    ) -> Fact<(T, Moment)> {
        let mut asked = false;
        for database in databases {
            match database.ask(address, now, self.max_age, read) {
                Answer::Known(value, built) => return Fact::Known((value, built)),
                Answer::NotInIt => asked = true,
                Answer::OtherFamily => {}
                Answer::Fault(fault) => return Fact::Unavailable(fault),
            }
        }
        if asked { Fact::Absent } else { Fact::Unavailable(Fault::DatabaseMissing) }
    }
}

fn reloaded(databases: &[Arc<Database>]) -> Vec<Arc<Database>> {
    databases.iter().map(|database| database.reloaded().map_or_else(|| Arc::clone(database), Arc::new)).collect()
}

/// A place of which every part is this.
pub(super) fn nowhere(why: Fact<std::convert::Infallible>) -> Place {
    fn part<T>(why: &Fact<std::convert::Infallible>) -> Fact<T> {
        why.as_ref().map(|never| match *never {})
    }
    Place { country: part(&why), region: part(&why), city: part(&why), coordinates: part(&why), built: part(&why) }
}
