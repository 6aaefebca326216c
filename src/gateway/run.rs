//! The gateway as a whole: started once, reloaded at will, drained at the end.

use super::accept;
use super::clock;
use super::drain::{FAREWELL, Phase, reached};
use super::listener;
use super::local::Local;
use super::operations;
use super::reload::{self, Seen};
use super::settings::Settings;
use super::shared::{Shared, StartFault};
use super::worker::Worker;
use crate::state::memory;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A gateway whose settings, files and sockets are all good, and that does not serve yet.
pub struct Gateway {
    shared: Arc<Shared>,
    seen: Seen,
    sockets: Vec<TcpListener>,
    operations: TcpListener,
    local: Option<Local>,
    workers: usize,
}

/// A serving gateway. Dropping it does not stop it: `stop` does.
pub struct Running {
    shared: Arc<Shared>,
    reload: watch::Sender<u64>,
    threads: Vec<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
    operations: SocketAddr,
}

/// How often a core looks for permissions whose token or certificate has ended.
const EXPIRY_EVERY: Duration = Duration::from_secs(1);

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
        let mut bind =
            |address| listener::bind(address, &mut inherited).map_err(|cause| StartFault::Bind { address, cause });
        let sockets = settings.listeners.iter().map(|listener| bind(listener.address)).collect::<Result<_, _>>()?;
        let operations = bind(settings.operations)?;
        let local = settings
            .local
            .as_ref()
            .map(|local| Local::open(local).map_err(|cause| StartFault::Socket { path: local.path.clone(), cause }));
        Ok(Self { shared, seen, sockets, operations, local: local.transpose()?, workers: settings.workers.get() })
    }

    /// Serves on threads of its own.
    pub fn start(self) -> Result<Running, StartFault> {
        let Self { shared, seen, sockets, operations, mut local, workers } = self;
        let addresses = sockets.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        let operations_address = operations.local_addr()?;
        let (reload, asked) = watch::channel(0);
        let mut threads = Vec::new();
        for index in 0..workers {
            let sockets = sockets.iter().map(TcpListener::try_clone).collect::<Result<Vec<_>, _>>()?;
            let shared = Arc::clone(&shared);
            let local = local.take();
            threads.push(thread(format!("worker-{index}"), move || serve(shared, sockets, local))?);
        }
        let control = Arc::clone(&shared);
        threads.push(thread("control".into(), move || tend(control, operations, seen, asked))?);
        shared.audit.metrics().policy(shared.policies.current().version());
        Ok(Running { shared, reload, threads, addresses, operations: operations_address })
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

    /// Reads policies, certificates, lists and databases again, changed or not.
    pub fn reload(&self) {
        self.reload.send_modify(|asked| *asked += 1);
    }

    /// Takes no new connections, lets open exchanges finish until the drain timeout, cuts the rest, and writes
    /// the audit log to its end. Blocks.
    pub fn stop(self) {
        let Self { shared, reload, threads, .. } = self;
        shared.drain.enter(Phase::Draining);
        let end = Instant::now() + shared.limits.drain_timeout;
        while shared.admission.total() > 0 && Instant::now() < end {
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
fn serve(shared: Arc<Shared>, sockets: Vec<TcpListener>, local: Option<Local>) {
    on_this_thread(async move {
        let worker = Arc::new(Worker::new(Arc::clone(&shared)));
        for (socket, listener) in sockets.into_iter().zip(&shared.listeners) {
            match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => {
                    let (worker, listener) = (Arc::clone(&worker), Arc::clone(listener));
                    tokio::spawn(accept::accept(worker, listener, socket, shared.drain.signal()));
                }
                Err(error) => tracing::error!(%error, "cannot accept on a listener"),
            }
        }
        if let Some(local) = local {
            tokio::spawn(local.accept(Arc::clone(&worker), shared.drain.signal()));
        }
        let mut changes = shared.changes.subscribe();
        let mut cutting = shared.drain.signal();
        loop {
            tokio::select! {
                () = reached(&mut cutting, Phase::Cutting) => break,
                Ok(()) = changes.changed() => worker.redecide(),
                () = tokio::time::sleep(EXPIRY_EVERY) => worker.expire(),
            }
        }
        // Close frames and the ends of answers still have to go out.
        let end = Instant::now() + FAREWELL;
        while shared.admission.total() > 0 && Instant::now() < end {
            worker.cut_all();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

/// What is nobody's request: reloads, key sets, operators' questions.
fn tend(shared: Arc<Shared>, operations: TcpListener, seen: Seen, asked: watch::Receiver<u64>) {
    on_this_thread(async move {
        let following = Arc::clone(&shared);
        let follower = thread("reload".into(), move || on_this_thread(reload::follow(following, seen, asked)));
        if let Err(error) = follower {
            tracing::error!(%error, "files are not followed");
        }
        if let Some(store) = shared.store.clone() {
            let everyone = Arc::downgrade(&shared);
            shared.sources.memory.on_change(move |_| {
                if let Some(shared) = everyone.upgrade() {
                    shared.changed();
                }
            });
            tokio::spawn(memory::follow(store, Arc::clone(&shared.sources.memory), clock::now));
        }
        if let Some(administrator) = shared.administrator.clone() {
            tokio::spawn(async move {
                loop {
                    administrator.tend().await;
                    tokio::time::sleep(TEND_EVERY).await;
                }
            });
        }
        let mut cutting = shared.drain.signal();
        let tokens = Arc::clone(&shared.sources.tokens);
        tokio::spawn(tokens.run(async move { reached(&mut cutting, Phase::Cutting).await }));
        match tokio::net::TcpListener::from_std(operations) {
            Ok(socket) => operations::serve(Arc::clone(&shared), socket, shared.drain.signal()).await,
            Err(error) => tracing::error!(%error, "operators' questions are not answered"),
        }
    });
}
