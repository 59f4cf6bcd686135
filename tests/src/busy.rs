//! How long the machine works, which under icount is how much.

use std::fs;
use std::thread;
use std::time::Duration;

/// Time that the machine's CPUs have run tasks (`rq_cpu_time` in `/proc/schedstat`); `None` where the kernel does not count
/// it.
#[must_use]
pub fn busy_ns() -> Option<u64> {
    // A task's time counts when it leaves the CPU.
    thread::sleep(Duration::from_millis(2));
    let schedstat = fs::read_to_string("/proc/schedstat").ok()?;
    let cpus = schedstat.lines().filter(|line| line.starts_with("cpu"));
    cpus.map(|cpu| cpu.split_whitespace().nth(7)?.parse::<u64>().ok()).sum()
}

/// What came to it since.
#[must_use]
pub fn busy_since(begin: Option<u64>) -> Option<u64> {
    Some(busy_ns()? - begin?)
}
