//! One core: its runtime, its connections to upstreams, its caches. Nothing here is shared with another core.

use super::clock;
use super::connection::Connection;
use super::sanitize::{RequestId, RequestIds};
use super::shared::Shared;
use crate::audit::{ConnectionFault, Refused};
use crate::enforce::Enforcer;
use crate::enforce::live::Live;
use crate::enforce::upstream::Pool;
use crate::evidence::Moment;
use crate::policy::Reason;
use crate::sources::token::TokenCache;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

pub struct Worker {
    pub shared: Arc<Shared>,
    pub enforcer: Enforcer,
    pub tokens: TokenCache,
    pub live: Arc<Live>,
    ids: Mutex<RequestIds>,
}

/// Verified tokens each core remembers.
const TOKENS: usize = 10_000;

impl Worker {
    pub fn new(shared: Arc<Shared>) -> Self {
        let live = Arc::default();
        shared.cores.add(&live);
        Self::with(shared, live)
    }

    /// The same core under a new configuration: what is open on it stays open.
    #[must_use]
    pub fn succeed(&self, shared: Arc<Shared>) -> Self {
        Self::with(shared, Arc::clone(&self.live))
    }

    fn with(shared: Arc<Shared>, live: Arc<Live>) -> Self {
        let pool = Pool::new(Arc::clone(&shared.upstreams));
        let (enforce, signer) = (Arc::clone(&shared.enforce), Arc::clone(&shared.signer));
        let enforcer = Enforcer::new(enforce, signer, pool, Arc::clone(&live), shared.services.clone());
        Self { shared, enforcer, tokens: TokenCache::new(TOKENS), live, ids: Mutex::new(RequestIds::new(seed())) }
    }

    pub fn next_id(&self, now: Moment) -> RequestId {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).next(now)
    }

    /// Records a connection that never carried a request.
    pub fn refuse(&self, listener: &Arc<str>, address: IpAddr, certificate: Option<Arc<str>>, reason: ConnectionFault) {
        self.shared.audit.refused(Refused {
            at: clock::now(),
            listener: Arc::clone(listener),
            address: address.to_canonical(),
            certificate,
            reason,
        });
    }

    /// Records why a connection, or a stream of it, was ended that had its handshake behind it.
    pub fn drop_connection(&self, connection: &Connection, fault: ConnectionFault) {
        let certificate = connection.connected.presented.fingerprint().map(|print| print.sha256.into());
        self.refuse(&connection.facts.listener, connection.facts.peer.ip(), certificate, fault);
    }

    /// The drain is over.
    pub fn cut_all(&self) {
        self.live.cut_all(Reason::Draining);
    }
}

fn seed() -> [u64; 2] {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
    let (a, b) = bytes.split_at(8);
    [a, b].map(|half| u64::from_le_bytes(half.try_into().expect("a half is eight bytes")))
}
