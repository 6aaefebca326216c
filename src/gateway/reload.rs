//! Following the files: what changed on disk is read again, and what is faulty is refused, loudly.
//!
//! That goes for the configuration too. It is put in force whole or not at all: a file of which a part holds is one that
//! nobody wrote.
//!
//! Changes are found by looking each second, and at once on SIGHUP. Looking costs a few `stat` calls and works on
//! every file system and with every way of replacing a file.

use super::clock;
use super::ending::{Expiry, Stage, Thing, Told};
use super::part::Part;
use super::settings::Settings;
use super::shared::{Current, Shared};
use crate::audit::{Alert, AlertKind, ControlEvent};
use crate::evidence::Moment;
use crate::policy::diagnostic;
use crate::sources::stamp::Stamp;
use crate::state::devices::DeviceIndex;
use crate::state::emergency::Unread;
use crate::state::policies;
use crate::store::registry;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the disk is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// The file that the settings were read from, and how to read it again.
pub struct ConfigurationFile {
    watched: Watched,
    read: Read,
}

/// Gives the new settings, or every fault of the file, as text for people that begins with the first.
type Read = Box<dyn Fn() -> Result<Settings, String> + Send>;

impl ConfigurationFile {
    /// To be called before the file is read.
    pub fn new(path: PathBuf, read: impl Fn() -> Result<Settings, String> + Send + 'static) -> Self {
        let mut watched = Watched::new([path]);
        watched.differs();
        Self { watched, read: Box::new(read) }
    }
}

/// What the follower of the files begins with.
pub struct Following {
    pub file: Option<ConfigurationFile>,
    /// How the files looked before the gateway read them.
    pub seen: Seen,
    /// Counts how often everything was to be read again, changed or not.
    pub asked: watch::Receiver<u64>,
}

/// Follows every file of the gateway until the sender of `asked` is gone. Runs on a thread of its own: it blocks.
pub async fn follow(current: Current, Following { mut file, mut seen, mut asked }: Following) {
    let mut told = Told::new(clock::now());
    loop {
        endings(&current.load(), &mut told, clock::now());
        let forced = tokio::select! {
            changed = asked.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
            () = tokio::time::sleep(EVERY) => false,
        };
        let mut replaced = false;
        if let Some(file) = &mut file
            && (file.watched.differs() || forced)
        {
            replaced = configuration(&current, file, &mut seen);
        }
        // A new configuration has just been made of them.
        parts(&current, &mut seen, forced && !replaced);
        // What it names is read again with it: nobody knows what changed together.
        round(&current.load_full(), &mut seen, forced || replaced);
    }
}

/// Reads the configuration again and puts it in force, if it is good and nothing in it takes a restart.
fn configuration(current: &Current, file: &ConfigurationFile, seen: &mut Seen) -> bool {
    let shared = current.load_full();
    let outcome = (file.read)().and_then(|settings| {
        if let Some(key) = shared.settings.takes_a_restart(&settings) {
            return Err(format!("`{key}` takes a restart to change: nothing of the new configuration is in force"));
        }
        // Looked at before they are read.
        let anew = Seen::new(&settings);
        let successor = shared.succeed(&settings).map_err(|fault| fault.to_string())?;
        successor.take_over(current);
        *seen = anew;
        Ok(())
    });
    tell(&shared, "configuration", "", outcome)
}

/// Makes anew what is kept of files, where they changed. `forced`: even if nothing seems different.
fn parts(current: &Current, seen: &mut Seen, forced: bool) {
    for (part, watched) in Part::ALL.into_iter().zip(&mut seen.parts) {
        if watched.differs() || (forced && !watched.files.is_empty()) {
            let outcome = part.renew(current).map_err(|fault| fault.to_string());
            tell(&current.load(), part.word(), "", outcome);
        }
    }
}

/// One look at everything else. `forced`: read it all again even if nothing seems different.
fn round(shared: &Shared, seen: &mut Seen, forced: bool) {
    let (mut changed, mut urgent) = (false, false);
    let news = seen.look();
    if forced || news.policies {
        changed |= reload_policies(shared);
    }
    if forced || news.registry {
        urgent |= devices(shared);
    }
    for (index, listener) in shared.listeners.iter().enumerate() {
        if forced || news.listeners.contains(&index) {
            let outcome = listener.reload();
            let trust_differs = outcome.as_ref().is_ok_and(|differs| *differs);
            tell(shared, "certificates", &listener.name, outcome.map(drop).map_err(|fault| fault.to_string()));
            urgent |= trust_differs;
        }
    }
    if forced || news.assertion {
        let outcome = shared.signer.load().reload(&shared.settings.assertion);
        let outcome = outcome.map(|signer| shared.signer.store(Arc::new(signer)));
        tell(shared, "assertion-key", "", outcome.map_err(|fault| fault.to_string()));
    }
    if shared.sources.networks.reload_if_changed() {
        networks(shared);
        changed = true;
    }
    urgent |= emergency(shared);
    shared.sources.quotas.sweep();
    if changed || urgent {
        shared.changed(urgent);
    }
}

fn reload_policies(shared: &Shared) -> bool {
    let quotas = &shared.sources.quotas;
    match shared.policies.reload(|policy| quotas.install(policy.limits())) {
        Ok(false) => false,
        Ok(true) => {
            let version = Arc::clone(shared.policies.current().version());
            shared.audit.metrics().policy(&version);
            tell(shared, "policies", &version, Ok(()))
        }
        Err(faults) => {
            tracing::error!(
                "the new policy is refused, the last good one decides on:\n{}",
                diagnostic::render(&faults.diagnostics, &faults.sources, false)
            );
            let first = diagnostic::lines(&faults.diagnostics, &faults.sources);
            alert(shared, AlertKind::PolicyRejected, first.lines().next().unwrap_or_default());
            shared.audit.metrics().reloaded("policies", false);
            false
        }
    }
}

fn devices(shared: &Shared) -> bool {
    let Some(path) = &shared.settings.devices else { return false };
    let outcome = registry::load(path)
        .map(|records| shared.sources.devices.replace(DeviceIndex::build(records)))
        .map_err(|(diagnostics, sources)| diagnostic::lines(&diagnostics, &sources));
    tell(shared, "devices", "", outcome)
}

/// Tells of revocation lists and certificates that have run out or are about to.
fn endings(shared: &Shared, told: &mut Told, now: Moment) {
    let own = shared.settings.authority.as_ref().map(|authority| &*authority.revocation_list);
    let mut all = Vec::new();
    for listener in &shared.listeners {
        all.extend(listener.ends.load().iter().map(|end| Expiry::new(Thing::Certificate, end.clone())));
        all.extend(listener.trust.load().iter().flat_map(|trust| Expiry::lists(trust, own)));
    }
    for expiry in told.news(all, now) {
        let (path, Some(what)) = (expiry.path.display(), expiry.told(now)) else { continue };
        if expiry.stage(now) == Stage::Soon {
            tracing::warn!(%path, "{what}: {}", expiry.consequence());
            continue;
        }
        tracing::error!(%path, "{what}: {}", expiry.consequence());
        if expiry.thing != Thing::Certificate {
            alert(shared, AlertKind::SourceExpired, &format!("`{path}`: {what}"));
        }
    }
}

/// A database or list that cannot be read is told of at each change; the others are in force all the same.
fn networks(shared: &Shared) {
    let networks = &shared.sources.networks;
    let mut faults = networks.lists.faults();
    let databases = networks.geo.databases().into_iter();
    faults.extend(databases.filter_map(|database| Some(format!("`{}`: {}", database.path.display(), database.error?))));
    if faults.is_empty() {
        tell(shared, "networks", "", Ok(()));
    }
    for fault in faults {
        tell(shared, "networks", "", Err(fault));
    }
}

/// Follows the emergency switch; true when it was moved.
pub fn emergency(shared: &Shared) -> bool {
    match shared.sources.emergency.read() {
        Ok(None) => false,
        Ok(Some(position)) => {
            let word = crate::store::emergency::word(position);
            tracing::warn!(position = word, "the emergency switch was moved");
            shared.audit.control(ControlEvent::Emergency, word, clock::now());
            alert(shared, AlertKind::Emergency, word);
            true
        }
        Err(Unread { why, denied: true, .. }) => {
            tracing::error!("{why}; everything is refused until it can be made out");
            shared.audit.control(ControlEvent::Emergency, format!("deny: {why}"), clock::now());
            alert(shared, AlertKind::Emergency, &why);
            true
        }
        Err(Unread { why, news, .. }) => {
            if news {
                tracing::error!("{why}; the switch stays where it is");
                alert(shared, AlertKind::SourceRejected, &why);
            }
            false
        }
    }
}

/// Says how a reload went, to operators, audit and metrics; true when something new is in force.
fn tell(shared: &Shared, what: &'static str, which: &str, outcome: Result<(), String>) -> bool {
    shared.audit.metrics().reloaded(what, outcome.is_ok());
    match outcome {
        Ok(()) => {
            tracing::info!(what, which, "reloaded");
            shared.audit.control(ControlEvent::Reload, format!("{what} {which}").trim_end(), clock::now());
            true
        }
        Err(fault) => {
            tracing::error!(what, which, "refused, the last good one stays: {fault}");
            alert(shared, AlertKind::SourceRejected, fault.lines().next().unwrap_or_default());
            false
        }
    }
}

fn alert(shared: &Shared, kind: AlertKind, reason: &str) {
    shared.audit.alert(Alert {
        at: clock::now(),
        kind,
        id: None,
        resource: None,
        user: None,
        device: None,
        address: None,
        reason: reason.to_owned().into(),
    });
}

/// What the files of each kind looked like when last looked at.
///
/// They are looked at before they are read: what changes in between looks different next time.
pub struct Seen {
    directory: PathBuf,
    policies: Snapshot,
    registry: Watched,
    assertion: Watched,
    listeners: Vec<Watched>,
    /// In the order of `Part::ALL`.
    parts: [Watched; Part::ALL.len()],
}

/// Files, and what they looked like.
struct Watched {
    files: Vec<PathBuf>,
    seen: Snapshot,
}

/// None: the file cannot be read, or is none.
type Snapshot = Vec<(PathBuf, Option<Stamp>)>;

/// Which kinds look different now.
struct News {
    policies: bool,
    registry: bool,
    assertion: bool,
    listeners: Vec<usize>,
}

impl Seen {
    /// To be called before any of the files is read.
    pub fn new(settings: &Settings) -> Self {
        let mut seen = Self {
            directory: settings.policies.clone(),
            policies: Snapshot::new(),
            registry: Watched::new(settings.devices.iter().cloned()),
            assertion: Watched::new(settings.assertion.key.iter().cloned()),
            listeners: settings.listeners.iter().map(|listener| Watched::new(listener.files())).collect(),
            parts: Part::ALL.map(|part| Watched::new(part.files(settings))),
        };
        seen.look();
        for watched in &mut seen.parts {
            watched.differs();
        }
        seen
    }

    fn look(&mut self) -> News {
        let listeners = self.listeners.iter_mut().enumerate();
        News {
            listeners: listeners.filter_map(|(index, watched)| watched.differs().then_some(index)).collect(),
            policies: differs(&mut self.policies, &policies::files(&self.directory)),
            registry: self.registry.differs(),
            assertion: self.assertion.differs(),
        }
    }
}

impl Watched {
    fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { files: files.into_iter().collect(), seen: Snapshot::new() }
    }

    fn differs(&mut self) -> bool {
        differs(&mut self.seen, &self.files)
    }
}

fn differs(seen: &mut Snapshot, files: &[PathBuf]) -> bool {
    let mut now: Snapshot = files.iter().map(|file| (file.clone(), Stamp::of(file).ok())).collect();
    now.sort_by(|a, b| a.0.cmp(&b.0));
    let differs = *seen != now;
    *seen = now;
    differs
}
