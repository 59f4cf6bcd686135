//! A model of both ends of an association, as far as TSNs and SACKs go: [`Sender`] imitates the kernel's
//! sending side (`net/sctp/outqueue.c`), [`Receiver`] is its peer.

use std::collections::VecDeque;

use zerocopy::{Immutable, IntoBytes};

/// `struct assoc_args` (`objects.h`): the association that a hook runs for, and values of its fields.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Immutable, IntoBytes)]
pub struct AssocArgs {
    /// Index of the association in the stub kernel's memory (`assoc_memory`): below 64.
    pub index: u32,
    /// Association id.
    pub assoc_id: u32,
    /// Number of the primary path: below 4.
    pub primary: u32,
    /// The next new chunk's TSN.
    pub next_tsn: u32,
    /// Highest TSN acknowledged cumulatively.
    pub ctsn_ack_point: u32,
    /// Advanced.Peer.Ack.Point (RFC 3758 3.5): all TSNs up to this one are acknowledged or given up. Without
    /// PR-SCTP it keeps its first value.
    pub adv_peer_ack_point: u32,
    /// Highest TSN that a SACK has named, by its cumulative TSN or its last gap block, even if that TSN was
    /// never sent. No program reads this field.
    pub highest_sacked: u32,
}

/// Returns whether TSN `a` lies before TSN `b`, by serial number arithmetic (RFC 9260 1.6).
pub fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// A SACK; or a SHUTDOWN, which acknowledges by its cumulative TSN only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sack {
    /// Cumulative TSN: all TSNs up to this one have arrived.
    pub cum_tsn: u32,
    /// First and last TSN of each gap block, relative to `cum_tsn`; `None` in a SHUTDOWN.
    pub gaps: Option<Vec<(u16, u16)>>,
}

impl Sack {
    /// Returns the gap blocks in the order in which the SACK has them.
    pub fn gaps(&self) -> &[(u16, u16)] {
        self.gaps.as_deref().unwrap_or_default()
    }

    /// Returns whether this SACK acknowledges an outstanding TSN, by the rules of the kernel's
    /// Does to the model what `sctp_acked()` does in the kernel.
    pub fn covers(&self, tsn: u32) -> bool {
        let Ok(offset) = u16::try_from(tsn.wrapping_sub(self.cum_tsn)) else {
            return !before(self.cum_tsn, tsn);
        };
        offset == 0 || self.gaps().iter().any(|&(first, last)| (first..=last).contains(&offset))
    }

    /// Returns the bytes of this chunk (RFC 9260 3.3.4 and 3.3.8); a SACK has an a_rwnd of 100,000.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = if self.gaps.is_some() { vec![3, 0, 0, 0] } else { vec![7, 0, 0, 0] };
        bytes.extend(self.cum_tsn.to_be_bytes());
        if let Some(gaps) = &self.gaps {
            bytes.extend(100_000_u32.to_be_bytes());
            bytes.extend((gaps.len() as u16).to_be_bytes());
            bytes.extend([0, 0]);
            bytes.extend(
                gaps.iter().flat_map(|&(first, last)| [first.to_be_bytes(), last.to_be_bytes()]).flatten(),
            );
        }
        let len = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        bytes
    }
}

/// A sent chunk above the Cumulative TSN Ack Point, acknowledged by a gap block or not. A test adds its own
/// data as a `Note`.
#[derive(Clone, Debug)]
pub struct Chunk<Note> {
    /// TSN of the chunk.
    pub tsn: u32,
    /// How often the chunk was sent.
    pub sent_count: u32,
    /// True if the last SACK has acknowledged the chunk by a gap block.
    pub gap_acked: bool,
    /// True if any SACK has acknowledged the chunk, even if a later SACK has withdrawn that (reneging).
    pub covered: bool,
    /// True if the chunk was given up (PR-SCTP).
    pub abandoned: bool,
    /// The test's own data about the chunk.
    pub note: Note,
}

/// The sending end of an association, as the kernel keeps it.
#[derive(Clone, Debug)]
pub struct Sender<Note> {
    /// The association as a hook would find it now.
    pub args: AssocArgs,
    /// True if the peer supports PR-SCTP.
    pub prsctp: bool,
    /// Number of gap blocks in all SACKs so far (`asoc->stats.gapcnt`).
    pub gapcnt: u32,
    /// Number of DATA chunks sent again so far (`asoc->stats.rtxchunks`).
    pub rtxchunks: u32,
    /// Number of DATA chunks sent for the first time so far (`oodchunks` plus `ouodchunks` in `asoc->stats`).
    /// A restart does not reset it.
    pub new_chunks: u32,
    /// The chunks with the TSNs `ctsn_ack_point + 1` to `next_tsn - 1`, in this order.
    pub outstanding: VecDeque<Chunk<Note>>,
}

impl<Note> Sender<Note> {
    /// Returns an association that has sent nothing and begins at the TSN `isn`. `highest_sacked` may begin
    /// at any value: if the peer sent the INIT, `sctp_unpack_cookie()` sets the other TSN fields and not this
    /// one.
    pub fn new(index: u32, assoc_id: u32, isn: u32, highest_sacked: u32) -> Self {
        let args = AssocArgs {
            index,
            assoc_id,
            primary: 0,
            next_tsn: isn,
            ctsn_ack_point: isn.wrapping_sub(1),
            adv_peer_ack_point: isn.wrapping_sub(1),
            highest_sacked,
        };
        Self { args, prsctp: false, gapcnt: 0, rtxchunks: 0, new_chunks: 0, outstanding: VecDeque::new() }
    }

    /// Sends a new chunk and returns its TSN.
    pub fn send(&mut self, note: Note) -> u32 {
        let tsn = self.args.next_tsn;
        self.args.next_tsn = tsn.wrapping_add(1);
        self.new_chunks = self.new_chunks.wrapping_add(1);
        self.outstanding.push_back(Chunk {
            tsn,
            sent_count: 1,
            gap_acked: false,
            covered: false,
            abandoned: false,
            note,
        });
        tsn
    }

    /// Moves all TSNs on, as if `chunks` new chunks had been sent and acknowledged. `new_chunks` does not
    /// count these chunks: so a program does not report them as unseen. No chunk may be outstanding at the
    /// call.
    pub fn skip(&mut self, chunks: u32) {
        let args = &mut self.args;
        args.next_tsn = args.next_tsn.wrapping_add(chunks);
        args.ctsn_ack_point = args.next_tsn.wrapping_sub(1);
        if before(args.highest_sacked, args.ctsn_ack_point) {
            args.highest_sacked = args.ctsn_ack_point;
        }
        if self.prsctp {
            args.adv_peer_ack_point = args.ctsn_ack_point;
        }
    }

    /// Returns the outstanding chunk with this TSN; `None` if that TSN is not outstanding.
    pub fn chunk(&mut self, tsn: u32) -> Option<&mut Chunk<Note>> {
        let first = self.outstanding.front()?.tsn;
        self.outstanding.get_mut(tsn.wrapping_sub(first) as usize)
    }

    /// Returns the TSNs of the outstanding chunks that no gap block acknowledges and that were not given up.
    pub fn unacknowledged(&self) -> Vec<u32> {
        let wait = |chunk: &&Chunk<Note>| !chunk.gap_acked && !chunk.abandoned;
        self.outstanding.iter().filter(wait).map(|chunk| chunk.tsn).collect()
    }

    /// Returns whether `sctp_sf_eat_sack_6_2()` accepts this SACK. If so, the kernel calls
    /// Does to the model what `sctp_outq_sack()` does in the kernel.
    pub fn takes(&self, sack: &Sack) -> bool {
        !before(sack.cum_tsn, self.args.ctsn_ack_point) && before(sack.cum_tsn, self.args.next_tsn)
    }

    /// Returns the value that `highest_sacked` has after this SACK.
    pub fn highest_after(&self, sack: &Sack) -> u32 {
        let last = sack.gaps().last().map_or(0, |&(_, last)| u32::from(last));
        let highest = sack.cum_tsn.wrapping_add(last);
        if before(self.args.highest_sacked, highest) { highest } else { self.args.highest_sacked }
    }

    /// Processes a SACK as `sctp_outq_sack()` does. Calls `first` with each chunk not covered by a SACK
    /// before.
    pub fn acknowledge(&mut self, sack: &Sack, mut first: impl FnMut(&Chunk<Note>)) {
        self.args.highest_sacked = self.highest_after(sack);
        self.gapcnt = self.gapcnt.wrapping_add(sack.gaps().len() as u32);
        for chunk in &mut self.outstanding {
            chunk.gap_acked = sack.covers(chunk.tsn);
            if chunk.gap_acked && !chunk.covered {
                chunk.covered = true;
                first(chunk);
            }
        }
        while self.outstanding.front().is_some_and(|chunk| !before(sack.cum_tsn, chunk.tsn)) {
            self.outstanding.pop_front();
        }
        self.args.ctsn_ack_point = sack.cum_tsn;
        self.give_up();
    }

    /// Moves `adv_peer_ack_point` on to `ctsn_ack_point`, and over the given-up chunks right after it, as
    /// `sctp_generate_fwdtsn()` does. Does nothing without PR-SCTP.
    pub fn give_up(&mut self) {
        if !self.prsctp {
            return;
        }
        let args = &mut self.args;
        if before(args.adv_peer_ack_point, args.ctsn_ack_point) {
            args.adv_peer_ack_point = args.ctsn_ack_point;
        }
        for chunk in &self.outstanding {
            if before(args.adv_peer_ack_point, chunk.tsn) {
                if !chunk.abandoned {
                    break;
                }
                args.adv_peer_ack_point = chunk.tsn;
            }
        }
    }

    /// The peer restarts the association: TSNs begin anew at `isn` (`sctp_assoc_update()`), and the
    /// outstanding chunks are dropped.
    pub fn restart(&mut self, isn: u32) {
        self.outstanding.clear();
        self.args.next_tsn = isn;
        self.args.ctsn_ack_point = isn.wrapping_sub(1);
        self.args.adv_peer_ack_point = isn.wrapping_sub(1);
    }
}

/// The peer: the receiving end of an association.
#[derive(Clone, Debug)]
pub struct Receiver {
    cum_tsn: u32,
    /// One element for each TSN from `cum_tsn + 1` on: true if the TSN has arrived.
    arrived: VecDeque<bool>,
}

impl Receiver {
    /// Returns a peer that expects `isn` as the first TSN.
    pub fn new(isn: u32) -> Self {
        Self { cum_tsn: isn.wrapping_sub(1), arrived: VecDeque::new() }
    }

    /// A chunk with this TSN arrives.
    pub fn receive(&mut self, tsn: u32) {
        if !before(self.cum_tsn, tsn) {
            return;
        }
        let place = tsn.wrapping_sub(self.cum_tsn) as usize - 1;
        if self.arrived.len() <= place {
            self.arrived.resize(place + 1, false);
        }
        self.arrived[place] = true;
        self.advance();
    }

    /// A FORWARD-TSN arrives, with this TSN as its New Cumulative TSN.
    pub fn forward(&mut self, tsn: u32) {
        while before(self.cum_tsn, tsn) {
            self.arrived.pop_front();
            self.cum_tsn = self.cum_tsn.wrapping_add(1);
        }
        self.advance();
    }

    fn advance(&mut self) {
        while self.arrived.front() == Some(&true) {
            self.arrived.pop_front();
            self.cum_tsn = self.cum_tsn.wrapping_add(1);
        }
    }

    /// Drops all chunks above the cumulative TSN, as a receiver without room for them may (RFC 9260 6.2).
    pub fn renege(&mut self) {
        self.arrived.clear();
    }

    /// Returns a SACK of all TSNs that have arrived.
    pub fn sack(&self) -> Sack {
        let mut gaps: Vec<(u16, u16)> = Vec::new();
        for (place, _) in self.arrived.iter().enumerate().filter(|(_, arrived)| **arrived) {
            let Ok(offset) = u16::try_from(place + 1) else { break };
            match gaps.last_mut() {
                Some((_, last)) if *last + 1 == offset => *last = offset,
                _ => gaps.push((offset, offset)),
            }
        }
        Sack { cum_tsn: self.cum_tsn, gaps: Some(gaps) }
    }

    /// Returns a SHUTDOWN with the present cumulative TSN.
    pub fn shutdown(&self) -> Sack {
        Sack { cum_tsn: self.cum_tsn, gaps: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sack_names_what_arrived() {
        let mut receiver = Receiver::new(u32::MAX - 1);
        [u32::MAX - 1, 1, 2, 4].into_iter().for_each(|tsn| receiver.receive(tsn));
        let sack = receiver.sack();
        assert_eq!(sack, Sack { cum_tsn: u32::MAX - 1, gaps: Some(vec![(3, 4), (6, 6)]) });
        let covered: Vec<_> = [u32::MAX - 1, u32::MAX, 0, 1, 2, 3, 4, 5].map(|tsn| sack.covers(tsn)).into();
        assert_eq!(covered, [true, false, false, true, true, false, true, false]);
        let bytes = [3, 0, 0, 24, 255, 255, 255, 254, 0, 1, 0x86, 0xa0, 0, 2, 0, 0, 0, 3, 0, 4, 0, 6, 0, 6];
        assert_eq!(sack.bytes(), bytes);
    }

    #[test]
    fn the_first_sack_that_covers_a_chunk_counts() {
        let mut sender = Sender::new(0, 1, 10, 0);
        assert_eq!([(); 4].map(|()| sender.send(())), [10, 11, 12, 13]);
        let mut taken = Vec::new();
        for (cum_tsn, gaps) in [(9, vec![(3, 3)]), (9, vec![]), (11, vec![(1, 1)]), (13, vec![])] {
            let sack = Sack { cum_tsn, gaps: Some(gaps) };
            assert!(sender.takes(&sack));
            sender.acknowledge(&sack, |chunk| taken.push((cum_tsn, chunk.tsn)));
        }
        assert_eq!(taken, [(9, 12), (11, 10), (11, 11), (13, 13)]);
        assert!(!sender.takes(&Sack { cum_tsn: 12, gaps: None }), "it is older than the last");
        assert!(!sender.takes(&Sack { cum_tsn: 14, gaps: None }), "it was never sent");
    }
}
