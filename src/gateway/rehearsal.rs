//! What would keep the gateway from starting, all of it at once: everything is loaded as at start, and nothing is begun.
//!
//! No file is made or changed, no address bound, no server called. What another gateway may hold at this moment (the audit
//! log, the socket, the store) is left to it.

use super::ending::{Expiry, Thing};
use super::local_file::Placed;
use super::settings::Settings;
use super::shared::{PASSPHRASE, StartFault, enforcement, issuing, webhooks};
use super::tls::Tls;
use crate::audit::file::LogFile;
use crate::authority::{Authority, AuthoritySettings, LoadFault};
use crate::enforce::assertion::Signer;
use crate::enforce::upstream::Upstreams;
use crate::sources::token::Tokens;
use crate::store::Store;

/// What came of it. Policies, registry, databases and lists have reports of their own and are not in it.
#[derive(Default)]
pub struct Rehearsal {
    pub faults: Vec<StartFault>,
    /// What is good up to a moment.
    pub expiries: Vec<Expiry>,
    /// The authority's key was not opened: its passphrase is in the environment, and not in this one.
    pub sealed: bool,
}

impl Rehearsal {
    /// Blocks, for a third of a second where there is a key under a passphrase.
    pub fn of(settings: &Settings) -> Self {
        let mut rehearsal = Self::default();
        rehearsal.listeners(settings);
        rehearsal.note(Tokens::new(settings.issuers.clone()).map_err(StartFault::Issuers));
        if let Some(store) = &settings.store {
            rehearsal.note(Store::probe(store));
        }
        if let Some(authority) = &settings.authority {
            rehearsal.authority(authority);
        }
        for webhook in &settings.webhooks {
            rehearsal.note(webhooks(std::slice::from_ref(webhook)));
        }
        rehearsal.note(LogFile::probe(&settings.audit.path));
        rehearsal.note(Signer::load(&settings.assertion));
        rehearsal.note(Upstreams::load(&settings.upstream, &settings.upstream_exceptions));
        rehearsal.note(enforcement(settings));
        if let Some(local) = &settings.local {
            let path = &local.path;
            rehearsal.note(Placed::probe(path).map_err(|cause| StartFault::Socket { path: path.clone(), cause }));
        }
        rehearsal
    }

    fn note<T>(&mut self, outcome: Result<T, impl Into<StartFault>>) {
        self.faults.extend(outcome.err().map(Into::into));
    }

    fn listeners(&mut self, settings: &Settings) {
        for listener in &settings.listeners {
            let probed = Tls::probe(listener);
            let name = || listener.name.clone();
            self.faults.extend(probed.faults.into_iter().map(|fault| StartFault::Tls { name: name(), fault }));
            let own = settings.authority.as_ref().map(|authority| &*authority.revocation_list);
            let lists = probed.trust.iter().flat_map(|trust| Expiry::lists(trust, own));
            let certificates = probed.ends.into_iter().map(|end| Expiry::new(Thing::Certificate, end));
            self.expiries.extend(certificates.chain(lists));
        }
        // What two listeners name is one thing.
        self.expiries.sort();
        self.expiries.dedup();
    }

    fn authority(&mut self, authority: &AuthoritySettings) {
        // A gateway that runs as a service has an environment of its own.
        self.sealed = authority.passphrase.is_none() && std::env::var_os(PASSPHRASE).is_none();
        let outcome: Result<(), LoadFault> =
            if self.sealed { Authority::probe(authority) } else { issuing(Some(authority)).map(drop) };
        self.note(outcome);
    }
}
