//! All BPF programs, maps and links of the kernel but those of `sctp-drop`, a line each; with `--stats` only programs, and what running them took
//! (`kernel.bpf_stats_enabled`): kind of hook, name, runs, nanoseconds.

use std::collections::HashMap;
use std::env;
use std::ffi::OsStr;

use libbpf_rs::query::{LinkInfoIter, LinkTypeInfo, MapInfoIter, ProgInfoIter};

fn main() {
    if env::args().nth(1).is_some_and(|flag| flag == "--stats") {
        return stats();
    }
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
