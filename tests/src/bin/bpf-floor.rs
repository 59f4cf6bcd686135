//! Attaches a BPF program that does nothing, and waits to be killed: the bench measures the cost of a hook by
//! itself. With `split`, the program instead reads a field's offset in a type that only the sctp module's BTF
//! has.

use std::env;
use std::mem::MaybeUninit;
use std::thread;

use anyhow::{Context, Result};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};

#[allow(missing_docs, clippy::all, clippy::absolute_paths, clippy::wildcard_imports, unused_qualifications)]
#[allow(clippy::undocumented_unsafe_blocks, dead_code, unsafe_code)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/floor.skel.rs"));
}

fn main() -> Result<()> {
    let kind = env::args().nth(1).context("which: fentry, fexit, kprobe, kretprobe or split?")?;
    let mut object = MaybeUninit::uninit();
    let mut open = skel::FloorSkelBuilder::default().open(&mut object)?;
    for mut program in open.open_object_mut().progs_mut() {
        let chosen = program.name().to_string_lossy() == format!("floor_{kind}");
        program.set_autoload(chosen);
    }
    let skel = open.load()?;
    let programs = [
        &skel.progs.floor_fentry,
        &skel.progs.floor_fexit,
        &skel.progs.floor_kprobe,
        &skel.progs.floor_kretprobe,
        &skel.progs.floor_split,
    ];
    let program = programs.iter().find(|program| program.autoload()).context("no such kind")?;
    let _link = program.attach()?;
    eprintln!("attached");
    loop {
        thread::park();
    }
}
