//! What would keep the gateway from starting though its configuration is good: keys that do not fit, lists that lie.

use crate::config::Config;
use crate::enforce::assertion::Signer;
use crate::enforce::upstream::Upstreams;
use crate::gateway::settings::ClientCertificates;
use crate::policy::diagnostic::{Diagnostic, Place};
use crate::sources::certificate::Trust;
use crate::sources::geo::Geo;

/// Loads what the gateway loads at start, and says what does not work. A fault names its file, or else the
/// configuration.
pub fn faults(config: &Config) -> Vec<Diagnostic> {
    let here = || Place::file(config.path.display().to_string());
    let mut faults = Vec::new();
    for listener in &config.settings.listeners {
        if listener.client_certificates != ClientCertificates::Off
            && let Err(trust) = Trust::load(&listener.trust)
        {
            faults.extend(trust.files.into_iter().map(|file| {
                let place = if file.path.as_os_str().is_empty() {
                    here()
                } else {
                    Place::file(file.path.display().to_string())
                };
                Diagnostic::error(place, file.problem).help(file.help)
            }));
        }
    }
    if let Err(fault) = Signer::load(&config.settings.assertion) {
        faults.extend(error(&here(), &fault.to_string()));
    }
    if let Err(fault) = Upstreams::load(&config.settings.upstream, &config.settings.upstream_exceptions) {
        faults.extend(error(&here(), &fault.to_string()));
    }
    for database in Geo::load(&config.settings.geo).databases() {
        // A file that is not there was reported where it is named.
        if let Some(why) = database.error.filter(|_| database.path.is_file()) {
            let place = Place::file(database.path.display().to_string());
            let fault = Diagnostic::warning(place, format!("this is no geography database: {why}"));
            faults.push(fault.note("requirements that rest on it count as unknown, and unknown never passes"));
        }
    }
    faults
}

/// The other rooms put a remedy on a line of its own.
fn error(place: &Place, text: &str) -> Option<Diagnostic> {
    let mut lines = text.lines();
    let fault = Diagnostic::error(place.clone(), lines.next()?);
    Some(lines.fold(fault, |fault, line| match line.trim().strip_prefix("help: ") {
        Some(help) => fault.help(help),
        None => fault.note(line.trim()),
    }))
}
