//! DATA that its receiver accepted, by the receiver's own word: from a capture at a receiver that acknowledges every
//! packet at once, of a sender that sends anything.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::capture::Frame;
use crate::sctp::{Chunk, Sack, after};

/// Ports of a sender and a receiver.
pub type Ports = (u16, u16);

/// The chunks of a stream that the receiver accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// When each chunk came, in ns.
    pub arrivals_ns: Vec<u64>,
    /// Chunks that came after one with a higher TSN.
    pub reordered: u64,
    /// Chunks that came last, after which nothing was acknowledged: the receiver broke off. Accepted or not.
    pub unknown: u64,
}

/// One direction, between two restarts.
struct Direction {
    ports: Ports,
    /// The receiver's cumulative TSN.
    point: u32,
    /// TSNs above it that the receiver has.
    above: BTreeSet<u32>,
    top: u32,
    /// When the receiver's last SACK was sent.
    acked_ns: u64,
    /// When chunks came of which one may have been accepted, and their streams.
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
        // Those that came after the accepted one are reported as duplicates; what came before it was refused.
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
            // On no stream it is acknowledged, and thrown away (RFC 9260 6.5).
            if stream < count {
                let stream = streams.entry(stream).or_default();
                stream.arrivals_ns.push(time_ns);
                stream.reordered += u64::from(late);
            }
        }
        // FORWARD TSN.
        if after(sack.cumulative, self.top) {
            self.top = sack.cumulative;
        }
    }
}

/// The streams of all associations, of which each has `count`. I-DATA is none.
pub fn streams(frames: &[Frame], count: u16) -> BTreeMap<Ports, BTreeMap<u16, Stream>> {
    // By ports and the tag that packets carry; the SACKs' direction leads to the DATA's.
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
                // Twice refused, then accepted; a duplicate; one on no stream; one far ahead.
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
                // Accepted without a word, and then a duplicate.
                sent(50, 3, 0),
                sent(51, 3, 0),
                frame(99, back, 7, &sack(3, 1, &[], &[3])),
                // Nobody knows.
                sent(100, 4, 0),
            ],
            1,
        );
        let expected = Stream { arrivals_ns: vec![10, 21, 40, 50], reordered: 1, unknown: 1 };
        assert_eq!(found[&there].iter().collect::<Vec<_>>(), [(&0, &expected)]);
    }
}
