//! Law 9: imports point one way, and the pure rooms have no async, socket, file, clock, randomness, environment,
//! logging or hash-map order. Held by reading the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms that may only compute, first in `src/lib.rs`.
const PURE: [&str; 4] = ["latency", "evidence", "policy", "access"];

/// The only file of a pure room that may hold a hash map: it can be asked and not walked.
const MAP_FILE: &str = "policy/lookup.rs";

/// Words that do not occur in a pure room, and what they would bring in.
const BANNED: [(&str, &str); 36] = [
    ("async", "async"),
    ("await", "async"),
    ("tokio", "async"),
    ("hyper", "a network"),
    ("hyper_util", "a network"),
    ("rustls", "a network"),
    ("socket2", "a socket"),
    ("libc", "the system"),
    ("TcpStream", "a socket"),
    ("TcpListener", "a socket"),
    ("UdpSocket", "a socket"),
    ("UnixStream", "a socket"),
    ("UnixListener", "a socket"),
    ("ToSocketAddrs", "a name look-up"),
    ("std::fs", "a file"),
    ("std::io", "a file"),
    ("std::env", "the environment"),
    ("std::process", "the environment"),
    ("std::thread", "a thread"),
    ("thread_local", "shared state"),
    ("SystemTime", "a clock"),
    ("Instant", "a clock"),
    ("Timestamp::now", "a clock"),
    ("Zoned::now", "a clock"),
    ("TimeZone::get", "the machine's zones: ask the bundled database"),
    ("TimeZone::system", "the machine's zone"),
    ("rand", "randomness"),
    ("getrandom", "randomness"),
    ("RandomState", "randomness"),
    ("SystemRandom", "randomness"),
    ("tracing", "logging"),
    ("println", "logging"),
    ("eprintln", "logging"),
    ("dbg", "logging"),
    ("HashMap", "hash order"),
    ("HashSet", "hash order"),
];

#[test]
fn imports_point_one_way() {
    let order = rooms();
    assert_eq!(order.get(..PURE.len()).unwrap(), PURE, "src/lib.rs lists the pure rooms first");
    let place = |room: &str| order.iter().position(|known| known == room);
    let mut wrong = Vec::new();
    for file in sources() {
        let Some(own) = place(&file.room) else { continue };
        for used in file.uses() {
            match place(&used) {
                Some(other) if other <= own => {}
                Some(_) => {
                    wrong.push(format!("{}: `{}` may not use `{used}`, which comes after it", file.name, file.room))
                }
                None => wrong.push(format!("{}: `crate::{used}` is no room of src/lib.rs", file.name)),
            }
        }
        if let Some(chain) = file.climbs_out() {
            wrong.push(format!("{}: `{chain}` leaves the room; write `crate::…`", file.name));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_pure_rooms_only_compute() {
    let mut wrong = Vec::new();
    for file in sources().iter().filter(|file| PURE.contains(&file.room.as_str())) {
        for (word, brings) in BANNED {
            if file.name == MAP_FILE && word == "HashMap" {
                continue;
            }
            for line in lines_with(&file.code, word) {
                wrong.push(format!("{}:{line}: `{word}` brings in {brings}", file.name));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_map_of_the_pure_rooms_cannot_be_walked() {
    let files = sources();
    let map = files.iter().find(|file| file.name == MAP_FILE).expect("the map has its file");
    for word in [
        "iter",
        "iter_mut",
        "into_iter",
        "IntoIterator",
        "keys",
        "values",
        "values_mut",
        "drain",
        "retain",
        "for_each",
        "Deref",
    ] {
        assert!(lines_with(&map.code, word).is_empty(), "{MAP_FILE} walks its map by `{word}`");
    }
    assert!(!map.code.contains("derive(Clone, Debug)"), "a derived `Debug` walks the map");
}

#[test]
fn the_reader_of_sources_sees_what_it_should() {
    let code = strip(
        "use crate::policy::x; // crate::gateway\nlet s = \"crate::cli \\\" \"; let c = '\"'; /* tokio */ fn f<'a>() {}\nlet r = r#\"std::fs\"#;",
    );
    assert!(code.contains("crate::policy") && code.contains("fn f<'a>"));
    for hidden in ["gateway", "cli", "tokio", "std::fs"] {
        assert!(!code.contains(hidden), "{hidden} in {code}");
    }
    let file = Source {
        name: "x".into(),
        room: "x".into(),
        depth: 2,
        code: "use crate::{policy::{a, b}, evidence, store::c};\ncrate::audit::x()".into(),
    };
    assert_eq!(file.uses(), ["policy", "evidence", "store", "audit"]);
    assert_eq!(lines_with("a\nstd::fs::read\nmy_rand\nrand::x", "rand"), [4]);
    assert_eq!(lines_with("use std::{fs, net::IpAddr};", "std::fs"), [1]);
}

/// One file of `src/`, its comments, texts and tests blanked out.
struct Source {
    name: String,
    room: String,
    /// How many modules lie between the file and the crate: 1 for `policy/mod.rs`, 2 for `policy/reason.rs`.
    depth: usize,
    code: String,
}

impl Source {
    /// The rooms named after `crate::`, alone or in braces.
    fn uses(&self) -> Vec<String> {
        let mut used = Vec::new();
        for (at, _) in self.code.match_indices("crate::") {
            let before = self.code[..at].chars().next_back();
            if before.is_some_and(is_word) {
                continue;
            }
            let rest = &self.code[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(group) => used.extend(first_words(group)),
                None => used.push(rest.chars().take_while(|c| is_word(*c)).collect()),
            }
        }
        used.retain(|name| !name.is_empty());
        used
    }

    /// A chain of `super` that reaches the crate's root.
    fn climbs_out(&self) -> Option<String> {
        let chain = "super::".repeat(self.depth);
        self.code.contains(&chain).then_some(chain)
    }
}

/// The modules of `src/lib.rs` in their order.
fn rooms() -> Vec<String> {
    let text = strip(&fs::read_to_string(root().join("lib.rs")).unwrap());
    text.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';')).map(str::to_owned).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&root(), &mut paths);
    paths.sort();
    let sources: Vec<Source> = paths.iter().map(|path| read(path)).collect();
    assert!(sources.len() > 30, "the sources were not found");
    sources
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn read(path: &Path) -> Source {
    let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
    let parts: Vec<&str> = name.trim_end_matches(".rs").split('/').filter(|part| *part != "mod").collect();
    let code = strip(&fs::read_to_string(path).unwrap());
    // tests stand last in a file; what stands in a file of its own under `tests` is test as a whole
    let end = code.find("#[cfg(test)]\nmod ").or_else(|| code.find("#[cfg(test)]\npub mod ")).unwrap_or(code.len());
    let code = if parts.last() == Some(&"tests") { String::new() } else { code[..end].to_owned() };
    Source { room: parts[0].to_owned(), depth: parts.len(), code, name }
}

/// The first word of every item in braces, nested braces left out.
fn first_words(group: &str) -> Vec<String> {
    let (mut words, mut depth, mut fresh) = (vec![String::new()], 0, true);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => (fresh, words) = (true, [words, vec![String::new()]].concat()),
            c if c.is_whitespace() => {}
            c if depth == 0 && fresh && is_word(c) => words.last_mut().unwrap().push(c),
            _ => fresh = depth == 0 && fresh && words.last().unwrap().is_empty(),
        }
    }
    words
}

/// The lines in which `word` stands by itself; `std::fs` is also found in `std::{fs, …}`.
fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let alone = |line: &str, word: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
    };
    let grouped = |line: &str| match word.strip_prefix("std::") {
        Some(module) => line.contains("use std::{") && alone(line, module),
        None => false,
    };
    let lines = code.lines().enumerate();
    lines.filter(|(_, line)| alone(line, word) || grouped(line)).map(|(index, _)| index + 1).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Blanks out comments, texts and characters; lines keep their numbers.
fn strip(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_text(rest, out.chars().next_back()) {
            let close = format!("\"{}", "#".repeat(hashes));
            let start = 2 + hashes;
            rest[start..].find(&close).map_or(rest.len(), |end| start + end + close.len())
        } else if c == '"' {
            quoted(rest, '"')
        } else if c == '\'' && is_character(rest) {
            quoted(rest, '\'')
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
        out.push(' ');
        rest = &rest[skipped..];
    }
    out
}

fn raw_text(rest: &str, before: Option<char>) -> Option<usize> {
    let after = rest.strip_prefix('r').filter(|_| !before.is_some_and(is_word))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// `'x'` or `'\n'`, and not the lifetime `'x`.
fn is_character(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}
