//! The emergency switch: a file with one word, written by the command line and read by the gateway.

use super::policy_files::in_words;
use crate::evidence::Emergency;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The longest file that is looked at, bytes.
const MOST: u64 = 64;

/// What the switch says. No file: `Off`.
///
/// # Errors
/// The file cannot be read, or holds none of the three words. To keep what was in force is safe then; to take it for
/// `Off` is not.
pub fn read(path: &Path) -> Result<Emergency, String> {
    let at = |why: &str| format!("the emergency file `{}`: {why}", path.display());
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text)) {
        Ok(_) => parse(&text).ok_or_else(|| at("expected `observe`, `deny` or `off`")),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Emergency::Off),
        Err(why) => Err(at(&in_words(&why))),
    }
}

/// Throws the switch: a reader finds the old word or the new one, never a part of either.
///
/// # Errors
/// The directory cannot be written.
pub fn write(path: &Path, emergency: Emergency) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    let written = File::create(&fresh)
        .and_then(|mut file| {
            // Whatever the umask of whoever throws it: the gateway, which is somebody else, has to read it.
            file.set_permissions(Permissions::from_mode(0o644))?;
            writeln!(file, "{}", word(emergency))?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

pub const fn word(emergency: Emergency) -> &'static str {
    match emergency {
        Emergency::Off => "off",
        Emergency::Observe => "observe",
        Emergency::Deny => "deny",
    }
}

fn parse(text: &str) -> Option<Emergency> {
    [Emergency::Off, Emergency::Observe, Emergency::Deny].into_iter().find(|emergency| word(*emergency) == text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("emergency");
        assert_eq!(read(&path), Ok(Emergency::Off));
        for emergency in [Emergency::Deny, Emergency::Observe, Emergency::Off] {
            write(&path, emergency).expect("written");
            assert_eq!(read(&path), Ok(emergency));
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o644, "others read it");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
    }

    #[test]
    fn an_unknown_word_is_no_answer() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("emergency");
        for text in ["", "Deny", "deny now", "\u{0}"] {
            fs::write(&path, text).expect("written");
            assert!(read(&path).is_err(), "{text:?}");
        }
        fs::write(&path, b"\xff").expect("written");
        assert!(read(&path).is_err());
        assert!(read(dir.path()).is_err(), "a directory is no switch");
        assert!(write(&dir.path().join("none/emergency"), Emergency::Deny).is_err());
    }
}
