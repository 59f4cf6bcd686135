//! SCTP packets, chunk by chunk (RFC 9260, RFC 8260 for I-DATA).
//!
//! No crate walks DATA, I-DATA and the gap blocks of SACKs, so this does, and no more than tests look at.

use std::fmt;

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Port of the sender.
    pub source: u16,
    /// Port of the receiver.
    pub destination: u16,
    /// Verification tag, which the receiver chose.
    pub tag: u32,
    /// The chunks, in their order.
    pub chunks: Vec<Chunk>,
}

/// A chunk, as far as tests look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// DATA or I-DATA.
    Data(Data),
    /// SACK.
    Sack(Sack),
    /// INIT or INIT ACK: what its sender chose.
    Init {
        /// Whether it is an INIT ACK.
        ack: bool,
        /// The tag of packets towards its sender.
        tag: u32,
        /// The window that it advertises, in bytes.
        a_rwnd: u32,
        /// Numbers of streams, out and in.
        streams: (u16, u16),
        /// The first TSN of its sender.
        tsn: u32,
    },
    /// HEARTBEAT or HEARTBEAT ACK, with its opaque parameter.
    Heartbeat {
        /// Whether it is an answer.
        ack: bool,
        /// What the sender of the request put in.
        info: Vec<u8>,
    },
    /// SHUTDOWN, with the last TSN received in sequence.
    Shutdown(u32),
    /// FORWARD TSN or I-FORWARD-TSN, with the new point.
    ForwardTsn(u32),
    /// ABORT.
    Abort,
    /// RE-CONFIG that grants an SSN/TSN reset (RFC 6525 4.4), with the TSN that its sender sends next.
    Reset(u32),
    /// Any other type.
    Other(u8),
}

/// DATA or I-DATA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Transmission sequence number.
    pub tsn: u32,
    /// Stream.
    pub stream: u16,
    /// Stream sequence number of DATA, message identifier of I-DATA.
    pub sequence: u32,
    /// Whether it is I-DATA.
    pub interleaved: bool,
    /// I: the receiver shall acknowledge at once.
    pub immediate: bool,
    /// U: outside the order of its stream.
    pub unordered: bool,
    /// B: begins a message.
    pub begin: bool,
    /// E: ends a message.
    pub end: bool,
    /// User data, in bytes.
    pub payload: usize,
}

/// SACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sack {
    /// The last TSN received in sequence.
    pub cumulative: u32,
    /// Advertised window, in bytes.
    pub a_rwnd: u32,
    /// TSNs received above `cumulative`: the first and last of each gap block, relative to that.
    pub gaps: Vec<(u16, u16)>,
    /// TSNs received more than once.
    pub duplicates: Vec<u32>,
}

impl Sack {
    /// Whether it acknowledges a TSN.
    pub fn covers(&self, tsn: u32) -> bool {
        let offset = tsn.wrapping_sub(self.cumulative);
        !after(tsn, self.cumulative)
            || self.gaps.iter().any(|(first, last)| (u32::from(*first)..=u32::from(*last)).contains(&offset))
    }
}

/// Whether `a` comes after `b` in the circle of TSNs (RFC 9260 1.6).
pub const fn after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

/// Why a packet could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It ends before what it announces.
    Short,
    /// A chunk's length is less than its own header.
    Length,
}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Short => "an SCTP packet ends early",
            Self::Length => "an SCTP chunk is shorter than its header",
        })
    }
}

impl std::error::Error for Malformed {}

/// The bytes that are left to read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    const fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        match self.0.split_at_checked(count) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => Err(Malformed::Short),
        }
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

impl Packet {
    /// Read a packet, from its common header on. Checksums are not looked at: taps see packets before it is set.
    ///
    /// # Errors
    /// When lengths do not fit: a capture with a snap length, above all.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(bytes);
        let (source, destination, tag) = (cursor.u16()?, cursor.u16()?, cursor.u32()?);
        cursor.take(4)?;
        let mut chunks = Vec::new();
        while !cursor.0.is_empty() {
            let (kind, flags, length) = (cursor.u8()?, cursor.u8()?, usize::from(cursor.u16()?));
            let body = cursor.take(length.checked_sub(4).ok_or(Malformed::Length)?)?;
            // Padding up to a multiple of four; the last chunk's may be missing.
            cursor.take((length.next_multiple_of(4) - length).min(cursor.0.len()))?;
            chunks.push(Chunk::parse(kind, flags, Cursor(body))?);
        }
        Ok(Self { source, destination, tag, chunks })
    }

    /// Read a packet as far as Linux gets: up to a chunk that makes no sense. The gap blocks of a SACK may lie beyond its
    /// end, in the rest of the packet (`sctp_sm_pull_sack()`).
    ///
    /// # Errors
    /// When there is no whole common header.
    pub fn parse_hostile(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut packet = Self::parse(bytes.get(..12).ok_or(Malformed::Short)?)?;
        let mut rest = &bytes[12..];
        while let [kind, flags, high, low, ref body @ ..] = *rest {
            let length = usize::from(u16::from_be_bytes([high, low]));
            let whole = length.checked_sub(4).and_then(|length| body.get(..length));
            let value = if kind == 3 && length >= 16 { whole.and(Some(body)) } else { whole };
            let Some(Ok(chunk)) = value.map(|value| Chunk::parse(kind, flags, Cursor(value))) else { break };
            packet.chunks.push(chunk);
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(packet)
    }
}

impl Chunk {
    fn parse(kind: u8, flags: u8, mut body: Cursor<'_>) -> Result<Self, Malformed> {
        Ok(match kind {
            0 | 64 => {
                let (tsn, stream) = (body.u32()?, body.u16()?);
                let interleaved = kind == 64;
                let sequence = if interleaved {
                    body.u16()?;
                    body.u32()?
                } else {
                    u32::from(body.u16()?)
                };
                // Payload protocol identifier, or the fragment's number.
                body.u32()?;
                Self::Data(Data {
                    tsn,
                    stream,
                    sequence,
                    interleaved,
                    immediate: flags & 8 != 0,
                    unordered: flags & 4 != 0,
                    begin: flags & 2 != 0,
                    end: flags & 1 != 0,
                    payload: body.0.len(),
                })
            }
            1 | 2 => {
                let (tag, a_rwnd) = (body.u32()?, body.u32()?);
                let streams = (body.u16()?, body.u16()?);
                Self::Init { ack: kind == 2, tag, a_rwnd, streams, tsn: body.u32()? }
            }
            3 => {
                let (cumulative, a_rwnd) = (body.u32()?, body.u32()?);
                let (gap_count, duplicate_count) = (body.u16()?, body.u16()?);
                let gaps =
                    (0..gap_count).map(|_| Ok((body.u16()?, body.u16()?))).collect::<Result<_, _>>()?;
                let duplicates = (0..duplicate_count).map(|_| body.u32()).collect::<Result<_, _>>()?;
                Self::Sack(Sack { cumulative, a_rwnd, gaps, duplicates })
            }
            4 | 5 => Self::Heartbeat { ack: kind == 5, info: body.0.to_vec() },
            6 => Self::Abort,
            7 => Self::Shutdown(body.u32()?),
            // Re-configuration Response, and its result: performed.
            130 if body.0.len() == 20 && body.0[..4] == [0, 16, 0, 20] && body.0[8..12] == [0, 0, 0, 1] => {
                body.take(12)?;
                Self::Reset(body.u32()?)
            }
            192 | 194 => Self::ForwardTsn(body.u32()?),
            other => Self::Other(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::{Chunk, Data, Malformed, Packet, Sack, after};

    /// The other way round, for the round trip.
    fn encode(packet: &Packet) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(packet.source.to_be_bytes());
        out.extend(packet.destination.to_be_bytes());
        out.extend(packet.tag.to_be_bytes());
        out.extend([0; 4]);
        for chunk in &packet.chunks {
            let (kind, flags, body) = encode_chunk(chunk);
            out.extend([kind, flags]);
            out.extend((body.len() as u16 + 4).to_be_bytes());
            out.extend(&body);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    fn encode_chunk(chunk: &Chunk) -> (u8, u8, Vec<u8>) {
        let mut body = Vec::new();
        match chunk {
            Chunk::Data(data) => {
                body.extend(data.tsn.to_be_bytes());
                body.extend(data.stream.to_be_bytes());
                if data.interleaved {
                    body.extend([0; 2]);
                    body.extend(data.sequence.to_be_bytes());
                } else {
                    body.extend((data.sequence as u16).to_be_bytes());
                }
                body.extend([0; 4]);
                body.resize(body.len() + data.payload, 7);
                let flags = u8::from(data.immediate) << 3
                    | u8::from(data.unordered) << 2
                    | u8::from(data.begin) << 1
                    | u8::from(data.end);
                (if data.interleaved { 64 } else { 0 }, flags, body)
            }
            Chunk::Sack(sack) => {
                body.extend(sack.cumulative.to_be_bytes());
                body.extend(sack.a_rwnd.to_be_bytes());
                body.extend((sack.gaps.len() as u16).to_be_bytes());
                body.extend((sack.duplicates.len() as u16).to_be_bytes());
                for (first, last) in &sack.gaps {
                    body.extend(first.to_be_bytes());
                    body.extend(last.to_be_bytes());
                }
                body.extend(sack.duplicates.iter().flat_map(|tsn| tsn.to_be_bytes()));
                (3, 0, body)
            }
            Chunk::Init { ack, tag, a_rwnd, streams, tsn } => {
                body.extend(tag.to_be_bytes());
                body.extend(a_rwnd.to_be_bytes());
                body.extend(streams.0.to_be_bytes());
                body.extend(streams.1.to_be_bytes());
                body.extend(tsn.to_be_bytes());
                (1 + u8::from(*ack), 0, body)
            }
            Chunk::Heartbeat { ack, info } => (4 + u8::from(*ack), 0, info.clone()),
            Chunk::Abort => (6, 0, body),
            Chunk::Shutdown(tsn) => (7, 0, tsn.to_be_bytes().to_vec()),
            Chunk::Reset(tsn) => {
                body.extend([0, 16, 0, 20, 9, 9, 9, 9, 0, 0, 0, 1]);
                body.extend(tsn.to_be_bytes());
                body.extend([8; 4]);
                (130, 0, body)
            }
            Chunk::ForwardTsn(tsn) => (192, 0, tsn.to_be_bytes().to_vec()),
            Chunk::Other(kind) => (*kind, 0, body),
        }
    }

    fn data() -> impl Strategy<Value = Chunk> {
        (any::<(u32, u16, u32, bool)>(), any::<(bool, bool, bool, bool)>(), 1..1500_usize).prop_map(
            |((tsn, stream, sequence, interleaved), (immediate, unordered, begin, end), payload)| {
                let sequence = if interleaved { sequence } else { sequence & 0xffff };
                Chunk::Data(Data {
                    tsn,
                    stream,
                    sequence,
                    interleaved,
                    immediate,
                    unordered,
                    begin,
                    end,
                    payload,
                })
            },
        )
    }

    fn chunk() -> impl Strategy<Value = Chunk> {
        prop_oneof![
            data(),
            (any::<(u32, u32)>(), vec(any::<(u16, u16)>(), 0..9), vec(any::<u32>(), 0..5)).prop_map(
                |((cumulative, a_rwnd), gaps, duplicates)| {
                    Chunk::Sack(Sack { cumulative, a_rwnd, gaps, duplicates })
                }
            ),
            any::<(bool, u32, u32, (u16, u16), u32)>()
                .prop_map(|(ack, tag, a_rwnd, streams, tsn)| Chunk::Init { ack, tag, a_rwnd, streams, tsn }),
            any::<(bool, Vec<u8>)>().prop_map(|(ack, info)| Chunk::Heartbeat { ack, info }),
            any::<u32>().prop_map(Chunk::Shutdown),
            any::<u32>().prop_map(Chunk::Reset),
            any::<u32>().prop_map(Chunk::ForwardTsn),
            Just(Chunk::Abort),
            (8..64_u8).prop_map(Chunk::Other),
        ]
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn random_chunks_never_panic(bytes in vec(any::<u8>(), 12..200)) {
            prop_assert!(Packet::parse_hostile(&bytes).is_ok());
        }

        #[test]
        fn packets_survive_the_round_trip(
            (source, destination, tag) in any::<(u16, u16, u32)>(),
            chunks in vec(chunk(), 0..12),
        ) {
            let packet = Packet { source, destination, tag, chunks };
            let bytes = encode(&packet);
            prop_assert_eq!(Packet::parse_hostile(&bytes), Packet::parse(&bytes));
            prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
        }

        #[test]
        fn a_cut_packet_is_an_error(chunk in data(), cut in 1..9_usize) {
            let bytes = encode(&Packet { source: 1, destination: 2, tag: 3, chunks: vec![chunk] });
            prop_assert_eq!(Packet::parse(&bytes[..bytes.len() - cut.max(4)]), Err(Malformed::Short));
        }
    }

    #[test]
    fn a_chunk_shorter_than_its_header_is_an_error() {
        let mut bytes = vec![0; 12];
        bytes.extend([0, 3, 0, 3]);
        assert_eq!(Packet::parse(&bytes), Err(Malformed::Length));
    }

    #[test]
    fn a_hostile_packet_ends_where_it_makes_no_sense() {
        let sack = Chunk::Sack(Sack { cumulative: 1, a_rwnd: 2, gaps: vec![(3, 4)], duplicates: Vec::new() });
        let mut bytes =
            encode(&Packet { source: 1, destination: 2, tag: 3, chunks: vec![sack, Chunk::Shutdown(5)] });
        let found = |bytes: &[u8]| Packet::parse_hostile(bytes).unwrap().chunks;
        // It claims three blocks; the other two are the SHUTDOWN.
        bytes[25] = 3;
        let claimed = vec![(3, 4), (0x700, 8), (0, 5)];
        let sack = Chunk::Sack(Sack { cumulative: 1, a_rwnd: 2, gaps: claimed, duplicates: Vec::new() });
        assert_eq!(found(&bytes), [sack, Chunk::Shutdown(5)]);
        // Four are more than there is.
        bytes[25] = 4;
        assert_eq!(found(&bytes), []);
        // Chunks without or beyond an end.
        bytes[25] = 1;
        bytes[35] = 3;
        assert_eq!(found(&bytes).len(), 1);
        bytes[35] = 9;
        assert_eq!(found(&bytes).len(), 1);
    }

    #[test]
    fn sacks_cover_across_the_wrap() {
        let sack =
            Sack { cumulative: 0xffff_fffe, a_rwnd: 0, gaps: vec![(2, 3), (7, 7)], duplicates: Vec::new() };
        let covered: Vec<bool> =
            (0..9).map(|offset| sack.covers(0xffff_fffd_u32.wrapping_add(offset))).collect();
        assert_eq!(covered, [true, true, false, true, true, false, false, false, true]);
    }

    #[test]
    fn order_wraps() {
        assert!(after(0, u32::MAX));
        assert!(!after(u32::MAX, 0));
        assert!(!after(5, 5));
    }
}
