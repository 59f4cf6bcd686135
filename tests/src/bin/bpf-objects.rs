//! Lists the kernel's BPF objects, one per line. Without a flag: the ids of all programs, maps and links,
//! except those of `sctp-drop`. With a flag:
//!
//! - `--stats`: each attached program's kind of hook, name, number of runs, and run time in ns. The kernel
//!   counts the last two only with `kernel.bpf_stats_enabled`.
//! - `--verified`: `NAME,INSTRUCTIONS` of each program: how many instructions the verifier processed, on all
//!   paths together (since 5.16).

use std::collections::HashMap;
use std::env;
use std::ffi::OsStr;

use anyhow::{Context, Result, bail};
use libbpf_rs::btf::{Btf, types::Func};
use libbpf_rs::query::{
    LinkInfoIter, LinkTypeInfo, MapInfoIter, ProgInfoIter, ProgInfoQueryOptions, ProgramInfo,
};

fn main() -> Result<()> {
    match env::args().nth(1).as_deref() {
        None => objects(),
        Some("--stats") => stats(),
        Some("--verified") => return verified(),
        Some(flag) => bail!("unknown flag {flag}"),
    }
    Ok(())
}

fn objects() {
    let of_bed = |name: &OsStr| name.as_encoded_bytes().starts_with(b"drop");
    for program in ProgInfoIter::default().filter(|program| !of_bed(&program.name)) {
        println!("program {} {}", program.id, program.name.to_string_lossy());
    }
    for map in MapInfoIter::default().filter(|map| !of_bed(&map.name)) {
        println!("map {} {}", map.id, map.name.to_string_lossy());
    }
    for link in LinkInfoIter::default() {
        println!("link {} of program {}", link.id, link.prog_id);
    }
}

fn stats() {
    let hooks: HashMap<u32, String> = LinkInfoIter::default()
        .map(|link| match link.info {
            LinkTypeInfo::Tracing(tracing) => (link.prog_id, format!("{:?}", tracing.attach_type)),
            LinkTypeInfo::RawTracepoint(_) => (link.prog_id, "tp_btf".to_owned()),
            _ => (link.prog_id, "kprobe".to_owned()),
        })
        .collect();
    for program in ProgInfoIter::default() {
        if let Some(hook) = hooks.get(&program.id) {
            let hook = hook.trim_start_matches("Trace").to_lowercase();
            let name = program.name.to_string_lossy();
            println!("{hook} {name} {} {}", program.run_cnt, program.run_time_ns);
        }
    }
}

fn verified() -> Result<()> {
    let options = ProgInfoQueryOptions::default().include_func_info(true);
    for program in ProgInfoIter::with_query_opts(options) {
        println!("{},{}", full_name(&program)?, program.verified_insns);
    }
    Ok(())
}

/// Returns a program's name as in its source. The kernel cuts programs' names to 15 bytes, but the program's
/// BTF has the whole name of the program's first function, which is the same.
fn full_name(program: &ProgramInfo) -> Result<String> {
    // A program without BTF does not belong to this project.
    let Some(first) = program.func_info.first() else {
        return Ok(program.name.to_string_lossy().into_owned());
    };
    let cut = program.name.to_string_lossy();
    let btf = Btf::from_prog_id(program.id).with_context(|| format!("BTF of {cut}"))?;
    let function = btf.type_by_id::<Func<'_>>(first.type_id.into());
    let function = function.with_context(|| format!("{cut}: type {} is no function", first.type_id))?;
    let name = function.name().with_context(|| format!("{cut}: its function has no name"))?;
    Ok(name.to_string_lossy().into_owned())
}
