//! The connections of one core on which a certificate was shown: an idle one has nothing open that could be cut.

use super::connection::Connection;
use crate::evidence::Moment;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Those that are over are forgotten when room is needed: never more than twice as many are kept as there were at once.
#[derive(Default)]
pub struct Roster(Mutex<Present>);

struct Present {
    /// Each with the end of its certificate.
    connections: Vec<(Moment, Weak<Connection>)>,
    /// The first of these ends that was not looked at yet; connections may be over.
    earliest: Moment,
}

/// The end of what does not end by itself.
pub const NEVER: Moment = Moment(i64::MAX);

/// How many are looked at before others have their turn.
const SLICE: usize = 64;

impl Roster {
    /// `end`: when its certificate ends.
    pub fn add(&self, connection: &Arc<Connection>, end: Moment) {
        let mut present = self.lock();
        let connections = &mut present.connections;
        if connections.len() == connections.capacity() {
            connections.retain(|(_, connection)| connection.strong_count() > 0);
            let open = connections.len();
            connections.reserve_exact(open.max(16));
        }
        connections.push((end, Arc::downgrade(connection)));
        present.earliest = present.earliest.min(end);
    }

    /// When the next certificate ends.
    pub fn earliest(&self) -> Moment {
        self.lock().earliest
    }

    /// Tells those to leave that have fallen; `ended` asks only those whose certificate has ended by `now`.
    pub async fn dismiss(&self, ended: bool, now: Moment, mut fallen: impl FnMut(&Connection) -> bool) {
        // Whoever comes meanwhile is judged as it comes.
        let connections = self.lock().asked(ended, now);
        for slice in connections.chunks(SLICE) {
            for connection in slice.iter().filter_map(Weak::upgrade) {
                if fallen(&connection) {
                    connection.dismiss();
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Present {
    fn default() -> Self {
        Self { connections: Vec::new(), earliest: NEVER }
    }
}

impl Present {
    fn asked(&mut self, ended: bool, now: Moment) -> Vec<Weak<Connection>> {
        self.earliest = self.connections.iter().map(|(end, _)| *end).filter(|end| *end > now).min().unwrap_or(NEVER);
        let asked = self.connections.iter().filter(|(end, _)| !ended || *end <= now);
        asked.map(|(_, connection)| Weak::clone(connection)).collect()
    }
}
