//! One core for as long as the gateway runs. Its worker is another under each configuration.

use super::clock;
use super::connection::Connection;
use super::roster::{NEVER, Roster};
use super::shared::{Current, Shared};
use super::worker::Worker;
use crate::evidence::Moment;
use arc_swap::ArcSwap;
use std::sync::Arc;

pub struct Core {
    current: Current,
    worker: ArcSwap<Worker>,
    roster: Roster,
}

impl Core {
    pub fn new(current: Current) -> Self {
        let worker = ArcSwap::from_pointee(Worker::new(current.load_full()));
        Self { current, worker, roster: Roster::default() }
    }

    /// To be asked for anew by each connection and each request, and not kept by what lives longer: a worker holds on
    /// to its configuration, databases and all.
    pub fn worker(&self) -> Arc<Worker> {
        self.worker.load_full()
    }

    /// The configuration that this core is at.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.worker.load().shared)
    }

    /// Keeps sight of a connection, to end it when its device loses its standing.
    pub fn greet(&self, connection: &Arc<Connection>) {
        if connection.connected.presented.fingerprint().is_some() {
            let now = clock::now();
            connection.fell(&self.worker.load().shared.sources, now);
            let certificate = connection.connected.certificate(now);
            self.roster.add(connection, certificate.known().map_or(NEVER, |certificate| certificate.end()));
        }
    }

    /// Ends the connections whose device has lost its standing, idle ones at once and others when what is under way is
    /// over.
    pub async fn dismiss(&self) {
        self.dismiss_some(false).await;
    }

    /// The same for those whose certificate has ended, if there are any.
    pub async fn dismiss_ended(&self) {
        if self.next_dismissal() <= clock::now() {
            self.dismiss_some(true).await;
        }
    }

    /// When the next certificate ends.
    pub fn next_dismissal(&self) -> Moment {
        self.roster.earliest()
    }

    async fn dismiss_some(&self, ended: bool) {
        let worker = self.worker();
        let fallen = |connection: &Connection| connection.fell(&worker.shared.sources, clock::now());
        self.roster.dismiss(ended, clock::now(), fallen).await;
    }

    /// Takes up the configuration in force, if it is a new one.
    pub fn catch_up(&self) {
        let shared = self.current.load_full();
        let worker = self.worker();
        if !Arc::ptr_eq(&worker.shared, &shared) {
            self.worker.store(Arc::new(worker.succeed(shared)));
        }
    }
}
