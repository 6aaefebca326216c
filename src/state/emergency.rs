//! The emergency switch as the gateway holds it: it follows a file that says `observe`, `deny` or nothing.
//!
//! Whoever may write the file may throw the switch; the file system's permissions are its access control.

use crate::evidence::Emergency;
use crate::store;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

#[derive(Debug)]
pub struct EmergencySwitch {
    path: PathBuf,
    position: AtomicU8,
}

impl EmergencySwitch {
    /// Off until the first `read`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, position: AtomicU8::new(encode(Emergency::Off)) }
    }

    /// Another file is followed from now on; until it is read, the switch stays where it is.
    #[must_use]
    pub fn moved_to(&self, path: PathBuf) -> Self {
        Self { path, position: AtomicU8::new(self.position.load(Ordering::Relaxed)) }
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
    /// The file cannot be read or makes no sense. The switch stays where it is: a fault never loosens.
    pub fn read(&self) -> Result<Option<Emergency>, String> {
        let position = store::emergency::read(&self.path)?;
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
        assert!(switch.read().is_err());
        assert_eq!(switch.position(), Emergency::Deny, "nonsense never loosens");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(switch.read(), Ok(Some(Emergency::Off)));
    }
}
