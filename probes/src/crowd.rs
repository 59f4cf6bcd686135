//! Programs without a kernel, whose tables a measurement fills: what it costs to read many associations is counted so.
//!
//! Not in such a count are the maps that a command asks the kernel for: those of owners and of histograms. Counts of
//! histograms are added up all the same.

use std::{
    fs::File,
    hint::black_box,
    io,
    mem::offset_of,
    ops::Range,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    time::Duration,
};

use nix::{
    libc::AF_INET,
    sys::memfd::{MFdFlags, memfd_create},
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::{
    Accounting, Change, Due, Error, Identity, Probe, bufmon,
    entries::{Entries, Hist, octaves},
    jitter,
    lifecycle::{AssocEvent, Happening, Side},
    program::{Moment, Program},
    raw::{self, Assoc, EndpointAddr, Entry, Slot, Stream},
    rto, rtt,
    streams::Tables,
    streamutil,
    table::Table,
};

/// The port of the peers' service.
const PORT: u16 = 38_412;

/// Programs with as many associations as were asked for, each of one path or stream.
pub struct Crowd<P> {
    program: P,
    /// The table of paths, associations or streams.
    table: Memory,
    /// Where an entry of the table has its statistics.
    stats: Range<usize>,
    len: u32,
    /// Of the histograms that an entry has, those that are metrics.
    hists: &'static [usize],
    /// Associations that have come up, and were not handed out yet.
    ups: Vec<AssocEvent>,
}

/// Makes associations in the programs of `sctp-rtt`.
///
/// # Errors
/// Where there is too little memory.
pub fn rtt(count: u32) -> io::Result<Crowd<rtt::Programs>> {
    type Of = Entry<rtt::RawState, rtt::RawStats>;
    let table = entries::<rtt::RawState, rtt::RawStats>(count)?;
    let slots = Memory::new::<Slot>(1 << 16)?;
    let mut paths = Entries::map(&table.file, table.len).map_err(io::Error::other)?;
    paths.keep_seen();
    let program = rtt::Programs { paths, inflight: Table::new(&slots.file, slots.len)? };
    Ok(Crowd::new(program, table, stats_of::<rtt::RawStats>(offset_of!(Of, stats)), count, &[0, 1]))
}

/// Makes associations in the programs of `sctp-rto`.
///
/// # Errors
/// Where there is too little memory.
pub fn rto(count: u32) -> io::Result<Crowd<rto::Programs>> {
    type Of = Entry<rto::RawState, rto::RawStats>;
    let table = entries::<rto::RawState, rto::RawStats>(count)?;
    for index in 0..count {
        // In each byte: so the state of each path is `SCTP_ACTIVE`.
        table.put(index, &[(offset_of!(Of, state), &[2; size_of::<rto::RawState>()])])?;
    }
    let units = rto::Units { jiffy: Duration::from_millis(4), extended: true };
    let mut paths = Entries::map(&table.file, table.len).map_err(io::Error::other)?;
    paths.keep_seen();
    let program = rto::Programs { paths, units };
    Ok(Crowd::new(program, table, stats_of::<rto::RawStats>(offset_of!(Of, stats)), count, &[]))
}

/// Makes associations in the programs of `sctp-bufmon`.
///
/// # Errors
/// Where there is too little memory.
pub fn bufmon(count: u32) -> io::Result<Crowd<bufmon::Programs>> {
    type Of = Entry<bufmon::RawState, bufmon::RawStats>;
    let table = entries::<bufmon::RawState, bufmon::RawStats>(count)?;
    for index in 0..count {
        // As that of any association that lives: the application is what limits it.
        table.put(index, &[(bufmon::LIMITED_SINCE, &1_u64.to_ne_bytes())])?;
    }
    let sends = Memory::new::<bufmon::RawSend>(1024)?;
    let mut assocs = Entries::map(&table.file, table.len).map_err(io::Error::other)?;
    assocs.keep_seen();
    let program = bufmon::Programs {
        assocs,
        reported: vec![bufmon::Reported::default(); table.len as usize],
        sends: Some(Table::new(&sends.file, sends.len)?),
        extended: true,
        stalls: None,
        receivers: None,
    };
    Ok(Crowd::new(program, table, stats_of::<bufmon::RawStats>(offset_of!(Of, stats)), count, &[0]))
}

/// Makes associations in the programs of `sctp-jitter`.
///
/// # Errors
/// Where there is too little memory.
pub fn jitter(count: u32) -> io::Result<Crowd<jitter::Programs>> {
    type Of = Stream<jitter::RawStream>;
    let (tables, table) = streams::<jitter::RawAssoc, jitter::RawStream>(count)?;
    let program = jitter::Programs { tables, hists: None, histograms: true };
    Ok(Crowd::new(program, table, stats_of::<jitter::RawStream>(offset_of!(Of, stats)), count, &[0]))
}

/// Makes associations in the programs of `sctp-streamutil`.
///
/// # Errors
/// Where there is too little memory.
pub fn streamutil(count: u32) -> io::Result<Crowd<streamutil::Programs>> {
    type Of = Stream<streamutil::RawStream>;
    let (tables, table) = streams::<streamutil::RawAssoc, streamutil::RawStream>(count)?;
    // No message waits: else time would go by in each stream.
    let at = offset_of!(Of, stats);
    let program = streamutil::Programs {
        tables,
        sizes: None,
        baseline: streamutil::Baseline::new(0),
        undelivered: streamutil::Baseline::new(0),
        interval_began: Duration::ZERO,
    };
    Ok(Crowd::new(program, table, at..at + streamutil::WAITING, count, &[]))
}

impl<P: Program> Crowd<P> {
    fn new(program: P, table: Memory, stats: Range<usize>, count: u32, hists: &'static [usize]) -> Self {
        let up = |index| AssocEvent {
            at: Duration::ZERO,
            id: Identity::from(identity(index)),
            happening: Happening::Up,
            duration: None,
            handshake: Some(Duration::from_millis(7)),
            inits: None,
            initiated: Side::Here,
            is_orphan: false,
            ending: None,
            settings: None,
        };
        Self { program, table, stats, len: count, hists, ups: (0..count).map(up).collect() }
    }

    /// Has something happen in the first `count` associations: each number of their statistics grows.
    ///
    /// # Errors
    /// Where the table cannot be written.
    pub fn touch(&self, count: u32) -> io::Result<()> {
        for index in 0..count.min(self.len) {
            let mut entry = self.table.read(index)?;
            let (words, []) = entry.as_chunks_mut::<8>() else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            let last = words.len() - 1;
            for at in (self.stats.start / 8..self.stats.end / 8).chain([0, last]) {
                words[at] = u64::from_ne_bytes(words[at]).wrapping_add(1).to_ne_bytes();
            }
            self.table.write(index, &entry)?;
        }
        Ok(())
    }

    fn moment(&self) -> Moment {
        Moment { interval: 1, now: Duration::from_secs(1000), pool_used: self.len, sends_open: 0 }
    }
}

impl<P: Program> Probe for Crowd<P> {
    type Record = P::Record;
    type Row = P::Row;

    fn fd(&self) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    fn wake_me(&mut self) {}

    fn take(&mut self, _: &mut Vec<P::Record>, _: usize) -> Result<bool, Error> {
        Ok(false)
    }

    fn take_lifecycle(&mut self, into: &mut Vec<AssocEvent>, limit: usize) -> Result<bool, Error> {
        into.extend(self.ups.drain(..limit.min(self.ups.len())));
        Ok(!self.ups.is_empty())
    }

    fn end_interval(&mut self) {}

    fn interval(&mut self) -> Result<impl Iterator<Item = Result<P::Row, Error>>, Error> {
        self.program.interval(self.moment())
    }

    fn totals(&mut self, due: Due) -> Result<impl Iterator<Item = Result<P::Row, Error>>, Error> {
        self.program.totals(due, self.moment())
    }

    fn changed(&mut self) -> Result<impl Iterator<Item = Result<Change<P::Row>, Error>>, Error> {
        let (moment, hists) = (self.moment(), self.hists);
        Ok(self.program.changed(moment)?.map(move |change| {
            let mut change = change?;
            if !hists.is_empty() {
                let bytes = vec![0; hists.len() * size_of::<Hist>()];
                change.octaves = octaves(black_box(&bytes), hists)?;
            }
            Ok(change)
        }))
    }

    fn accounting(&self) -> Accounting {
        self.program.accounting(&P::Accounting::new_zeroed(), 0)
    }

    fn detach(&mut self) {}
}

/// Memory that holds a table.
struct Memory {
    file: File,
    /// Bytes of an entry.
    size: usize,
    len: u32,
}

impl Memory {
    fn new<T>(len: u32) -> io::Result<Self> {
        let (file, size) = (File::from(memfd_create(c"table", MFdFlags::empty())?), size_of::<T>());
        file.set_len(u64::from(len) * size as u64)?;
        Ok(Self { file, size, len })
    }

    fn read(&self, index: u32) -> io::Result<Vec<u8>> {
        let mut entry = vec![0; self.size];
        self.file.read_exact_at(&mut entry, u64::from(index) * self.size as u64)?;
        Ok(entry)
    }

    fn write(&self, index: u32, entry: &[u8]) -> io::Result<()> {
        self.file.write_all_at(entry, u64::from(index) * self.size as u64)
    }

    /// Writes members of an entry, each at its offset.
    fn put(&self, index: u32, members: &[(usize, &[u8])]) -> io::Result<()> {
        let mut entry = self.read(index)?;
        for (at, bytes) in members {
            entry[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        self.write(index, &entry)
    }
}

/// Where the statistics `Stats` lie that begin at this offset.
fn stats_of<Stats>(at: usize) -> Range<usize> {
    at..at + size_of::<Stats>()
}

/// An association that this host has begun, to a service of many peers.
fn identity(index: u32) -> raw::Identity {
    let end = |net: u8, port| {
        let mut ip = [0; 16];
        let [_, _, high, low] = index.to_be_bytes();
        ip[..4].copy_from_slice(&[10, net, high, low]);
        EndpointAddr { ip, family: AF_INET as u16, port }
    };
    let peer = end(2, PORT);
    raw::Identity {
        assoc_id: index + 1,
        netns: 1,
        local: end(1, 40_000),
        peer,
        path: peer,
        life: 1,
        began_here: 1,
    }
}

/// A table of `count` entries in use.
fn entries<State, Stats>(count: u32) -> io::Result<Memory> {
    let memory = Memory::new::<Entry<State, Stats>>(count.next_power_of_two())?;
    for index in 0..count {
        let id = identity(index);
        memory.put(
            index,
            &[
                (offset_of!(Entry<State, Stats>, object), &(u64::from(index + 1) << 6).to_ne_bytes()),
                (offset_of!(Entry<State, Stats>, generation), &index.to_ne_bytes()),
                (offset_of!(Entry<State, Stats>, key), &index.to_ne_bytes()),
                (offset_of!(Entry<State, Stats>, mark), &(index << 1).to_ne_bytes()),
                (offset_of!(Entry<State, Stats>, id), id.as_bytes()),
            ],
        )?;
    }
    Ok(memory)
}

/// Tables of `count` associations of a stream each, and the memory of that of streams.
fn streams<A: FromBytes + Copy, S: FromBytes + Copy>(count: u32) -> io::Result<(Tables<A, S>, Memory)> {
    let len = count.next_power_of_two();
    let (assocs, pool) = (Memory::new::<Assoc<A>>(len)?, Memory::new::<Stream<S>>(len)?);
    for index in 0..count {
        let (number, id) = ((index + 1).to_ne_bytes(), identity(index));
        assocs.put(
            index,
            &[
                (offset_of!(Assoc<A>, generation), &number),
                (offset_of!(Assoc<A>, living_id), &number),
                (offset_of!(Assoc<A>, index), &index.to_ne_bytes()),
                (offset_of!(Assoc<A>, id), id.as_bytes()),
            ],
        )?;
        let members: [(usize, &[u8]); 2] = [
            (offset_of!(Stream<S>, assoc_generation), &number),
            (offset_of!(Stream<S>, assoc), &index.to_ne_bytes()),
        ];
        pool.put(index, &members)?;
    }
    let mut tables =
        Tables::map(&assocs.file, pool.file.as_fd().try_clone_to_owned()?, len).map_err(io::Error::other)?;
    tables.keep_seen();
    Ok((tables, pool))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What changes is handed out once; of `sctp-bufmon` all, as something limits each sender at any time.
    fn hands_out<P: Program>(crowd: io::Result<Crowd<P>>, idle: usize) {
        let mut crowd = crowd.unwrap();
        let mut changed = |touched| {
            crowd.touch(touched).unwrap();
            crowd.changed().unwrap().map(Result::unwrap).count()
        };
        assert_eq!([changed(20), changed(0), changed(3)], [20, idle, idle.max(3)]);
        let mut events = Vec::new();
        assert!(crowd.take_lifecycle(&mut events, 7).unwrap());
        assert!(!crowd.take_lifecycle(&mut events, 64).unwrap());
        assert_eq!(events.len(), 20);
    }

    #[test]
    fn what_changes_is_handed_out() {
        hands_out(rtt(20), 0);
        hands_out(rto(20), 0);
        hands_out(bufmon(20), 20);
        hands_out(jitter(20), 0);
        hands_out(streamutil(20), 0);
    }
}
