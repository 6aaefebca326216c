//! Throwing the emergency switch: a file with one word, which the gateway reads every second.

use crate::evidence::Emergency;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Puts the word into the file: a reader finds the old one or the new one, never a part of either.
///
/// # Errors
/// The directory cannot be written.
pub fn write(path: &Path, emergency: Emergency) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    let written = File::create(&fresh)
        .and_then(|mut file| {
            writeln!(file, "{}", word(emergency))?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

/// The word for it, in the file and on the command line.
pub const fn word(emergency: Emergency) -> &'static str {
    match emergency {
        Emergency::Off => "off",
        Emergency::Observe => "observe",
        Emergency::Deny => "deny",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_stands_and_nothing_else_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("emergency");
        for emergency in [Emergency::Deny, Emergency::Observe, Emergency::Off] {
            write(&path, emergency).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("readable").trim(), word(emergency));
        }
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
        assert!(write(&dir.path().join("none/emergency"), Emergency::Deny).is_err());
        assert!(write(dir.path(), Emergency::Deny).is_err(), "a directory is no switch");
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
    }
}
