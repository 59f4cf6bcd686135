//! SCTP packets as bytes, for a peer that keeps the rules or breaks them.

use std::net::Ipv4Addr;

/// Bits of a DATA chunk's flags: I, U, B, E.
pub const IMMEDIATE: u8 = 8;
#[allow(missing_docs, reason = "above")]
pub const UNORDERED: u8 = 4;
#[allow(missing_docs, reason = "above")]
pub const WHOLE: u8 = 3;

/// A chunk with its padding.
pub fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, flags];
    out.extend((value.len() as u16 + 4).to_be_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// A DATA chunk.
pub fn data(flags: u8, tsn: u32, stream: u16, sequence: u16, ppid: u32, payload: &[u8]) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    value.extend(stream.to_be_bytes());
    value.extend(sequence.to_be_bytes());
    value.extend(ppid.to_be_bytes());
    value.extend(payload);
    chunk(0, flags, &value)
}

/// A SACK.
pub fn sack(cumulative: u32, a_rwnd: u32, gaps: &[(u16, u16)], duplicates: &[u32]) -> Vec<u8> {
    let mut value = cumulative.to_be_bytes().to_vec();
    value.extend(a_rwnd.to_be_bytes());
    value.extend((gaps.len() as u16).to_be_bytes());
    value.extend((duplicates.len() as u16).to_be_bytes());
    for (first, last) in gaps {
        value.extend(first.to_be_bytes());
        value.extend(last.to_be_bytes());
    }
    value.extend(duplicates.iter().flat_map(|tsn| tsn.to_be_bytes()));
    chunk(3, 0, &value)
}

/// An INIT that offers RE-CONFIG (RFC 6525) and FORWARD TSN (RFC 3758).
pub fn init(tag: u32, a_rwnd: u32, streams: u16, tsn: u32) -> Vec<u8> {
    let mut value = tag.to_be_bytes().to_vec();
    value.extend(a_rwnd.to_be_bytes());
    value.extend(streams.to_be_bytes());
    value.extend(streams.to_be_bytes());
    value.extend(tsn.to_be_bytes());
    value.extend([0x80, 0x08, 0, 6, 130, 192, 0, 0]);
    value.extend([0xc0, 0, 0, 4]);
    chunk(1, 0, &value)
}

/// A packet with its checksum.
pub fn packet(source: u16, destination: u16, tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut out = source.to_be_bytes().to_vec();
    out.extend(destination.to_be_bytes());
    out.extend(tag.to_be_bytes());
    out.extend([0; 4]);
    out.extend(chunks);
    let sum = crc32c::crc32c(&out);
    // RFC 9260 appendix A: the bytes as they come out of the register.
    out[8..12].copy_from_slice(&sum.to_le_bytes());
    out
}

/// An IPv4 header before a packet. The kernel sets checksum and length (`raw(7)`).
pub fn datagram(source: Ipv4Addr, destination: Ipv4Addr, packet: &[u8]) -> Vec<u8> {
    let mut out = vec![0x45, 2, 0, 0, 0, 0, 0x40, 0, 64, 132, 0, 0];
    out.extend(source.octets());
    out.extend(destination.octets());
    out.extend(packet);
    out
}

/// The SCTP packet in a datagram, with the source and destination address.
pub fn open(datagram: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, &[u8])> {
    let header = usize::from(datagram.first()? & 15) * 4;
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(datagram.get(at..at + 4)?).ok()?));
    let found = (address(12)?, address(16)?, datagram.get(header..)?);
    (*datagram.get(9)? == 132).then_some(found)
}

/// Type, flags and value of the chunks of a well-formed packet.
pub fn chunks(packet: &[u8]) -> Vec<(u8, u8, &[u8])> {
    parts(packet.get(12..).unwrap_or_default())
        .into_iter()
        .map(|(kind, value)| ((kind >> 8) as u8, kind as u8, value))
        .collect()
}

/// Types and values of parameters, or of chunks, whose type is that and the flags.
pub fn parts(mut rest: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let [a, b, c, d, ..] = *rest {
        let length = usize::from(u16::from_be_bytes([c, d]));
        let Some(value) = rest.get(4..length) else { break };
        found.push((u16::from_be_bytes([a, b]), value));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The big-endian number at a place of a value; 0 where there is none.
pub fn word(value: &[u8], at: usize) -> u32 {
    value.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::{WHOLE, chunks, data, init, packet, sack, word};
    use crate::sctp::{Chunk, Packet};

    #[test]
    fn what_is_built_can_be_read() {
        let bytes = [data(WHOLE, 7, 3, 2, 1, b"hello"), sack(9, 100, &[(2, 3)], &[5]), init(1, 2, 3, 4)];
        let packet = packet(1000, 2000, 5, &bytes.concat());
        let read = Packet::parse(&packet).unwrap();
        assert_eq!((read.source, read.destination, read.tag), (1000, 2000, 5));
        let [Chunk::Data(data), Chunk::Sack(sack), Chunk::Init { ack: false, tag: 1, tsn: 4, .. }] =
            read.chunks.as_slice()
        else {
            panic!("{read:?}");
        };
        assert_eq!((data.tsn, data.stream, data.sequence, data.payload), (7, 3, 2, 5));
        assert_eq!(
            (sack.cumulative, sack.gaps.as_slice(), sack.duplicates.as_slice()),
            (9, &[(2, 3)][..], &[5][..])
        );
        let kinds: Vec<_> = chunks(&packet).iter().map(|(kind, _, value)| (*kind, word(value, 0))).collect();
        assert_eq!(kinds, [(0, 7), (3, 9), (1, 1)]);
    }
}
