//! Trials that share a machine.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs;
use sctptrace_tests::vm::{Case, Mode, Results, Vm, to_stderr};

/// What is asserted of the folder that a case left. The case's script has ended with status 0 by then.
pub type Check = Box<dyn Fn(&Path) -> Result<()> + Send>;

/// All cases, by the machine that they run on.
#[derive(Default)]
pub struct Suite {
    groups: Vec<Group>,
}

struct Group {
    series: Series,
    mode: Mode,
    cases: Vec<(Case, Check)>,
}

impl Group {
    fn name(&self) -> String {
        let mode = match self.mode {
            Mode::Icount => "icount",
            Mode::Smp => "smp",
        };
        format!("{}-{mode}", self.series.name())
    }
}

impl Suite {
    /// Add a case: a script for the guest, and what must be true of the files that it left.
    pub fn add(
        &mut self,
        series: Series,
        mode: Mode,
        case: Case,
        check: impl Fn(&Path) -> Result<()> + Send + 'static,
    ) {
        let found = self.groups.iter_mut().find(|group| group.series == series && group.mode == mode);
        let group = match found {
            Some(group) => group,
            None => {
                self.groups.push(Group { series, mode, cases: Vec::new() });
                let last = self.groups.len() - 1;
                &mut self.groups[last]
            }
        };
        group.cases.push((case, Box::new(check)));
    }

    /// The trials. The first one of a machine boots it, with the cases that the arguments leave.
    pub fn trials(self, arguments: &Arguments) -> Vec<Trial> {
        let mut trials = Vec::new();
        for group in self.groups {
            let name = group.name();
            let (series, mode) = (group.series, group.mode);
            let selected: Vec<_> = group
                .cases
                .into_iter()
                .filter(|(case, _)| selects(arguments, &trial_name(&name, case)))
                .collect();
            let cases: Vec<_> = selected.iter().map(|(case, _)| case.clone()).collect();
            let machine =
                Arc::new(Machine { name: name.clone(), series, mode, cases, results: OnceLock::new() });
            for (case, check) in selected {
                let machine = Arc::clone(&machine);
                trials.push(Trial::test(trial_name(&name, &case), move || {
                    let folder = machine.results()?.case(&case.name).map_err(failed)?;
                    check(&folder).map_err(failed)
                }));
            }
        }
        trials
    }
}

struct Machine {
    name: String,
    series: Series,
    mode: Mode,
    cases: Vec<Case>,
    results: OnceLock<Result<Results, String>>,
}

impl Machine {
    fn results(&self) -> Result<&Results, Failed> {
        let results = self.results.get_or_init(|| self.run().map_err(|error| format!("{error:#}")));
        results.as_ref().map_err(|error| error.into())
    }

    fn run(&self) -> Result<Results> {
        let programs = programs::build()?;
        let machine = Vm { name: self.name.clone(), series: self.series, mode: self.mode, programs };
        machine.run(&self.cases, to_stderr)
    }
}

fn trial_name(machine: &str, case: &Case) -> String {
    format!("{machine}/{}", case.name)
}

fn failed(error: anyhow::Error) -> Failed {
    format!("{error:#}").into()
}

/// Whether a test of that name runs, by the rules of cargo test.
fn selects(arguments: &Arguments, name: &str) -> bool {
    let matches = |filter: &String| if arguments.exact { name == filter } else { name.contains(filter) };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}
