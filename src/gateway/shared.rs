//! What all cores of the running gateway share. Everything that changes is swapped whole.
//!
//! A `Shared` is made of one configuration and never changes its settings. A new configuration is a new `Shared`,
//! which takes over what outlives one: `succession.rs`.

use super::admission::Admission;
use super::drain::{Drain, Phase};
use super::listener::Listener;
use super::settings::{Limits, Settings};
use super::tls::TlsFault;
use crate::audit::{self, Audit};
use crate::authority::{Authority, AuthoritySettings, LoadFault, Passphrase};
use crate::control::api::Api;
use crate::control::webhook::{WebhookSettings, Webhooks};
use crate::control::{Administrator, Issuing};
use crate::enforce::EnforceSettings;
use crate::enforce::answer::AnswerContext;
use crate::enforce::assertion::{AssertionError, Signer};
use crate::enforce::builtin::{API, ASSERTION_KEYS, AssertionKeys, Builtin, Services};
use crate::enforce::dial::ClientFault;
use crate::enforce::headers::Owned;
use crate::enforce::live::Cores;
use crate::enforce::upstream::Upstreams;
use crate::enforce::websocket::RelaySettings;
use crate::policy::diagnostic::{self, Diagnostic};
use crate::policy::source::Source;
use crate::policy::{Context, Scheme};
use crate::sources::gather::Sources;
use crate::sources::geo::Geo;
use crate::sources::lists::Lists;
use crate::sources::place::Networks;
use crate::sources::quota::{self, Quotas};
use crate::sources::token::{IssuerFault, IssuerSettings, Tokens};
use crate::state::devices::{DeviceIndex, Devices};
use crate::state::emergency::EmergencySwitch;
use crate::state::memory::Memory;
use crate::state::policies::{Policies, PolicyFaults};
use crate::state::timings::{Timings, TimingsSettings};
use crate::store::{OpenFault, Store, StoreFault, StoreSettings, registry};
use arc_swap::ArcSwap;
use http::HeaderName;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// The configuration in force.
pub type Current = Arc<ArcSwap<Shared>>;

#[derive(Clone)]
pub struct Shared {
    /// What all of this was made of.
    pub settings: Settings,
    pub limits: Limits,
    pub listeners: Vec<Arc<Listener>>,
    pub admission: Arc<Admission>,
    pub policies: Arc<Policies>,
    pub sources: Sources,
    pub audit: Audit,
    pub enforce: Arc<EnforceSettings>,
    pub signer: Arc<ArcSwap<Signer>>,
    pub upstreams: Arc<Upstreams>,
    /// What the gateway serves itself.
    pub services: Services,
    /// Who changes what is remembered. None: there is no store.
    pub administrator: Option<Arc<Administrator>>,
    /// What is open, core by core.
    pub cores: Arc<Cores>,
    /// None: nothing is kept in a database.
    pub store: Option<Store>,
    pub drain: Drain,
    /// Every core decides its open exchanges again when this moves.
    pub changes: watch::Sender<Changes>,
}

/// How often anything changed that decisions rest on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    all: u64,
    /// Of these, how often it was something that takes access away as such, for which no request may have precedence.
    pub urgent: u64,
}

impl Changes {
    pub fn count(&mut self, urgent: bool) {
        self.all += 1;
        self.urgent += u64::from(urgent);
    }
}

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    #[error("listener `{name}`: {fault}")]
    Tls { name: String, fault: TlsFault },
    #[error("{}", one_a_line(.0))]
    Issuers(Vec<IssuerFault>),
    #[error("{}", diagnostic::render(&.0.diagnostics, &.0.sources, false).trim_end())]
    Policies(PolicyFaults),
    #[error("{}", diagnostic::render(diagnostics, sources, false).trim_end())]
    Registry { diagnostics: Vec<Diagnostic>, sources: Vec<Source> },
    #[error("{0}")]
    Store(#[from] OpenFault),
    #[error("the store cannot be read: {0}")]
    Memory(#[from] StoreFault),
    #[error("{0}")]
    Authority(#[from] LoadFault),
    #[error("the audit log cannot be opened: {0}")]
    Audit(#[from] audit::file::OpenError),
    #[error("assertions cannot be signed: {0}")]
    Assertion(#[from] AssertionError),
    #[error("upstreams cannot be reached safely: {0}")]
    Upstream(#[from] ClientFault),
    #[error("`{0}` is not a header name")]
    Header(String),
    #[error("cannot listen on {address}: {cause}{}", beside(inherited))]
    Bind { address: SocketAddr, cause: std::io::Error, inherited: Vec<SocketAddr> },
    #[error("no listener has the address of the socket that was handed over: {}", list(.0))]
    Inherited(Vec<SocketAddr>),
    #[error("the socket `{}` cannot be opened: {cause}", path.display())]
    Socket { path: PathBuf, cause: std::io::Error },
    #[error("{0}")]
    Webhook(String),
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
}

impl Shared {
    pub fn assemble(settings: &Settings) -> Result<Self, StartFault> {
        let listeners = settings.listeners.iter().map(|listener| {
            let name = listener.name.clone();
            Listener::load(listener.clone()).map(Arc::new).map_err(|fault| StartFault::Tls { name, fault })
        });
        let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
        let (geo, lists) = (Geo::load(&settings.geo), Lists::load(&settings.lists));
        let policies = Arc::new(policies(settings)?);
        let quotas = Quotas::new(quota::DEFAULT_KEYS);
        quotas.install(policies.current().limits());
        let devices = Arc::new(Devices::new(devices(settings.devices.as_deref())?));
        let (store, memory) = remember(settings.store.as_ref(), &devices)?;
        let sources = Sources {
            devices,
            memory: Arc::new(memory),
            tide: Arc::default(),
            tokens: Tokens::new(settings.issuers.clone()).map_err(StartFault::Issuers)?,
            networks: Networks::new(Arc::new(geo), Arc::new(lists)),
            quotas: Arc::new(quotas),
            timings: Arc::new(Timings::new(TimingsSettings::default())),
            timing: settings.timing.clone(),
            emergency: Arc::new(EmergencySwitch::new(settings.emergency.clone())),
            first_round_trip: settings.limits.first_round_trip,
        };
        let enforce = enforcement(settings)?;
        let signer = Arc::new(ArcSwap::from_pointee(Signer::load(&settings.assertion)?));
        let audit = Audit::start(settings.audit.clone(), super::clock::now)?;
        let cores = Arc::<Cores>::default();
        let administrator = match &store {
            None => None,
            Some(store) => Some(Arc::new(Administrator {
                store: store.clone(),
                memory: Arc::clone(&sources.memory),
                tide: Arc::clone(&sources.tide),
                policies: Arc::clone(&policies),
                audit: audit.clone(),
                cores: Arc::clone(&cores),
                issuing: issuing(settings.authority.as_ref())?.map(Arc::new),
                clock: super::clock::now,
                webhooks: Arc::new(webhooks(&settings.webhooks)?),
                importing: Arc::default(),
                forgetting: Arc::default(),
            })),
        };
        Ok(Self {
            settings: settings.clone(),
            limits: settings.limits.clone(),
            listeners,
            admission: Admission::new(settings.limits.connections, settings.limits.connections_per_address),
            policies,
            sources,
            audit,
            enforce: Arc::new(enforce),
            services: services(&signer, administrator.as_ref()),
            signer,
            administrator,
            cores,
            upstreams: Arc::new(Upstreams::load(&settings.upstream, &settings.upstream_exceptions)?),
            store,
            drain: Drain::new(),
            changes: watch::Sender::default(),
        })
    }

    /// Why requests should go elsewhere, if they should.
    pub fn unready(&self) -> Option<&'static str> {
        if self.drain.phase() > Phase::Serving {
            Some("draining")
        } else if !self.audit.writable() {
            Some("the audit log cannot be written")
        } else {
            None
        }
    }

    /// Prometheus text, with what is only known when asked.
    pub fn metrics(&self) -> String {
        let metrics = self.audit.metrics();
        metrics.connections().set(i64::try_from(self.admission.total()).unwrap_or(i64::MAX));
        let now = std::time::Instant::now();
        let policy = self.policies.current();
        let origins = policy.origins().iter().filter(|origin| origin.scheme != Scheme::Builtin);
        metrics.upstreams(origins.map(|origin| (origin.to_string(), self.upstreams.health().is_well(origin, now))));
        let databases = self.sources.networks.geo.databases().into_iter();
        metrics.databases(databases.map(|database| (database.path.display().to_string(), database.built)));
        let now = super::clock::now();
        let lists = self.listeners.iter().filter_map(|listener| {
            let first = listener.trust.load().as_ref()?.lists().iter().map(|list| list.at).min()?;
            Some((&*listener.name, first))
        });
        metrics.revocation_lists(lists, now);
        metrics.encode(now)
    }

    /// Something that decisions rest on is different now.
    pub fn changed(&self, urgent: bool) {
        self.changes.send_modify(|changes| changes.count(urgent));
    }
}

/// What the gateway answers itself.
pub(super) fn services(signer: &Arc<ArcSwap<Signer>>, administrator: Option<&Arc<Administrator>>) -> Services {
    let keys: Arc<dyn Builtin> = Arc::new(AssertionKeys(Arc::clone(signer)));
    let api: Arc<dyn Builtin> = Arc::new(Api::new(administrator.cloned()));
    Services::new([(API, api), (ASSERTION_KEYS, keys)])
}

/// What the service manager handed over, where no listener has that very address.
fn beside(inherited: &[SocketAddr]) -> String {
    if inherited.is_empty() {
        String::new()
    } else {
        format!("; the socket that was handed over is {}", list(inherited))
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// Who is told of what was done.
pub(super) fn webhooks(settings: &[WebhookSettings]) -> Result<Webhooks, StartFault> {
    Webhooks::load(settings).map_err(StartFault::Webhook)
}

/// How what was decided is carried out.
pub(super) fn enforcement(settings: &Settings) -> Result<EnforceSettings, StartFault> {
    Ok(EnforceSettings {
        answers: AnswerContext { portal: settings.portal.clone(), acr: acr_values(&settings.issuers) },
        owned: Arc::new(Owned::new(
            settings.headers.identity.iter().map(String::as_str).chain([&*settings.assertion.header]),
        )),
        assertion_header: HeaderName::try_from(&settings.assertion.header)
            .map_err(|_| StartFault::Header(settings.assertion.header.clone()))?,
        strip_authorization: settings.headers.strip_authorization,
        body_timeout: settings.limits.body_timeout,
        min_rate: settings.limits.min_rate,
        relay: RelaySettings {
            ping_interval: Some(settings.limits.ping_interval),
            idle_timeout: Some(settings.limits.idle_timeout),
        },
    })
}

/// Reads and compiles the policies; what they name must be in these settings.
pub(super) fn policies(settings: &Settings) -> Result<Policies, StartFault> {
    let context = Context {
        lists: settings.lists.iter().map(|list| list.name.as_str().into()).collect(),
        upstreams: settings.origins.clone(),
    };
    Policies::load(settings.policies.clone(), context).map_err(StartFault::Policies)
}

/// Reads the registry; without one no device is known.
pub(super) fn devices(path: Option<&Path>) -> Result<DeviceIndex, StartFault> {
    let Some(path) = path else { return Ok(DeviceIndex::default()) };
    registry::load(path)
        .map(DeviceIndex::build)
        .map_err(|(diagnostics, sources)| StartFault::Registry { diagnostics, sources })
}

/// Opens the store and reads all of it: a gateway that knows nobody's standing does not start.
fn remember(settings: Option<&StoreSettings>, devices: &Arc<Devices>) -> Result<(Option<Store>, Memory), StartFault> {
    let Some(settings) = settings else { return Ok((None, Memory::none(Arc::clone(devices)))) };
    let open = async {
        let store = Store::open(settings).await?;
        let memory = Memory::new(Arc::clone(devices));
        memory.load(&store, super::clock::now()).await?;
        Ok((Some(store), memory))
    };
    // On a thread of its own: whoever starts a gateway may stand in a runtime.
    let opened = std::thread::scope(|scope| {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let opening = scope.spawn(move || runtime.block_on(open));
        opening.join().map_err(|_| std::io::Error::other("the store's start panicked"))
    });
    opened?
}

/// The authority with its key opened.
pub(super) fn issuing(settings: Option<&AuthoritySettings>) -> Result<Option<Issuing>, LoadFault> {
    let Some(settings) = settings else { return Ok(None) };
    let passphrase = match &settings.passphrase {
        Some(path) => Passphrase::read(path),
        None => match std::env::var(PASSPHRASE) {
            Ok(text) => Passphrase::new(&text),
            Err(_) => {
                Err(format!("the authority's passphrase is neither in a file (`passphrase`) nor in `{PASSPHRASE}`"))
            }
        },
    };
    let authority = Authority::load(settings, &passphrase.map_err(LoadFault::Passphrase)?)?;
    Ok(Some(Issuing::new(authority, settings.clone())))
}

/// Where the authority's passphrase is looked for when no file has it.
pub(super) const PASSPHRASE: &str = "RANGEGATE_AUTHORITY_PASSPHRASE";

/// What a step-up challenge may ask for: every issuer's `acr` values by assurance.
fn acr_values(issuers: &[IssuerSettings]) -> BTreeMap<String, Vec<String>> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, assurance) in issuers.iter().flat_map(|issuer| &issuer.assurance) {
        let known = values.entry(name.clone()).or_default();
        known.extend(assurance.acr.iter().filter(|acr| !known.contains(acr)).cloned().collect::<Vec<_>>());
    }
    values
}

fn one_a_line<T: ToString>(faults: &[T]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
