//! Under a service manager: inherited sockets, readiness, reload and stop, with the real binary and real signals.

#[path = "support/pki.rs"]
mod pki;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Kills what a failed assertion leaves behind.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_inherited_socket_is_served_and_every_step_is_announced() {
    let site = tempfile::tempdir().expect("a directory");
    // Bound by the service manager before the gateway exists: a client may already be waiting in its queue.
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    let operations = free_port();
    write_site(site.path(), address, operations);
    let manager = UnixDatagram::bind(site.path().join("notify")).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut early = TcpStream::connect(address).expect("the queue takes it");

    let mut served = Served(
        Command::new("sh")
            .arg("-c")
            .arg("exec 3<&0 < /dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --config \"$1\"")
            .arg(env!("CARGO_BIN_EXE_rangegate"))
            .arg(site.path().join("rangegate.toml"))
            .env("NOTIFY_SOCKET", site.path().join("notify"))
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell"),
    );
    assert!(told(&manager).contains("READY=1"));
    assert_eq!(ask(operations, "/readyz").0, 200);
    // Not TLS: the gateway that took the connection over answers with an alert and closes.
    early.write_all(b"hello\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    early.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    early.read_to_end(&mut answer).expect("closed in order");
    assert_eq!(answer.first(), Some(&21), "a TLS alert: {answer:?}");

    signal(&served.0, "HUP");
    assert!(told(&manager).contains("RELOADING=1"));
    assert!(told(&manager).contains("READY=1"));
    let reloaded = r#""event":"reload","detail":"configuration""#;
    let log = site.path().join("audit.jsonl");
    holds(&log, reloaded, 1);
    // Changed without a signal: refused where it is at fault, in force where it is not.
    let file = site.path().join("rangegate.toml");
    let config = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, format!("{config}[limts]\nidle-timeout = \"60s\"\n")).expect("written");
    holds(&log, "unknown key `limts`", 1);
    fs::write(&file, format!("{config}[limits]\nidle-timeout = \"60s\"\n")).expect("written");
    holds(&log, reloaded, 2);
    signal(&served.0, "TERM");
    assert!(told(&manager).contains("STOPPING=1"));
    assert!(served.0.wait().expect("it ends").success());
    let log = fs::read_to_string(site.path().join("audit.jsonl")).expect("a log");
    assert!(log.lines().last().is_some_and(|line| line.contains(r#""event":"stop""#)), "{log}");
}

#[test]
fn a_socket_that_no_listener_asked_for_is_not_left_hanging() {
    let site = tempfile::tempdir().expect("a directory");
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    write_site(site.path(), free_port(), free_port());
    let refused = Command::new("sh")
        .arg("-c")
        .arg("exec 3<&0 < /dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --config \"$1\"")
        .arg(env!("CARGO_BIN_EXE_rangegate"))
        .arg(site.path().join("rangegate.toml"))
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains(&format!("no listener has the address of the socket that was handed over: {address}")),
        "{said}"
    );
}

#[test]
fn told_to_stop_a_second_time_it_waits_for_nobody() {
    for second in ["TERM", "INT"] {
        let site = tempfile::tempdir().expect("a directory");
        let (address, operations) = (free_port(), free_port());
        write_site(site.path(), address, operations);
        let file = site.path().join("rangegate.toml");
        let config = fs::read_to_string(&file).expect("it is there");
        let patient = "[limits]\ndrain-timeout = \"10m\"\nhandshake-timeout = \"10m\"\n";
        fs::write(&file, format!("{config}{patient}")).expect("written");
        let manager = UnixDatagram::bind(site.path().join("notify")).expect("a socket");
        manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let mut served = Served(
            Command::new(env!("CARGO_BIN_EXE_rangegate"))
                .arg("serve")
                .arg("--config")
                .arg(&file)
                .env("NOTIFY_SOCKET", site.path().join("notify"))
                .stderr(Stdio::null())
                .spawn()
                .expect("it runs"),
        );
        assert!(told(&manager).contains("READY=1"));
        // A client that says nothing: the drain would wait for it.
        let _silent = TcpStream::connect(address).expect("it listens");
        let begun = std::time::Instant::now();
        while !ask(operations, "/metrics").1.contains("rangegate_connections 1") {
            assert!(begun.elapsed() < Duration::from_secs(20), "the client was never accepted");
        }
        signal(&served.0, "TERM");
        assert!(told(&manager).contains("STOPPING=1"));
        // A reload is none of its business any more.
        signal(&served.0, "HUP");
        assert_eq!(ask(operations, "/readyz").0, 503);
        signal(&served.0, second);
        let begun = std::time::Instant::now();
        let status = loop {
            if let Some(status) = served.0.try_wait().expect("a child") {
                break status;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{second} was not heard");
            std::thread::park_timeout(Duration::from_millis(20));
        };
        assert!(status.success(), "{second}");
        let log = fs::read_to_string(site.path().join("audit.jsonl")).expect("a log");
        assert!(log.lines().last().is_some_and(|line| line.contains(r#""event":"stop""#)), "{log}");
    }
}

/// Waits until the file holds so many of these.
fn holds(file: &std::path::Path, text: &str, count: usize) {
    let begun = std::time::Instant::now();
    loop {
        let held = fs::read_to_string(file).unwrap_or_default();
        if held.matches(text).count() >= count {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no `{text}` in\n{held}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn told(manager: &UnixDatagram) -> String {
    let mut text = [0; 4096];
    let length = manager.recv(&mut text).expect("the gateway says something");
    String::from_utf8_lossy(&text[..length]).into_owned()
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port")
}

fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    (answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), answer)
}

fn write_site(dir: &std::path::Path, address: SocketAddr, operations: SocketAddr) {
    let now = rangegate::gateway::clock::now();
    let authority = pki::Authority::new("devices");
    let server = authority.issue(&pki::Wanted::server(&["gate.example"], 1).around(now));
    fs::create_dir(dir.join("policies")).expect("made");
    let config = format!(
        "[[listener]]\naddress = \"{address}\"\ncertificate = [{{ chain = \"server.pem\", key = \"server.key\" }}]\n\
         trust = {{ authorities = [\"ca.pem\"], revocation-lists = [\"ca.crl\"] }}\n\
         [audit]\npath = \"audit.jsonl\"\n[operations]\naddress = \"{operations}\"\n"
    );
    let policy = "[[resource]]\nid = \"app\"\nhosts = [\"gate.example\"]\nupstream = \"http://127.0.0.1:9\"\n\
                  require = [{ id = \"known\", that = { device = { known = true } } }]\n";
    for (name, text) in [
        ("ca.pem", authority.pem()),
        ("ca.crl", authority.crl(&[], now)),
        ("server.pem", server.chain_pem()),
        ("server.key", server.key_pem()),
        ("policies/app.toml", policy.to_owned()),
        ("rangegate.toml", config),
    ] {
        fs::write(dir.join(name), text).expect("written");
    }
    fs::set_permissions(dir.join("server.key"), fs::Permissions::from_mode(0o600)).expect("closed");
}
