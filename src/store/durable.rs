//! The store: documents in a database, behind a handle that any thread may use.
//!
//! It runs on a thread and a runtime of its own. Whoever asks waits without holding up that runtime, and a question
//! whose asker is gone is carried through all the same.

use super::connect::{self, Dialect};
use super::document::{CommitFault, Document, Kind, Revision, Since, Write};
use super::fault::{OpenFault, StoreFault};
use super::settings::StoreSettings;
use super::sighting::{Seen, Sighting};
use super::{commit, listen, read};
use crate::evidence::Moment;
use sqlx::AnyPool;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot, watch};

/// A cheap handle to the open store; the last one to go closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    reach: Reach,
    settings: StoreSettings,
    runtime: Handle,
    news: watch::Sender<u64>,
    /// Dropped with the store: its thread ends.
    _open: oneshot::Sender<()>,
}

/// What a question needs.
#[derive(Clone)]
pub(super) struct Reach {
    pub(super) pool: AnyPool,
    pub(super) dialect: Dialect,
    pub(super) timeout: Duration,
    pub(super) history: u32,
    /// SQLite has one writer at a time: in line here they are served in turn, at its own lock they are not.
    pub(super) writing: Arc<tokio::sync::Mutex<()>>,
    /// Records that a backup, a restoring or a check has taken up.
    pub(super) handled: Arc<AtomicU64>,
}

/// Hints that something may have changed.
pub struct News(watch::Receiver<u64>);

impl Store {
    /// Opens the database, makes it when it is an empty or missing file, and brings its schema forward.
    ///
    /// # Errors
    /// Whatever stands in the way, in words. A schema newer than this version's is refused.
    pub async fn open(settings: &StoreSettings) -> Result<Self, OpenFault> {
        let options = settings.database.connect_options()?;
        let dialect = Dialect::of(&settings.database);
        let runtime = runtime().map_err(|error| {
            let fault = StoreFault::Other(format!("no thread can be started: {error}"));
            connect::told(&settings.database, fault)
        })?;
        let (handle, open) = runtime;
        let entered = handle.enter();
        let reach = Reach {
            pool: connect::pool(options.clone(), dialect, settings),
            dialect,
            timeout: settings.timeout,
            history: settings.history,
            writing: Arc::default(),
            handled: Arc::default(),
        };
        drop(entered);
        let news = watch::Sender::new(0);
        let opening = {
            let (pool, settings, options) = (reach.pool.clone(), settings.clone(), options.clone());
            handle.spawn(async move {
                let told = |fault| connect::told(&settings.database, fault);
                // By itself: the pool would try again and again, and not say why in vain.
                read::in_time(settings.timeout, connect::once(&options, dialect)).await.map_err(told)?;
                connect::migrate(&pool, &settings.database).await
            })
        };
        opening.await.map_err(|_| connect::told(&settings.database, StoreFault::Closed))??;
        handle.spawn(listen::tick(news.clone(), settings.poll, reach.clone()));
        if dialect == Dialect::Postgres {
            handle.spawn(listen::listen(news.clone(), options));
        }
        let inner = Inner { reach, settings: settings.clone(), runtime: handle, news, _open: open };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// All of it or nothing. When it returns, what was written survives any crash, and others may see it.
    ///
    /// # Errors
    /// Nothing happened, except perhaps behind `Away`.
    pub async fn commit(&self, writes: Vec<Write>, now: Moment) -> Result<Revision, CommitFault> {
        let reach = self.inner.reach.clone();
        let news = self.inner.news.clone();
        let task = self.inner.runtime.spawn(async move {
            let revision = commit::commit(&reach, writes, now).await?;
            news.send_modify(|count| *count += 1);
            Ok(revision)
        });
        task.await.unwrap_or_else(|_| Err(CommitFault::Away(StoreFault::Closed.to_string())))
    }

    /// How many records backups, restorings and checks by this handle have taken up so far. The backup of a file is one
    /// step of the database, and counts none.
    pub fn handled(&self) -> u64 {
        self.inner.reach.handled.load(Ordering::Relaxed)
    }

    /// The document as it stands now.
    pub async fn get(&self, kind: Kind, id: &str) -> Result<Option<Document>, StoreFault> {
        let id = id.to_owned();
        self.ask(move |reach| async move { read::get(&reach, kind, &id).await }).await
    }

    /// Those of these documents that there are, in no order.
    pub async fn get_all(&self, kind: Kind, ids: Vec<Arc<str>>) -> Result<Vec<Document>, StoreFault> {
        self.ask(move |reach| async move { read::get_all(&reach, kind, &ids).await }).await
    }

    /// The document that holds a handle.
    pub async fn holder(&self, space: &'static str, value: &str) -> Result<Option<Document>, StoreFault> {
        let value = value.to_owned();
        self.ask(move |reach| async move { read::holder(&reach, space, &value).await }).await
    }

    /// Up to `limit` documents of a kind whose id comes after `after`, in the order of their ids.
    pub async fn list(&self, kind: Kind, after: &str, limit: u32) -> Result<Vec<Document>, StoreFault> {
        let after = after.to_owned();
        self.ask(move |reach| async move { read::list(&reach, kind, &after, limit).await }).await
    }

    /// Every document, in no order, as of the revision it returns.
    ///
    /// # Errors
    /// As for any question; some documents may have been handed on by then.
    pub async fn load(&self, mut each: impl FnMut(Document)) -> Result<Revision, StoreFault> {
        let (batches, mut arriving) = mpsc::channel(8);
        let loading = self.load_into(batches);
        let handing = async {
            while let Some(batch) = arriving.recv().await {
                batch.into_iter().for_each(&mut each);
            }
        };
        let (revision, ()) = tokio::join!(loading, handing);
        revision
    }

    /// As `load`, for whoever takes the documents on another thread. Waits while the channel is full.
    pub async fn load_into(&self, batches: mpsc::Sender<Vec<Document>>) -> Result<Revision, StoreFault> {
        self.ask(move |reach| async move { read::load(&reach, batches).await }).await
    }

    /// What happened after a revision.
    pub async fn since(&self, after: Revision) -> Result<Since, StoreFault> {
        self.ask(move |reach| async move { read::since(&reach, after).await }).await
    }

    /// Remembers the latest sighting of each device. What comes late never replaces what is newer.
    pub async fn sight(&self, sightings: Vec<(Arc<str>, Sighting)>) -> Result<(), StoreFault> {
        self.ask(move |reach| async move { commit::sight(&reach, sightings).await }).await
    }

    /// When and where devices were first and last seen, in no order; those never seen are left out.
    pub async fn sightings(&self, devices: Vec<Arc<str>>) -> Result<Vec<Seen>, StoreFault> {
        self.ask(move |reach| async move { read::sightings(&reach, devices).await }).await
    }

    /// Waits until every question has its answer, and gives the database back. All handles fail from then on.
    pub async fn close(&self) {
        let pool = self.inner.reach.pool.clone();
        let _ = self.inner.runtime.spawn(async move { pool.close().await }).await;
    }

    /// Shortens the log of changes to what the settings keep; happens by itself once a minute.
    pub async fn prune(&self) -> Result<(), StoreFault> {
        self.ask(|reach| async move { commit::prune(&reach).await }).await
    }

    /// Hints that something changed: an own commit, a notification, or that time has passed. Never complete: ask
    /// `since` after each.
    pub fn news(&self) -> News {
        News(self.inner.news.subscribe())
    }

    pub fn settings(&self) -> &StoreSettings {
        &self.inner.settings
    }

    /// Where the store does its work; whatever follows it may run there too.
    pub fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    pub(super) fn reach(&self) -> Reach {
        self.inner.reach.clone()
    }

    async fn ask<T, F>(&self, question: impl FnOnce(Reach) -> F) -> Result<T, StoreFault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreFault>> + Send + 'static,
    {
        let task = self.inner.runtime.spawn(question(self.inner.reach.clone()));
        task.await.unwrap_or(Err(StoreFault::Closed))
    }
}

impl News {
    /// Waits for the next hint. False: the store is closed.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.inner.settings.database)
    }
}

/// A thread that runs what is handed to it until the sender is dropped.
fn runtime() -> std::io::Result<(Handle, oneshot::Sender<()>)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (open, closed) = oneshot::channel::<()>();
    std::thread::Builder::new().name("store".into()).spawn(move || {
        let _ = runtime.block_on(closed);
        runtime.shutdown_timeout(Duration::from_secs(1));
    })?;
    Ok((handle, open))
}
