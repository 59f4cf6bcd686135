//! Round-trip times (acknowledgement latencies) of DATA chunks, from a capture at their sender.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::capture::Frame;
use crate::sctp::{Chunk, Data, Sack, after};

/// The DATA chunks of one direction of an association, and the receiver's SACKs. "Sender" and "receiver" are
/// those of the DATA. A restart begins another flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// An address of the sender: the source of its INIT ACK, or of its first DATA if it sent no INIT ACK.
    pub source: IpAddr,
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// Number of DATA chunks sent, including retransmissions.
    pub transmissions: u64,
    /// Payload of all DATA chunks in bytes, without retransmissions.
    pub bytes: u64,
    /// All TSNs that were sent. The order is numeric, so that TSNs after a wrap come first.
    pub tsns: BTreeMap<u32, Tsn>,
    /// The advertised receiver windows in bytes (`a_rwnd`) of the SACKs that the sender processed.
    pub windows: Vec<u32>,
    /// The sender's Cumulative TSN Ack Point so far.
    point: u32,
    /// The next TSN to be sent for the first time.
    next: u32,
    /// The sender has sent an ABORT.
    closed: bool,
    /// The sender has processed a SHUTDOWN from the receiver.
    other_ends: bool,
    /// The sender is in state SHUTDOWN-SENT or SHUTDOWN-ACK-SENT, where the kernel discards SACKs
    /// (`sm_statetable.c`).
    ends: bool,
    /// Length of `windows` when all DATA was acknowledged and the receiver had sent SHUTDOWN; `None` before
    /// that, and again when more DATA is sent. If the sender then sends SHUTDOWN ACK, it has discarded the
    /// SACKs after that point.
    windows_at_end: Option<usize>,
}

/// One TSN: when and how often it was sent, and when it was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tsn {
    /// The address that the TSN was first sent to.
    pub path: IpAddr,
    /// When the TSN was first sent, in ns since 1970.
    pub sent_ns: u64,
    /// How often the TSN was sent until it was acknowledged.
    pub transmissions: u32,
    /// When the first SACK (or SHUTDOWN) that covers the TSN came, in ns since 1970.
    pub acknowledged_ns: Option<u64>,
    /// While the TSN was outstanding, a SACK came with `CROWD` or more gap blocks and TSNs to look at, so
    /// that `sctp-rtt` may have left the TSN out.
    pub crowded: bool,
}

/// How many TSNs and gap blocks of one SACK `sctp-rtt`'s kernel side looks at (`MAX_SCAN` in `chunks.h`).
const CROWD: u64 = 8192;

impl Tsn {
    /// The TSN's round-trip time in ns. `None` unless the TSN was acknowledged after it had been sent exactly
    /// once (Karn's algorithm).
    pub fn rtt_ns(&self) -> Option<u64> {
        let acknowledged = self.acknowledged_ns.filter(|_| self.transmissions == 1)?;
        Some(acknowledged - self.sent_ns)
    }
}

/// A direction of an association: source port, destination port and verification tag of its packets.
type Direction = (u16, u16, u32);

/// Returns the flows of all associations in a capture, in both directions.
///
/// Round-trip times are right for the end at which the capture was made. Associations without INIT and INIT
/// ACK in the capture are left out: only the INIT ACK shows the tags of both directions, by which SACKs are
/// assigned to DATA.
pub fn flows(frames: &[Frame]) -> Vec<Flow> {
    let mut opposite: HashMap<Direction, Direction> = HashMap::new();
    // Directions in which an INIT ACK is expected, as it answers an INIT. Other INIT ACKs are ignored.
    let mut asked: HashSet<Direction> = HashSet::new();
    let mut flows: BTreeMap<Direction, Flow> = BTreeMap::new();
    for frame in frames {
        let packet = &frame.packet;
        let here = (packet.source, packet.destination, packet.tag);
        for chunk in &packet.chunks {
            match chunk {
                Chunk::Init { ack: false, tag, .. } => {
                    asked.insert((packet.destination, packet.source, *tag));
                }
                Chunk::Init { ack: true, tag, tsn, .. } if asked.contains(&here) => {
                    // RFC 9260 5.2.3: an INIT ACK within an established association is discarded.
                    let directions = [Some(&here), opposite.get(&here)];
                    if directions.into_iter().flatten().any(|key| flows.get(key).is_some_and(Flow::has_begun))
                    {
                        continue;
                    }
                    let there = (packet.destination, packet.source, *tag);
                    opposite.insert(here, there);
                    opposite.insert(there, here);
                    flows.entry(here).or_insert_with(|| Flow::new(frame, *tsn));
                }
                // An ABORT carries the usual tag of its direction; or, if it answers a packet of no
                // association, that packet's tag (RFC 9260 8.4).
                Chunk::Abort => {
                    let answered = (packet.destination, packet.source, packet.tag);
                    for key in [Some(&here), opposite.get(&answered)].into_iter().flatten() {
                        flows.entry(*key).and_modify(|flow| flow.closed = true);
                    }
                }
                Chunk::Data(data) if opposite.contains_key(&here) => {
                    flows.entry(here).or_insert_with(|| Flow::new(frame, data.tsn)).send(frame, data);
                }
                Chunk::Sack(sack) => {
                    if let Some(flow) = opposite.get(&here).and_then(|there| flows.get_mut(there))
                        && flow.acknowledge(frame.time_ns, sack)
                    {
                        flow.windows.push(sack.a_rwnd);
                        flow.note_end();
                    }
                }
                Chunk::Shutdown(cumulative) => {
                    if let Some(flow) = opposite.get(&here).and_then(|there| flows.get_mut(there)) {
                        let sack = Sack {
                            cumulative: *cumulative,
                            a_rwnd: 0,
                            gaps: Vec::new(),
                            duplicates: Vec::new(),
                        };
                        flow.other_ends |= flow.acknowledge(frame.time_ns, &sack);
                        flow.note_end();
                    }
                    flows.entry(here).and_modify(|flow| flow.ends = true);
                }
                // SHUTDOWN ACK.
                Chunk::Other(8) => {
                    if let Some(flow) = flows.get_mut(&here)
                        && let Some(windows) = flow.windows_at_end
                    {
                        flow.windows.truncate(windows);
                        flow.ends = true;
                    }
                }
                _ => {}
            }
        }
    }
    flows.into_values().filter(Flow::has_begun).collect()
}

impl Flow {
    /// Returns whether a JSON object that a command printed is about this flow's association: whether its
    /// `local` port is the sender's and its `peer` port the receiver's.
    pub fn is_of(&self, object: &Value) -> bool {
        let port = |key: &str| object[key].as_str()?.parse().ok().map(|address: SocketAddr| address.port());
        port("local") == Some(self.source_port) && port("peer") == Some(self.destination_port)
    }

    fn new(frame: &Frame, first: u32) -> Self {
        Self {
            source: frame.source.ip(),
            source_port: frame.source.port(),
            destination_port: frame.destination.port(),
            transmissions: 0,
            bytes: 0,
            tsns: BTreeMap::new(),
            windows: Vec::new(),
            point: first.wrapping_sub(1),
            next: first,
            closed: false,
            other_ends: false,
            ends: false,
            windows_at_end: None,
        }
    }

    fn send(&mut self, frame: &Frame, data: &Data) {
        self.transmissions += 1;
        let path = frame.destination.ip();
        let new =
            Tsn { path, sent_ns: frame.time_ns, transmissions: 0, acknowledged_ns: None, crowded: false };
        let tsn = self.tsns.entry(data.tsn).or_insert(new);
        if tsn.transmissions == 0 {
            self.bytes += data.payload as u64;
            if data.tsn != self.next {
                // An SSN/TSN reset (RFC 6525 4.3): TSNs begin anew, and all TSNs before were acknowledged or
                // are given up.
                self.point = data.tsn.wrapping_sub(1);
            }
            self.next = data.tsn.wrapping_add(1);
            // New DATA after a SHUTDOWN: the sender has not processed that SHUTDOWN.
            (self.other_ends, self.ends, self.windows_at_end) = (false, false, None);
        }
        if tsn.acknowledged_ns.is_none() {
            tsn.transmissions += 1;
        }
    }

    /// Returns whether the flow has any DATA, or a SACK that the sender processed.
    fn has_begun(&self) -> bool {
        !self.tsns.is_empty() || !self.windows.is_empty()
    }

    /// Handles a SACK from the receiver. Returns whether the sender processes the SACK, as opposed to
    /// discarding it.
    fn acknowledge(&mut self, time_ns: u64, sack: &Sack) -> bool {
        // RFC 9260 6.2.1 D i: a SACK whose cumulative TSN is below the sender's point was overtaken by a
        // newer one, and is dropped. The kernel also refuses a SACK whose cumulative TSN was never sent
        // (sctp_sf_violation_ctsn()).
        if self.closed
            || self.ends
            || after(self.point, sack.cumulative)
            || !after(self.next, sack.cumulative)
        {
            return false;
        }
        let highest = sack.gaps.iter().map(|(_, last)| *last).max().unwrap_or(0);
        let mut next = self.point.wrapping_add(1);
        let mut end = sack.cumulative.wrapping_add(u32::from(highest));
        if !after(self.next, end) {
            end = self.next.wrapping_sub(1);
        }
        let length = |(first, last): &(u16, u16)| {
            let last = (*last).min(end.wrapping_sub(sack.cumulative) as u16);
            u64::from(last.saturating_add(1).saturating_sub(*first)) + 1
        };
        let named =
            u64::from(sack.cumulative.wrapping_sub(self.point)) + sack.gaps.iter().map(length).sum::<u64>();
        if named >= CROWD {
            let outstanding = self.tsns.values_mut().filter(|tsn| tsn.acknowledged_ns.is_none());
            outstanding.for_each(|tsn| tsn.crowded = true);
        }
        while !after(next, end) {
            if let Some(tsn) = self.tsns.get_mut(&next)
                && tsn.acknowledged_ns.is_none()
                && sack.covers(next)
            {
                tsn.acknowledged_ns = Some(time_ns);
            }
            next = next.wrapping_add(1);
        }
        self.point = sack.cumulative;
        true
    }

    fn note_end(&mut self) {
        if self.other_ends && self.point == self.next.wrapping_sub(1) {
            self.windows_at_end.get_or_insert(self.windows.len());
        }
    }

    /// Number of retransmissions of DATA chunks.
    pub fn retransmissions(&self) -> u64 {
        self.transmissions - self.tsns.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::{Flow, flows};
    use crate::capture::Frame;
    use crate::sctp::{Chunk, Data, Packet, Sack};

    const A: &str = "10.1.0.1:1000";
    const B: &str = "10.2.0.1:2000";
    const B_SECOND: &str = "10.2.1.1:2000";

    fn frame(time_ns: u64, source: &str, destination: &str, chunks: Vec<Chunk>) -> Frame {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let (from, to): (std::net::SocketAddr, std::net::SocketAddr) = (source, destination);
        // Packets to A carry tag 7, packets to B tag 8.
        let tag = if to.port() == 1000 { 7 } else { 8 };
        let packet = Packet { source: from.port(), destination: to.port(), tag, chunks };
        Frame { time_ns, source, destination, packet }
    }

    fn asks() -> Frame {
        frame(0, A, B, vec![Chunk::Init { ack: false, tag: 7, a_rwnd: 0, streams: (1, 1), tsn: 5 }])
    }

    fn begin() -> Frame {
        frame(0, B, A, vec![Chunk::Init { ack: true, tag: 8, a_rwnd: 0, streams: (1, 1), tsn: 0 }])
    }

    fn data(tsn: u32) -> Chunk {
        Chunk::Data(Data {
            tsn,
            stream: 0,
            sequence: 0,
            interleaved: false,
            immediate: false,
            unordered: false,
            begin: true,
            end: true,
            payload: 10,
        })
    }

    fn sack(cumulative: u32, gaps: &[(u16, u16)]) -> Chunk {
        Chunk::Sack(Sack { cumulative, a_rwnd: 0, gaps: gaps.to_vec(), duplicates: Vec::new() })
    }

    fn only_flow(frames: &[Frame]) -> Flow {
        let mut flows = flows(frames);
        assert_eq!(flows.len(), 1);
        flows.remove(0)
    }

    fn rtts(flow: &Flow, tsns: &[u32]) -> Vec<Option<u64>> {
        tsns.iter().map(|tsn| flow.tsns[tsn].rtt_ns()).collect()
    }

    #[test]
    fn every_chunk_of_a_packet_and_the_first_sack_count() {
        let flow = only_flow(&[
            asks(),
            begin(),
            frame(10, A, B, vec![data(5), data(6)]),
            frame(12, A, B, vec![data(7)]),
            frame(30, B, A, vec![sack(6, &[])]),
            frame(40, B, A, vec![sack(7, &[])]),
            frame(50, B, A, vec![sack(7, &[])]),
        ]);
        assert_eq!(rtts(&flow, &[5, 6, 7]), [Some(20), Some(20), Some(28)]);
        assert_eq!((flow.transmissions, flow.bytes, flow.retransmissions()), (3, 30, 0));
    }

    #[test]
    fn gaps_acknowledge_and_retransmissions_do_not_count() {
        let flow = only_flow(&[
            asks(),
            begin(),
            frame(10, A, B, vec![data(5)]),
            frame(11, A, B, vec![data(6)]),
            frame(12, A, B, vec![data(7)]),
            frame(30, B, A, vec![sack(4, &[(2, 3)])]),
            frame(31, A, B_SECOND, vec![data(5)]),
            frame(50, B, A, vec![sack(7, &[])]),
        ]);
        assert_eq!(rtts(&flow, &[5, 6, 7]), [None, Some(19), Some(18)]);
        assert_eq!(flow.tsns[&5].transmissions, 2);
        assert_eq!(flow.tsns[&5].path, "10.2.0.1".parse::<std::net::IpAddr>().unwrap());
        assert_eq!(flow.retransmissions(), 1);
    }

    #[test]
    fn a_chunk_sent_again_after_its_sack_keeps_its_time() {
        let flow = only_flow(&[
            asks(),
            begin(),
            frame(10, A, B, vec![data(5)]),
            frame(30, B, A, vec![sack(5, &[])]),
            frame(31, A, B, vec![data(5)]),
        ]);
        assert_eq!(rtts(&flow, &[5]), [Some(20)]);
        assert_eq!(flow.transmissions, 2);
    }

    #[test]
    fn overtaken_sacks_say_nothing() {
        let flow = only_flow(&[
            asks(),
            begin(),
            frame(10, A, B, vec![data(5)]),
            frame(11, A, B, vec![data(6)]),
            frame(30, B, A, vec![sack(5, &[])]),
            frame(31, A, B, vec![data(7)]),
            frame(32, B, A, vec![sack(4, &[(3, 3)])]),
            frame(60, B, A, vec![sack(7, &[])]),
        ]);
        assert_eq!(rtts(&flow, &[5, 6, 7]), [Some(20), Some(49), Some(29)]);
    }

    #[test]
    fn numbers_wrap() {
        let flow = only_flow(&[
            asks(),
            begin(),
            frame(10, A, B, vec![data(u32::MAX)]),
            frame(11, A, B, vec![data(0)]),
            frame(12, A, B, vec![data(1)]),
            frame(30, B, A, vec![sack(u32::MAX, &[(2, 2)])]),
            frame(40, B, A, vec![sack(1, &[])]),
        ]);
        assert_eq!(rtts(&flow, &[u32::MAX, 0, 1]), [Some(20), Some(29), Some(18)]);
    }

    #[test]
    fn what_was_never_sent_is_not_acknowledged() {
        let flow = only_flow(&[
            asks(),
            begin(),
            frame(10, A, B, vec![data(5)]),
            frame(20, B, A, vec![sack(6, &[])]),
            frame(30, B, A, vec![sack(4, &[(2, 9), (3, 1), (0, 0)])]),
            frame(40, A, B, vec![data(6)]),
            frame(50, B, A, vec![sack(4, &[(1, 65_535)])]),
        ]);
        assert_eq!(rtts(&flow, &[5, 6]), [Some(40), Some(10)]);
        assert_eq!(flow.windows.len(), 2);
    }

    #[test]
    fn an_init_ack_within_an_association_says_nothing() {
        let stray = Chunk::Init { ack: true, tag: 99, a_rwnd: 0, streams: (1, 1), tsn: 1 };
        let flow = only_flow(&[
            asks(),
            begin(),
            frame(10, A, B, vec![data(5)]),
            frame(20, B, A, vec![stray]),
            frame(30, B, A, vec![sack(5, &[])]),
        ]);
        assert_eq!(rtts(&flow, &[5]), [Some(20)]);
    }

    #[test]
    fn an_init_ack_that_answers_no_init_says_nothing() {
        let init = |ack, tag| vec![Chunk::Init { ack, tag, a_rwnd: 0, streams: (1, 1), tsn: 5 }];
        let flow = only_flow(&[
            frame(0, B, A, init(false, 8)),
            frame(1, A, B, init(true, 7)),
            frame(2, B, A, init(true, 99)),
            frame(10, A, B, vec![data(5)]),
            frame(30, B, A, vec![sack(5, &[])]),
        ]);
        assert_eq!(rtts(&flow, &[5]), [Some(20)]);
    }

    #[test]
    fn numbers_begin_anew() {
        let flow = only_flow(&[
            asks(),
            begin(),
            frame(10, A, B, vec![data(5)]),
            frame(20, B, A, vec![sack(5, &[])]),
            frame(30, A, B, vec![data(1 << 31)]),
            frame(45, B, A, vec![sack(1 << 31, &[])]),
        ]);
        assert_eq!(rtts(&flow, &[5, 1 << 31]), [Some(10), Some(15)]);
    }

    #[test]
    fn an_aborted_association_acknowledges_nothing() {
        for tag in [8, 7] {
            let mut abort = frame(20, A, B, vec![Chunk::Abort]);
            abort.packet.tag = tag;
            let frames =
                [asks(), begin(), frame(10, A, B, vec![data(5)]), abort, frame(30, B, A, vec![sack(5, &[])])];
            assert_eq!(rtts(&only_flow(&frames), &[5]), [None]);
        }
    }

    #[test]
    fn shutdown_acknowledges() {
        let flow = only_flow(&[
            asks(),
            begin(),
            frame(10, A, B, vec![data(5)]),
            frame(11, A, B, vec![data(6)]),
            frame(30, B, A, vec![Chunk::Shutdown(5)]),
        ]);
        assert_eq!(rtts(&flow, &[5, 6]), [Some(20), None]);
    }

    #[test]
    fn no_sack_is_taken_once_all_is_acknowledged_and_an_end_has_begun() {
        let windows = |frames: &[Frame]| only_flow(frames).windows.len();
        let last = [asks(), begin(), frame(10, A, B, vec![data(5)]), frame(20, B, A, vec![sack(5, &[])])];
        let more = frame(40, B, A, vec![sack(5, &[])]);
        assert_eq!(windows(&[&last[..], std::slice::from_ref(&more)].concat()), 2);
        let own = [frame(30, A, B, vec![Chunk::Shutdown(0)]), more.clone()];
        assert_eq!(windows(&[&last[..], &own].concat()), 1);
        let answer = frame(41, A, B, vec![Chunk::Other(8)]);
        let other = [frame(30, B, A, vec![Chunk::Shutdown(5)]), more.clone(), answer.clone()];
        assert_eq!(windows(&[&last[..], &other].concat()), 1);
        // Without the SHUTDOWN ACK, nothing shows that A processed the SHUTDOWN: the SACK counts.
        assert_eq!(windows(&[&last[..], &other[..2]].concat()), 2);
        // B's SHUTDOWN comes while a chunk is outstanding: the SACK that acknowledges the chunk counts.
        let early = frame(15, B, A, vec![Chunk::Shutdown(4)]);
        let frames = [asks(), begin(), frame(10, A, B, vec![data(5)]), early, last[2].clone(), more, answer];
        assert_eq!(windows(&frames), 1);
    }

    #[test]
    fn both_directions_are_told_apart() {
        let flows = flows(&[
            asks(),
            begin(),
            frame(10, A, B, vec![data(5)]),
            frame(20, B, A, vec![sack(5, &[]), data(5)]),
            frame(25, A, B, vec![sack(5, &[])]),
        ]);
        let found: Vec<_> = flows.iter().map(|flow| (flow.source_port, flow.tsns[&5].rtt_ns())).collect();
        assert_eq!(found, [(1000, Some(10)), (2000, Some(5))]);
    }
}
