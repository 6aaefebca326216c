//! The connections of one core on which a certificate was shown: an idle one has nothing open that could be cut.

use super::connection::Connection;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Those that are over are forgotten when room is needed: never more than twice as many are kept as there were at once.
#[derive(Default)]
pub struct Roster(Mutex<Vec<Weak<Connection>>>);

/// How many are looked at before others have their turn.
const SLICE: usize = 64;

impl Roster {
    pub fn add(&self, connection: &Arc<Connection>) {
        let mut connections = self.lock();
        if connections.len() == connections.capacity() {
            connections.retain(|connection| connection.strong_count() > 0);
            let open = connections.len();
            connections.reserve_exact(open.max(16));
        }
        connections.push(Arc::downgrade(connection));
    }

    /// Tells those to leave that have fallen.
    pub async fn dismiss(&self, mut fallen: impl FnMut(&Connection) -> bool) {
        // Whoever comes meanwhile is judged as it comes.
        let connections = self.lock().clone();
        for slice in connections.chunks(SLICE) {
            for connection in slice.iter().filter_map(Weak::upgrade) {
                if fallen(&connection) {
                    connection.dismiss();
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
