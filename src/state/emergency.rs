//! The emergency switch as the gateway holds it: it follows a file that says `observe`, `deny` or nothing.
//!
//! Whoever may write the file may throw the switch; the file system's permissions are its access control.

use crate::evidence::Emergency;
use crate::store;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

#[derive(Debug)]
pub struct EmergencySwitch {
    path: PathBuf,
    position: AtomicU8,
    /// It was read before, whatever came of it.
    begun: AtomicBool,
    /// It could not be made out when last read.
    faulty: AtomicBool,
}

/// Why the switch could not be made out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub why: String,
    /// It could be the time before, or this was the first time.
    pub news: bool,
    /// The gateway starts: nobody knows what it said, so everything is refused.
    pub denied: bool,
}

impl EmergencySwitch {
    /// Off until the first `read`.
    pub fn new(path: PathBuf) -> Self {
        let position = AtomicU8::new(encode(Emergency::Off));
        Self { path, position, begun: AtomicBool::new(false), faulty: AtomicBool::new(false) }
    }

    /// Another file is followed from now on; until it is read, the switch stays where it is.
    #[must_use]
    pub fn moved_to(&self, path: PathBuf) -> Self {
        let position = AtomicU8::new(self.position.load(Ordering::Relaxed));
        Self { path, position, begun: AtomicBool::new(true), faulty: AtomicBool::new(false) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn position(&self) -> Emergency {
        decode(self.position.load(Ordering::Relaxed))
    }

    /// Reads the file; tells the new position when it changed.
    ///
    /// # Errors
    /// The file cannot be read or makes no sense. The switch stays where it is, and at the start is at `deny`: a fault
    /// never loosens.
    pub fn read(&self) -> Result<Option<Emergency>, Unread> {
        let begins = !self.begun.swap(true, Ordering::Relaxed);
        let position = store::emergency::read(&self.path).map_err(|why| {
            if begins {
                self.position.store(encode(Emergency::Deny), Ordering::Relaxed);
            }
            Unread { why, news: !self.faulty.swap(true, Ordering::Relaxed), denied: begins }
        })?;
        self.faulty.store(false, Ordering::Relaxed);
        let before = decode(self.position.swap(encode(position), Ordering::Relaxed));
        Ok((before != position).then_some(position))
    }
}

const fn encode(position: Emergency) -> u8 {
    match position {
        Emergency::Off => 0,
        Emergency::Observe => 1,
        Emergency::Deny => 2,
    }
}

const fn decode(code: u8) -> Emergency {
    match code {
        0 => Emergency::Off,
        1 => Emergency::Observe,
        _ => Emergency::Deny,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_follows_its_file_and_stays_put_on_nonsense() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("emergency");
        let switch = EmergencySwitch::new(path.clone());
        assert_eq!(switch.read(), Ok(None), "no file: off");
        store::emergency::write(&path, Emergency::Deny).unwrap();
        assert_eq!(switch.read(), Ok(Some(Emergency::Deny)));
        std::fs::write(&path, "allow everything").unwrap();
        let faults: Vec<_> = (0..2).map(|_| switch.read().map_err(|fault| (fault.news, fault.denied))).collect();
        assert_eq!(faults, [Err((true, false)), Err((false, false))]);
        assert_eq!(switch.position(), Emergency::Deny, "nonsense never loosens");
        let started = EmergencySwitch::new(path.clone());
        assert!(started.read().is_err_and(|fault| fault.denied));
        assert_eq!(started.position(), Emergency::Deny, "nobody knows what it said");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(switch.read(), Ok(Some(Emergency::Off)));
    }
}
