//! What an operator writes in `rangegate.toml`, lowered into the settings of every room.
//!
//! All faults are found at once, those of the files it names among them. Relative paths are relative to the
//! configuration file. The file holds no secrets, only the paths of files that do.

mod authority;
mod control;
mod files;
mod identity;
mod listener;
mod service;
mod store;
mod webhook;

use crate::authority::AuthoritySettings;
use crate::gateway::Settings;
use crate::latency::Coordinates;
use crate::policy::countries;
use crate::policy::diagnostic::{self, Diagnostic, Place};
use crate::policy::source::{Document, Source, Table, Value};
use crate::sources::lists::ListSettings;
use crate::sources::timing::{GatewayPlace, TimingSettings};
use crate::store::{StoreSettings, policy_files};
use files::{Files, Kind};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Everything `serve` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it was read from.
    pub path: PathBuf,
    pub settings: Settings,
    /// What was found and does not stand in the way.
    pub warnings: Report,
}

/// Diagnostics and the sources they point into.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub diagnostics: Vec<Diagnostic>,
    pub sources: Vec<Source>,
}

/// The files and directories that `check` reads beside the configuration.
#[derive(Clone, Debug)]
pub struct Beside {
    pub policies: PathBuf,
    pub devices: Option<PathBuf>,
    pub lists: Vec<ListSettings>,
}

impl Report {
    pub fn has_errors(&self) -> bool {
        diagnostic::has_errors(&self.diagnostics)
    }

    /// For people: see `policy::diagnostic::render`.
    pub fn render(&self, color: bool) -> String {
        diagnostic::render(&self.diagnostics, &self.sources, color)
    }

    pub fn merge(&mut self, other: Self) {
        self.diagnostics.extend(other.diagnostics);
        self.sources.extend(other.sources);
    }
}

impl Config {
    /// Reads and checks the file and the files it names.
    ///
    /// # Errors
    /// Every fault found, warnings among them, when at least one is an error.
    pub fn load(path: &Path) -> Result<Self, Report> {
        let source = match policy_files::read_source(path) {
            Ok(source) => source,
            Err(fault) => return Err(Report { diagnostics: vec![fault], sources: Vec::new() }),
        };
        Self::read(source, path, Files::check)
    }

    /// Checks a text as if it stood in the file `path`, without looking at the files it names.
    ///
    /// # Errors
    /// As for `load`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Report> {
        Self::read(Source::new(path.display().to_string(), text), path, |_| Vec::new())
    }

    /// Where the emergency switch is, whatever else may be wrong with the file.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a fault in `emergency` itself.
    pub fn emergency_file(path: &Path) -> Result<PathBuf, Report> {
        let source = policy_files::read_source(path)
            .map_err(|fault| Report { diagnostics: vec![fault], sources: Vec::new() })?;
        let document = source.parse();
        let found = emergency(&mut document.root(), &mut Files::below(path.parent().unwrap_or(Path::new(""))));
        let diagnostics = document.into_faults();
        if diagnostic::has_errors(&diagnostics) {
            return Err(Report { diagnostics, sources: vec![source] });
        }
        Ok(found)
    }

    /// Where the gateway's Unix socket is, whatever else may be wrong with the file. None: it has no `[control]`.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a fault in `control.socket` itself.
    pub fn socket(path: &Path) -> Result<Option<PathBuf>, Report> {
        let source = policy_files::read_source(path)
            .map_err(|fault| Report { diagnostics: vec![fault], sources: Vec::new() })?;
        let document = source.parse();
        let mut files = Files::below(path.parent().unwrap_or(Path::new("")));
        let found = document.root().table("control").map(|mut table| control::socket(&mut table, &mut files));
        let diagnostics = document.into_faults();
        if diagnostic::has_errors(&diagnostics) {
            return Err(Report { diagnostics, sources: vec![source] });
        }
        Ok(found)
    }

    /// The built-in authority's files, whatever else may be wrong with the configuration. None: it has none.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a fault in `[authority]` itself.
    pub fn authority(path: &Path) -> Result<Option<AuthoritySettings>, Report> {
        let source = policy_files::read_source(path)
            .map_err(|fault| Report { diagnostics: vec![fault], sources: Vec::new() })?;
        let document = source.parse();
        let mut files = Files::below(path.parent().unwrap_or(Path::new("")));
        let found = authority::authorities(&mut document.root(), &mut files).built_in;
        let diagnostics = document.into_faults();
        if diagnostic::has_errors(&diagnostics) {
            return Err(Report { diagnostics, sources: vec![source] });
        }
        Ok(found)
    }

    /// Where the store is, whatever else may be wrong with the file. None: there is none.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a fault in `[store]` itself.
    pub fn store_settings(path: &Path) -> Result<Option<StoreSettings>, Report> {
        let source = policy_files::read_source(path)
            .map_err(|fault| Report { diagnostics: vec![fault], sources: Vec::new() })?;
        let document = source.parse();
        let found = store::store(&mut document.root(), &mut Files::below(path.parent().unwrap_or(Path::new(""))));
        let diagnostics = document.into_faults();
        match found {
            Some(found) if !diagnostic::has_errors(&diagnostics) => Ok(found),
            _ => Err(Report { diagnostics, sources: vec![source] }),
        }
    }

    /// What stands in files of its own, as far as a configuration tells that may have faults elsewhere.
    /// None: it tells nothing, and `load` says why.
    pub fn beside(path: &Path) -> Option<Beside> {
        let source = policy_files::read_source(path).ok()?;
        let document = source.parse();
        if !document.is_toml() {
            return None;
        }
        let mut files = Files::below(path.parent().unwrap_or(Path::new("")));
        let mut root = document.root();
        Some(Beside {
            policies: policies(&mut root, &mut files),
            devices: devices(&mut root, &mut files),
            lists: service::lists(&mut root, &mut files)?,
        })
    }

    fn read(source: Source, path: &Path, check: impl FnOnce(&Files) -> Vec<Diagnostic>) -> Result<Self, Report> {
        let base = path.parent().unwrap_or(Path::new(""));
        let document = source.parse();
        let mut files = Files::below(base);
        files.itself(path, Place::new(&source.name, 0..0));
        let config = lower(&document, path, &mut files);
        let mut diagnostics = document.into_faults();
        diagnostics.extend(check(&files));
        let report = Report { diagnostics, sources: vec![source] };
        match config {
            Some(config) if !report.has_errors() => Ok(Self { warnings: report, ..config }),
            _ => Err(report),
        }
    }
}

/// Reads every section, whatever the others hold. None: at least one error was reported.
fn lower(document: &Document<'_>, path: &Path, files: &mut Files) -> Option<Config> {
    let mut root = document.root();
    let authority::Authorities { built_in, external } = authority::authorities(&mut root, files);
    let operations = service::operations(&mut root);
    let listeners = listener::listeners(&mut root, &external, &operations, files);
    let limits = listener::limits(&mut root);
    let issuers = identity::issuers(&mut root, files);
    let devices = devices(&mut root, files);
    let geo = service::geo(&mut root, files);
    let lists = service::lists(&mut root, files);
    let timing = timing(&mut root);
    let audit = service::audit(&mut root, files);
    let assertion = service::assertion(&mut root, files);
    let (upstream, upstream_exceptions) = service::upstream(&mut root, files);
    let headers = service::headers(&mut root);
    let portal = service::portal(&mut root);
    let store = store::store(&mut root, files);
    let policies = policies(&mut root, files);
    let emergency = emergency(&mut root, files);
    let local = control::control(&mut root, files);
    let webhooks = webhook::webhooks(&mut root, files);
    let workers = root.optional("workers", |v| v.integer_in::<usize>(1..=1024)).and_then(NonZeroUsize::new);
    root.finish();
    let settings = Settings {
        listeners: listeners?,
        limits,
        issuers: issuers?,
        geo,
        lists: lists?,
        timing,
        audit: audit?,
        assertion,
        upstream,
        upstream_exceptions,
        headers,
        portal,
        operations: operations.0,
        policies,
        origins: BTreeMap::new(),
        devices,
        store: store?,
        webhooks,
        authority: built_in,
        emergency,
        local,
        workers: workers.unwrap_or_else(every_core),
    };
    Some(Config { path: path.to_owned(), settings, warnings: Report::default() })
}

fn policies(root: &mut Table<'_>, files: &mut Files) -> PathBuf {
    root.or("policies", files.resolve("policies"), |v| files.path(v, Kind::Directory("policy directory")))
}

fn devices(root: &mut Table<'_>, files: &mut Files) -> Option<PathBuf> {
    root.optional("devices", |v| files.path(v, Kind::Needed("device registry")))
}

fn emergency(root: &mut Table<'_>, files: &mut Files) -> PathBuf {
    if !root.has("emergency") {
        files.written(files.resolve("emergency"), root.place(), "emergency file");
    }
    root.or("emergency", files.resolve("emergency"), |v| files.path(v, Kind::Writable("emergency file")))
}

fn timing(root: &mut Table<'_>) -> TimingSettings {
    let mut timing = TimingSettings::default();
    let Some(mut table) = root.table("gateway") else { return timing };
    let latitude = table.required("latitude", |v| v.number_in(-90.0..=90.0));
    let longitude = table.required("longitude", |v| v.number_in(-180.0..=180.0));
    let country =
        table.optional("country", countries::lower).map(|code| code.map(char::from).iter().collect::<String>().into());
    timing.tolerance = table.or("tolerance", timing.tolerance, Value::distance);
    table.finish();
    timing.place = latitude.zip(longitude).and_then(|(latitude, longitude)| {
        Some(GatewayPlace { coordinates: Coordinates::new(latitude, longitude)?, country })
    });
    timing
}

fn every_core() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Reports every item whose name was there before. Gives the items without their places.
fn distinct<T>(table: &Table<'_>, what: &str, items: Vec<(T, String, Place)>) -> Vec<T> {
    let mut seen = std::collections::BTreeMap::<String, Place>::new();
    let mut kept = Vec::new();
    for (item, name, place) in items {
        if let Some(first) = seen.get(&name) {
            let fault = Diagnostic::error(place, format!("two {what} are called `{name}`"));
            table.report(fault.label("again here").related(first.clone(), "first here"));
        } else {
            seen.insert(name, place);
        }
        kept.push(item);
    }
    kept
}
