//! The DATA of each stream, from a capture at its sender or at its receiver.

use std::collections::{BTreeMap, HashSet};

use crate::capture::Frame;
use crate::sctp::{Chunk, Data};

/// The streams of one direction of an association. A restart begins another flow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// Streams that carried data, by their identifiers.
    pub streams: BTreeMap<u16, Stream>,
    tsns: HashSet<u32>,
    top: Option<u32>,
}

/// One stream. All fields but `rtx_chunks` and `rtx_bytes` are about chunks whose TSN is seen for the first
/// time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// User data, in bytes.
    pub bytes: u64,
    /// Number of chunks.
    pub chunks: u64,
    /// Number of chunks with the U bit.
    pub unordered: u64,
    /// Number of chunks with the E bit, each of which ends a message.
    pub messages: u64,
    /// Number of chunks whose TSN was seen before.
    pub rtx_chunks: u64,
    /// User data in chunks whose TSN was seen before, in bytes.
    pub rtx_bytes: u64,
    /// Number of chunks that came after one with a higher TSN, on whatever stream.
    pub reordered: u64,
    /// When each chunk came for the first time, in ns since 1970.
    pub arrivals_ns: Vec<u64>,
    /// When each message was complete, in ns since 1970. Unordered messages in fragments are left out.
    pub complete_ns: Vec<u64>,
    /// Ordered messages that are incomplete, or wait for one before them; by stream sequence number.
    pending: BTreeMap<u32, Message>,
    /// The next stream sequence number to deliver.
    next: u32,
    /// For each ordered message that waited for one before it: when the wait began and when it ended, in ns
    /// since 1970.
    pub waits_ns: Vec<(u64, u64)>,
}

/// An ordered message, of which at least one fragment came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Message {
    begin: Option<u32>,
    end: Option<u32>,
    chunks: u32,
    complete_ns: Option<u64>,
}

impl Message {
    /// Adds a fragment. The fragments of a message have consecutive TSNs: the message is complete when as
    /// many fragments came as there are TSNs from the first (B bit) to the last (E bit).
    fn add(&mut self, time_ns: u64, data: &Data) {
        self.begin = self.begin.or(data.begin.then_some(data.tsn));
        self.end = self.end.or(data.end.then_some(data.tsn));
        self.chunks += 1;
        if let (Some(begin), Some(end)) = (self.begin, self.end)
            && end.wrapping_sub(begin).wrapping_add(1) == self.chunks
        {
            self.complete_ns = Some(time_ns);
        }
    }
}

/// Returns the flows of all associations in a capture, in both directions. Fragments are put together by the
/// rules of DATA; the fragment sequence numbers of I-DATA are ignored.
pub fn flows(frames: &[Frame]) -> Vec<Flow> {
    let mut flows: BTreeMap<(u16, u16, u32), Flow> = BTreeMap::new();
    for frame in frames {
        let packet = &frame.packet;
        for chunk in &packet.chunks {
            let Chunk::Data(data) = chunk else { continue };
            let flow = flows.entry((packet.source, packet.destination, packet.tag)).or_insert_with(|| Flow {
                source_port: packet.source,
                destination_port: packet.destination,
                ..Flow::default()
            });
            flow.data(frame.time_ns, data);
        }
    }
    flows.into_values().collect()
}

impl Flow {
    fn data(&mut self, time_ns: u64, data: &Data) {
        let stream = self.streams.entry(data.stream).or_default();
        if !self.tsns.insert(data.tsn) {
            stream.rtx_chunks += 1;
            stream.rtx_bytes += data.payload as u64;
            return;
        }
        match self.top {
            Some(top) if crate::sctp::after(top, data.tsn) => stream.reordered += 1,
            _ => self.top = Some(data.tsn),
        }
        stream.bytes += data.payload as u64;
        stream.chunks += 1;
        stream.unordered += u64::from(data.unordered);
        stream.messages += u64::from(data.end);
        stream.arrivals_ns.push(time_ns);
        if !data.unordered {
            stream.ordered_data(time_ns, data);
        } else if data.begin && data.end {
            stream.complete_ns.push(time_ns);
        }
    }
}

impl Stream {
    fn ordered_data(&mut self, time_ns: u64, data: &Data) {
        let message = self.pending.entry(data.sequence).or_default();
        message.add(time_ns, data);
        if message.complete_ns == Some(time_ns) {
            self.complete_ns.push(time_ns);
        }
        while let Some(complete_ns) = self.pending.get(&self.next).and_then(|message| message.complete_ns) {
            self.pending.remove(&self.next);
            self.next += 1;
            if complete_ns < time_ns {
                self.waits_ns.push((complete_ns, time_ns));
            }
        }
    }

    /// Sum of the times that messages waited for one before them, in ns.
    pub fn wait_ns(&self) -> u64 {
        self.waits_ns.iter().map(|(from, to)| to - from).sum()
    }

    /// How long at least one message waited for one before it, in ns: overlapping waits count once.
    pub fn blocked_ns(&self) -> u64 {
        let mut waits = self.waits_ns.clone();
        waits.sort_unstable();
        let mut end = 0;
        waits
            .into_iter()
            .map(|(from, to)| {
                let from = from.max(end);
                end = end.max(to);
                end.saturating_sub(from)
            })
            .sum()
    }
}

/// Intervals in us between successive times in ns.
pub fn intervals_us(moments_ns: &[u64]) -> Vec<f64> {
    moments_ns.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e3).collect()
}

/// Interarrival jitter in us, after RFC 3550 6.4.1: J += (|D - Dprev| - J) / 16 over the intervals D between
/// arrivals, beginning with J = 0.
pub fn jitter_us(intervals_us: &[f64]) -> f64 {
    intervals_us.windows(2).fold(0.0, |jitter, pair| jitter + ((pair[1] - pair[0]).abs() - jitter) / 16.0)
}

#[cfg(test)]
mod tests {
    use super::{Flow, flows, intervals_us, jitter_us};
    use crate::capture::Frame;
    use crate::sctp::{Chunk, Data, Packet};

    /// A frame with one DATA chunk. `flags` contains any of the letters U, B and E, for the chunk's flags.
    fn frame(time_ns: u64, tsn: u32, stream: u16, sequence: u32, flags: &str) -> Frame {
        let data = Data {
            tsn,
            stream,
            sequence,
            interleaved: false,
            immediate: false,
            unordered: flags.contains('U'),
            begin: flags.contains('B'),
            end: flags.contains('E'),
            payload: 10,
        };
        let packet = Packet { source: 1, destination: 2, tag: 3, chunks: vec![Chunk::Data(data)] };
        let [source, destination] = ["10.1.0.1:1", "10.2.0.1:2"].map(|address| address.parse().unwrap());
        Frame { time_ns, source, destination, packet }
    }

    fn only_flow(frames: &[Frame]) -> Flow {
        let mut flows = flows(frames);
        assert_eq!(flows.len(), 1);
        flows.remove(0)
    }

    #[test]
    fn retransmissions_are_apart_and_no_arrivals() {
        let flow = only_flow(&[
            frame(10, 1, 0, 0, "BE"),
            frame(20, 2, 1, 0, "BE"),
            frame(30, 1, 0, 0, "BE"),
            frame(40, 3, 0, 1, "BEU"),
        ]);
        let stream = &flow.streams[&0];
        assert_eq!((stream.chunks, stream.bytes, stream.unordered, stream.messages), (2, 20, 1, 2));
        assert_eq!((stream.rtx_chunks, stream.rtx_bytes, stream.reordered), (1, 10, 0));
        assert_eq!(stream.arrivals_ns, [10, 40]);
        assert_eq!(flow.streams[&1].chunks, 1);
    }

    #[test]
    fn messages_wait_for_a_missing_one_of_their_stream() {
        let flow = only_flow(&[
            frame(10, 1, 0, 0, "BE"),
            frame(20, 3, 0, 2, "BE"),
            frame(30, 4, 1, 0, "BE"),
            frame(40, 5, 0, 3, "BE"),
            frame(50, 6, 0, 0, "BEU"),
            frame(70, 2, 0, 1, "BE"),
        ]);
        let stream = &flow.streams[&0];
        assert_eq!(stream.waits_ns, [(20, 70), (40, 70)]);
        assert_eq!((stream.wait_ns(), stream.blocked_ns(), stream.reordered), (80, 50, 1));
        assert_eq!(flow.streams[&1].wait_ns(), 0);
    }

    #[test]
    fn a_message_is_complete_with_its_last_missing_fragment() {
        let flow = only_flow(&[
            frame(10, 1, 0, 0, "B"),
            frame(20, 3, 0, 0, "E"),
            frame(30, 4, 0, 1, "BE"),
            frame(60, 2, 0, 0, ""),
        ]);
        let stream = &flow.streams[&0];
        assert_eq!(stream.complete_ns, [30, 60]);
        assert_eq!((stream.messages, stream.wait_ns()), (2, 30));
    }

    #[test]
    fn jitter_of_a_steady_stream_is_nothing() {
        assert_eq!(jitter_us(&intervals_us(&[1000, 2000, 3000, 4000])), 0.0);
        assert_eq!(jitter_us(&[1.0, 17.0]), 1.0);
    }
}
