//! Reads SCTP packets, chunk by chunk (RFC 9260; RFC 8260 for I-DATA).
//!
//! No crate reads DATA, I-DATA and the gap blocks of SACKs. This module reads these and the few other chunks
//! and fields that tests need.

use std::fmt;

/// An SCTP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The sender's port.
    pub source: u16,
    /// The receiver's port.
    pub destination: u16,
    /// Verification tag, which the receiver chose.
    pub tag: u32,
    /// The packet's chunks, in their order.
    pub chunks: Vec<Chunk>,
}

/// A chunk, with the fields that tests need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// DATA or I-DATA.
    Data(Data),
    /// SACK.
    Sack(Sack),
    /// INIT or INIT ACK.
    Init {
        /// True for an INIT ACK.
        ack: bool,
        /// Initiate tag: the verification tag of packets to the chunk's sender.
        tag: u32,
        /// The sender's advertised receiver window, in bytes.
        a_rwnd: u32,
        /// Numbers of outbound and inbound streams.
        streams: (u16, u16),
        /// Initial TSN: the first TSN that the chunk's sender uses.
        tsn: u32,
    },
    /// HEARTBEAT or HEARTBEAT ACK.
    Heartbeat {
        /// True for a HEARTBEAT ACK.
        ack: bool,
        /// The chunk's value, which the sender of the HEARTBEAT chose and a HEARTBEAT ACK returns.
        info: Vec<u8>,
    },
    /// SHUTDOWN, with its cumulative TSN: the last one that its sender received in sequence.
    Shutdown(u32),
    /// FORWARD TSN or I-FORWARD-TSN, with the new cumulative TSN.
    ForwardTsn(u32),
    /// ABORT.
    Abort,
    /// RE-CONFIG that grants an SSN/TSN reset (RFC 6525 4.4), with the TSN that the chunk's sender will use
    /// next.
    Reset(u32),
    /// Any other chunk, with its type.
    Other(u8),
}

/// A DATA or I-DATA chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Transmission sequence number.
    pub tsn: u32,
    /// Stream identifier.
    pub stream: u16,
    /// Stream sequence number of a DATA chunk, or message identifier of an I-DATA chunk.
    pub sequence: u32,
    /// True for an I-DATA chunk.
    pub interleaved: bool,
    /// I bit: the receiver shall acknowledge at once.
    pub immediate: bool,
    /// U bit: the message is unordered.
    pub unordered: bool,
    /// B bit: the chunk begins a message.
    pub begin: bool,
    /// E bit: the chunk ends a message.
    pub end: bool,
    /// Length of the user data, in bytes.
    pub payload: usize,
}

/// A SACK chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sack {
    /// Cumulative TSN Ack: the last TSN received in sequence.
    pub cumulative: u32,
    /// Advertised receiver window, in bytes.
    pub a_rwnd: u32,
    /// Gap blocks, TSNs received above `cumulative`: the first and the last of each block, relative to
    /// `cumulative`.
    pub gaps: Vec<(u16, u16)>,
    /// TSNs received more than once.
    pub duplicates: Vec<u32>,
}

impl Sack {
    /// Returns whether the SACK acknowledges a TSN, cumulatively or in a gap block.
    pub fn covers(&self, tsn: u32) -> bool {
        let offset = tsn.wrapping_sub(self.cumulative);
        !after(tsn, self.cumulative)
            || self.gaps.iter().any(|(first, last)| (u32::from(*first)..=u32::from(*last)).contains(&offset))
    }
}

/// Returns whether TSN `a` is greater than TSN `b` in serial number arithmetic (RFC 9260 1.6): TSNs wrap.
pub const fn after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

/// Why a packet could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The packet ends before the end of a chunk or of a field.
    Short,
    /// A chunk's length field is less than the length of a chunk header, 4.
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

/// Reads integers in network byte order from a slice; holds the bytes that are left.
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
    /// Reads a packet, from the common header on. The checksum is ignored: captures have packets whose
    /// checksum is not set yet.
    ///
    /// # Errors
    /// When a length does not fit, mostly because the capture has cut the packet short (tcpdump's `-s`).
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(bytes);
        let (source, destination, tag) = (cursor.u16()?, cursor.u16()?, cursor.u32()?);
        cursor.take(4)?;
        let mut chunks = Vec::new();
        while !cursor.0.is_empty() {
            let (kind, flags, length) = (cursor.u8()?, cursor.u8()?, usize::from(cursor.u16()?));
            let body = cursor.take(length.checked_sub(4).ok_or(Malformed::Length)?)?;
            // Each chunk is padded to a multiple of 4 bytes. The last chunk's padding may be missing.
            cursor.take((length.next_multiple_of(4) - length).min(cursor.0.len()))?;
            chunks.push(Chunk::parse(kind, flags, Cursor(body))?);
        }
        Ok(Self { source, destination, tag, chunks })
    }

    /// Reads a packet as far as Linux does: up to the first malformed chunk. As in Linux
    /// (`sctp_sm_pull_sack()`), the gap blocks of a SACK may extend beyond the chunk, into the rest of the
    /// packet.
    ///
    /// # Errors
    /// When the packet is shorter than the common header.
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
                // Payload protocol identifier; in I-DATA fragments after the first, the fragment sequence
                // number.
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
            // One parameter: a Re-configuration Response (16) of 20 bytes, with the result "performed" (1).
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

    /// Writes a packet as bytes: the inverse of [`Packet::parse`].
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
        // The SACK claims three gap blocks: the bytes of the SHUTDOWN are read as the second and the third.
        bytes[25] = 3;
        let claimed = vec![(3, 4), (0x700, 8), (0, 5)];
        let sack = Chunk::Sack(Sack { cumulative: 1, a_rwnd: 2, gaps: claimed, duplicates: Vec::new() });
        assert_eq!(found(&bytes), [sack, Chunk::Shutdown(5)]);
        // Four gap blocks would extend beyond the packet.
        bytes[25] = 4;
        assert_eq!(found(&bytes), []);
        // The SHUTDOWN's length is less than its header, then more than the rest of the packet.
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
