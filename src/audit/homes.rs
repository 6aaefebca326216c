//! What has been written goes back to the thread it came from, to be dropped there.
//!
//! Memory that one thread takes and another gives back goes the allocator's slow way, each time. So the writer does not
//! drop the records of a busy gateway: it lays them out, and each core fetches some of its own when it opens the next.
//!
//! Nothing waits here for long: at its next turn the writer takes back what was not fetched, and while little happens
//! it lays out nothing.

use super::record::Record;
use std::array;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Threads that have a home of their own; any further share.
const HOMES: usize = 64;

/// Records that wait in one home at most; the writer drops what is more.
const MOST: usize = 1024;

/// Dropped by a core when it opens a record: more than one, so that it keeps up, and few, so that nobody waits.
const AT_ONCE: usize = 4;

/// In the boxes they came in.
type Records = Vec<Box<Record>>;

/// Where each thread's records are laid out.
pub struct Homes([Home; HOMES]);

#[derive(Default)]
struct Home {
    /// Whether anything lies there: so that a core need not lock to find nothing.
    any: AtomicBool,
    records: Mutex<Records>,
}

/// The number of the home of whatever this thread opens.
pub fn here() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HERE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % HOMES;
    }
    HERE.with(|here| *here)
}

impl Default for Homes {
    fn default() -> Self {
        Self(array::from_fn(|_| Home::default()))
    }
}

impl Homes {
    /// Drops some of what lies in this home.
    pub fn fetch(&self, home: usize) {
        let Some(home) = self.0.get(home).filter(|home| home.any.load(Ordering::Relaxed)) else { return };
        let mut records = home.records.lock().unwrap_or_else(PoisonError::into_inner);
        let left = records.len().saturating_sub(AT_ONCE);
        records.truncate(left);
        home.any.store(left > 0, Ordering::Relaxed);
    }
}

/// The writer's side: what it has written and not yet laid out.
pub struct Written([Records; HOMES]);

impl Default for Written {
    fn default() -> Self {
        Self(array::from_fn(|_| Vec::new()))
    }
}

impl Written {
    pub fn keep(&mut self, record: Box<Record>) {
        if let Some(records) = self.0.get_mut(record.home).filter(|records| records.len() < MOST) {
            records.push(record);
        }
    }

    /// Drops all of it.
    pub fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }

    /// Lays it out, and drops what was laid out before and not fetched.
    pub fn lay_out(&mut self, homes: &Homes) {
        for (written, home) in self.0.iter_mut().zip(&homes.0) {
            if written.is_empty() && !home.any.load(Ordering::Relaxed) {
                continue;
            }
            {
                let mut records = home.records.lock().unwrap_or_else(PoisonError::into_inner);
                mem::swap(&mut *records, written);
                home.any.store(!records.is_empty(), Ordering::Relaxed);
            }
            written.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::{Connection, End, Known};
    use crate::evidence::Moment;
    use crate::policy::given;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    /// Records share this, so that one can count them.
    fn connection() -> Arc<Connection> {
        Arc::new(Connection {
            listener: "edge".into(),
            peer: "192.0.2.1:1".parse().expect("an address"),
            tls: None,
            protocol: "http/1.1".into(),
        })
    }

    fn record(connection: &Arc<Connection>, home: usize) -> Box<Record> {
        Box::new(Record {
            at: Moment(0),
            connection: Arc::clone(connection),
            known: Known::Asked(Arc::new(given::request("GET https://app.example/").expect("a request"))),
            exchange: None,
            status: None,
            to_decision: None,
            total: Duration::ZERO,
            received: 0,
            sent: 0,
            end: End::Complete,
            live: false,
            alert: None,
            started: Instant::now(),
            slot: true,
            flow: None,
            home,
        })
    }

    #[test]
    fn each_fetches_its_own_and_what_nobody_fetches_is_dropped_at_the_next_turn() {
        let (homes, mut written) = (Homes::default(), Written::default());
        let (mine, theirs) = (connection(), connection());
        let left = |connection| Arc::strong_count(connection) - 1;
        for _ in 0..AT_ONCE + 1 {
            written.keep(record(&mine, 1));
            written.keep(record(&theirs, 2));
        }
        homes.fetch(1);
        assert_eq!(left(&mine), AT_ONCE + 1, "not laid out yet");
        written.lay_out(&homes);
        homes.fetch(1);
        assert_eq!((left(&mine), left(&theirs)), (1, AT_ONCE + 1));
        written.keep(record(&mine, 1));
        written.lay_out(&homes);
        assert_eq!((left(&mine), left(&theirs)), (1, 0));
        homes.fetch(1);
        homes.fetch(1);
        assert_eq!(left(&mine), 0);
    }

    #[test]
    fn no_more_wait_than_may() {
        let (homes, mut written, connection) = (Homes::default(), Written::default(), connection());
        for _ in 0..2 * MOST {
            written.keep(record(&connection, 3));
        }
        written.lay_out(&homes);
        assert_eq!(Arc::strong_count(&connection), MOST + 1);
        // One of a thread there is no home for, as cannot be.
        written.keep(record(&connection, HOMES));
        assert_eq!(Arc::strong_count(&connection), MOST + 1);
    }
}
