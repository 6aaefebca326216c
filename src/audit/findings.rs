//! Findings about devices: each is an alert, and none is repeated so often that it drowns the others.

use crate::evidence::{Certificate, Evidence, Fact, Fault, Moment};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The same finding about the same device is not repeated for this long, milliseconds.
const QUIET: u64 = 60_000;

/// Different findings within that time; further ones raise no alert. The records of their requests have them all.
const MOST: usize = 1024;

/// What was raised lately. Only connections with something wrong about their device come here, so a lock will do.
#[derive(Default)]
pub struct Findings(Mutex<HashMap<(Box<str>, &'static str), Moment>>);

impl Findings {
    /// Whether to raise the finding `code` about `device`: an id, or a key where it is not clear whose it is.
    pub fn is_news(&self, device: &str, code: &'static str, now: Moment) -> bool {
        let mut raised = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Box::from(device), code);
        if raised.get(&key).is_some_and(|at| recent(*at, now)) {
            return false;
        }
        if raised.len() >= MOST {
            raised.retain(|_, at| recent(*at, now));
        }
        let room = raised.len() < MOST;
        if room {
            raised.insert(key, now);
        }
        room
    }
}

/// A clock that was set back does not silence for longer.
const fn recent(at: Moment, now: Moment) -> bool {
    now.0.abs_diff(at.0) < QUIET
}

/// What a person should look at: one key or certificate, and more than one device that it could stand for.
pub fn finding(evidence: &Evidence) -> Option<(Fault, &Arc<Certificate>)> {
    match (&evidence.device, &evidence.certificate) {
        (
            Fact::Invalid(
                fault @ (Fault::CertificateOtherDevice | Fault::AuthorityOtherClass | Fault::DeviceAmbiguous),
            ),
            Fact::Known(certificate),
        ) => Some((*fault, certificate)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute() {
        let (findings, now) = (Findings::default(), Moment(1_800_000_000_000));
        assert!(findings.is_news("a", "x", now));
        assert!(!findings.is_news("a", "x", now.plus_millis(59_999)));
        assert!(findings.is_news("a", "y", now), "something else about it");
        assert!(findings.is_news("b", "x", now), "the same about another");
        assert!(findings.is_news("a", "x", now.plus_millis(60_000)));
        assert!(findings.is_news("a", "x", now.plus_millis(-60_000)), "the clock was set back");
    }

    #[test]
    fn a_flood_of_devices_is_no_flood_of_alerts() {
        let (findings, now) = (Findings::default(), Moment(1_800_000_000_000));
        let raised = (0..10 * MOST).filter(|n| findings.is_news(&n.to_string(), "x", now)).count();
        assert_eq!(raised, MOST);
        assert!(findings.is_news("late", "x", now.plus_millis(60_000)), "and it is over when the minute is");
    }
}
