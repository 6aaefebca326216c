//! The policy in force: compiled from a directory, swapped whole, the last good one kept on any fault.

use crate::policy::diagnostic::Diagnostic;
use crate::policy::source::Source;
use crate::policy::{Context, Policy};
use crate::store::policy_files;
use arc_swap::{ArcSwap, Guard};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug)]
pub struct Policies {
    directory: PathBuf,
    context: Context,
    current: ArcSwap<Policy>,
}

/// Why a directory gives no policy: every fault, and the sources they point into.
#[derive(Debug)]
pub struct PolicyFaults {
    pub diagnostics: Vec<Diagnostic>,
    pub sources: Vec<Source>,
}

impl Policies {
    /// # Errors
    /// Any fault of any file: the gateway does not start without a policy.
    pub fn load(directory: PathBuf, context: Context) -> Result<Self, PolicyFaults> {
        let policy = compile(&directory, &context)?;
        Ok(Self { directory, context, current: ArcSwap::from_pointee(policy) })
    }

    /// One policy for one walk: whatever happens meanwhile, a request is judged by a single version.
    pub fn current(&self) -> Guard<Arc<Policy>> {
        self.current.load()
    }

    /// The same, to be kept across waits.
    pub fn current_full(&self) -> Arc<Policy> {
        self.current.load_full()
    }

    /// Reads the directory again. Tells whether the policy changed.
    ///
    /// # Errors
    /// Any fault of any file; the policy in force stays.
    pub fn reload(&self, before: impl FnOnce(&Policy)) -> Result<bool, PolicyFaults> {
        let policy = compile(&self.directory, &self.context)?;
        if policy.version() == self.current.load().version() {
            return Ok(false);
        }
        before(&policy);
        self.current.store(Arc::new(policy));
        Ok(true)
    }
}

/// The policy files in a directory: a change of any calls for `Policies::reload`.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let inside = std::fs::read_dir(directory).into_iter().flatten().flatten();
    inside.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|kind| kind == "toml")).collect()
}

fn compile(directory: &Path, context: &Context) -> Result<Policy, PolicyFaults> {
    let sources =
        policy_files::read_dir(directory).map_err(|diagnostics| PolicyFaults { diagnostics, sources: Vec::new() })?;
    Policy::compile(&sources, context).map_err(|diagnostics| PolicyFaults { diagnostics, sources })
}
