//! Where the figures were taken: figures without their machine mean little.

use std::fs;

/// `AMD EPYC, 2 CPUs, Linux 6.1.0`.
pub fn description() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
    let model = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(value);
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{}, {cpus} CPUs, Linux {}", model.as_deref().unwrap_or("unknown CPU"), kernel.trim())
}

/// The load average of the last minute: above a few tenths somebody else is at work.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// `dev`, `release`, `dist`: the profile this program was built with, by the directory it lies in.
pub fn profile() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let directory = path.parent().and_then(|parent| parent.file_name()).unwrap_or_default();
    match directory.to_string_lossy().as_ref() {
        "debug" => "dev".to_owned(),
        other => other.to_owned(),
    }
}

/// Printed under figures that should not be believed.
pub fn warnings(load_before: Option<f64>) -> Vec<String> {
    let mut warnings = Vec::new();
    if cfg!(debug_assertions) {
        warnings.push("built without optimisation: the figures say nothing; use `--profile dist`".to_owned());
    }
    if let Some(load) = load_before.filter(|load| *load > 0.5) {
        warnings.push(format!("the machine was busy before (load average {load:.2}): take it again when it is quiet"));
    }
    warnings
}
