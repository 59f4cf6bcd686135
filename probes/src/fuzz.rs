//! The entry point of the fuzz targets: bytes of any kind take the place of the kernel side's tables and
//! events. They must be read or refused, without a panic.

use std::{
    fs::File,
    io::Write,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use nix::sys::memfd::{MFdFlags, memfd_create};
use zerocopy::FromBytes;

use crate::{
    Due, bufmon,
    entries::Entries,
    jitter,
    program::{Moment, Program},
    raw::{Assoc, Entry, Slot, Stream},
    recv_wait::{RawRecv, Receivers},
    rto, rtt,
    streams::Tables,
    streamutil,
    table::Table,
};

/// Reads the bytes as the tables, and as an event, of a command's programs. The first byte chooses the
/// command.
pub fn programs(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let jiffy = Duration::from_millis(4);
    match which % 5 {
        0 => {
            let inflight = table::<Slot>(bytes).and_then(|(file, len)| Table::new(&file, len).ok());
            let both = entries(bytes).zip(inflight);
            read(both.map(|(paths, inflight)| rtt::Programs { paths, inflight }), bytes);
        }
        1 => {
            let units = rto::Units { jiffy, extended: true };
            read(entries(bytes).map(|paths| rto::Programs { paths, units }), bytes);
        }
        2 => {
            let reported = vec![bufmon::Reported::default(); MAX_ENTRIES];
            let sends = table::<bufmon::RawSend>(bytes).and_then(|(file, len)| Table::new(&file, len).ok());
            let recvs = table::<RawRecv>(bytes).and_then(|(file, len)| Table::new(&file, len).ok());
            let slots = table::<Slot>(bytes).and_then(|(file, len)| Table::new(&file, len).ok());
            let receivers = recvs.zip(slots).map(|(recvs, slots)| Receivers::of_tables(recvs, slots));
            let programs = |assocs| bufmon::Programs {
                assocs,
                reported,
                sends,
                extended: true,
                stalls: None,
                receivers,
            };
            read(entries(bytes).map(programs), bytes);
        }
        3 => read(
            streams(bytes).map(|tables| jitter::Programs { tables, hists: None, histograms: true }),
            bytes,
        ),
        _ => {
            let programs = |tables| streamutil::Programs {
                tables,
                sizes: None,
                baseline: streamutil::Baseline::new(MAX_ENTRIES),
                undelivered: streamutil::Baseline::new(MAX_ENTRIES),
                interval_began: Duration::ZERO,
            };
            read(streams(bytes).map(programs), bytes);
        }
    }
}

/// Calls each function of a program that reads its tables, at the earliest and the latest possible time.
fn read<P: Program>(program: Option<P>, bytes: &[u8]) {
    let Some(mut program) = program else { return };
    if let Ok((event, _)) = P::Event::read_from_prefix(bytes) {
        program.decode(&event);
    }
    for now in [Duration::ZERO, Duration::from_nanos(u64::MAX)] {
        for interval in 0..3 {
            let moment = Moment { interval, now, pool_used: u32::MAX, sends_open: 1 };
            program.lasting(moment, &mut Vec::new());
            program.changed(moment).into_iter().flatten().for_each(drop);
            program.interval(moment).into_iter().flatten().for_each(drop);
            program.totals(Due::EndedAndLiving, moment).into_iter().flatten().for_each(drop);
            program.totals(Due::All, moment).into_iter().flatten().for_each(drop);
        }
    }
}

/// The most entries that `table()` makes.
const MAX_ENTRIES: usize = 8;

/// Makes a table of as many entries as there are bytes for, at least one and at most [`MAX_ENTRIES`]. Copies
/// the first word of each entry to its last: if `seq_tail` and `seq_head` differed, the reader would wait for
/// a writer.
fn table<T>(bytes: &[u8]) -> Option<(OwnedFd, u32)> {
    let size = size_of::<T>();
    let len = bytes.len().div_ceil(size).clamp(1, MAX_ENTRIES);
    let mut bytes = bytes[..bytes.len().min(len * size)].to_vec();
    bytes.resize(len * size, 0);
    for entry in bytes.chunks_exact_mut(size) {
        entry.copy_within(..8, size - 8);
    }
    let mut file = File::from(memfd_create(c"table", MFdFlags::empty()).ok()?);
    file.write_all(&bytes).ok()?;
    Some((file.into(), len as u32))
}

fn entries<State: FromBytes + Copy, Stats: FromBytes + Copy>(bytes: &[u8]) -> Option<Entries<State, Stats>> {
    let (file, len) = table::<Entry<State, Stats>>(bytes)?;
    Entries::map(&file, len).ok()
}

fn streams<A: FromBytes + Copy, S: FromBytes + Copy>(bytes: &[u8]) -> Option<Tables<A, S>> {
    let (assocs, some) = table::<Assoc<A>>(bytes)?;
    let (pool, others) = table::<Stream<S>>(bytes)?;
    Tables::map(&assocs.as_fd(), pool, some.min(others)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_panic(which: u8, bytes in vec(any::<u8>(), 0..9000)) {
            programs(&[&[which], bytes.as_slice()].concat());
        }
    }
}
