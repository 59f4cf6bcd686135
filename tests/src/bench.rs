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
use crate::programs::{self, TOOLS};
use crate::vm::{self, Case, Mode, Vm, text, to_stderr};

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

const TRANSFERS: [Transfer; 4] = [
    Transfer {
        name: "20,000 x 100 B",
        chunks: 20_001,
        serve: "--streams 4",
        send: "--streams 4 --count 20000 --size 100",
        rounds: 5,
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
    // In bulk, as iperf3 sends: each message is cut into 46 chunks.
    Transfer {
        name: "400 x 64 KiB",
        chunks: 400 * 46 + 1,
        serve: "--streams 4",
        send: "--streams 4 --count 400 --size 65536",
        rounds: 5,
    },
];

/// What grows, step by step: 20,000 chunks or so, over more and more of it.
struct Growth {
    of: &'static str,
    /// What the work is counted by.
    per: &'static str,
    /// How many, how often the latter comes, and the guest's lines for the path, the server and the client.
    steps: [(u32, u32, &'static str, &'static str, &'static str); 3],
}

const GROWTH: [Growth; 4] = [
    Growth {
        of: "associations",
        per: "chunk",
        steps: [
            (1, 20_000, "", "--one-to-many", "--crowd --count 20000"),
            (100, 20_000, "", "--one-to-many --associations 100", "--crowd --associations 100 --count 200"),
            (
                10_000,
                40_000,
                "",
                "--one-to-many --associations 10000 --streams 4",
                "--crowd --associations 10000 --streams 4 --count 4",
            ),
        ],
    },
    Growth {
        of: "streams",
        per: "chunk",
        steps: [
            (1, 65_535, "", "--one-to-many", "--crowd --count 65535"),
            (64, 65_535, "", "--one-to-many --streams 64", "--crowd --streams 64 --count 65535"),
            (65_535, 65_535, "", "--one-to-many --streams 65535", "--crowd --streams 65535 --count 65535"),
        ],
    },
    Growth {
        of: "outstanding chunks",
        per: "chunk",
        steps: [
            (1, 5001, "path 0.5ms", "", "--count 5000 --rate 1000 --nodelay"),
            (64, 5001, "path 32ms", "", "--count 5000 --rate 1000 --nodelay"),
            (
                4096,
                20_001,
                "path 2048ms",
                "--rcvbuf 20000000",
                "--count 20000 --rate 1000 --nodelay --sndbuf 20000000",
            ),
        ],
    },
    // Last, as it changes what a transfer is.
    Growth {
        of: "gap blocks",
        per: "SACK for 44 chunks",
        steps: [
            (0, SACKS, "gap_peer; path 0ms", "", "--blocks 0"),
            (4, SACKS, "gap_peer", "", "--blocks 4"),
            (64, SACKS, "gap_peer", "", "--blocks 64"),
        ],
    },
];

/// SACKs of a transfer with gap blocks.
const SACKS: u32 = 300;

/// The flag for a table's size, and a size that holds the largest step.
const ROOM: [(&str, &str, u32); 5] = [
    ("rtt", "--max-paths", 32_768),
    ("rto", "--max-paths", 32_768),
    ("bufmon", "--max-assocs", 32_768),
    ("jitter", "--max-streams", 131_072),
    ("streamutil", "--max-streams", 131_072),
];

/// An idle tick with `-i 1 --json`: what part of the table of `ROOM` there is, and how many associations came and went.
const TICKS: [(&str, u32, u32); 3] = [
    ("a 32nd of the table, empty", 32, 0),
    ("the table, empty", 1, 0),
    ("the table, after 10,000 associations", 1, 10_000),
];

/// How many are measured, a second apart.
const TICKS_COUNTED: f64 = 10.0;

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
    let mut cases: Vec<Case> = transfers.iter().enumerate().map(|(index, t)| case(index, t, quick)).collect();
    if !quick {
        cases.push(growth_case());
    }
    // Each on a machine of its own: they take about the same time.
    let folders = thread::scope(|scope| {
        let threads: Vec<_> = cases
            .iter()
            .map(|case| {
                let programs = programs.clone();
                scope.spawn(move || {
                    let name = format!("bench-{}", case.name);
                    let machine = Vm {
                        name,
                        arch: Arch::X86_64,
                        series: Series::V6_12,
                        mode: Mode::Icount,
                        programs,
                        files: Vec::new(),
                    };
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
    if let Some(folder) = folders.get(transfers.len()) {
        evaluate_growth(folder, &mut figures)?;
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

fn growth_case() -> Case {
    let mut script = String::from(". /bench.sh\ntopology\n");
    for (step, (_, part, associations)) in TICKS.iter().enumerate() {
        for (tool, flag, room) in ROOM {
            let command = format!("'sctp-{tool} -i 1 --json {flag} {}'", room / part);
            let _ = writeln!(script, "ticks {tool}.tick{step} {TICKS_COUNTED} {associations} {command}");
        }
    }
    for (growth, Growth { steps, .. }) in GROWTH.iter().enumerate() {
        for (step, (_, _, path, serve, send)) in steps.iter().enumerate() {
            let transfer = format!("'--bind 10.2.0.1 {serve}' '--bind 10.1.0.1 {send}'");
            let _ = writeln!(script, "{path}\nbench none.{growth}.{step} {transfer}");
            for (tool, flag, room) in ROOM {
                let command = format!("'sctp-{tool} -c {flag} {room}'");
                let _ = writeln!(script, "bench {tool}.{growth}.{step} {transfer} {command}");
            }
        }
    }
    let mut case = Case::new("growth", &script);
    case.limit = Duration::from_secs(3000);
    case
}

fn evaluate_growth(folder: &Path, figures: &mut Figures) -> Result<()> {
    for (growth, Growth { of, steps, .. }) in GROWTH.iter().enumerate() {
        for (step, (size, chunks, ..)) in steps.iter().enumerate() {
            let base = measured(folder, &format!("none.{growth}.{step}"), *chunks)?.busy;
            for (tool, ..) in ROOM {
                let m = measured(folder, &format!("{tool}.{growth}.{step}"), *chunks)?;
                figures.insert(format!("{tool}: {size} {of}: kernel"), m.busy - m.own - base);
                figures.insert(format!("{tool}: {size} {of}: complaints"), m.complaints);
            }
        }
    }
    for (step, (what, ..)) in TICKS.iter().enumerate() {
        for (tool, ..) in ROOM {
            let text = text(&folder.join(format!("{tool}.tick{step}.own")))?;
            let [before, after] = text.split_whitespace().collect::<Vec<_>>()[..] else {
                bail!("tick of {tool}: {text}")
            };
            let spent = after.parse::<f64>()? - before.parse::<f64>()?;
            figures.insert(format!("{tool}: a tick, {what}: own"), spent / TICKS_COUNTED);
        }
    }
    Ok(())
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
    let truth: Value = serde_json::from_str(&text(&folder.join(format!("{name}.json")))?)?;
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
            text(&own)?.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
        let [start, before, after, peak, locked] = numbers[..] else { bail!("{name}: {numbers:?}") };
        m.own += per_chunk(after - before);
        m.start += start;
        m.peak_bytes += peak;
        m.locked_bytes += locked;
        m.complaints += text(&folder.join(format!("{name}.{index}.err")))?.lines().count() as f64;
        let status = text(&folder.join(format!("{name}.{index}.status")))?;
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
    // The machine changes with time: what a command adds is told from what was without one in the same round.
    let mut bases = Vec::new();
    for round in 0..*rounds {
        let of_round = (0..modes(quick).len())
            .step_by(3)
            .map(|mode| Ok(measured(folder, &format!("none.{round}-{mode}"), *chunks)?.busy))
            .collect::<Result<Vec<_>>>()?;
        none.extend(&of_round);
        bases.push(median(of_round)?);
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
        let added = runs.iter().zip(&bases).map(|(m, base)| m.busy - m.own - base);
        put(format!("{name}: {of}: kernel"), median(added.collect())?);
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
            for (program, (runs, ns)) in stats(folder, &format!("stats{number}"))? {
                put(format!("{tool}: {program}: runs per chunk"), runs / f64::from(*chunks));
                put(format!("{tool}: {program}: per run"), ns / runs);
            }
        }
    }
    Ok(())
}

/// Programs by their hooks and names, with runs and nanoseconds. Twins are one: the kernel cuts names to 15 bytes.
fn stats(folder: &Path, name: &str) -> Result<BTreeMap<String, (f64, f64)>> {
    let counted = |when: &str| {
        let mut counts: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for line in text(&folder.join(format!("{name}.{when}")))?.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [hook, program, runs, ns] = words[..] else { bail!("{line}") };
            let count = counts.entry(format!("{hook} {program}")).or_default();
            count.0 += runs.parse::<f64>()?;
            count.1 += ns.parse::<f64>()?;
        }
        Ok(counts)
    };
    let (before, mut after) = (counted("before")?, counted("after")?);
    for (program, (runs, ns)) in &mut after {
        let (r, n) = before.get(program).copied().unwrap_or_default();
        *runs -= r;
        *ns -= n;
    }
    after.retain(|_, (runs, _)| *runs > 0.0);
    Ok(after)
}

/// What the Python scripts cost on this bed, measured elsewhere: kernel side and own process per 100 B chunk, start,
/// peak memory in MB, and how many of the events they saw.
const SCRIPTS: [(&str, &str, &str, &str, &str, &str); 5] = [
    ("rtt", "2,156", "19,515", "13.1 G", "240", "13.7 %"),
    ("rto", "834", "-", "12.7 G", "241", "11.9 %"),
    ("bufmon", "6,765", "-", "12.7 G", "241", "9.5 %"),
    ("jitter", "3,684", "-", "25.0 G", "255", "6.7 %"),
    ("streamutil", "2,275", "-", "12.7 G", "241", "8.9 %"),
];

/// The kernel side's goals per 100 B chunk with CSV: at most, and better.
const GOALS: [(&str, f64, f64); 5] = [
    ("rtt", 800.0, 500.0),
    ("rto", 150.0, 80.0),
    ("bufmon", 900.0, 500.0),
    ("jitter", 450.0, 320.0),
    ("streamutil", 450.0, 320.0),
];

/// The commands beside the scripts, as Markdown: the worst transfer for a tracer, with CSV.
pub fn comparison(figures: &Figures) -> String {
    let first = TRANSFERS[0].name;
    let scaled = |name: &str, by: f64, digits: usize| {
        figures.get(name).map_or("-".to_owned(), |value| format!("{:.digits$}", value / by))
    };
    let mut text = String::from(
        "| | per chunk, kernel side | of the chunks or events it sees | start, G | peak memory, MB |\n|---|---|---|---|---|\n",
    );
    for (tool, script, _, start, peak, seen) in SCRIPTS {
        let start = start.trim_end_matches(" G");
        let all = figures.get(&format!("{tool} CSV: {first}: complaints")) == Some(&0.0);
        let _ = writeln!(
            text,
            "| `sctp-{tool}` (`sctp_{tool}.py`) | {} ({script}) | {} ({seen}) | {} ({start}) | {} ({peak}) |",
            scaled(&format!("{tool} CSV: {first}: kernel"), 1.0, 0),
            if all { "all" } else { "not all" },
            scaled(&format!("{tool} CSV: start"), 1e9, 2),
            scaled(&format!("{tool} CSV: peak"), 1e6, 1),
        );
    }
    text
}

/// The figures as Markdown.
pub fn tables(figures: &Figures) -> String {
    let get = |name: &str| figures.get(name).copied();
    let number = |name: &str| get(name).map_or("-".to_owned(), |value| format!("{value:.0}"));
    let scaled = |name: &str, by: f64| get(name).map_or("-".to_owned(), |value| format!("{:.1}", value / by));
    let first = TRANSFERS[0].name;
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    };
    let head = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let rule = |columns: usize| vec!["---".to_owned(); columns];

    line(&head(&["per 100 B chunk", "the script", "sees", "at most", "goal", "CSV", "text", "JSON"]));
    line(&rule(8));
    for ((tool, script, _, _, _, seen), (_, most, goal)) in SCRIPTS.iter().zip(GOALS) {
        let mut row = head(&[tool, script, seen]);
        row.extend([most, goal].map(|goal| format!("{goal:.0}")));
        row.extend(FORMS.map(|(form, _)| number(&format!("{tool} {form}: {first}: kernel"))));
        line(&row);
    }
    line(&[]);
    line(&head(&["own process", "the script, per chunk", "CSV", "text", "JSON"]));
    line(&rule(5));
    for (tool, _, script, ..) in SCRIPTS {
        let mut row = head(&[tool, script]);
        row.extend(FORMS.map(|(form, _)| number(&format!("{tool} {form}: {first}: own"))));
        line(&row);
    }
    line(&[]);
    let names =
        ["", "start of the script", "CSV, M", "text, M", "JSON, M", "peak of the script, MB", "peak, MB"];
    line(&head(&names));
    line(&rule(names.len()));
    for (tool, _, _, start, peak, _) in SCRIPTS {
        let mut row = head(&[tool, start]);
        row.extend(FORMS.map(|(form, _)| scaled(&format!("{tool} {form}: start"), 1e6)));
        row.extend([peak.to_owned(), scaled(&format!("{tool} CSV: peak"), 1e6)]);
        line(&row);
    }
    line(&[]);
    line(&head(&["", "tables and programs with CSV, MB", "with JSON, MB", "binary, MB"]));
    line(&rule(4));
    for tool in TOOLS {
        let of = |name: &str| scaled(&format!("{tool}{name}"), 1e6);
        line(&[tool.to_owned(), of(" CSV: kernel memory"), of(" JSON: kernel memory"), of(": binary")]);
    }
    line(&[]);
    let mut names = head(&["kernel side, % of all work"]);
    names.extend(TRANSFERS.map(|transfer| transfer.name.to_owned()));
    line(&names);
    line(&rule(names.len()));
    for (mode, _) in modes(false).iter().filter(|(mode, _)| mode.ends_with("CSV")) {
        let mut row = vec![mode.clone()];
        row.extend(TRANSFERS.map(|Transfer { name, .. }| {
            let base = get(&format!("none: {name}: instructions per chunk"));
            let kernel = get(&format!("{mode}: {name}: kernel"));
            base.zip(kernel).map_or("-".to_owned(), |(base, kernel)| format!("{:.1}", 100.0 * kernel / base))
        }));
        line(&row);
    }
    line(&[]);
    line(&head(&["a program that does nothing, on a hook reached 2.2 times per chunk", "per chunk"]));
    line(&rule(2));
    for kind in FLOORS {
        line(&[kind.to_owned(), number(&format!("floor: {kind}"))]);
    }
    line(&[]);
    line(&head(&["program, with CSV", "runs per chunk", "per run, with the kernel's own counting of it"]));
    line(&rule(3));
    for (name, runs) in figures {
        let Some(program) = name.strip_suffix(": runs per chunk") else { continue };
        let (runs, each) = (format!("{runs:.3}"), number(&format!("{program}: per run")));
        line(&[program.to_owned(), runs, each]);
    }
    for Growth { of, per, steps } in &GROWTH {
        line(&[]);
        let mut names = vec![format!("per {per}, with {of}")];
        names.extend(steps.iter().map(|step| step.0.to_string()));
        line(&names);
        line(&rule(4));
        for tool in TOOLS {
            let mut row = vec![tool.to_owned()];
            row.extend(steps.iter().map(|step| number(&format!("{tool}: {} {of}: kernel", step.0))));
            line(&row);
        }
    }
    line(&[]);
    let mut names = vec!["own process, per tick without events".to_owned()];
    names.extend(TICKS.map(|(what, ..)| what.to_owned()));
    line(&names);
    line(&rule(4));
    for tool in TOOLS {
        let mut row = vec![tool.to_owned()];
        row.extend(TICKS.map(|(what, ..)| number(&format!("{tool}: a tick, {what}: own"))));
        line(&row);
    }
    text.replace("|  |\n", "\n")
}

/// Figures that are more than a tenth above those of the baseline. Of instructions per chunk, 60 more are noise.
pub fn over(figures: &Figures, baseline: &Figures) -> Vec<String> {
    let grown = figures.iter().filter_map(|(name, value)| {
        let noise = if name.ends_with(": kernel") || name.ends_with(": own") { 60.0 } else { 0.0 };
        let before = baseline.get(name)?;
        (*value > before * 1.1 + noise).then(|| format!("{name}: {value:.0}, was {before:.0}"))
    });
    grown.filter(|line| !line.contains("spread") && !line.contains("per run")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_more_is_told_and_noise_is_not() {
        let figures =
            |all: &[(&str, f64)]| all.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect::<Figures>();
        let before = figures(&[("a: kernel", 500.0), ("b: start", 1000.0), ("c: kernel", 50.0)]);
        assert!(over(&before, &before).is_empty());
        let after =
            figures(&[("a: kernel", 620.0), ("b: start", 1090.0), ("c: kernel", 100.0), ("new: own", 9.0)]);
        assert_eq!(over(&after, &before), ["a: kernel: 620, was 500"]);
    }
}
