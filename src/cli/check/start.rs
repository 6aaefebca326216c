//! What would keep the gateway from starting though its configuration is good: keys that do not fit, lists that lie.

use crate::config::Config;
use crate::evidence::Moment;
use crate::gateway::{Expiry, Rehearsal, Stage, StartFault, TlsFault};
use crate::policy::diagnostic::{Diagnostic, Place};
use crate::sources::certificate::TrustFault;
use crate::sources::geo::Geo;
use std::path::Path;

/// Loads what the gateway loads at start, and says what does not work and what soon will not. A fault names its file, or
/// else the configuration.
pub fn faults(config: &Config, now: Moment) -> Vec<Diagnostic> {
    let here = Place::file(config.path.display().to_string());
    let rehearsal = Rehearsal::of(&config.settings);
    let mut faults = Vec::new();
    for fault in &rehearsal.faults {
        match fault {
            StartFault::Tls { fault: TlsFault::Trust(trust), .. } => faults.extend(of_trust(trust, &here)),
            fault => faults.extend(error(&here, &fault.to_string())),
        }
    }
    // Two listeners may name one file.
    let mut said = Vec::new();
    faults.retain(|fault| {
        !said.contains(fault) && {
            said.push(fault.clone());
            true
        }
    });
    if rehearsal.sealed {
        let fault = Diagnostic::warning(here, "the authority's key was not opened");
        let fault = fault.note("its passphrase is in the gateway's environment, and not in this one");
        faults.push(fault.help("set `RANGEGATE_AUTHORITY_PASSPHRASE` here too, or name a file with `passphrase`"));
    }
    faults.extend(rehearsal.expiries.iter().filter_map(|expiry| of_expiry(expiry, now)));
    let geo = &config.settings.geo;
    for database in Geo::load(geo).databases() {
        let wrong = [
            (&geo.places, "places", "asns", holds_asns_alone as fn(&str) -> bool),
            (&geo.asns, "asns", "places", holds_places_alone),
        ];
        for (_, here, there, _) in
            wrong.iter().filter(|(paths, .., alone)| paths.contains(&database.path) && alone(&database.kind))
        {
            let fault = format!("this is no database for `{here}`: it says that it is `{}`", database.kind);
            let fault = Diagnostic::warning(of_file(&database.path), fault).help(format!("name it in `{there}`"));
            faults.push(fault.note("requirements that rest on it count as unknown, and unknown never passes"));
        }
        // A file that is not there was reported where it is named.
        if let Some(why) = database.error.filter(|_| database.path.is_file()) {
            let fault = Diagnostic::warning(of_file(&database.path), format!("this is no geography database: {why}"));
            faults.push(fault.note("requirements that rest on it count as unknown, and unknown never passes"));
        }
    }
    faults
}

fn of_trust<'a>(trust: &'a TrustFault, here: &'a Place) -> impl Iterator<Item = Diagnostic> + 'a {
    trust.files.iter().map(|file| {
        let place = if file.path.as_os_str().is_empty() { here.clone() } else { of_file(&file.path) };
        Diagnostic::error(place, file.problem.as_str()).help(file.help)
    })
}

/// A warning: it may be put right without a word in the configuration.
fn of_expiry(expiry: &Expiry, now: Moment) -> Option<Diagnostic> {
    let help = match expiry.stage(now) {
        Stage::Good => return None,
        Stage::Soon => "put a newer one in its place before",
        Stage::Over => "put a newer one in its place",
    };
    let fault = Diagnostic::warning(of_file(&expiry.path), expiry.told(now)?);
    Some(fault.help(help).note(expiry.consequence()))
}

/// By the names that MaxMind and DB-IP give their databases. Those that hold both, and those of others, tell nothing.
fn holds_asns_alone(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    kind.contains("asn") && !["city", "country", "location", "enterprise"].iter().any(|other| kind.contains(other))
}

fn holds_places_alone(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    ["city", "country"].iter().any(|place| kind.contains(place))
        && !["asn", "isp", "location", "enterprise", "full"].iter().any(|other| kind.contains(other))
}

fn of_file(path: &Path) -> Place {
    Place::file(path.display().to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_known_by_the_name_its_maker_gives_it() {
        for (kind, asns, places) in [
            ("GeoLite2-ASN", true, false),
            ("DBIP-ASN-Lite (compat=GeoLite2-ASN)", true, false),
            ("GeoLite2-City", false, true),
            ("GeoIP2-Country", false, true),
            ("DBIP-City-Lite", false, true),
            ("GeoIP2-Enterprise", false, false),
            ("DBIP-Location-ISP (compat=Enterprise)", false, false),
            ("GeoIP2-ISP", false, false),
            ("geo-asn-country", false, false),
            ("", false, false),
        ] {
            assert_eq!((holds_asns_alone(kind), holds_places_alone(kind)), (asns, places), "{kind}");
        }
    }
}
