//! Drops some of the packets with DATA, or with SACKs, that come in by an interface: the same ones in every
//! run and on every kernel. At SIGTERM, prints as JSON what was dropped ([`Losses`]), and ends.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{TC_INGRESS, TcHookBuilder};
use nix::net::if_::if_nametoindex;
use nix::sys::signal::{SigSet, Signal};
use sctptrace_tests::losses::{Choice, Losses, Transmission};

#[allow(missing_docs, clippy::all, clippy::absolute_paths, clippy::wildcard_imports, unused_qualifications)]
#[allow(clippy::undocumented_unsafe_blocks, dead_code, unsafe_code)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/drop.skel.rs"));
}

#[derive(Parser)]
#[command(about, version)]
struct Flags {
    /// The interface
    interface: String,
    /// Drop packets that begin with a SACK instead
    #[arg(long)]
    sacks: bool,
    /// The share of the packets with DATA, or with SACKs, to drop
    #[arg(long, default_value_t = 0.0)]
    percent: f64,
    /// Another seed chooses others
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Spare the first ones of each association
    #[arg(long, default_value_t = 0, requires = "sacks")]
    spare: u32,
    /// Instead, drop the first copies of this TSN, relative to each association's first one
    #[arg(long, conflicts_with_all = ["percent", "seed", "sacks"])]
    tsn: Option<u32>,
    /// How many copies of it
    #[arg(long, default_value_t = 1)]
    copies: u32,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let choice = Choice { seed: flags.seed, percent: flags.percent };
    let mut object = MaybeUninit::uninit();
    let mut open = skel::DropSkelBuilder::default().open(&mut object)?;
    let settings = open.maps.rodata_data.as_deref_mut().context("no settings")?;
    settings.seed = choice.seed;
    settings.threshold = choice.threshold();
    settings.sacks = flags.sacks.into();
    settings.spared = flags.spare;
    if let Some(tsn) = flags.tsn {
        (settings.only_tsn, settings.copies) = (tsn, flags.copies);
    }
    let skel = open.load()?;
    let end = SigSet::from(Signal::SIGTERM);
    end.thread_block()?;

    let index = if_nametoindex(flags.interface.as_str())?;
    let mut hook =
        TcHookBuilder::new(skel.progs.drop_data.as_fd()).ifindex(index.try_into()?).hook(TC_INGRESS);
    let mut filter = hook.create()?.attach()?;
    eprintln!("dropping");
    end.wait()?;
    filter.detach()?;

    let seen = skel.maps.bss_data.as_deref().context("no counters")?;
    let dropped =
        seen.drops.get(..seen.dropped as usize).context("more was dropped than there is room for")?;
    let dropped = dropped.iter().map(|drop| Transmission(drop.association, drop.tsn, drop.copy)).collect();
    let losses = Losses { choice, dropped, unknown: seen.unknown };
    ensure!(losses.unknown == 0, "packets that could not be followed: {}", losses.unknown);
    println!("{}", serde_json::to_string(&losses)?);
    Ok(())
}
