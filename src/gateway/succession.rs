//! From one configuration to the next, without dropping anything: made whole beside the old one, then put in its place.
//!
//! What outlives a configuration goes over: the audit log, open exchanges, counts, measurements, keys already fetched,
//! databases and lists that are still named. Everything that can fail is done before anything changes.

use super::listener::Listener;
use super::settings::{ListenerSettings, Settings};
use super::shared::{Current, Shared, StartFault, devices, enforcement, policies, services, webhooks};
use super::tls::Tls;
use crate::sources::gather::Sources;
use crate::sources::geo::Geo;
use crate::sources::lists::Lists;
use crate::sources::token::Tokens;
use crate::state::devices::DeviceIndex;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// A configuration that is good in all its parts and not yet in force.
pub struct Successor {
    shared: Shared,
    /// Another registry file's devices.
    devices: Option<DeviceIndex>,
    /// For each listener, in their order, if its settings are new.
    listeners: Vec<Option<(ListenerSettings, Tls)>>,
}

impl Shared {
    /// Makes everything that these settings name, from the files as they are now.
    ///
    /// # Errors
    /// As at start. Nothing has changed then.
    pub fn succeed(&self, settings: &Settings) -> Result<Successor, StartFault> {
        let listeners = self.listeners.iter().map(|listener| renewed(listener, settings)).collect::<Result<_, _>>()?;
        let before = &self.settings;
        let same_policies = before.policies == settings.policies
            && before.origins == settings.origins
            && names(before).eq(names(settings));
        let policies = if same_policies { Arc::clone(&self.policies) } else { Arc::new(policies(settings)?) };
        let signer = if before.assertion == settings.assertion {
            Arc::clone(&self.signer)
        } else {
            Arc::new(ArcSwap::from_pointee(self.signer.load().reload(&settings.assertion)?))
        };
        let webhooks = Arc::new(webhooks(&settings.webhooks)?);
        let administrator = self
            .administrator
            .as_ref()
            .map(|administrator| Arc::new(administrator.under(Arc::clone(&policies), webhooks)));
        let devices = (before.devices != settings.devices).then(|| devices(settings.devices.as_deref())).transpose()?;
        let shared = Self {
            settings: settings.clone(),
            limits: settings.limits.clone(),
            listeners: self.listeners.clone(),
            admission: Arc::clone(&self.admission),
            policies,
            sources: self.sources(settings)?,
            audit: self.audit.clone(),
            enforce: Arc::new(enforcement(settings)?),
            services: services(&signer, administrator.as_ref()),
            signer,
            administrator,
            cores: Arc::clone(&self.cores),
            store: self.store.clone(),
            upstreams: Arc::new(self.upstreams.succeed(&settings.upstream, &settings.upstream_exceptions)?),
            drain: self.drain.clone(),
            changes: self.changes.clone(),
        };
        Ok(Successor { shared, devices, listeners })
    }

    fn sources(&self, settings: &Settings) -> Result<Sources, StartFault> {
        let (sources, before) = (&self.sources, &self.settings);
        let networks = &sources.networks;
        let geo =
            if before.geo == settings.geo { Arc::clone(&networks.geo) } else { Arc::new(Geo::load(&settings.geo)) };
        let lists = if before.lists == settings.lists {
            Arc::clone(&networks.lists)
        } else {
            Arc::new(Lists::load(&settings.lists))
        };
        let emergency = if before.emergency == settings.emergency {
            Arc::clone(&sources.emergency)
        } else {
            Arc::new(sources.emergency.moved_to(settings.emergency.clone()))
        };
        Ok(Sources {
            devices: Arc::clone(&sources.devices),
            memory: Arc::clone(&sources.memory),
            tide: Arc::clone(&sources.tide),
            tokens: self.tokens(settings)?,
            networks: networks.succeed(geo, lists),
            quotas: Arc::clone(&sources.quotas),
            timings: Arc::clone(&sources.timings),
            timing: settings.timing.clone(),
            emergency,
            first_round_trip: settings.limits.first_round_trip,
        })
    }

    /// Readers of tokens that begin with the keys already fetched. The authorities of key sets' servers are read into
    /// them, so that equal settings do not make them the same.
    pub(super) fn tokens(&self, settings: &Settings) -> Result<Arc<Tokens>, StartFault> {
        let tokens = Tokens::new(settings.issuers.clone()).map_err(StartFault::Issuers)?;
        tokens.inherit(&self.sources.tokens);
        Ok(tokens)
    }
}

impl Successor {
    /// Puts it in force: for connections and requests from now on, and for what is open, which is decided again.
    pub fn take_over(self, current: &Current) {
        let Self { shared, devices, listeners } = self;
        if let Some(devices) = devices {
            shared.sources.devices.replace(devices);
        }
        let limits = &shared.limits;
        shared.admission.limit(limits.connections, limits.connections_per_address);
        shared.sources.quotas.install(shared.policies.current().limits());
        shared.audit.metrics().policy(shared.policies.current().version());
        for (listener, renewed) in shared.listeners.iter().zip(listeners) {
            if let Some((settings, tls)) = renewed {
                listener.adopt(settings, tls);
            }
        }
        let shared = Arc::new(shared);
        current.store(Arc::clone(&shared));
        shared.changed(false);
    }
}

/// The listener's new settings, with the TLS made of them. None: nothing is new, and its files are followed anyway.
fn renewed(listener: &Listener, settings: &Settings) -> Result<Option<(ListenerSettings, Tls)>, StartFault> {
    let new = settings.listeners.iter().find(|settings| *settings.name == *listener.name);
    let Some(new) = new.filter(|new| **new != **listener.settings.load()) else { return Ok(None) };
    let tls = listener.renewed(new).map_err(|fault| StartFault::Tls { name: new.name.clone(), fault })?;
    Ok(Some((new.clone(), tls)))
}

fn names(settings: &Settings) -> impl Iterator<Item = &str> {
    settings.lists.iter().map(|list| &*list.name)
}
