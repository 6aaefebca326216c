//! The policy in force: compiled from a directory, swapped whole, the last good one kept on any fault.

use crate::policy::cases;
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
    /// Any fault of any file, a test that fails among them: the gateway does not start without a policy.
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
    /// As for `load`; the policy in force stays.
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
    let tested = Policy::compile(&sources, context).and_then(|policy| match failures(&policy) {
        failures if failures.is_empty() => Ok(policy),
        failures => Err(failures),
    });
    tested.map_err(|diagnostics| PolicyFaults { diagnostics, sources })
}

/// One for each of the policy's own tests that fails: it does not say what its author means.
fn failures(policy: &Policy) -> Vec<Diagnostic> {
    let results = cases::run(policy).into_iter();
    let failing = results.filter_map(|result| Some((result.case, result.difference()?)));
    failing
        .map(|(case, difference)| {
            Diagnostic::error(case.place.clone(), format!("the test `{}` fails", case.name))
                .label(difference)
                .help("`rangegate policy test` shows what each requirement found")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(expect: &str) -> String {
        format!(
            "[[resource]]\nid = \"app\"\nhosts = [\"app.example\"]\nupstream = \"http://127.0.0.1:9\"\n\
             require = [{{ id = \"known\", that = {{ device = {{ known = true }} }} }}]\n\
             [[test]]\nname = \"strangers\"\nrequest = \"GET https://app.example/\"\nexpect = \"{expect}\"\n"
        )
    }

    #[test]
    fn a_policy_whose_own_test_fails_is_none_at_the_start_and_later() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |expect: &str| std::fs::write(directory.path().join("app.toml"), policy(expect)).expect("written");
        let load = || Policies::load(directory.path().to_owned(), Context::default());
        write("forward");
        let faults = load().expect_err("a test fails");
        assert_eq!(faults.diagnostics[0].message, "the test `strangers` fails");
        write("deny");
        let policies = load().expect("it holds");
        let version = Arc::clone(policies.current().version());
        write("forward");
        let faults = policies.reload(|_| panic!("nothing is put in force")).expect_err("a test fails");
        assert_eq!((faults.diagnostics.len(), faults.sources.len()), (1, 1));
        assert_eq!(policies.current().version(), &version);
    }
}
