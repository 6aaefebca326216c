//! The newcomer's command as a newcomer uses it: the story, the lines it prints to paste, and Ctrl-C.

use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// How long a busy machine may take to say the next line.
const PATIENCE: Duration = Duration::from_secs(120);

/// Each row by what only it says, and how it ends.
const ROWS: [(&str, &str); 26] = [
    ("Ann on her own laptop ", "forward 200"),
    ("Ann's token on Bob's laptop ", "deny 401"),
    ("Ann's token, no certificate ", "deny 403"),
    ("Ann's old laptop, revoked ", "deny 403"),
    ("Ann, abroad ", "deny 403"),
    ("Ann, by way of a rented server ", "deny 403"),
    ("Ann, abroad, reading the wiki ", "observe 200"),
    ("Ann's laptop, behind a relay ", "step-up 401"),
    ("Ann, whose address says Hawaii ", "deny 403"),
    ("Ann, approving without a grant ", "require-grant 403"),
    ("Ann, signed in nine hours ago ", "step-up 401"),
    ("Ann's sixth report in a minute ", "deny 429"),
    ("Eve, under investigation ", "decoy 200"),
    ("Bob's laptop, stolen mid-answer ", "200, then cut"),
    ("Olga, who runs it, invites Dan ", "forward 201"),
    ("Dan's new laptop, with the code ", "forward 201"),
    ("Another laptop, with that code ", "refused 403"),
    ("Dan on the laptop just enrolled ", "forward 200"),
    ("Ann asks for the grant ", "forward 201"),
    ("Ann approves it herself ", "refused 403"),
    ("Carol approves it ", "forward 200"),
    ("Ann, approving with it ", "forward 200"),
    ("Ann, the moment it ends ", "require-grant 403"),
    ("Dan's WebSocket, laptop lost ", "101, then cut"),
    ("Frank, watched, reads the wiki ", "observe 200"),
    ("Frank, watched, wants more ", "deny 403"),
];

/// `rangegate demo` in a directory, with another one for its throw-away files.
fn demo(args: &[&str], here: &Path, scratch: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rangegate"));
    command.arg("demo").args(args).args(["--port", "0"]);
    command.current_dir(here).env("TMPDIR", scratch).env_remove("NO_COLOR").env_remove("RANGEGATE_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).expect("readable").next().is_none()
}

#[test]
fn the_story_plays_as_told_and_leaves_nothing() {
    let scratch = tempfile::tempdir().expect("a directory");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = demo(&["--once"], repository, scratch.path()).output().expect("the binary runs");
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{errors}");
    assert_eq!(errors, "", "no log line between the rows");
    for (row, end) in ROWS {
        let found: Vec<_> = said.lines().filter(|line| line.trim_start().starts_with(row)).collect();
        let [line] = found[..] else { panic!("`{row}` in {said}") };
        assert!(line.ends_with(end), "{line}");
    }
    for told in [
        "with the policies in policies/,",
        "All 26 rows are as the story says.",
        "(self-approval)",
        "(invitation)",
        "its hash; whole.",
        r#""outcome":"step-up""#,
    ] {
        assert!(said.contains(told), "`{told}` in {said}");
    }
    let (_, closed) = said.split_once("Olga revokes it: closed (1008) ").unwrap_or_else(|| panic!("{said}"));
    let words: Vec<_> = closed.lines().next().unwrap_or_default().split(' ').collect();
    let [beside, "ms", "before" | "after", "her", "answer", "came,", after, "ms", "after", "she", "asked", why] =
        words[..]
    else {
        panic!("{words:?}")
    };
    let [beside, after] = [beside, after].map(|millis| millis.parse::<f64>().expect("milliseconds"));
    assert!((0.0..5_000.0).contains(&beside) && (0.0..5_000.0).contains(&after) && after > 0.0, "{words:?}");
    assert_eq!(why, "(device-revoked)");
    for line in said.lines().take_while(|line| !line.starts_with("All ")) {
        assert!(line.chars().count() <= 120, "{line}");
    }
    assert!(!said.contains('\x1b'), "no colours where nobody looks");
    assert!(is_empty(scratch.path()));
}

#[test]
fn a_policy_that_tells_another_story_is_found_out() {
    let (here, scratch) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    for folder in ["", "geo", "lists"] {
        let copy = here.path().join("policies").join(folder);
        fs::create_dir_all(&copy).expect("made");
        for entry in fs::read_dir(policies.join(folder)).expect("readable") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                fs::copy(&path, copy.join(path.file_name().expect("a name"))).expect("copied");
            }
        }
    }
    let change = |file: &str, from: &str, to: &str| {
        let path = here.path().join("policies").join(file);
        let before = fs::read_to_string(&path).expect("text");
        let after = before.replace(from, to);
        assert_ne!(before, after);
        fs::write(&path, untested(&after)).expect("written");
    };
    change("payroll.toml", r#"that = { country = "US" }"#, r#"that = { country = ["US", "CN"] }"#);
    change("payroll.toml", "approvers = { owner = true, manager = true }", r#"approvers = { group = "treasury" }"#);
    change("wiki.toml", "sensitivity = \"low\"\n", "");
    let output = demo(&["--once"], here.path(), scratch.path()).output().expect("the binary runs");
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for told in [
        "the story says deny 403 (in-country: country-outside); it was forward 200 (no requirement: all-met)",
        "the story says forward 200 (no requirement: all-met); it was forward 403 (no requirement: not-an-approver)",
        "the story says forward 200 (no requirement: all-met); it was require-grant 403 (approver: grant-missing)",
        "the story says require-grant 403 (approver: grant-expired); it was require-grant 403 (approver: grant-missing)",
        "the story says observe 200 (good-standing: watched); it was deny 403 (good-standing: watched)",
    ] {
        assert!(said.contains(told), "`{told}` in {said}");
    }
    assert!(said.contains("5 of 26 rows are NOT as the story says."), "{said}");
    assert!(is_empty(scratch.path()));
}

/// The policy without its own tests, which tell the story too and would be the first to say so.
fn untested(policy: &str) -> String {
    let mut of_test = false;
    let kept = policy.lines().filter(|line| {
        if line.trim_start().starts_with('[') {
            of_test = line.trim_start().starts_with("[[test]]");
        }
        !of_test
    });
    kept.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn the_lines_it_prints_work_when_pasted_and_ctrl_c_cleans_up() {
    let (here, scratch) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let mut demo = Staying::start(demo(&[], here.path(), scratch.path()));
    let said = demo.until("/metrics");
    let paste = |about: &str| -> String {
        let lines = said.lines().skip_while(|line| !line.starts_with(&format!("# {about}")));
        let lines = lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
        assert!(!lines.is_empty(), "`{about}` in {said}");
        let output = sh(&lines, here.path());
        assert_eq!(output.status.code(), Some(0), "{lines}\n{}", text(&output.stderr));
        text(&output.stdout)
    };
    let ann: Value = serde_json::from_str(&paste("Ann on her own laptop")).expect("JSON of the console");
    assert_eq!(
        (&ann["identity"]["user"], &ann["identity"]["device"]),
        (&"ann@corp.example".into(), &"ann-laptop".into())
    );
    let page = paste("Her token on Bob's laptop");
    assert!(page.starts_with("<!doctype html>") && page.contains("Example Corp"), "{page}");
    let problem: Value = serde_json::from_str(&paste("Ann approves a pay run")).expect("problem+json");
    assert_eq!((&problem["status"], &problem["outcome"]), (&403.into(), &"require-grant".into()), "{problem}");
    let log = paste("The audit log");
    assert!(log.starts_with(r#"{"schema":2,"#) && log.contains(r#""outcome":"#), "{log}");
    assert!(log.contains("whole: ") && log.contains("0 of "), "{log}");
    let explained = paste("What a policy makes");
    assert!(explained.contains("outcome   "), "{explained}");
    assert!(paste("What operators see").contains("rangegate_"), "metrics");
    let remembered = paste("What is open");
    for told in ["payroll: WebSocket /live", "payroll-approver", "revoked"] {
        assert!(remembered.contains(told), "`{told}` in {remembered}");
    }
    paste("Suspend Ann");
    assert!(!paste("What is open").contains("payroll: WebSocket /live"), "what she had open is cut");
    assert!(paste("Ann on her own laptop").contains("ann@corp.example"), "and she is back");

    demo.interrupt();
    let status = demo.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(is_empty(scratch.path()));
}

#[test]
fn a_port_that_is_taken_is_said_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let scratch = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rangegate"));
    let command = command.args(["demo", "--port", &port]).env("TMPDIR", scratch.path());
    let output = command.output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(3));
    let errors = text(&output.stderr);
    assert!(errors.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{errors}");
    assert!(errors.contains("--port 0"), "{errors}");
    assert!(is_empty(scratch.path()));
}

/// A demo that stays up; stopped the hard way if a test ends early.
struct Staying {
    child: Child,
    lines: Receiver<String>,
}

impl Staying {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary runs");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// Everything said up to and including a line that ends so.
    fn until(&self, end: &str) -> String {
        let mut said = String::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("`{end}` after {said}"));
            said.push_str(&line);
            said.push('\n');
            if line.ends_with(end) {
                return said;
            }
        }
    }

    fn interrupt(&self) {
        let killed = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success());
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sh(lines: &str, here: &Path) -> Output {
    Command::new("sh").args(["-ec", lines]).current_dir(here).output().expect("a shell runs")
}
