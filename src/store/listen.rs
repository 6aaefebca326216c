//! Hints that something changed. None is relied on: whoever hears one asks what happened since.

use super::commit;
use super::durable::Reach;
use sqlx::any::AnyConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};
use std::time::Duration;
use tokio::sync::watch;

/// What every transaction notifies.
pub(super) const CHANNEL: &str = "rangegate";

/// How long after a lost listener the next is tried.
const AGAIN: Duration = Duration::from_secs(1);

/// How often a quiet listener is asked whether it is still there: a peer that vanished says nothing.
const STILL_THERE: Duration = Duration::from_secs(15);

/// Says at every tick that something may have changed, and now and then shortens the log of changes.
pub(super) async fn tick(news: watch::Sender<u64>, poll: Duration, reach: Reach) {
    let mut ticks = tokio::time::interval(poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let prune_every = (60_000 / poll.as_millis().max(1)).max(1);
    for count in 1_u128.. {
        ticks.tick().await;
        news.send_modify(|count| *count += 1);
        if count % prune_every == 0
            && let Err(fault) = commit::prune(&reach).await
        {
            tracing::warn!("the store's log of changes is not shortened: {fault}");
        }
    }
}

/// Hears PostgreSQL's notifications, over a connection of its own that is renewed when it is lost.
pub(super) async fn listen(news: watch::Sender<u64>, options: AnyConnectOptions) {
    let options = match PgConnectOptions::from_url(&options.database_url) {
        Ok(options) => options.disable_statement_logging(),
        Err(_) => return, // the store could not have been opened with it
    };
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options);
    loop {
        if let Err(error) = hear(&news, &pool).await {
            tracing::debug!("the store's notifications are interrupted: {error}");
        }
        // What was notified meanwhile is lost.
        news.send_modify(|count| *count += 1);
        tokio::time::sleep(AGAIN).await;
    }
}

async fn hear(news: &watch::Sender<u64>, pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    news.send_modify(|count| *count += 1);
    loop {
        match tokio::time::timeout(STILL_THERE, listener.try_recv()).await {
            // None: the connection was lost and made anew, and what was notified in between is lost.
            Ok(heard) => {
                heard?;
                news.send_modify(|count| *count += 1);
            }
            Err(_) => {
                let asked = sqlx::query("SELECT 1").execute(&mut listener);
                tokio::time::timeout(STILL_THERE, asked).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
            }
        }
    }
}
