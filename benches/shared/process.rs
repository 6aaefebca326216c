//! Processes of ours: started, awaited, and always stopped, by their number.

use crate::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Stopped when dropped: asked first, killed when it does not listen.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` and waits until `address` accepts connections. What it prints goes to a file in `directory`.
    pub async fn start(name: &str, mut command: Command, directory: &Path, address: SocketAddr) -> Result<Self> {
        let log = directory.join(format!("{name}.out"));
        let out = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|why| format!("`{program}` does not start: {why}"))?;
        let mut process = Self { name: name.to_owned(), child, log };
        for _ in 0..3_000 {
            if let Some(status) = process.child.try_wait()? {
                return Err(format!("{name} ended at once ({status}):\n{}", process.said()).into());
            }
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Ok(process);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("{name} does not listen on {address} after 60 s:\n{}", process.said()).into())
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The last lines it printed.
    pub fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
        let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) else { return };
        if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) {
            let _ = kill_process(pid, Signal::TERM);
            let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&PATIENCE));
        }
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            eprintln!("{} does not stop when asked, and is killed", self.name);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A loopback address nobody listens on.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
