//! Everything on one CPU.
//!
//! A message to a process on another idle virtual CPU costs a wake-up of several microseconds, which would be charged
//! to the gateway and has nothing to do with it. Children inherit the affinity, so this program is enough.

use rangegate_benches::Result;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

const MARK: &str = "RANGEGATE_BENCH_PINNED";

/// Starts this program anew under `taskset` unless it runs on `cpu` alone already.
pub fn pin(cpu: usize) -> Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(str::trim);
    if allowed == Some(cpu.to_string().as_str()) {
        return Ok(());
    }
    if std::env::var_os(MARK).is_some() {
        return Err(format!("`taskset` did not pin to CPU {cpu}: allowed are {}", allowed.unwrap_or("none")).into());
    }
    let mut again = Command::new("taskset");
    again.arg("-c").arg(cpu.to_string()).arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(MARK, "1");
    Err(format!("`taskset` of util-linux does not run: {}", again.exec()).into())
}
