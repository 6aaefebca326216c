//! The policy files in `policies/`: the good ones keep their own tests, each bad one its diagnostic to the letter.
//!
//! `RANGEGATE_BLESS=1 cargo test --test policies` writes what the diagnostics say now; read them before you keep them.

use rangegate::policy::diagnostic::render;
use rangegate::policy::source::Source;
use rangegate::policy::{Context, Policy, cases};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_example_policies_do_what_their_tests_say() {
    let sources: Vec<Source> = files("", "toml").iter().map(|path| source(path)).collect();
    hold(&sources);
}

#[test]
fn every_case_does_what_its_tests_say() {
    for path in files("cases", "toml") {
        hold(&[source(&path)]);
    }
}

#[test]
fn the_language_page_says_what_compiles() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/README.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).map(|block| block.split_once("```").unwrap().0).collect();
    assert_eq!(blocks.len(), 3);
    hold(&[Source::new("README.md", blocks.concat())]);
}

#[test]
fn every_fault_is_told_as_written() {
    let bless = std::env::var_os("RANGEGATE_BLESS").is_some();
    let bad = files("bad", "toml");
    assert!(bad.len() >= 25, "only {} kinds of fault", bad.len());
    let mut wrong = Vec::new();
    for path in bad {
        let source = source(&path);
        let told = match Policy::compile(std::slice::from_ref(&source), &context()) {
            Ok(_) => "it compiles\n".to_owned(),
            Err(faults) => render(&faults, std::slice::from_ref(&source), false),
        };
        assert_ne!(told, "it compiles\n", "{}", path.display());
        let expected = path.with_extension("txt");
        if bless {
            fs::write(&expected, &told).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != told {
            wrong.push(format!("{} now reads:\n{told}", expected.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_diagnostic_is_left_without_its_policy() {
    for path in files("bad", "txt") {
        assert!(path.with_extension("toml").exists(), "{} belongs to no policy", path.display());
    }
}

#[test]
fn faults_of_all_files_come_at_once() {
    let sources = [
        Source::new(
            "a.toml",
            "[[resource]]\nid = 'a'\nhosts = ['x.example']\nupstream = 'ftp://x'\n[[resource.require]]\nid = 'q'\nthat = { country = 'XX' }\n",
        ),
        Source::new("b.toml", "[[resurce]]\nid = 'b'\n"),
        Source::new("c.toml", "[[require]]\nid = 'r'\nthat = { set = 'nowhere' }\n"),
    ];
    let faults = Policy::compile(&sources, &context()).unwrap_err();
    let places: Vec<&str> = faults.iter().map(|fault| &*fault.place.file).collect();
    assert_eq!(places, ["a.toml", "a.toml", "b.toml", "c.toml"], "{faults:#?}");
}

#[test]
fn what_nothing_measures_is_warned_of_and_no_fault() {
    let text = "[[resource]]\nid = 'a'\nhosts = 'a.example'\nupstream = 'http://127.0.0.1:1'\n\
                require = [{ id = 'q', that = { posture = { attested = true } } }]\n";
    let source = Source::new("a.toml", text);
    let policy = Policy::compile(std::slice::from_ref(&source), &context()).unwrap();
    let told: Vec<String> =
        policy.warnings().iter().map(|warning| warning.line(std::slice::from_ref(&source))).collect();
    assert_eq!(
        told,
        ["a.toml:5:43: warning: nothing measures `posture` yet \
          (unknown for every request, which passes neither this nor its opposite)"]
    );
    let all: Vec<Source> = files("", "toml").iter().map(|path| self::source(path)).collect();
    assert_eq!(Policy::compile(&all, &context()).unwrap().warnings(), [], "the shipped policies");
}

#[test]
fn origins_can_be_put_in_the_place_of_others() {
    let sources: Vec<Source> = files("", "toml").iter().map(|path| source(path)).collect();
    let upstreams = BTreeMap::from([("http://127.0.0.1:9001".to_owned(), "http://127.0.0.1:40001".to_owned())]);
    let policy = Policy::compile(&sources, &Context { upstreams, ..context() }).unwrap();
    let origins: Vec<String> = policy.origins().iter().map(|origin| origin.to_string()).collect();
    assert_eq!(
        origins,
        [
            "http://127.0.0.1:9002",
            "http://127.0.0.1:9003",
            "http://127.0.0.1:40001",
            "rangegate:api",
            "rangegate:assertion-keys"
        ]
    );
    let same = Policy::compile(&sources, &context()).unwrap();
    assert_eq!(policy.version(), same.version(), "the version is that of the files");
}

fn hold(sources: &[Source]) {
    let policy =
        Policy::compile(sources, &context()).unwrap_or_else(|faults| panic!("\n{}", render(&faults, sources, false)));
    let results = cases::run(&policy);
    assert!(!results.is_empty(), "no test in {}", sources[0].name);
    let wrong: Vec<String> = results
        .iter()
        .filter_map(|result| {
            Some(format!("{}: {}: {}", result.case.place.file, result.case.name, result.difference()?))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn context() -> Context {
    Context { lists: vec!["anonymous".into(), "hosting".into()], ..Context::default() }
}

/// The files of a folder of `policies/` by name, so that texts do not depend on where the repository lies.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

fn source(path: &Path) -> Source {
    let name = path.file_name().unwrap().to_str().unwrap();
    Source::new(name, fs::read_to_string(path).unwrap())
}
