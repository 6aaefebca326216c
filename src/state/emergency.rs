//! The emergency switch: a small file that says `observe` or `deny`. No file, or an empty one: off.
//!
//! Whoever may write the file may throw the switch; the file system's permissions are its access control.

use crate::evidence::Emergency;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

#[derive(Debug)]
pub struct EmergencySwitch {
    path: PathBuf,
    position: AtomicU8,
}

/// The file says something else, or cannot be read. The switch stays where it is.
#[derive(Debug, thiserror::Error)]
pub enum EmergencyFault {
    #[error("cannot read `{}`: {cause}; the switch stays where it is", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("`{}` says `{said}`; write `observe` or `deny`, or remove the file", path.display())]
    Word { path: PathBuf, said: String },
}

impl EmergencySwitch {
    /// Off until the first `read`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, position: AtomicU8::new(encode(Emergency::Off)) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn position(&self) -> Emergency {
        decode(self.position.load(Ordering::Relaxed))
    }

    /// Reads the file; tells the new position when it changed.
    pub fn read(&self) -> Result<Option<Emergency>, EmergencyFault> {
        let said = match std::fs::read_to_string(&self.path) {
            Ok(said) => said,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(cause) => return Err(EmergencyFault::Unreadable { path: self.path.clone(), cause }),
        };
        let position = match said.trim() {
            "" | "off" => Emergency::Off,
            "observe" => Emergency::Observe,
            "deny" => Emergency::Deny,
            other => {
                let said = other.chars().filter(|c| !c.is_control()).take(20).collect();
                return Err(EmergencyFault::Word { path: self.path.clone(), said });
            }
        };
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
        assert_eq!(switch.read().unwrap(), None, "no file: off");
        std::fs::write(&path, "deny\n").unwrap();
        assert_eq!(switch.read().unwrap(), Some(Emergency::Deny));
        std::fs::write(&path, "allow everything").unwrap();
        let fault = switch.read().unwrap_err().to_string();
        assert!(fault.contains("`allow everything`") && fault.contains("write `observe` or `deny`"), "{fault}");
        assert_eq!(switch.position(), Emergency::Deny, "nonsense never loosens");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(switch.read().unwrap(), Some(Emergency::Off));
    }
}
