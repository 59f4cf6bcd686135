//! What the commands cost, in instructions: the guest's time under icount.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::arch::Arch;
use crate::kernel::Series;
use crate::programs;
use crate::vm::{self, Case, Mode, Vm, to_stderr};

/// Figures by name. Those of cost are in instructions, of memory in bytes.
pub type Figures = BTreeMap<String, f64>;

/// A transfer whose cost is measured.
#[derive(Clone, Copy)]
struct Transfer {
    name: &'static str,
    /// DATA chunks that are sent, the farewells included.
    chunks: u32,
    serve: &'static str,
    send: &'static str,
    /// How often it is measured without a command, and with each.
    rounds: u32,
}

const TRANSFERS: [Transfer; 3] = [
    Transfer {
        name: "20,000 x 100 B",
        chunks: 20_001,
        serve: "--streams 4",
        send: "--streams 4 --count 20000 --size 100",
        rounds: 3,
    },
    Transfer {
        name: "5,000 x 1,400 B",
        chunks: 5_001,
        serve: "--streams 4",
        send: "--streams 4 --count 5000 --size 1400",
        rounds: 3,
    },
    Transfer {
        name: "64 x 300 x 200 B",
        chunks: 64 * 301,
        serve: "--streams 4 --associations 64",
        send: "--streams 4 --associations 64 --count 300 --size 200",
        rounds: 1,
    },
];

const TOOLS: [&str; 5] = ["rtt", "rto", "bufmon", "jitter", "streamutil"];
/// What is printed, and the flags for it.
const FORMS: [(&str, &str); 3] = [("CSV", "-c"), ("text", ""), ("JSON", "--json")];
const FLOORS: [&str; 4] = ["fentry", "fexit", "kprobe", "kretprobe"];

/// Commands that run at once, and what they are called.
fn modes(quick: bool) -> Vec<(String, Vec<String>)> {
    let mut modes = Vec::new();
    for tool in TOOLS {
        for (form, flags) in &FORMS[..if quick { 1 } else { FORMS.len() }] {
            modes.push((format!("{tool} {form}"), vec![format!("sctp-{tool} {flags}")]));
        }
    }
    modes.push(("all five CSV".to_owned(), TOOLS.map(|tool| format!("sctp-{tool} -c")).to_vec()));
    modes
}

/// Run everything; or, `quick`, only the first transfer, once, and with CSV only.
///
/// # Errors
/// When a machine or a measurement fails.
pub fn run(quick: bool) -> Result<Figures> {
    let mut transfers = TRANSFERS.to_vec();
    if quick {
        transfers.truncate(1);
        transfers[0].rounds = 1;
    }
    let programs = programs::build(Arch::X86_64)?;
    let _lock = vm::lock()?;
    let cases: Vec<Case> = transfers.iter().enumerate().map(|(index, t)| case(index, t, quick)).collect();
    // Each on a machine of its own: they take about the same time.
    let folders = thread::scope(|scope| {
        let threads: Vec<_> = cases
            .iter()
            .map(|case| {
                let programs = programs.clone();
                scope.spawn(move || {
                    let name = format!("bench-{}", case.name);
                    let machine =
                        Vm { name, arch: Arch::X86_64, series: Series::V6_12, mode: Mode::Icount, programs };
                    machine.run(std::slice::from_ref(case), to_stderr)?.case(&case.name)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
            .collect::<Result<Vec<PathBuf>>>()
    })?;
    let mut figures = Figures::new();
    for (transfer, folder) in transfers.iter().zip(&folders) {
        evaluate(transfer, folder, quick, &mut figures)?;
    }
    for program in &programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        if let Some(tool) = name.strip_prefix("sctp-").filter(|tool| TOOLS.contains(tool)) {
            figures.insert(format!("{tool}: binary"), fs::metadata(program)?.len() as f64);
        }
    }
    Ok(figures)
}

/// The measurements of a transfer. Those without a command stand between the others, as the machine changes with time.
fn case(index: usize, transfer: &Transfer, quick: bool) -> Case {
    let Transfer { serve, send, rounds, .. } = transfer;
    let serve = format!("--bind 10.2.0.1 {serve}");
    let send = format!("--bind 10.1.0.1 {send}");
    let mut script = format!(". /bench.sh\ntopology\nbench warm '{serve}' '{send}'\n");
    for round in 0..*rounds {
        for (mode, (_, commands)) in modes(quick).iter().enumerate() {
            if mode % 3 == 0 {
                let _ = writeln!(script, "bench none.{round}-{mode} '{serve}' '{send}'");
            }
            let commands: Vec<String> = commands.iter().map(|command| format!("'{command}'")).collect();
            let _ = writeln!(script, "bench {mode}.{round} '{serve}' '{send}' {}", commands.join(" "));
        }
    }
    if index == 0 {
        for (number, kind) in FLOORS.iter().enumerate() {
            let _ = writeln!(script, "floor floor{number}.0 {kind} '{serve}' '{send}'");
            let _ = writeln!(script, "floor floor{number}.1 {kind} '{serve}' '{send}'");
        }
        script.push_str("sysctl -qw kernel.bpf_stats_enabled=1; STATS=1\n");
        for (number, tool) in TOOLS.iter().enumerate() {
            let _ = writeln!(script, "bench stats{number} '{serve}' '{send}' 'sctp-{tool} -c'");
        }
    }
    let mut case = Case::new(&format!("transfer-{index}"), &script);
    case.limit = Duration::from_secs(3000);
    case
}

/// What a measurement left.
struct Measured {
    /// CPU time of the machine, per chunk.
    busy: f64,
    /// Of the commands' own processes, per chunk.
    own: f64,
    /// From exec to the banner; peak memory; kernel memory of maps and programs: sums over the commands.
    start: f64,
    peak_bytes: f64,
    locked_bytes: f64,
    /// Lines on stderr: what was lost, skipped or evicted.
    complaints: f64,
}

fn measured(folder: &Path, name: &str, chunks: u32) -> Result<Measured> {
    let read = |path: PathBuf| fs::read_to_string(&path).with_context(|| path.display().to_string());
    let truth: Value = serde_json::from_str(&read(folder.join(format!("{name}.json")))?)?;
    let per_chunk = |ns: f64| ns / f64::from(chunks);
    let busy = truth["busy_ns"].as_f64().context("this kernel does not count the time of its tasks")?;
    let mut m = Measured {
        busy: per_chunk(busy),
        own: 0.0,
        start: 0.0,
        peak_bytes: 0.0,
        locked_bytes: 0.0,
        complaints: 0.0,
    };
    for index in 1.. {
        let own = folder.join(format!("{name}.{index}.own"));
        if !own.exists() {
            break;
        }
        let numbers: Vec<f64> =
            read(own)?.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
        let [start, before, after, peak, locked] = numbers[..] else { bail!("{name}: {numbers:?}") };
        m.own += per_chunk(after - before);
        m.start += start;
        m.peak_bytes += peak;
        m.locked_bytes += locked;
        m.complaints += read(folder.join(format!("{name}.{index}.err")))?.lines().count() as f64;
        let status = read(folder.join(format!("{name}.{index}.status")))?;
        ensure!(status.trim() == "0", "{name}: command {index} exited with {status}");
    }
    Ok(m)
}

fn median(mut values: Vec<f64>) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("nothing was measured")
}

fn evaluate(transfer: &Transfer, folder: &Path, quick: bool, figures: &mut Figures) -> Result<()> {
    let Transfer { name: of, chunks, rounds, .. } = transfer;
    let mut none = Vec::new();
    for round in 0..*rounds {
        for mode in (0..modes(quick).len()).step_by(3) {
            none.push(measured(folder, &format!("none.{round}-{mode}"), *chunks)?.busy);
        }
    }
    let spread =
        none.iter().copied().fold(f64::MIN, f64::max) - none.iter().copied().fold(f64::MAX, f64::min);
    let base = median(none)?;
    let mut put = |name: String, value: f64| figures.insert(name, value);
    put(format!("none: {of}: instructions per chunk"), base);
    put(format!("none: {of}: spread"), spread);
    for (mode, (name, _)) in modes(quick).iter().enumerate() {
        let runs = (0..*rounds)
            .map(|round| measured(folder, &format!("{mode}.{round}"), *chunks))
            .collect::<Result<Vec<_>>>()?;
        let middle = |of: fn(&Measured) -> f64| median(runs.iter().map(of).collect());
        put(format!("{name}: {of}: kernel"), middle(|m| m.busy - m.own)? - base);
        put(format!("{name}: {of}: own"), middle(|m| m.own)?);
        put(format!("{name}: {of}: complaints"), middle(|m| m.complaints)?);
        if *of == TRANSFERS[0].name {
            put(format!("{name}: start"), middle(|m| m.start)?);
            put(format!("{name}: peak"), middle(|m| m.peak_bytes)?);
            put(format!("{name}: kernel memory"), middle(|m| m.locked_bytes)?);
        }
    }
    if *of == TRANSFERS[0].name {
        for (number, kind) in FLOORS.iter().enumerate() {
            let runs = (0..2)
                .map(|round| Ok(measured(folder, &format!("floor{number}.{round}"), *chunks)?.busy))
                .collect::<Result<Vec<_>>>()?;
            put(format!("floor: {kind}"), runs.iter().sum::<f64>() / 2.0 - base);
        }
        for (number, tool) in TOOLS.iter().enumerate() {
            for (program, hook, runs, ns) in stats(folder, &format!("stats{number}"))? {
                put(format!("{tool}: {hook} {program}: runs per chunk"), runs / f64::from(*chunks));
                put(format!("{tool}: {hook} {program}: ns per run"), ns / runs.max(1.0));
            }
        }
    }
    Ok(())
}

/// Programs with their hooks, runs and nanoseconds.
fn stats(folder: &Path, name: &str) -> Result<Vec<(String, String, f64, f64)>> {
    let read = |when: &str| {
        let path = folder.join(format!("{name}.{when}"));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        text.lines()
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let [hook, program, runs, ns] = words[..] else { bail!("{line}") };
                Ok((program.to_owned(), hook.to_owned(), runs.parse::<f64>()?, ns.parse::<f64>()?))
            })
            .collect::<Result<Vec<_>>>()
    };
    let before = read("before")?;
    Ok(read("after")?
        .into_iter()
        .map(|(program, hook, runs, ns)| {
            let earlier = before.iter().find(|b| b.0 == program);
            let (r, n) = earlier.map_or((0.0, 0.0), |b| (b.2, b.3));
            (program, hook, runs - r, ns - n)
        })
        .filter(|(_, _, runs, _)| *runs > 0.0)
        .collect())
}
