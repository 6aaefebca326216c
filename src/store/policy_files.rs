//! Reading the sources an operator keeps in files: bounded, regular files only, each fault with its file.

use crate::policy::diagnostic::{Diagnostic, Place};
use crate::policy::source::Source;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The largest single file, bytes.
pub const MOST_BYTES: u64 = 8 << 20;
/// The largest policy directory, bytes and files.
pub const MOST_TOTAL_BYTES: usize = 64 << 20;
pub const MOST_FILES: usize = 10_000;

/// The `*.toml` files directly in `dir`, sorted by name. Hidden files and folders are left out.
///
/// # Errors
/// One diagnostic for every file that cannot be read, or one for the directory.
pub fn read_dir(dir: &Path) -> Result<Vec<Source>, Vec<Diagnostic>> {
    let whole = |message: String| vec![Diagnostic::error(Place::file(dir.display().to_string()), message)];
    let unreadable = |why: &io::Error| whole(format!("the policy directory cannot be read: {}", in_words(why)));
    let home = dir.canonicalize().map_err(|why| unreadable(&why))?;
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(|why| unreadable(&why))? {
        let path = entry.map_err(|why| unreadable(&why))?.path();
        if is_policy(&path) {
            paths.push(path);
        }
        if paths.len() > MOST_FILES {
            return Err(whole(format!("the directory holds more than {MOST_FILES} policy files")));
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(vec![
            Diagnostic::error(Place::file(dir.display().to_string()), "the directory holds no policy")
                .help("a policy is a file whose name ends with `.toml`; without one everything is refused"),
        ]);
    }
    let mut sources = Vec::new();
    let mut faults = Vec::new();
    let mut total = 0;
    for path in &paths {
        match within(&home, path).and_then(|()| read_source(path)) {
            Ok(source) => {
                total += source.text.len();
                sources.push(source);
            }
            Err(fault) => faults.push(fault),
        }
        if total > MOST_TOTAL_BYTES {
            faults.push(Diagnostic::error(
                Place::file(dir.display().to_string()),
                "the policy files together exceed 64 MiB",
            ));
            break;
        }
    }
    if faults.is_empty() { Ok(sources) } else { Err(faults) }
}

/// One file as a source. Its name is the path as given.
///
/// # Errors
/// It is missing, unreadable, not a regular file, larger than `MOST_BYTES`, or not UTF-8.
pub fn read_source(path: &Path) -> Result<Source, Diagnostic> {
    let name = path.display().to_string();
    let fault = |message: String| Diagnostic::error(Place::file(name.as_str()), message);
    let bytes = read_regular(path).map_err(|why| fault(format!("the file cannot be read: {}", in_words(&why))))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, text)),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let line = error.as_bytes().iter().take(good).filter(|byte| **byte == b'\n').count() + 1;
            Err(fault(format!("line {line} is not UTF-8 text")))
        }
    }
}

/// What went wrong with a file, in plain words.
pub fn in_words(why: &io::Error) -> String {
    match why.kind() {
        ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        ErrorKind::PermissionDenied => "permission is denied".to_owned(),
        ErrorKind::IsADirectory => "it is a directory".to_owned(),
        ErrorKind::NotADirectory => "a part of the path is no directory".to_owned(),
        ErrorKind::FileTooLarge => format!("it is larger than {} MiB", MOST_BYTES >> 20),
        ErrorKind::InvalidInput => "it is not a regular file".to_owned(),
        _ => why.to_string().to_lowercase(),
    }
}

fn is_policy(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "toml") && !path.is_dir()
}

/// A link may lead elsewhere in the directory (a mounted configuration map does), not out of it: a fault shows
/// the line it is about, and that line must not come from a file the author could not read.
fn within(home: &Path, path: &Path) -> Result<(), Diagnostic> {
    let place = || Place::file(path.display().to_string());
    let real: PathBuf = path
        .canonicalize()
        .map_err(|why| Diagnostic::error(place(), format!("the file cannot be read: {}", in_words(&why))))?;
    if real.starts_with(home) {
        return Ok(());
    }
    Err(Diagnostic::error(place(), "the file is a link that leads out of the policy directory")
        .help("put the file itself there, or name its own directory as `policies`"))
}

fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    options.read(true);
    // Opening a named pipe would wait for its other end.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(result: Result<Vec<Source>, Vec<Diagnostic>>) -> Vec<String> {
        result.expect_err("faults").into_iter().map(|fault| fault.message).collect()
    }

    #[test]
    fn only_visible_toml_files_of_the_directory_are_read_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["b.toml", "a.toml", ".hidden.toml", "notes.md"] {
            fs::write(dir.path().join(name), name).expect("written");
        }
        fs::create_dir(dir.path().join("cases")).expect("made");
        fs::write(dir.path().join("cases/c.toml"), "").expect("written");
        fs::create_dir(dir.path().join("folder.toml")).expect("made");
        let sources = read_dir(dir.path()).expect("readable");
        let texts: Vec<&str> = sources.iter().map(|source| &*source.text).collect();
        assert_eq!(texts, ["a.toml", "b.toml"]);
    }

    #[test]
    fn every_unreadable_file_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("a.toml"), b"x = 1\ny = '\xff'").expect("written");
        fs::write(dir.path().join("b.toml"), vec![b'#'; MOST_BYTES as usize + 1]).expect("written");
        assert_eq!(
            messages(read_dir(dir.path())),
            ["line 2 is not UTF-8 text", "the file cannot be read: it is larger than 8 MiB"]
        );
        let empty = tempfile::tempdir().expect("a directory");
        assert_eq!(messages(read_dir(empty.path())), ["the directory holds no policy"]);
        assert!(messages(read_dir(&empty.path().join("none")))[0].contains("no such file"));
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_inside_and_pipes_do_not_block() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("..data")).expect("made");
        fs::write(dir.path().join("..data/a.toml"), "inside").expect("written");
        symlink("..data/a.toml", dir.path().join("a.toml")).expect("linked");
        assert_eq!(read_dir(dir.path()).expect("inside").len(), 1);

        symlink("/etc/passwd", dir.path().join("b.toml")).expect("linked");
        symlink("gone", dir.path().join("c.toml")).expect("linked");
        let pipe = dir.path().join("d.toml");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
        assert_eq!(
            messages(read_dir(dir.path())),
            [
                "the file is a link that leads out of the policy directory",
                "the file cannot be read: there is no such file or directory",
                "the file cannot be read: it is not a regular file",
            ]
        );
    }
}
