//! Reads how much CPU time this machine has used. In a guest under QEMU's icount, where each instruction
//! takes one nanosecond, CPU time in ns is the number of instructions run.

use std::env;
use std::fs;
use std::thread;
use std::time::Duration;

use serde::Serialize;

/// CPU times in ns.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Busy {
    /// CPU time of all tasks, on all CPUs together, including interrupts while a task ran.
    busy_ns: u64,
    /// CPU time of the processes whose numbers are in the environment variable `BUSY_OF`, with a space between two.
    named_ns: u64,
}

impl Busy {
    /// CPU times since boot. `None` where the kernel does not count CPU time.
    #[must_use]
    pub fn now() -> Option<Self> {
        // The kernel adds a task's run time when the task leaves the CPU. This task sleeps, so that its own time
        // is counted.
        thread::sleep(Duration::from_millis(2));
        let schedstat = fs::read_to_string("/proc/schedstat").ok()?;
        let cpus = schedstat.lines().filter(|line| line.starts_with("cpu"));
        // `rq_cpu_time`
        let busy_ns = cpus.map(|cpu| number(cpu, 7)).sum::<Option<u64>>()?;
        let of = env::var("BUSY_OF").unwrap_or_default();
        let named = of.split_whitespace().map(|pid| {
            // `sum_exec_runtime`
            number(&fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?, 0)
        });
        Some(Self { busy_ns, named_ns: named.sum::<Option<u64>>()? })
    }

    /// CPU times since `begin`, an earlier result of [`Busy::now`].
    #[must_use]
    pub fn since(begin: Option<Self>) -> Option<Self> {
        let (begin, now) = (begin?, Self::now()?);
        Some(Self { busy_ns: now.busy_ns - begin.busy_ns, named_ns: now.named_ns - begin.named_ns })
    }
}

fn number(line: &str, at: usize) -> Option<u64> {
    line.split_whitespace().nth(at)?.parse().ok()
}
