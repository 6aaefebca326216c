//! CPU time of a process tree, in nanoseconds, from the scheduler's own accounts.
//!
//! `/proc/PID/stat` counts in ticks of 10 ms; `schedstat` counts every nanosecond a thread has run, in user and in
//! system mode. A thread that is running while it is read is behind by up to a tick, so read when all are idle.

use rangegate_benches::Result;
use std::collections::{BTreeMap, VecDeque};
use std::fs;

/// Run time by process and thread.
#[derive(Debug)]
pub struct Reading(BTreeMap<(u32, u32), Thread>);

#[derive(Debug)]
struct Thread {
    name: String,
    nanoseconds: u64,
}

/// What was used between two readings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// By the name of the thread.
    pub nanoseconds: BTreeMap<String, u64>,
    /// Threads that ended in between: what they used after the first reading is not counted.
    pub lost: usize,
}

/// All threads of `process` and of all processes below it.
pub fn read(process: u32) -> Result<Reading> {
    let mut threads = BTreeMap::new();
    for process in tree(process)? {
        // A process or thread may end while we look.
        let Ok(entries) = fs::read_dir(format!("/proc/{process}/task")) else { continue };
        for entry in entries.flatten() {
            let Ok(line) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default().trim().to_owned();
            let number = entry.file_name().to_string_lossy().parse()?;
            let nanoseconds = line.split(' ').next().ok_or("schedstat is empty")?.parse()?;
            threads.insert((process, number), Thread { name, nanoseconds });
        }
    }
    if threads.values().all(|thread| thread.nanoseconds == 0) {
        return Err(format!("the kernel keeps no run time for process {process} (CONFIG_SCHED_INFO)").into());
    }
    Ok(Reading(threads))
}

impl Reading {
    pub fn until(&self, after: &Self) -> Used {
        let mut used = Used::default();
        for (id, thread) in &after.0 {
            let before = self.0.get(id).map_or(0, |before| before.nanoseconds);
            *used.nanoseconds.entry(thread.name.clone()).or_default() += thread.nanoseconds.saturating_sub(before);
        }
        used.lost = self.0.keys().filter(|id| !after.0.contains_key(id)).count();
        used
    }
}

impl Used {
    pub fn total(&self) -> u64 {
        self.nanoseconds.values().sum()
    }
}

/// `process` and its descendants.
fn tree(process: u32) -> Result<Vec<u32>> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(number) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // `number (any text) state parent …`
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if let Some(parent) = parent.and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(number);
        }
    }
    let mut found = Vec::new();
    let mut waiting = VecDeque::from([process]);
    while let Some(next) = waiting.pop_front() {
        waiting.extend(children.remove(&next).unwrap_or_default());
        found.push(next);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(times: &[(u32, u64)]) -> Reading {
        let thread = |nanoseconds| Thread { name: "worker".to_owned(), nanoseconds };
        Reading(times.iter().map(|&(number, time)| ((1, number), thread(time))).collect())
    }

    #[test]
    fn new_threads_count_in_full_and_ended_ones_are_told() {
        let used = reading(&[(1, 100), (2, 50)]).until(&reading(&[(1, 130), (3, 7)]));
        assert_eq!((used.total(), used.lost), (37, 1));
    }

    #[test]
    fn a_busy_process_uses_time() {
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell");
        let before = (0..10_000).find_map(|_| read(child.id()).ok()).expect("it runs at some time");
        let used = (0..1_000_000).any(|_| read(child.id()).is_ok_and(|after| before.until(&after).total() > 0));
        child.kill().expect("ours");
        child.wait().expect("ours");
        assert!(used);
    }
}
