//! Reads how much CPU time this machine has used. In a guest under QEMU's icount, where each instruction
//! takes one nanosecond, CPU time in ns is the number of instructions run.

use std::fs;
use std::thread;
use std::time::Duration;

/// CPU time in ns that tasks have used since boot, on all CPUs together (`rq_cpu_time` in `/proc/schedstat`).
/// `None` where the kernel does not count CPU time.
#[must_use]
pub fn busy_ns() -> Option<u64> {
    // The kernel adds a task's run time when the task leaves the CPU. This task sleeps, so that its own time
    // is counted.
    thread::sleep(Duration::from_millis(2));
    let schedstat = fs::read_to_string("/proc/schedstat").ok()?;
    let cpus = schedstat.lines().filter(|line| line.starts_with("cpu"));
    cpus.map(|cpu| cpu.split_whitespace().nth(7)?.parse::<u64>().ok()).sum()
}

/// CPU time in ns that tasks have used since `begin`, an earlier result of [`busy_ns`].
#[must_use]
pub fn busy_since(begin: Option<u64>) -> Option<u64> {
    Some(busy_ns()? - begin?)
}
