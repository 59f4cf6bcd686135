//! What the kernel's verifier had to do for each program, as its log says (`BPF_LOG_STATS`).

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use libbpf_rs::OpenObject;

/// Only statistics, of which the kernel writes a few lines per program.
const LOG_STATS: u32 = 4;

static WATCHED: AtomicBool = AtomicBool::new(false);
static COSTS: Mutex<Vec<Cost>> = Mutex::new(Vec::new());

/// What a program cost the verifier, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The program.
    pub program: String,
    /// Instructions gone through, on all ways together: the kernel's limit is a million.
    pub instructions: u64,
    /// States kept.
    pub states: u64,
}

/// From here on, costs are noted as programs are loaded.
pub fn watch() {
    WATCHED.store(true, Ordering::Relaxed);
}

/// Costs of the programs loaded since, in their order.
#[must_use]
pub fn costs() -> Vec<Cost> {
    COSTS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

pub(crate) fn is_watched() -> bool {
    WATCHED.load(Ordering::Relaxed)
}

/// Asks for the statistics of an object's programs, which libbpf then prints for debugging.
pub(crate) fn ask(object: &mut OpenObject) {
    for mut program in object.progs_mut() {
        program.set_log_level(LOG_STATS);
    }
}

/// Takes a program's statistics out of what libbpf prints.
pub(crate) fn note(printed: &str) {
    if let Some(cost) = parse(printed) {
        COSTS.lock().unwrap_or_else(PoisonError::into_inner).push(cost);
    }
}

/// `prog 'NAME': -- BEGIN PROG LOAD LOG --`, and then among other lines
/// `processed 12 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 1`.
fn parse(printed: &str) -> Option<Cost> {
    let program = printed.split_once("prog '")?.1.split_once('\'')?.0;
    let line = printed.lines().find(|line| line.starts_with("processed "))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let states = words.iter().position(|word| *word == "total_states")?;
    Some(Cost {
        program: program.to_owned(),
        instructions: words.get(1)?.parse().ok()?,
        states: words.get(states + 1)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_found_among_other_lines() {
        let printed = "libbpf: prog 'rtt_sack': -- BEGIN PROG LOAD LOG --\n\
            verification time 512 usec\nstack depth 64\n\
            processed 1234 insns (limit 1000000) max_states_per_insn 4 total_states 56 peak_states 50 mark_read 7\n\
            -- END PROG LOAD LOG --\n";
        let cost = Cost { program: "rtt_sack".to_owned(), instructions: 1234, states: 56 };
        assert_eq!(parse(printed), Some(cost));
        assert_eq!(parse("libbpf: map 'x': created successfully, fd=3\n"), None);
    }
}
