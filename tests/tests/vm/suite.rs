//! Collects cases and scenarios by machine, boots each machine once for all of them, and checks their files.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};
use sctptrace_tests::arch::Arch;
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs;
use sctptrace_tests::vm::{self, Case, Cost, Mode, Results, Vm, to_stderr};

use crate::matrix::{Cell, Matrix};
use crate::scope::Scope;
use crate::session;

/// Checks the folder that a case left. It is called only if the case's script has ended with status 0.
pub type Check = Box<dyn Fn(&Path) -> Result<()> + Send>;

/// Compares the output of the cell's command in a scenario's folder with the truth.
pub type Compare = Arc<dyn Fn(&Path, Cell) -> Result<()> + Send + Sync>;

/// The commands' flag that keeps them on one kind of hook: `$HOOKS_FLAG` in scripts.
const HOOKS_FLAG: &str = "--hooks";
/// The kinds of hooks, as [`HOOKS_FLAG`] names them.
pub const HOOK_KINDS: [&str; 2] = [FENTRY, KPROBE];
/// The kind of hooks that costs less: fentry, with fexit and tp_btf.
pub const FENTRY: &str = "fentry";
/// The kind of hooks that works on every kernel and architecture of the comparisons.
pub const KPROBE: &str = "kprobe";

/// The kernels and kinds of hooks that comparisons are made with. arm64's 6.1 has no fentry (its direct calls
/// came with 6.4).
pub const fn compared(arch: Arch) -> &'static [(Series, &'static str)] {
    match arch {
        Arch::X86_64 => &[
            (Series::V6_1, FENTRY),
            (Series::V6_1, KPROBE),
            (Series::V6_12, FENTRY),
            (Series::V6_12, KPROBE),
            (Series::V7_3, FENTRY),
            (Series::V7_3, KPROBE),
        ],
        Arch::Aarch64 => &[
            (Series::V6_1, KPROBE),
            (Series::V6_12, FENTRY),
            (Series::V6_12, KPROBE),
            (Series::V7_3, FENTRY),
            (Series::V7_3, KPROBE),
        ],
    }
}

/// How many cases one machine runs at most. More cases are dealt out to several machines, as otherwise the
/// host's other CPUs would idle while the last machine runs.
const MOST_CASES: usize = 40;

/// All cases, by the machine that they run on.
pub struct Suite {
    arch: Arch,
    scope: Scope,
    /// How many cases and scenarios do not run, because of the scope or the architecture.
    left_out: usize,
    /// How many comparisons each cell of the matrix has, whether this run makes them or not.
    comparisons: BTreeMap<Cell, u32>,
    groups: Vec<Group>,
}

struct Group {
    name: String,
    series: Series,
    mode: Mode,
    cases: Vec<Member>,
}

/// A case or a scenario of a machine, with its checks.
struct Member {
    case: Case,
    /// True for a scenario. All scenarios of a machine run as one case.
    is_scenario: bool,
    trials: Vec<(String, Check)>,
}

/// The cases of a group that run on one machine. Only those that the command line selects are in it.
#[derive(Default)]
struct Part {
    cases: Vec<Case>,
    scenarios: Vec<Case>,
    /// For each trial: its name, the name of its case, and its check.
    trials: Vec<(String, String, Check)>,
}

impl Suite {
    /// An empty suite for guests of an architecture.
    pub const fn new(arch: Arch, scope: Scope) -> Self {
        Self { arch, scope, left_out: 0, comparisons: BTreeMap::new(), groups: Vec::new() }
    }

    /// How many cases and scenarios do not run, because of the scope or the architecture.
    pub const fn left_out(&self) -> usize {
        self.left_out
    }

    /// Adds a case for one machine, and the check of the files that the case leaves. Only x86-64 guests run
    /// cases.
    pub fn add(
        &mut self,
        series: Series,
        mode: Mode,
        case: Case,
        check: impl Fn(&Path) -> Result<()> + Send + 'static,
    ) {
        if self.arch != Arch::X86_64 || !self.scope.has_case(&case.name, series) {
            self.left_out += 1;
            return;
        }
        let trials = vec![(case.name.clone(), Box::new(check) as Check)];
        let member = Member { case, is_scenario: false, trials };
        self.push(&format!("{}-{}", series.name(), mode.name()), series, mode, member);
    }

    /// Adds a scenario, and for each command a check that compares it with the truth, on every kernel and
    /// with each kind of hooks that the scope has.
    pub fn compare(&mut self, case: &Case, checks: &[(&'static str, Compare)]) {
        for &(series, hooks) in compared(self.arch) {
            for (tool, _) in checks {
                let cell = Cell { series: series.name(), hooks, tool, is_hardened: false };
                *self.comparisons.entry(cell).or_default() += 1;
            }
            if !self.scope.has_scenario(&case.name, series, hooks) {
                self.left_out += 1;
                continue;
            }
            let name = format!("{}{}-{hooks}", series.name(), self.arch.suffix());
            self.push(&name, series, Mode::Icount, scenario(case, checks, (series, hooks), Mode::Icount));
        }
        for hooks in HOOK_KINDS {
            if self.arch != Arch::X86_64 || !self.scope.has_hardened_scenario(&case.name) {
                self.left_out += 1;
                continue;
            }
            let (series, mode) = (Series::V6_12, Mode::Hardened);
            let name = format!("{}-{}-{hooks}", series.name(), mode.name());
            self.push(&name, series, mode, scenario(case, checks, (series, hooks), mode));
        }
    }

    fn push(&mut self, name: &str, series: Series, mode: Mode, mut member: Member) {
        member.case.script.insert_str(0, &format!("HOOKS_FLAG={HOOKS_FLAG}\n"));
        match self.groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.cases.push(member),
            None => self.groups.push(Group { name: name.to_owned(), series, mode, cases: vec![member] }),
        }
    }

    /// Makes the trials that the arguments select. The first trial that runs starts all machines, with the
    /// cases of these trials only.
    pub fn trials(self, arguments: &Arguments) -> Run {
        let mut is_whole = self.scope == Scope::All;
        let pool = Arc::new(Pool::new(self.arch));
        let mut trials = Vec::new();
        let mut machines = Vec::new();
        for group in self.groups {
            let count = group.cases.iter().filter(|member| !member.is_scenario).count().div_ceil(MOST_CASES);
            let mut parts: Vec<Part> = (0..count.max(1)).map(|_| Part::default()).collect();
            for (index, Member { case, is_scenario, trials }) in group.cases.into_iter().enumerate() {
                let part = &mut parts[if is_scenario { 0 } else { index % count }];
                let before = part.trials.len();
                let case_name = if is_scenario { session::NAME } else { &case.name }.to_owned();
                for (name, check) in trials {
                    let name = format!("{}/{name}", group.name);
                    if selects(arguments, &name) {
                        part.trials.push((name, case_name.clone(), check));
                    } else {
                        is_whole = false;
                    }
                }
                if part.trials.len() > before {
                    if is_scenario { part.scenarios.push(case) } else { part.cases.push(case) }
                }
            }
            for (number, Part { mut cases, scenarios, trials: selected }) in (1..).zip(parts) {
                if !scenarios.is_empty() {
                    let hooks = group.name.rsplit('-').next().unwrap_or_default();
                    // On a kernel with only one kind of hooks the commands must choose it without the flag.
                    let kinds =
                        compared(self.arch).iter().filter(|(series, _)| *series == group.series).count();
                    let flag = if kinds == 1 { "" } else { hooks };
                    let head = format!("HOOKS='{}'\n{}", hooks_flag(flag), group.mode.settings());
                    cases.push(session::case(&scenarios, &head));
                }
                let name = if number == 1 { group.name.clone() } else { format!("{}-{number}", group.name) };
                let machine = Arc::new(Machine {
                    name,
                    arch: self.arch,
                    series: group.series,
                    mode: group.mode,
                    cases,
                    results: OnceLock::new(),
                });
                machines.push((selected.len(), Arc::clone(&machine)));
                for (name, case, check) in selected {
                    let (machine, pool) = (Arc::clone(&machine), Arc::clone(&pool));
                    trials.push(Trial::test(name, move || {
                        pool.start();
                        let results = machine.results.wait().as_ref();
                        let folder = results.map_err(Failed::from)?.case(&case).map_err(failed)?;
                        check(&folder).map_err(failed)
                    }));
                }
            }
        }
        // The machines with the most trials begin, as they take longest.
        machines.sort_by_key(|(trials, _)| Reverse(*trials));
        pool.machines().extend(machines.into_iter().map(|(_, machine)| machine));
        Run { trials, matrix: Matrix::new(self.arch, self.comparisons, is_whole), pool }
    }
}

/// A scenario of a machine, and for each command a check that compares it with the truth.
fn scenario(
    case: &Case,
    checks: &[(&'static str, Compare)],
    (series, hooks): (Series, &'static str),
    mode: Mode,
) -> Member {
    let trials = checks
        .iter()
        .map(|(tool, check)| {
            let cell = Cell { series: series.name(), hooks, tool, is_hardened: mode == Mode::Hardened };
            let (check, name) = (Arc::clone(check), case.name.clone());
            let check: Check = Box::new(move |folder| check(&session::folder_of(folder, &name)?, cell));
            (format!("{}-{tool}", case.name), check)
        })
        .collect();
    Member { case: case.clone(), is_scenario: true, trials }
}

/// The trials of a suite, and what is needed after they have run.
pub struct Run {
    /// The trials, one for each check.
    pub trials: Vec<Trial>,
    /// The table of comparisons.
    pub matrix: Matrix,
    pool: Arc<Pool>,
}

impl Run {
    /// Prints the host's time that each boot and each case took, the most CPU time first; then the sum.
    pub fn print_costs(&self) {
        let mut costs = self.pool.costs().clone();
        costs.sort_by(|(_, one), (_, other)| other.cpu_s.total_cmp(&one.cpu_s));
        eprintln!("    CPU s  wall s  case");
        for (machine, Cost { name, cpu_s, wall_s }) in &costs {
            eprintln!("    {cpu_s:5.1}  {wall_s:6.1}  {machine}/{name}");
        }
        let all: f64 = costs.iter().map(|(_, cost)| cost.cpu_s).sum();
        eprintln!("    {all:5.1}          all together");
    }
}

/// The machines to run. First come those that count instructions, as many at a time as the host has CPUs.
/// Then come those in real time, one by one, as others would slow them down.
struct Pool {
    arch: Arch,
    machines: Mutex<VecDeque<Arc<Machine>>>,
    /// The host's time that each boot and each case took, with the name of the machine.
    costs: Mutex<Vec<(String, Cost)>>,
    started: OnceLock<()>,
    /// The programs for the guests, and the lock that lets one process at a time run machines, held until
    /// this process ends; or why there are none.
    ready: OnceLock<Result<(Vec<PathBuf>, vm::Lock), String>>,
}

impl Pool {
    const fn new(arch: Arch) -> Self {
        let machines = Mutex::new(VecDeque::new());
        Self {
            arch,
            machines,
            costs: Mutex::new(Vec::new()),
            started: OnceLock::new(),
            ready: OnceLock::new(),
        }
    }

    fn start(self: &Arc<Self>) {
        self.started.get_or_init(|| {
            let pool = Arc::clone(self);
            thread::spawn(move || pool.run());
        });
    }

    fn run(&self) {
        let programs = match self.programs() {
            Ok(programs) => programs,
            Err(error) => {
                for machine in self.machines().drain(..) {
                    machine.end(Err(anyhow!("{error:#}")));
                }
                return;
            }
        };
        let (counting, real): (Vec<_>, Vec<_>) =
            self.machines().drain(..).partition(|machine| machine.mode != Mode::Smp);
        let counting = Mutex::new(VecDeque::from(counting));
        let next = || counting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, Into::into) {
                scope.spawn(|| {
                    while let Some(machine) = next() {
                        self.run_machine(&machine, programs);
                    }
                });
            }
        });
        for machine in real {
            self.run_machine(&machine, programs);
        }
    }

    fn run_machine(&self, machine: &Machine, programs: &[PathBuf]) {
        machine.run(programs);
        if let Some(Ok(results)) = machine.results.get() {
            self.costs().extend(results.costs.iter().map(|cost| (machine.name.clone(), cost.clone())));
        }
    }

    fn costs(&self) -> MutexGuard<'_, Vec<(String, Cost)>> {
        self.costs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn programs(&self) -> Result<&[PathBuf]> {
        let ready = self.ready.get_or_init(|| {
            // To check the files of the last run again takes no programs.
            let programs = if rechecks() { Ok(Vec::new()) } else { programs::build(self.arch) };
            let ready = programs.and_then(|programs| Ok((programs, vm::lock()?)));
            ready.map_err(|error| format!("{error:#}"))
        });
        ready.as_ref().map(|(programs, _)| programs.as_slice()).map_err(|error| anyhow!("{error}"))
    }

    fn machines(&self) -> MutexGuard<'_, VecDeque<Arc<Machine>>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Machine {
    name: String,
    arch: Arch,
    series: Series,
    mode: Mode,
    cases: Vec<Case>,
    results: OnceLock<Result<Results, String>>,
}

impl Machine {
    fn run(&self, programs: &[PathBuf]) {
        if self.cases.is_empty() {
            return;
        }
        self.end(self.boot(programs));
    }

    fn boot(&self, programs: &[PathBuf]) -> Result<Results> {
        let machine = Vm {
            name: self.name.clone(),
            arch: self.arch,
            series: self.series,
            mode: self.mode,
            programs: programs.to_vec(),
            files: Vec::new(),
        };
        if rechecks() {
            return Ok(machine.last_results());
        }
        machine.run(&self.cases, |line| to_stderr(&format!("{}: {line}", self.name)))
    }

    fn end(&self, results: Result<Results>) {
        self.results.get_or_init(|| results.map_err(|error| format!("{error:#}")));
    }
}

/// Returns whether to run only the checks, on the files of the last run (`SCTPTRACE_RECHECK`).
fn rechecks() -> bool {
    env::var_os("SCTPTRACE_RECHECK").is_some()
}

/// Returns whether to print the host's time that each case took (`SCTPTRACE_TIMING`).
pub fn is_timed() -> bool {
    env::var_os("SCTPTRACE_TIMING").is_some()
}

/// Returns whether to update the stored results, `verifier.csv` and the matrix of docs/kernels.md, instead of comparing
/// with them (`SCTPTRACE_WRITE`).
pub fn writes() -> bool {
    env::var_os("SCTPTRACE_WRITE").is_some()
}

fn failed(error: anyhow::Error) -> Failed {
    format!("{error:#}").into()
}

/// The commands' flag for a kind of hooks; empty if `hooks` is.
fn hooks_flag(hooks: &str) -> String {
    if hooks.is_empty() { String::new() } else { format!("{HOOKS_FLAG} {hooks}") }
}

/// Returns whether the arguments select a trial of that name, by the rules of `cargo test`.
fn selects(arguments: &Arguments, name: &str) -> bool {
    let matches = |filter: &String| if arguments.exact { name == filter } else { name.contains(filter) };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}
