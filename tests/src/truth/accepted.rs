//! Finds the DATA chunks that a receiver accepted, from a capture at the receiver, even if the sender breaks
//! SCTP's rules. The receiver's SACKs show which chunks these were: so the receiver must acknowledge every
//! packet at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::capture::Frame;
use crate::sctp::{Chunk, Sack, after};

/// Ports of a sender and of its receiver.
pub type Ports = (u16, u16);

/// The DATA chunks of one stream that the receiver accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// When each accepted chunk came, in ns since 1970.
    pub arrivals_ns: Vec<u64>,
    /// Number of accepted chunks that came after an accepted one with a higher TSN.
    pub reordered: u64,
    /// Number of chunks that came after the receiver's last SACK, and are not in `arrivals_ns`: the capture
    /// does not show whether the receiver accepted them. It may have aborted the association.
    pub unknown: u64,
}

/// One direction of an association, from its setup, restart or SSN/TSN reset to the next.
struct Direction {
    ports: Ports,
    /// The receiver's cumulative TSN.
    point: u32,
    /// TSNs above `point` that the receiver has.
    above: BTreeSet<u32>,
    top: u32,
    /// When the receiver sent its last SACK so far, in ns.
    acked_ns: u64,
    /// By TSN that is not acknowledged yet: when each chunk with this TSN came, in ns, and its stream. The
    /// receiver may have accepted one of them.
    pending: BTreeMap<u32, Vec<(u64, u16)>>,
}

impl Direction {
    fn new(ports: Ports, first: u32) -> Self {
        let point = first.wrapping_sub(1);
        Self { ports, point, above: BTreeSet::new(), top: point, acked_ns: 0, pending: BTreeMap::new() }
    }

    fn data(&mut self, time_ns: u64, tsn: u32, stream: u16) {
        if !after(tsn, self.point) || self.above.contains(&tsn) {
            return;
        }
        self.pending.entry(tsn).or_default().push((time_ns, stream));
    }

    fn accept(&mut self, sack: &Sack, streams: &mut BTreeMap<u16, Stream>, count: u16) {
        let pending = std::mem::take(&mut self.pending);
        let (covered, rest): (Vec<_>, Vec<_>) = pending.into_iter().partition(|(tsn, _)| sack.covers(*tsn));
        self.pending = rest.into_iter().collect();
        // Of several chunks with one TSN, the SACK reports those after the accepted one as duplicates; the
        // receiver refused those before it. So the accepted one is found from the end.
        let taken = |(tsn, chunks): (u32, Vec<_>)| {
            let duplicates = sack.duplicates.iter().filter(|duplicate| **duplicate == tsn).count();
            Some((tsn, *chunks.get(chunks.len().checked_sub(1 + duplicates)?)?))
        };
        let mut accepted: Vec<_> = covered.into_iter().filter_map(taken).collect();
        accepted.sort_by_key(|(tsn, (time_ns, _))| (*time_ns, tsn.wrapping_sub(self.point)));
        self.point = sack.cumulative;
        self.above.retain(|tsn| after(*tsn, sack.cumulative));
        for (tsn, (time_ns, stream)) in accepted {
            self.above.insert(tsn);
            let late = after(self.top, tsn);
            if !late {
                self.top = tsn;
            }
            // DATA on a stream that does not exist is acknowledged and then discarded (RFC 9260 6.5).
            if stream < count {
                let stream = streams.entry(stream).or_default();
                stream.arrivals_ns.push(time_ns);
                stream.reordered += u64::from(late);
            }
        }
        // After a FORWARD TSN, the receiver's cumulative TSN may pass TSNs that have never come.
        if after(sack.cumulative, self.top) {
            self.top = sack.cumulative;
        }
    }
}

/// Returns the accepted chunks of all associations, stream by stream. Each association has `count` streams in
/// each direction. I-DATA is left out.
pub fn streams(frames: &[Frame], count: u16) -> BTreeMap<Ports, BTreeMap<u16, Stream>> {
    // The keys are source port, destination port and verification tag of the packets with DATA. `opposite`
    // finds this key by ports and tag of the packets with SACKs for that DATA.
    let mut directions: HashMap<(u16, u16, u32), Direction> = HashMap::new();
    let mut opposite = HashMap::new();
    let mut first = HashMap::new();
    let mut found: BTreeMap<Ports, BTreeMap<u16, Stream>> = BTreeMap::new();
    for frame in frames {
        let packet = &frame.packet;
        let (ports, back) = ((packet.source, packet.destination), (packet.destination, packet.source));
        for chunk in &packet.chunks {
            match chunk {
                Chunk::Init { ack: false, tag, tsn, .. } => {
                    first.insert((back, *tag), *tsn);
                }
                Chunk::Init { ack: true, tag, .. } => {
                    if let Some(tsn) = first.get(&(ports, packet.tag)) {
                        let key = (back.0, back.1, *tag);
                        opposite.insert((ports, packet.tag), key);
                        directions.entry(key).or_insert_with(|| Direction::new(back, *tsn));
                    }
                }
                Chunk::Data(data) if !data.interleaved => {
                    if let Some(direction) = directions.get_mut(&(ports.0, ports.1, packet.tag)) {
                        direction.data(frame.time_ns, data.tsn, data.stream);
                    }
                }
                Chunk::Reset(tsn) => {
                    if let Some(direction) = directions.get_mut(&(ports.0, ports.1, packet.tag)) {
                        *direction = Direction::new(ports, *tsn);
                    }
                }
                Chunk::Sack(sack) => {
                    let key = opposite.get(&(ports, packet.tag));
                    if let Some(direction) = key.and_then(|key| directions.get_mut(key)) {
                        direction.acked_ns = frame.time_ns;
                        direction.accept(sack, found.entry(direction.ports).or_default(), count);
                    }
                }
                _ => {}
            }
        }
    }
    for direction in directions.into_values() {
        let streams = found.entry(direction.ports).or_default();
        for (_, stream) in
            direction.pending.into_values().flatten().filter(|(time_ns, _)| *time_ns > direction.acked_ns)
        {
            if stream < count {
                streams.entry(stream).or_default().unknown += 1;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Stream, streams};
    use crate::capture::Frame;
    use crate::sctp::{Chunk, Packet};
    use crate::wire::{WHOLE, data, init, packet, sack};

    fn frame(time_ns: u64, ports: (u16, u16), tag: u32, chunks: &[u8]) -> Frame {
        let packet = Packet::parse(&packet(ports.0, ports.1, tag, chunks)).unwrap();
        let [source, destination] = [ports.0, ports.1].map(|port| ([10, 0, 0, 1], port).into());
        Frame { time_ns, source, destination, packet }
    }

    #[test]
    fn only_what_is_acknowledged_has_come() {
        let (there, back) = ((1, 2), (2, 1));
        let sent = |time_ns, tsn, stream| frame(time_ns, there, 8, &data(WHOLE, tsn, stream, 0, 0, b"x"));
        let acked = |cumulative, gaps: &[(u16, u16)]| frame(99, back, 7, &sack(cumulative, 1, gaps, &[]));
        let mut init_ack = frame(0, back, 7, &init(8, 1, 1, 50));
        if let Chunk::Init { ack, .. } = &mut init_ack.packet.chunks[0] {
            *ack = true;
        }
        let found = streams(
            &[
                frame(0, there, 0, &init(7, 1, 1, u32::MAX)),
                init_ack,
                sent(10, u32::MAX, 0),
                acked(u32::MAX, &[]),
                // TSN 1 comes twice, and the SACK reports no duplicate: the receiver refused the first. Then
                // two duplicates, TSN 2 on a stream that does not exist, and TSN 1000, which no SACK covers.
                sent(20, 1, 0),
                sent(21, 1, 0),
                acked(u32::MAX, &[(2, 2)]),
                sent(30, u32::MAX, 0),
                sent(31, 1, 0),
                sent(32, 2, 9),
                sent(33, 1000, 0),
                acked(u32::MAX, &[(2, 3)]),
                sent(40, 0, 0),
                acked(2, &[]),
                // The first is accepted, although no SACK follows at once; the SACK reports the second as a
                // duplicate.
                sent(50, 3, 0),
                sent(51, 3, 0),
                frame(99, back, 7, &sack(3, 1, &[], &[3])),
                // No SACK follows: counted as `unknown`.
                sent(100, 4, 0),
            ],
            1,
        );
        let expected = Stream { arrivals_ns: vec![10, 21, 40, 50], reordered: 1, unknown: 1 };
        assert_eq!(found[&there].iter().collect::<Vec<_>>(), [(&0, &expected)]);
    }
}
