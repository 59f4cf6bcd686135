//! Builds and reads SCTP packets as bytes, for a peer outside the kernel, which may keep SCTP's rules or
//! break them.

use std::net::Ipv4Addr;

/// The I bit of a DATA chunk's flags: acknowledge at once.
pub const IMMEDIATE: u8 = 8;
/// The U bit of a DATA chunk's flags: the message is unordered.
pub const UNORDERED: u8 = 4;
/// The B and E bits of a DATA chunk's flags: the chunk is a whole message, not a fragment.
pub const WHOLE: u8 = 3;

/// Builds a chunk of type `kind`, with its padding.
pub fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, flags];
    out.extend((value.len() as u16 + 4).to_be_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// Builds a DATA chunk.
pub fn data(flags: u8, tsn: u32, stream: u16, sequence: u16, ppid: u32, payload: &[u8]) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    value.extend(stream.to_be_bytes());
    value.extend(sequence.to_be_bytes());
    value.extend(ppid.to_be_bytes());
    value.extend(payload);
    chunk(0, flags, &value)
}

/// Builds a SACK chunk. `gaps` has the first and last TSN of each gap block, relative to `cumulative`.
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

/// Builds an INIT chunk that offers RE-CONFIG (RFC 6525) and FORWARD TSN (RFC 3758), and `streams` streams in
/// each direction.
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

/// Builds an SCTP packet with its checksum.
pub fn packet(source: u16, destination: u16, tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut out = source.to_be_bytes().to_vec();
    out.extend(destination.to_be_bytes());
    out.extend(tag.to_be_bytes());
    out.extend([0; 4]);
    out.extend(chunks);
    let sum = crc32c::crc32c(&out);
    // RFC 9260 appendix A: the checksum is sent with its lowest byte first.
    out[8..12].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Puts an IPv4 header before an SCTP packet, for a raw socket: the kernel sets the header's checksum and
/// total length (`raw(7)`).
pub fn datagram(source: Ipv4Addr, destination: Ipv4Addr, packet: &[u8]) -> Vec<u8> {
    let mut out = vec![0x45, 2, 0, 0, 0, 0, 0x40, 0, 64, 132, 0, 0];
    out.extend(source.octets());
    out.extend(destination.octets());
    out.extend(packet);
    out
}

/// Returns an ICMP message "destination unreachable" with this code (RFC 792) about the datagram `quoted`, in an IPv4
/// datagram.
pub fn unreachable(source: Ipv4Addr, destination: Ipv4Addr, code: u8, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![3, code, 0, 0, 0, 0, 0, 0];
    message.extend(quoted);
    let words =
        message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| (*low).into()));
    let mut sum: u32 = words.sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let mut out = datagram(source, destination, &message);
    out[9] = 1;
    out
}

/// Returns the source and destination address of an IPv4 datagram, and the SCTP packet in it; `None` if it
/// has none.
pub fn open(datagram: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, &[u8])> {
    let header = usize::from(datagram.first()? & 15) * 4;
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(datagram.get(at..at + 4)?).ok()?));
    let found = (address(12)?, address(16)?, datagram.get(header..)?);
    (*datagram.get(9)? == 132).then_some(found)
}

/// Returns type, flags and value of each chunk of a well-formed SCTP packet.
pub fn chunks(packet: &[u8]) -> Vec<(u8, u8, &[u8])> {
    parts(packet.get(12..).unwrap_or_default())
        .into_iter()
        .map(|(kind, value)| ((kind >> 8) as u8, kind as u8, value))
        .collect()
}

/// Returns type and value of each parameter in `rest` (RFC 9260 3.2.1). Chunks can be read the same way: then
/// the high byte of each returned type is the chunk's type, and the low byte has the chunk's flags.
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

/// Returns the big-endian 32-bit number at offset `at` of a value; 0 if the value ends before that number
/// does.
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
