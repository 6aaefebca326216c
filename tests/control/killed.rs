//! `kill -9` of a whole gateway while it administers, and a disk that fills up under it: what it acknowledged is there and on record, and its log is whole.

use crate::gateway::PKI;
use crate::pki::file;
use crate::postgres::shared;
use rangegate::gateway::clock;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// In the ordinary run; `RANGEGATE_KILLS` asks for more.
const ROUNDS: u64 = 50;
const CLIENTS: usize = 3;

const SQLITE: &str = "path = 'store.db'";

pub const CONFIG: &str = r#"
[[listener]]
address = "127.0.0.1:0"
certificate = [{ chain = "server.pem", key = "server.key" }]
trust = { authorities = ["devices.pem"], revocation-lists = ["devices.crl"] }

[store]
$store

[control]
socket = "rangegate.sock"

[operations]
address = "127.0.0.1:0"

[audit]
path = "audit.jsonl"
"#;

/// With this under `[store]`.
fn site(store: &str) -> tempfile::TempDir {
    let site = tempfile::tempdir().expect("a directory");
    let at = site.path();
    std::fs::create_dir(at.join("policies")).expect("a directory");
    file(&at.join("policies"), "api.toml", include_str!("../../policies/api.toml"));
    file(at, "server.pem", PKI.server.chain_pem());
    file(at, "server.key", PKI.server.key_pem());
    file(at, "devices.pem", PKI.devices.pem());
    file(at, "devices.crl", PKI.devices.crl(&[], clock::now()));
    file(at, "rangegate.toml", CONFIG.replace("$store", store));
    site
}

fn rangegate(args: &[&str], more: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rangegate"));
    command.args(args).arg(more).env("NO_COLOR", "1").output().expect("it runs")
}

/// The gateway's process, killed at the latest with the test.
struct Gate {
    process: Child,
    socket: PathBuf,
}

impl Gate {
    /// Serving.
    fn start(at: &Path) -> Self {
        Self::by(Command::new(env!("CARGO_BIN_EXE_rangegate")), at)
    }

    /// With the gateway as the last word of the command so far.
    fn by(mut command: Command, at: &Path) -> Self {
        command.args(["serve", "--config"]).arg(at.join("rangegate.toml"));
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut gate = Self { process, socket: at.join("rangegate.sock") };
        let begun = Instant::now();
        while UnixStream::connect(&gate.socket).is_err() {
            assert_eq!(gate.process.try_wait().expect("asked"), None, "it does not start after a crash");
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not serve");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        gate
    }

    fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("ended");
    }

    fn terminate(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("it runs").success());
        assert_eq!(self.process.wait().expect("ended").code(), Some(0));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One connection to the socket.
struct Line(BufReader<UnixStream>);

impl Line {
    fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Status and body.
    fn call(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, Value)> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.get_mut().write_all(format!("{head}{body}").as_bytes())?;
        let (mut status, mut length, mut line) = (0, 0, String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end().split_once([' ', ':']) {
                None => break,
                Some(("HTTP/1.1", rest)) => status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().unwrap_or(0);
                }
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}

/// What a webhook's target does with what it gets.
#[derive(Clone, Copy)]
enum Does {
    Hang,
    Refuse,
    Take,
}

/// A webhook's target, and what it was told: device, delivery and whether it took it.
struct Target {
    address: SocketAddr,
    does: Arc<Mutex<Does>>,
    told: Arc<Mutex<Vec<(String, String, bool)>>>,
}

impl Target {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (does, told) = (Arc::new(Mutex::new(Does::Hang)), Arc::<Mutex<Vec<_>>>::default());
        let target = Self { address, does: Arc::clone(&does), told: Arc::clone(&told) };
        // For as long as the process: nobody waits for it.
        std::thread::spawn(move || {
            let mut hanging = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let mut stream = BufReader::new(stream);
                let Ok((device, delivery)) = notification(&mut stream) else { continue };
                let does = *does.lock().expect("no panic");
                told.lock().expect("no panic").push((device, delivery, matches!(does, Does::Take)));
                let status = match does {
                    Does::Hang => {
                        hanging.push(stream);
                        continue;
                    }
                    Does::Refuse => "503 Service Unavailable",
                    Does::Take => "200 OK",
                };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.get_mut().write_all(answer.as_bytes());
            }
        });
        target
    }

    fn does(&self, what: Does) {
        *self.does.lock().expect("no panic") = what;
    }

    /// Waits until what it was told is so.
    fn until(&self, what: &str, so: impl Fn(&[(String, String, bool)]) -> bool) {
        let begun = Instant::now();
        while !so(&self.told.lock().expect("no panic")) {
            assert!(begun.elapsed() < Duration::from_secs(30), "in vain: {what}");
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
}

/// What a notification is about, and its id.
fn notification(stream: &mut BufReader<TcpStream>) -> io::Result<(String, String)> {
    let (mut length, mut delivery, mut line) = (0, String::new(), String::new());
    while stream.read_line(&mut line)? > 2 {
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap_or(0),
            Some((name, value)) if name.eq_ignore_ascii_case("rangegate-delivery") => value.clone_into(&mut delivery),
            _ => {}
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body)?;
    assert_eq!(body["id"], delivery, "{body}");
    Ok((body["target"].as_str().unwrap_or_default().to_owned(), delivery))
}

/// What the gateway has acknowledged of each device. None: a suspension was sent, and who knows.
type Acknowledged = Mutex<BTreeMap<String, Option<&'static str>>>;

/// Registers and suspends devices until the gateway is gone.
fn administer(socket: &Path, numbers: &AtomicU64, acknowledged: &Acknowledged, count: &AtomicUsize) -> io::Result<()> {
    let mut line = Line::open(socket)?;
    let note = |id: &str, status| {
        acknowledged.lock().expect("no panic").insert(id.to_owned(), status);
    };
    loop {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let id = format!("kiosk-{number}");
        let device = format!(r#"{{"id":"{id}","class":"kiosk","keys":["{number:064x}"]}}"#);
        let (status, told) = line.call("POST", "/v1/devices", &device)?;
        assert_eq!(status, 201, "{told}");
        note(&id, Some("active"));
        count.fetch_add(1, Ordering::Relaxed);
        if number.is_multiple_of(2) {
            note(&id, None);
            let (status, told) = line.call("POST", &format!("/v1/devices/{id}/suspend"), r#"{"reason":"closed"}"#)?;
            assert_eq!(status, 200, "{told}");
            note(&id, Some("suspended"));
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Every one of them is as it was acknowledged.
fn hold<'a>(socket: &Path, devices: impl IntoIterator<Item = (&'a String, &'a Option<&'static str>)>) {
    let mut line = Line::open(socket).expect("it serves");
    for (id, status) in devices {
        let (code, device) = line.call("GET", &format!("/v1/devices/{id}"), "").expect("an answer");
        assert_eq!(code, 200, "acknowledged and lost: {id}");
        if let Some(status) = status {
            assert_eq!(device["status"], *status, "acknowledged and lost: {device}");
        }
    }
}

#[test]
fn a_killed_gateway_loses_nothing_that_it_acknowledged_on_sqlite() {
    loses_nothing(SQLITE);
}

#[test]
fn a_killed_gateway_loses_nothing_that_it_acknowledged_on_postgresql() {
    let (server, password) = (shared(), shared().password_file());
    let database = server.database();
    loses_nothing(&format!("url = '{}'\npassword-file = '{}'", server.url(&database), password.display()));
}

fn loses_nothing(store: &str) {
    let rounds = std::env::var("RANGEGATE_KILLS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let (site, begun) = (site(store), Instant::now());
    let at = site.path();
    let (acknowledged, numbers) = (Acknowledged::default(), AtomicU64::new(0));
    let mut random = 7_u64;
    let mut gate = Gate::start(at);
    for _ in 0..rounds {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (first, after, count) =
            (numbers.load(Ordering::Relaxed), 1 + (random >> 33) as usize % 32, AtomicUsize::new(0));
        let socket = gate.socket.clone();
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| administer(&socket, &numbers, &acknowledged, &count).expect_err("it was killed"));
            }
            let begun = Instant::now();
            while count.load(Ordering::Relaxed) < after {
                assert!(begun.elapsed() < Duration::from_secs(30), "nothing is acknowledged");
                std::hint::spin_loop();
                std::thread::yield_now();
            }
            gate.kill();
        });
        gate = Gate::start(at);
        let acknowledged = acknowledged.lock().expect("no panic");
        let fresh = |id: &str| id.rsplit('-').next().and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| n >= first);
        hold(&gate.socket, acknowledged.iter().filter(|(id, _)| fresh(id)));
    }
    let acknowledged = acknowledged.into_inner().expect("no panic");
    hold(&gate.socket, &acknowledged);
    gate.terminate();
    let checked = rangegate(&["store", "check", "--config"], &at.join("rangegate.toml"));
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
    let verified = rangegate(&["audit", "verify"], &at.join("audit.jsonl"));
    let (out, err) = (String::from_utf8_lossy(&verified.stdout), String::from_utf8_lossy(&verified.stderr));
    assert_eq!(verified.status.code(), Some(0), "{out}{err}");
    let log = std::fs::read_to_string(at.join("audit.jsonl")).expect("a log");
    let recorded: BTreeSet<(String, String)> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line"))
        .filter(|line: &Value| line["kind"] == "admin" && line["outcome"] == "done")
        .map(|line| {
            (line["action"].as_str().unwrap_or("").to_owned(), line["target"].as_str().unwrap_or("").to_owned())
        })
        .collect();
    let mut changes = 0;
    for (id, status) in &acknowledged {
        let due = ["device-register"].into_iter().chain((*status == Some("suspended")).then_some("device-suspend"));
        for action in due {
            changes += 1;
            let line = (action.to_owned(), format!("device {id}"));
            assert!(recorded.contains(&line), "acknowledged and not on record: {line:?}");
        }
    }
    let took = begun.elapsed();
    println!("{rounds} kills in {took:.0?}, {changes} changes acknowledged, all there and on record; {out}");
}

/// A file that may not grow stands for the disk: the store's grows the fastest.
#[test]
fn a_disk_that_fills_up_is_told_and_takes_nothing_back() {
    let site = site(SQLITE);
    let at = site.path();
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_rangegate")]);
    let mut gate = Gate::by(limited, at);
    let mut line = Line::open(&gate.socket).expect("it serves");
    let mut acknowledged = BTreeMap::new();
    let (status, told) = loop {
        let number = acknowledged.len();
        assert!(number < 5_000, "it is never full");
        let device = format!(r#"{{"id":"kiosk-{number}","class":"kiosk","keys":["{number:064x}"]}}"#);
        match line.call("POST", "/v1/devices", &device).expect("an answer") {
            (201, _) => acknowledged.insert(format!("kiosk-{number}"), Some("active")),
            refused => break refused,
        };
    };
    let detail = told["detail"].as_str().unwrap_or_default();
    assert!(status == 503 && detail.contains("full"), "{status} {told}");
    assert!(acknowledged.len() > 10, "{}", acknowledged.len());
    hold(&gate.socket, &acknowledged);
    gate.kill();
    let gate = Gate::start(at);
    hold(&gate.socket, &acknowledged);
    let late = format!(r#"{{"id":"late","class":"kiosk","keys":["{:064x}"]}}"#, 1_000_000);
    let (status, told) =
        Line::open(&gate.socket).expect("it serves").call("POST", "/v1/devices", &late).expect("an answer");
    assert_eq!(status, 201, "with room again it writes again: {told}");
    println!("full after {} devices: {detail}", acknowledged.len());
}

#[test]
fn a_killed_gateway_tells_its_webhooks_once_it_runs_again() {
    let (site, target) = (site(SQLITE), Target::start());
    let at = site.path();
    let config = CONFIG.replace("$store", SQLITE);
    let hook = format!(
        "{config}\n[[webhook]]\nname = 'tickets'\nurl = 'http://{}/'\nsecret = 'tickets.secret'\n\
         events = ['device-register']\nretry-after = '2s'\n",
        target.address
    );
    file(at, "rangegate.toml", hook);
    file(at, "tickets.secret", "0123456789abcdef0123456789abcdef");
    let register = |gate: &Gate, id: &str, number: u64| {
        let device = format!(r#"{{"id":"{id}","class":"kiosk","keys":["{number:064x}"]}}"#);
        let answer = Line::open(&gate.socket).expect("it serves").call("POST", "/v1/devices", &device);
        assert_eq!(answer.expect("an answer").0, 201);
    };
    // Four that hang are all that are under way at once: the fifth is committed and not begun.
    let mut gate = Gate::start(at);
    let hanging = ["kiosk-0", "kiosk-1", "kiosk-2", "kiosk-3"];
    (0..).zip(hanging).for_each(|(number, id)| register(&gate, id, number));
    target.until("four are under way", |told| told.len() == 4);
    register(&gate, "late", 4);
    gate.kill();
    let late = |told: &[(String, String, bool)]| told.iter().any(|(device, ..)| device == "device late");
    assert!(!late(&target.told.lock().expect("no panic")), "it was not begun");
    // Refused, and killed again.
    target.does(Does::Refuse);
    let mut gate = Gate::start(at);
    target.until("the fifth was tried", late);
    gate.kill();
    target.does(Does::Take);
    let gate = Gate::start(at);
    target.until("all are taken", |told| told.iter().filter(|(.., taken)| *taken).count() == 5);
    gate.terminate();
    let told = target.told.lock().expect("no panic");
    let (mut deliveries, mut taken) = (BTreeMap::<_, BTreeSet<_>>::new(), Vec::new());
    for (device, delivery, took) in &*told {
        deliveries.entry(device).or_default().insert(delivery);
        taken.extend(took.then_some(device));
    }
    taken.sort();
    let expected: Vec<_> = hanging.iter().copied().chain(["late"]).map(|id| format!("device {id}")).collect();
    assert_eq!(taken, expected.iter().collect::<Vec<_>>(), "each once");
    assert!(deliveries.values().all(|ids| ids.len() == 1), "under one id: {told:?}");
    assert_eq!(deliveries.values().flatten().collect::<BTreeSet<_>>().len(), 5, "and under no other's: {told:?}");
    assert!(told.len() > 5, "some came more than once: {told:?}");
}
