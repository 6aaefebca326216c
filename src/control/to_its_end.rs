//! What was begun is done to its end, recorded and told, even when whoever asked for it has gone.
//!
//! A request's future is dropped when its client resets it, and what it awaits goes on or not: a commit does. The line,
//! the alert and the answer that is kept for the next try would be missing then.

use super::administrator::Administrator;
use super::fault::Fault;
use std::future::Future;
use std::panic::resume_unwind;

impl Administrator {
    /// Runs the work in a task of its own and waits for what comes of it. It is on the store's runtime, which lasts as
    /// long as anybody has the store, and the log is not closed before it has ended.
    ///
    /// # Errors
    /// The process ends.
    pub async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Fault> {
        let more = self.audit.more_to_come();
        let task = self.store.runtime().spawn(async move {
            let done = work.await;
            drop(more);
            done
        });
        task.await.map_err(|failed| match failed.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Fault::Away("the gateway is stopping".to_owned()),
        })
    }
}
