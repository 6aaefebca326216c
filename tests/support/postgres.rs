//! A throw-away PostgreSQL server: on a Unix socket of its own, gone with the process that started it.
#![allow(dead_code, reason = "shared by tests that each use a part of it")]

use rangegate::store::{Database, PostgresSettings, StoreSettings};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Told to nobody but the password file.
const PASSWORD: &str = "correct horse battery staple";

pub struct Cluster {
    directory: TempDir,
    extra: Vec<String>,
    /// Also of the socket's name.
    port: u16,
    running: Option<Running>,
    databases: AtomicU32,
}

struct Running {
    /// A shell that stops the server when its standard input ends, whatever ended it.
    keeper: Child,
    stdin: Option<ChildStdin>,
}

/// The server that the ordinary tests of a process share.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::start(&["fsync=off"]))
}

impl Cluster {
    /// Makes and starts one, with these settings beside the defaults.
    pub fn start(settings: &[&str]) -> Self {
        let mut cluster = Self::make(settings);
        cluster.run();
        cluster
    }

    /// One that speaks TLS on loopback too, with this certificate and key (PEM).
    pub fn with_tls(chain: &str, key: &str) -> Self {
        let mut cluster = Self::make(&["fsync=off", "ssl=on", "listen_addresses=127.0.0.1"]);
        for (name, text) in [("server.crt", chain), ("server.key", key)] {
            let path = cluster.data().join(name);
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("closed");
            if let Some((uid, gid)) = somebody() {
                chown(&path, Some(uid), Some(gid)).expect("handed over");
            }
        }
        // Free a moment ago. Nobody else is told to take it.
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        cluster.port = free.expect("a port").port();
        cluster.run();
        cluster
    }

    fn make(settings: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("rangegate-pg").tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("opened");
        let password = directory.path().join("password");
        fs::write(&password, PASSWORD).expect("written");
        closed(&password);
        if let Some((uid, gid)) = somebody() {
            chown(directory.path(), Some(uid), Some(gid)).expect("handed over");
            chown(&password, Some(uid), Some(gid)).expect("handed over");
        }
        let cluster = Self {
            port: 5432,
            directory,
            extra: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            running: None,
            databases: AtomicU32::new(0),
        };
        let made = cluster
            .tool("initdb")
            .args(["--no-sync", "--auth=scram-sha-256", "--username=gate", "--encoding=UTF8", "--locale=C"])
            .arg(format!("--pwfile={}", password.display()))
            .arg("-D")
            .arg(cluster.data())
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        cluster
    }

    /// Starts the server again; waits until it answers.
    pub fn run(&mut self) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let mut server = format!("exec {} -D '{}'", path_of("postgres").display(), self.data().display());
            let directory = self.directory.path().display().to_string();
            let (socket, port) = (format!("unix_socket_directories={directory}"), format!("port={}", self.port));
            for setting in ["listen_addresses=", &socket, &port, "max_connections=200"] {
                server.push_str(&format!(" -c '{setting}'"));
            }
            for setting in &self.extra {
                server.push_str(&format!(" -c '{setting}'"));
            }
            // The end of the input without a word is the end of whoever started this: then nothing is left behind.
            let script = format!(
                "({server}) >>'{directory}/log' 2>&1 </dev/null & \
                 if read word; then kill -QUIT $! 2>/dev/null; wait $!; \
                 else kill -QUIT $! 2>/dev/null; wait $!; rm -rf '{directory}'; fi"
            );
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(script).stdin(Stdio::piped());
            as_somebody(&mut shell);
            let mut keeper = shell.spawn().expect("a shell");
            let stdin = keeper.stdin.take();
            self.running = Some(Running { keeper, stdin });
            while Instant::now() < end {
                if self.sql("postgres", "SELECT 1").status.success() {
                    return;
                }
                if self.postmaster().is_none() && self.log().contains("FATAL:  pre-existing shared memory") {
                    break; // orphans of a killed server are still going
                }
                park();
            }
            assert!(Instant::now() < end, "the server does not start:\n{}", self.log());
            self.kill();
        }
    }

    /// As an operator stops it: whoever is connected is thrown out.
    pub fn stop(&mut self) {
        if let Some(pid) = self.postmaster() {
            signal(pid, "INT");
        }
        self.gone();
    }

    /// As a power cut ends it, the disk's own caches aside.
    pub fn kill(&mut self) {
        if let Some(pid) = self.postmaster() {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            signal(pid, "KILL");
            children.split_whitespace().filter_map(|pid| pid.parse().ok()).for_each(|pid| signal(pid, "KILL"));
        }
        self.gone();
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
    }

    /// Everything of it stands still: who is connected stays so and hears nothing, and who connects likewise.
    pub fn freeze(&self) {
        self.signal_all("STOP");
    }

    pub fn thaw(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, name: &str) {
        if let Some(pid) = self.postmaster() {
            // The first makes the others: it is stopped before they are counted.
            signal(pid, name);
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            children.split_whitespace().filter_map(|pid| pid.parse().ok()).for_each(|pid| signal(pid, name));
        }
    }

    fn gone(&mut self) {
        if let Some(mut running) = self.running.take() {
            if let Some(mut stdin) = running.stdin.take() {
                let _ = stdin.write_all(b"stop\n");
            }
            let _ = running.keeper.wait();
        }
    }

    /// A new, empty database.
    pub fn database(&self) -> String {
        let name = format!("gate{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = self.sql("postgres", &format!("CREATE DATABASE {name}"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        name
    }

    pub fn settings(&self, database: &str) -> StoreSettings {
        StoreSettings::of(Database::Postgres(PostgresSettings {
            url: self.url(database),
            password_file: Some(self.password_file()),
            authority: None,
        }))
    }

    pub fn url(&self, database: &str) -> String {
        let socket = self.directory.path().display().to_string().replace('/', "%2F");
        format!("postgres://gate@{socket}/{database}")
    }

    /// Over TCP, by this name of the machine.
    pub fn url_by(&self, host: &str, database: &str) -> String {
        format!("postgres://gate@{host}:{}/{database}", self.port)
    }

    pub fn password_file(&self) -> PathBuf {
        self.directory.path().join("password")
    }

    /// One statement, by the server's own client.
    pub fn sql(&self, database: &str, sql: &str) -> Output {
        self.tool("psql")
            .env("PGPASSWORD", PASSWORD)
            .env("PGPORT", self.port.to_string())
            .args(["-U", "gate", "-tA", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql, "-h"])
            .arg(self.directory.path())
            .output()
            .expect("psql runs")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn postmaster(&self) -> Option<u32> {
        fs::read_to_string(self.data().join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn tool(&self, name: &str) -> Command {
        let mut tool = Command::new(path_of(name));
        tool.current_dir(self.directory.path());
        as_somebody(&mut tool);
        tool
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.thaw();
        self.gone();
    }
}

/// PATH, and where Debian puts what is not for every day.
fn path_of(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let mut places = debian.chain(std::env::split_paths(&path));
    let found = places.find(|place| place.join(name).exists());
    found.unwrap_or_else(|| panic!("PostgreSQL's `{name}` is not installed: scripts/test installs it")).join(name)
}

/// The server does not run as root: who runs it then.
fn somebody() -> Option<(u32, u32)> {
    let root = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").expect("a process")) == 0;
    root.then(|| {
        let accounts = fs::read_to_string("/etc/passwd").expect("accounts");
        let account = |name: &str| {
            let line = accounts.lines().find(|line| line.starts_with(&format!("{name}:")))?;
            let mut fields = line.split(':').skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        account("postgres").or_else(|| account("nobody")).expect("an account for the server")
    })
}

fn as_somebody(command: &mut Command) {
    if let Some((uid, gid)) = somebody() {
        command.uid(uid).gid(gid);
    }
}

fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}

fn park() {
    std::thread::park_timeout(Duration::from_millis(20));
}

/// A password file with something else in it.
pub fn wrong_password(directory: &Path) -> PathBuf {
    let path = directory.join("wrong");
    fs::write(&path, "hunter2").expect("written");
    closed(&path);
    path
}

/// A file with a password is read only where nobody else may.
fn closed(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("closed");
}
