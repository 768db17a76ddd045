//! What the system tells of a process.

use std::fs;
use std::time::Duration;

/// Memory of a process in MB.
pub(crate) struct Memory {
    /// What it has in memory now.
    pub(crate) now: f64,
    /// The most that it has had.
    pub(crate) peak: f64,
}

/// The memory of a process.
pub(crate) fn memory(pid: u32) -> Memory {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let megabytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("the system tells it");
        let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok());
        kilobytes.expect("a number of kB") / 1024.0
    };
    Memory { now: megabytes("VmRSS:"), peak: megabytes("VmHWM:") }
}

/// The processor time that a process has taken.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    // Behind the name, which may hold anything: state is the first, utime the 12th, stime the 13th.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().expect("a number of ticks")).sum();
    // A hundredth of a second each, on every Linux.
    Duration::from_millis(ticks * 10)
}
