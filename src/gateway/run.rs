//! The gateway as a whole: started once, reloaded at will, drained at the end.

use super::accept;
use super::clock;
use super::core::Core;
use super::drain::{FAREWELL, Phase, Signal, reached};
use super::listener;
use super::local::Local;
use super::operations;
use super::reload::{self, ConfigurationFile, Seen};
use super::settings::Settings;
use super::shared::{Changes, Current, Shared, StartFault};
use super::vigil;
use crate::control::webhook::Rounds;
use crate::sources::token::Tokens;
use crate::state::memory;
use crate::store::{Kind, News};
use arc_swap::ArcSwap;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// A gateway whose settings, files and sockets are all good, and that does not serve yet.
pub struct Gateway {
    shared: Arc<Shared>,
    file: Option<ConfigurationFile>,
    seen: Seen,
    sockets: Vec<TcpListener>,
    operations: TcpListener,
    local: Option<Local>,
    workers: usize,
}

/// A serving gateway. Dropping it does not stop it: `stop` does.
pub struct Running {
    current: Current,
    reload: watch::Sender<u64>,
    threads: Vec<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
    operations: SocketAddr,
}

/// How often what has ended is written down, and the revocation list is looked after.
const TEND_EVERY: Duration = Duration::from_secs(2);

impl Gateway {
    /// Reads every file and opens every socket.
    ///
    /// # Errors
    /// Whatever would make it start half: it starts whole or not at all.
    pub fn prepare(settings: &Settings) -> Result<Self, StartFault> {
        let seen = Seen::new(settings);
        let shared = Arc::new(Shared::assemble(settings)?);
        let mut inherited = listener::inherited()?;
        let mut bind = |address| {
            let bound = listener::bind(address, &mut inherited);
            bound.map_err(|cause| StartFault::Bind { address, cause, inherited: listener::left(&inherited) })
        };
        let sockets = settings.listeners.iter().map(|listener| bind(listener.address)).collect::<Result<_, _>>()?;
        let operations = bind(settings.operations)?;
        if !inherited.is_empty() {
            return Err(StartFault::Inherited(listener::left(&inherited)));
        }
        let local = settings
            .local
            .as_ref()
            .map(|local| Local::open(local).map_err(|cause| StartFault::Socket { path: local.path.clone(), cause }));
        let (local, workers) = (local.transpose()?, settings.workers.get());
        Ok(Self { shared, file: None, seen, sockets, operations, local, workers })
    }

    /// Follows the file that the settings came from, too.
    #[must_use]
    pub fn following(self, file: ConfigurationFile) -> Self {
        Self { file: Some(file), ..self }
    }

    /// Serves on threads of its own.
    pub fn start(self) -> Result<Running, StartFault> {
        let Self { shared, file, seen, sockets, operations, mut local, workers } = self;
        let addresses = sockets.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        let operations_address = operations.local_addr()?;
        let (reload, asked) = watch::channel(0);
        // Whoever threw the switch while nothing ran meant this start.
        reload::emergency(&shared);
        let current: Current = Arc::new(ArcSwap::new(Arc::clone(&shared)));
        let mut threads = Vec::new();
        for index in 0..workers {
            let sockets = sockets.iter().map(TcpListener::try_clone).collect::<Result<Vec<_>, _>>()?;
            let (current, local) = (Arc::clone(&current), local.take());
            threads.push(thread(format!("worker-{index}"), move || serve(current, sockets, local))?);
        }
        let control = Arc::clone(&current);
        let following = reload::Following { file, seen, asked };
        threads.push(thread("control".into(), move || tend(control, operations, following))?);
        shared.audit.metrics().policy(shared.policies.current().version());
        Ok(Running { current, reload, threads, addresses, operations: operations_address })
    }
}

impl Running {
    /// Where the listeners listen, in the order of the settings.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn operations(&self) -> SocketAddr {
        self.operations
    }

    /// Reads the configuration and the files it names again, changed or not.
    pub fn reload(&self) {
        self.reload.send_modify(|asked| *asked += 1);
    }

    /// What ends the drain at once when it is called, from whichever thread: the rest is cut as at the drain timeout.
    pub fn hurry(&self) -> impl Fn() + Send + 'static + use<> {
        let drain = self.current.load().drain.clone();
        move || drain.enter(Phase::Cutting)
    }

    /// Takes no new connections, lets open exchanges finish until the drain timeout, cuts the rest, and writes
    /// the audit log to its end. Blocks.
    pub fn stop(self) {
        let Self { current, reload, threads, .. } = self;
        let shared = current.load_full();
        shared.drain.enter(Phase::Draining);
        let end = Instant::now() + shared.limits.drain_timeout;
        while shared.admission.total() > 0 && shared.drain.phase() < Phase::Cutting && Instant::now() < end {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        shared.drain.enter(Phase::Cutting);
        drop(reload);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the gateway panicked");
            }
        }
        if let Err(lost) = shared.audit.close(Duration::from_secs(5)) {
            tracing::error!(lost, "audit records could not be written before the end");
        }
    }
}

fn thread(name: String, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(work)
}

/// A current-thread runtime: what is spawned on it stays on this core, and so do its connections.
fn on_this_thread(work: impl Future<Output = ()>) {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => tracing::error!(%error, "cannot start a runtime"),
    }
}

/// One core: accepts on every listener, until everything has been cut.
fn serve(current: Current, sockets: Vec<TcpListener>, local: Option<Local>) {
    on_this_thread(async move {
        let core = Arc::new(Core::new(current));
        let shared = core.shared();
        for (socket, listener) in sockets.into_iter().zip(&shared.listeners) {
            match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => {
                    let (core, listener) = (Arc::clone(&core), Arc::clone(listener));
                    tokio::spawn(accept::accept(core, listener, socket, shared.drain.signal()));
                }
                Err(error) => tracing::error!(%error, "cannot accept on a listener"),
            }
        }
        if let Some(local) = local {
            tokio::spawn(local.accept(Arc::clone(&core), shared.drain.signal()));
        }
        let cutting = shared.drain.signal();
        let admission = Arc::clone(&shared.admission);
        drop(shared);
        vigil::keep(&core, cutting).await;
        // Close frames and the ends of answers still have to go out.
        let end = Instant::now() + FAREWELL;
        while admission.total() > 0 && Instant::now() < end {
            core.worker().cut_all();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

/// What is nobody's request: reloads, key sets, operators' questions.
fn tend(current: Current, operations: TcpListener, following: reload::Following) {
    on_this_thread(async move {
        let signal = current.load().drain.signal();
        let followed = Arc::clone(&current);
        let follower = thread("reload".into(), move || on_this_thread(reload::follow(followed, following)));
        if let Err(error) = follower {
            tracing::error!(%error, "files are not followed");
        }
        tokio::spawn(keep_keys(Arc::clone(&current), signal.clone()));
        remember(&current);
        match tokio::net::TcpListener::from_std(operations) {
            Ok(socket) => operations::serve(current, socket, signal).await,
            Err(error) => tracing::error!(%error, "operators' questions are not answered"),
        }
    });
}

/// Follows the store, and does what time asks of the administrator.
fn remember(current: &Current) {
    let shared = current.load_full();
    let Some(store) = shared.store.clone() else { return };
    let changes = shared.changes.clone();
    let revoked = Arc::new(Notify::new());
    let tell = Arc::clone(&revoked);
    shared.sources.memory.on_change(move |since| {
        changes.send_modify(|changes| changes.count(true));
        if since.may_touch(Kind::Revocation) {
            tell.notify_one();
        }
    });
    tokio::spawn(memory::follow(store.clone(), Arc::clone(&shared.sources.memory), clock::now));
    tokio::spawn(notify(store.news(), Arc::clone(current)));
    let current = Arc::clone(current);
    tokio::spawn(async move {
        let mut by_revocation = false;
        loop {
            let administrator = current.load().administrator.clone();
            if let Some(administrator) = administrator {
                administrator.tend(by_revocation).await;
            }
            by_revocation = tokio::time::timeout(TEND_EVERY, revoked.notified()).await.is_ok();
        }
    });
}

/// Brings notifications to webhooks until the store is closed.
async fn notify(mut news: News, current: Current) {
    let rounds = Arc::<Rounds>::default();
    loop {
        let Some(administrator) = current.load().administrator.clone() else { return };
        let rest = administrator.deliver_due(&rounds).await;
        drop(administrator);
        tokio::select! {
            open = news.next() => if !open { return },
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// Keeps the key sets of the issuers in force, until everything has been cut.
async fn keep_keys(current: Current, mut cutting: Signal) {
    let mut changes = current.load().changes.subscribe();
    loop {
        let tokens = Arc::clone(&current.load().sources.tokens);
        let over = async {
            tokio::select! {
                () = reached(&mut cutting, Phase::Cutting) => true,
                () = others(&current, &tokens, &mut changes) => false,
            }
        };
        if Arc::clone(&tokens).run(over).await {
            return;
        }
    }
}

/// Resolves when a new configuration has other issuers than these.
async fn others(current: &Current, tokens: &Arc<Tokens>, changes: &mut watch::Receiver<Changes>) {
    while Arc::ptr_eq(tokens, &current.load().sources.tokens) {
        // The sender lives as long as the gateway does.
        let _ = changes.changed().await;
    }
}
