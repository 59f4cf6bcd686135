//! Trials that share a machine.

use std::collections::VecDeque;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};
use sctptrace_tests::arch::Arch;
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs;
use sctptrace_tests::vm::{self, Case, Mode, Results, Vm, to_stderr};

use crate::matrix::{Cell, Matrix};

/// What is asserted of the folder that a case left. The case's script has ended with status 0 by then.
pub type Check = Box<dyn Fn(&Path) -> Result<()> + Send>;

/// The rungs of the hook ladder, as `--hooks` names them.
pub const HOOK_KINDS: [&str; 2] = [FENTRY, KPROBE];
const FENTRY: &str = "fentry";
/// The lower one.
pub const KPROBE: &str = "kprobe";

/// The kernels and rungs that comparisons are made on. arm64's 6.1 has no fentry (direct calls came with 6.4).
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

/// How often a comparison may be made that does not agree; each time is told. Losses are not seeded (Debian 12's `tc`
/// cannot), so that now and then a run has more of them in a row than the limits on times allow for. And the kernel leaves
/// out a kprobe that interrupts another one on its CPU (`kprobe_running()`), so that on that rung an event may go unseen,
/// which 6.1 does not even count.
fn attempts(rung: &str) -> u32 {
    if rung == KPROBE { 5 } else { 2 }
}

/// All cases, by the machine that they run on.
pub struct Suite {
    arch: Arch,
    /// Cases that are no comparisons: not made on a foreign architecture.
    left_out: usize,
    groups: Vec<Group>,
}

struct Group {
    name: String,
    series: Series,
    mode: Mode,
    cases: Vec<Member>,
}

struct Member {
    case: Case,
    check: Check,
    /// What it is a comparison of, if it is one.
    cell: Option<Cell>,
}

impl Suite {
    /// One for guests of an architecture.
    pub const fn new(arch: Arch) -> Self {
        Self { arch, left_out: 0, groups: Vec::new() }
    }

    /// How many cases this architecture leaves out.
    pub const fn left_out(&self) -> usize {
        self.left_out
    }

    /// Add a case: a script for the guest, and what must be true of the files that it left.
    pub fn add(
        &mut self,
        series: Series,
        mode: Mode,
        case: Case,
        check: impl Fn(&Path) -> Result<()> + Send + 'static,
    ) {
        if self.arch != Arch::X86_64 {
            self.left_out += 1;
            return;
        }
        let name = match mode {
            Mode::Icount => "icount",
            Mode::Smp => "smp",
        };
        let member = Member { case, check: Box::new(check), cell: None };
        self.push(&format!("{}-{name}", series.name()), series, mode, member);
    }

    /// Add a comparison of a tool with the truth: on every kernel, and on each rung of the hook ladder, as the check is
    /// told.
    pub fn compare(
        &mut self,
        tool: &'static str,
        case: &Case,
        check: impl Fn(&Path, Cell) -> Result<()> + Clone + Send + 'static,
    ) {
        for &(series, rung) in compared(self.arch) {
            let mut case = case.clone();
            // Where there is but one, the command finds it by itself.
            let only = compared(self.arch).iter().filter(|(other, _)| *other == series).count() == 1;
            if !only {
                case.script = format!("RUNG='--hooks {rung}'\n{}", case.script);
            }
            let cell = Cell { series: series.name(), rung, tool };
            let check = check.clone();
            let member =
                Member { case, check: Box::new(move |folder| check(folder, cell)), cell: Some(cell) };
            self.push(
                &format!("{}{}-{rung}", series.name(), self.arch.suffix()),
                series,
                Mode::Icount,
                member,
            );
        }
    }

    fn push(&mut self, name: &str, series: Series, mode: Mode, member: Member) {
        match self.groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.cases.push(member),
            None => self.groups.push(Group { name: name.to_owned(), series, mode, cases: vec![member] }),
        }
    }

    /// The trials, and the matrix that they fill in. The first trial starts all machines, with the cases that the
    /// arguments leave.
    pub fn trials(self, arguments: &Arguments) -> (Vec<Trial>, Arc<Matrix>) {
        let matrix = Arc::new(Matrix::new(self.arch));
        let pool = Arc::new(Pool::new(self.arch));
        let mut trials = Vec::new();
        for group in self.groups {
            let trial_name = |case: &Case| format!("{}/{}", group.name, case.name);
            let (selected, rest): (Vec<_>, Vec<_>) =
                group.cases.into_iter().partition(|member| selects(arguments, &trial_name(&member.case)));
            if rest.iter().any(|member| member.cell.is_some()) {
                matrix.left_out();
            }
            let machine = Arc::new(Machine {
                name: group.name.clone(),
                arch: self.arch,
                series: group.series,
                mode: group.mode,
                cases: selected.iter().map(|member| member.case.clone()).collect(),
                results: OnceLock::new(),
            });
            pool.machines().push_back(Arc::clone(&machine));
            for Member { case, check, cell } in selected {
                let (machine, pool, matrix) = (Arc::clone(&machine), Arc::clone(&pool), Arc::clone(&matrix));
                trials.push(Trial::test(trial_name(&case), move || {
                    pool.start();
                    let results = machine.results.wait().as_ref();
                    let folder = results.map_err(Failed::from)?.case(&case.name).map_err(failed)?;
                    let mut agrees = check(&folder);
                    for attempt in 1..cell.map_or(1, |cell| attempts(cell.rung)) {
                        let Err(error) = &agrees else { break };
                        eprintln!("    {}/{}: once more, after: {error:#}", machine.name, case.name);
                        agrees = pool.again(&machine, &case, attempt).and_then(|folder| check(&folder));
                    }
                    agrees.map_err(failed)?;
                    if let Some(cell) = cell {
                        matrix.agreed(cell);
                    }
                    Ok(())
                }));
            }
        }
        (trials, matrix)
    }
}

/// Machines to run: those that count instructions on as many CPUs as there are, then those in real time, which want to
/// be alone.
struct Pool {
    arch: Arch,
    machines: Mutex<VecDeque<Arc<Machine>>>,
    started: OnceLock<()>,
    /// The programs to run, and the lock, until the end of this process.
    ready: OnceLock<Result<(Vec<PathBuf>, vm::Lock), String>>,
}

impl Pool {
    const fn new(arch: Arch) -> Self {
        let machines = Mutex::new(VecDeque::new());
        Self { arch, machines, started: OnceLock::new(), ready: OnceLock::new() }
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
            self.machines().drain(..).partition(|machine| machine.mode == Mode::Icount);
        let counting = Mutex::new(VecDeque::from(counting));
        let next = || counting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, Into::into) {
                scope.spawn(|| {
                    while let Some(machine) = next() {
                        machine.run(programs);
                    }
                });
            }
        });
        for machine in real {
            machine.run(programs);
        }
    }

    /// Run one case again, on a machine of its own.
    fn again(&self, machine: &Machine, case: &Case, attempt: u32) -> Result<PathBuf> {
        let name = format!("{}-{}-again-{attempt}", machine.name, case.name);
        let cases = std::slice::from_ref(case);
        machine.boot(&name, cases, self.programs()?)?.case(&case.name)
    }

    fn programs(&self) -> Result<&[PathBuf]> {
        let ready = self.ready.get_or_init(|| {
            // Looking again at what the last run left behind takes no programs.
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
        self.end(self.boot(&self.name, &self.cases, programs));
    }

    fn boot(&self, name: &str, cases: &[Case], programs: &[PathBuf]) -> Result<Results> {
        let machine = Vm {
            name: name.to_owned(),
            arch: self.arch,
            series: self.series,
            mode: self.mode,
            programs: programs.to_vec(),
            files: Vec::new(),
        };
        if rechecks() {
            return Ok(machine.last_results());
        }
        machine.run(cases, |line| to_stderr(&format!("{name}: {line}")))
    }

    fn end(&self, results: Result<Results>) {
        self.results.get_or_init(|| results.map_err(|error| format!("{error:#}")));
    }
}

/// Whether checks are to be made again of what the last run left behind, without a machine.
fn rechecks() -> bool {
    env::var_os("SCTPTRACE_RECHECK").is_some()
}

/// Whether files that hold what was seen are to be written anew, instead of compared.
pub fn writes() -> bool {
    env::var_os("SCTPTRACE_WRITE").is_some()
}

fn failed(error: anyhow::Error) -> Failed {
    format!("{error:#}").into()
}

/// Whether a test of that name runs, by the rules of cargo test.
fn selects(arguments: &Arguments, name: &str) -> bool {
    let matches = |filter: &String| if arguments.exact { name == filter } else { name.contains(filter) };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}
