//! Round-trip times of DATA chunks (`rtt.bpf.c`): from a chunk's first transmission to the SACK that first covers its
//! TSN, cumulatively or by a gap block. Chunks ever retransmitted give no sample (Karn's algorithm, RFC 9260 6.3.1 C5).

use std::{
    cell::RefCell,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use libbpf_rs::{
    Link, MapCore, MapFlags, RingBuffer, RingBufferBuilder,
    skel::{OpenSkel, SkelBuilder},
};

use crate::{
    Error, Filter, Identity, Rung,
    assoc::{identity, set_filter},
    attach::{climb, malformed},
    dist::dist,
    hist::BUCKETS,
    kernel,
    pod::{self, Pod},
    table::Table,
};

#[allow(missing_docs, clippy::all, clippy::absolute_paths, clippy::wildcard_imports, unused_qualifications)]
#[allow(clippy::undocumented_unsafe_blocks, dead_code)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/rtt.skel.rs"));
}
pub use crate::dist::Dist;
use skel::{RttSkel, RttSkelBuilder, types};

// SAFETY: structs of integers, generated from the C ones.
unsafe impl Pod for types::event {}
// SAFETY: as above.
unsafe impl Pod for types::path {}
// SAFETY: as above.
unsafe impl Pod for types::hist {}
// SAFETY: as above.
unsafe impl Pod for types::accounting {}

/// Slots of a set of `inflight` (`SET_SLOTS`).
const SET_SLOTS: u32 = 4;
/// Bytes of the ring buffer: 20,000 samples.
const RING_BYTES: u32 = 1 << 20;

/// Words that an interval needs of the one before it, per path.
const EARLIER: usize = 1 + 2 * BUCKETS;

/// What to trace, and how much room to take for it. All memory is taken at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose samples.
    pub filter: Filter,
    /// Hand out every sample, not only statistics.
    pub samples: bool,
    /// Keep statistics of each interval as well, for [`Rtt::interval`].
    pub intervals: bool,
    /// Keep histograms, and tell prompt samples apart.
    pub extended: bool,
    /// Paths that fit (rounded up to a power of two); more evict the one that was silent longest.
    pub max_paths: u32,
    /// Chunks sent and not yet acknowledged that fit, over all associations (rounded up likewise).
    pub max_outstanding: u32,
    /// Only this rung of the ladder; `None`: the best that works.
    pub rung: Option<Rung>,
}

/// One chunk's round trip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When its SACK was processed, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// Time from its (only) transmission to that.
    pub rtt: Duration,
    /// Association id.
    pub assoc_id: u32,
    /// TSN.
    pub tsn: u32,
    /// The path it was sent on, for [`Rtt::identity`].
    pub path: PathRef,
    /// The SACK was due at once (see [`Stats::prompt`]).
    pub prompt: bool,
}

/// Names a path without its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRef {
    index: u32,
    uid: u32,
}

/// Statistics of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Whose.
    pub id: Identity,
    /// DATA chunks retransmitted on this path, which gave no sample.
    pub retransmitted: u64,
    /// Acknowledgement latency of every chunk: path plus the delay of its SACK, up to 200 ms by RFC 9260 6.2.
    pub all: Dist,
    /// Of those, the ones whose SACK was due at once: chunks of the last of an even number of newly acknowledged
    /// packets, of the last packet before a SACK with a gap block, or with the I-bit (RFC 9260 6.2, 6.7, 3.3.1). This
    /// is the round-trip time of the path.
    pub prompt: Dist,
}

/// What gave samples, what gave none, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// All samples.
    pub samples: u64,
    /// Samples that did not fit into the ring buffer; statistics have them all the same.
    pub lost: u64,
    /// Outstanding chunks whose place was taken by newer ones.
    pub chunks_evicted: u64,
    /// Associations whose place was taken by newer ones while they lived: their outstanding chunks gave no sample.
    pub assocs_evicted: u64,
    /// Paths whose place was taken by newer ones.
    pub paths_evicted: u64,
    /// Samples that are missing in the statistics for that.
    pub samples_evicted: u64,
    /// Transmissions of chunks that had been sent before (Karn's algorithm).
    pub retransmitted: u64,
    /// Chunks sent before the trace began.
    pub before_start: u64,
    /// Chunks left out because one SACK covered more than 8,192 of them.
    pub scan_limit: u64,
}

/// A running trace.
pub struct Rtt {
    // Declared, and so dropped, in this order: no event comes from a detached program.
    links: Vec<Link>,
    ring: Option<RingBuffer<'static>>,
    paths: Rc<Table<types::path>>,
    skel: RttSkel<'static>,
    received: Rc<RefCell<Vec<Sample>>>,
    extended: bool,
    epoch: u32,
    /// Per path, [`EARLIER`] words: its uid and its histograms as they stood at the last interval. Zeroed memory of
    /// fixed size, of which only what is used is resident.
    earlier: Vec<u32>,
    identities: Vec<Option<(u32, Identity)>>,
}

impl Rtt {
    /// Loads and attaches the programs.
    ///
    /// # Errors
    /// [`Error::Absent`] where something is missing here, [`Error::Refused`] where the kernel does not accept the
    /// programs on any rung.
    pub fn open(config: &Config) -> Result<Self, Error> {
        kernel::can_trace()?;
        climb(config.rung, |rung| Self::open_on(rung, config))
    }

    fn open_on(rung: Rung, config: &Config) -> Result<Self, Error> {
        let max_paths = config.max_paths.max(8).next_power_of_two();
        let sets = config.max_outstanding.div_ceil(SET_SLOTS).max(8).next_power_of_two();
        // The skeleton borrows its object; one per process and run, so it may stay until exit.
        let object = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = RttSkelBuilder::default().open(object)?;

        set_filter!(open, &config.filter, rung)?;
        let rodata = open.maps.rodata_data.as_deref_mut().ok_or_else(malformed)?;
        rodata.want_events = config.samples;
        rodata.want_windows = config.intervals;
        rodata.want_extended = config.extended;
        rodata.assoc_mask = max_paths - 1;
        rodata.path_mask = max_paths - 1;
        rodata.set_mask = sets - 1;
        let max_hists = if config.extended { max_paths } else { 1 };
        open.maps.inflight.set_max_entries(sets)?;
        open.maps.assocs.set_max_entries(max_paths)?;
        open.maps.paths.set_max_entries(max_paths)?;
        open.maps.hists.set_max_entries(max_hists)?;
        if config.samples {
            open.maps.events.set_max_entries(RING_BYTES)?;
        }
        let progs = &mut open.progs;
        let fentry = rung == Rung::Fentry;
        progs.rtt_append.set_autoload(fentry);
        progs.rtt_sack.set_autoload(fentry);
        progs.rtt_free.set_autoload(fentry);
        progs.rtt_append_enter_kprobe.set_autoload(!fentry);
        progs.rtt_append_kprobe.set_autoload(!fentry);
        progs.rtt_sack_kprobe.set_autoload(!fentry);
        progs.rtt_free_kprobe.set_autoload(!fentry);
        open.maps.frames.set_autocreate(!fentry)?;

        let skel = open.load()?;
        let progs = &skel.progs;
        let mut attach = Vec::new();
        let mut iterator = None;
        if config.filter.pid.is_some() {
            attach.extend(if fentry {
                [&progs.owner_made, &progs.owner_sends]
            } else {
                [&progs.owner_made_kprobe, &progs.owner_sends_kprobe]
            });
            iterator = Some(&progs.owner_has);
        }
        // Acknowledgements first: a chunk is not seen sent before its SACK can be seen.
        if fentry {
            attach.extend([&progs.rtt_free, &progs.rtt_sack, &progs.rtt_append]);
        } else {
            attach.extend([&progs.rtt_free_kprobe, &progs.rtt_sack_kprobe]);
            attach.extend([&progs.rtt_append_enter_kprobe, &progs.rtt_append_kprobe]);
        }
        let links = crate::attach::attach_all(&attach, iterator)?;

        let received = Rc::new(RefCell::new(Vec::new()));
        let ring = if config.samples {
            let into = Rc::clone(&received);
            let mut builder = RingBufferBuilder::new();
            builder.add(&skel.maps.events, move |bytes| {
                into.borrow_mut().extend(decode(bytes));
                0
            })?;
            Some(builder.build()?)
        } else {
            None
        };
        let slots = max_paths as usize;
        Ok(Self {
            links,
            ring,
            paths: Rc::new(Table::new(&skel.maps.paths.as_fd(), max_paths)?),
            skel,
            received,
            extended: config.extended,
            epoch: 0,
            earlier: vec![0; if config.extended && config.intervals { slots * EARLIER } else { 0 }],
            identities: vec![None; if config.samples { slots } else { 0 }],
        })
    }

    /// Detaches the programs: nothing changes any more, and statistics are exact.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    /// A descriptor that becomes readable when the kernel wakes us for samples; `None` without [`Config::samples`].
    ///
    /// # Errors
    /// Where there is no descriptor left.
    pub fn fd(&self) -> io::Result<Option<OwnedFd>> {
        let Some(ring) = &self.ring else { return Ok(None) };
        // SAFETY: the ring buffer lives, and its epoll descriptor with it, longer than this borrow.
        unsafe { BorrowedFd::borrow_raw(ring.epoll_fd()) }.try_clone_to_owned().map(Some)
    }

    /// Asks to be woken at the next sample. Samples that came before are not announced: call [`Rtt::samples`] between
    /// this and waiting.
    pub fn wake_me(&mut self) {
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            pod::store(&mut bss.want_wakeup, 1);
        }
    }

    /// Moves at most `limit` samples from the ring buffer into `into`. Returns whether there may be more.
    ///
    /// # Errors
    /// Where libbpf fails to read the ring buffer.
    pub fn samples(&mut self, into: &mut Vec<Sample>, limit: usize) -> Result<bool, Error> {
        let Some(ring) = &self.ring else { return Ok(false) };
        let n = ring.consume_raw_n(limit);
        let read = usize::try_from(n).map_err(|_| io::Error::from_raw_os_error(-n))?;
        into.append(&mut self.received.borrow_mut());
        Ok(read >= limit)
    }

    /// Whose path a sample's is; `None` where it was evicted meanwhile.
    pub fn identity(&mut self, path: PathRef) -> Option<Identity> {
        let index = path.index as usize;
        let known = self.identities.get_mut(index)?;
        if known.as_ref().is_none_or(|(uid, _)| *uid != path.uid) {
            let entry = whole(&self.paths, index)?;
            if entry.uid != path.uid {
                return None;
            }
            *known = Some((entry.uid, identity!(&entry.id)));
        }
        known.as_ref().map(|(_, id)| *id)
    }

    /// Statistics since the start, of every path that has any.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    pub fn totals(&self) -> Result<Vec<Stats>, Error> {
        let mut found = Vec::new();
        for (index, path) in self.live_paths() {
            if path.all.count == 0 && path.retransmitted == 0 {
                continue;
            }
            let hist = self.hist(index)?;
            found.push(Stats {
                id: identity!(&path.id),
                retransmitted: path.retransmitted,
                all: dist!(path.all, hist.as_ref().map(|h| &h.all)),
                prompt: dist!(path.prompt, hist.as_ref().map(|h| &h.prompt)),
            });
        }
        Ok(found)
    }

    /// Statistics of the interval that ends now, of every path that has any; the next interval begins. Needs
    /// [`Config::intervals`].
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    pub fn interval(&mut self) -> Result<Vec<Stats>, Error> {
        let ended = self.epoch;
        self.epoch = self.epoch.wrapping_add(1);
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            pod::store(&mut bss.epoch, self.epoch);
        }
        let mut found = Vec::new();
        for (index, path) in self.live_paths() {
            let window = &path.window[(ended & 1) as usize];
            if window.epoch != ended || window.all.count == 0 && window.retransmitted == 0 {
                continue;
            }
            let mut hist = self.hist(index)?;
            let earlier = self.earlier.get_mut(index * EARLIER..(index + 1) * EARLIER);
            if let (Some(hist), Some([uid, earlier @ ..])) = (&mut hist, earlier) {
                let same = *uid == path.uid;
                *uid = path.uid;
                for (count, before) in hist.all.iter_mut().chain(&mut hist.prompt).zip(earlier) {
                    let before = std::mem::replace(before, *count);
                    if same {
                        *count = count.wrapping_sub(before);
                    }
                }
            }
            found.push(Stats {
                id: identity!(&path.id),
                retransmitted: window.retransmitted.into(),
                all: dist!(window.all, hist.as_ref().map(|h| &h.all)),
                prompt: dist!(window.prompt, hist.as_ref().map(|h| &h.prompt)),
            });
        }
        Ok(found)
    }

    /// The books so far.
    #[must_use]
    pub fn accounting(&self) -> Accounting {
        let Some(bss) = self.skel.maps.bss_data.as_deref() else { return Accounting::default() };
        let a = pod::load(&bss.accounting);
        Accounting {
            samples: self.live_paths().map(|(_, path)| path.all.count).sum::<u64>() + a.samples_evicted,
            lost: a.lost,
            chunks_evicted: a.slots_evicted,
            assocs_evicted: a.assocs_evicted,
            paths_evicted: a.paths_evicted,
            samples_evicted: a.samples_evicted,
            retransmitted: a.retransmitted,
            before_start: a.before_start,
            scan_limit: a.scan_limit,
        }
    }

    /// Every path with its index, whole.
    fn live_paths(&self) -> impl Iterator<Item = (usize, types::path)> + use<> {
        let paths = Rc::clone(&self.paths);
        (0..paths.len()).filter_map(move |index| Some((index, whole(&paths, index)?)))
    }

    /// The histograms of a path; `None` unless extended. Read by a system call, as mapped they would all count as memory
    /// of this process.
    fn hist(&self, index: usize) -> Result<Option<types::hist>, Error> {
        if !self.extended {
            return Ok(None);
        }
        let mut bytes = [0; size_of::<types::hist>()];
        self.skel.maps.hists.lookup_into(&(index as u32).to_ne_bytes(), &mut bytes, MapFlags::ANY)?;
        Ok(pod::read(&bytes))
    }
}

/// An entry that no writer was busy with; `None` where it is free.
fn whole(paths: &Table<types::path>, index: usize) -> Option<types::path> {
    paths.whole(index, |path| path.done == path.begun).filter(|path| path.transport != 0)
}

/// A record of the ring buffer; `None` where it is too short.
fn decode(bytes: &[u8]) -> Option<Sample> {
    let event: types::event = pod::read(bytes)?;
    Some(Sample {
        at: Duration::from_nanos(event.time_ns),
        rtt: Duration::from_nanos(event.rtt_ns),
        assoc_id: event.assoc_id,
        tsn: event.tsn,
        path: PathRef { index: event.path, uid: event.path_uid },
        prompt: event.prompt != 0,
    })
}

const _: () = assert!(size_of::<types::hist>() == 2 * 4 * BUCKETS);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_decode_or_do_not(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode(&bytes).is_some(), bytes.len() >= size_of::<types::event>());
        }

        #[test]
        fn a_record_comes_back(at: u64, rtt: u64, assoc_id: u32, tsn: u32, index: u32, uid: u32, prompt: bool) {
            let mut bytes = Vec::new();
            bytes.extend(at.to_ne_bytes());
            bytes.extend(rtt.to_ne_bytes());
            for word in [assoc_id, tsn, index, uid, u32::from(prompt), 0] {
                bytes.extend(word.to_ne_bytes());
            }
            let sample = Sample {
                at: Duration::from_nanos(at),
                rtt: Duration::from_nanos(rtt),
                assoc_id,
                tsn,
                path: PathRef { index, uid },
                prompt,
            };
            prop_assert_eq!(decode(&bytes), Some(sample));
        }
    }
}
