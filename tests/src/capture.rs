//! Reads the captures that tcpdump wrote.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice, ip_number};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{LegacyPcapReader, Linktype, PcapBlockOwned, PcapError};

use crate::sctp::{Malformed, Packet};

/// The UDP port of SCTP over UDP (RFC 6951).
const ENCAPSULATION_PORT: u16 = 9899;

/// A captured packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When tcpdump's packet socket saw the packet, in ns since 1970.
    pub time_ns: u64,
    /// IP address and SCTP port of the packet's sender.
    pub source: SocketAddr,
    /// IP address and SCTP port of the packet's receiver.
    pub destination: SocketAddr,
    /// The SCTP packet.
    pub packet: Packet,
}

/// Reads the SCTP packets of all given captures, in the order of time.
///
/// # Errors
/// When a file cannot be read or is cut short, or one of its packets is cut short, malformed or an IP
/// fragment.
pub fn read(paths: &[impl AsRef<Path>]) -> Result<Vec<Frame>> {
    read_by(paths, Packet::parse)
}

/// Reads the SCTP packets of all given captures, in the order of time, where packets may be malformed: each
/// is read as far as Linux reads it ([`Packet::parse_hostile`]).
///
/// # Errors
/// When a file cannot be read or is cut short, or one of its packets is cut short, an IP fragment or shorter
/// than the SCTP common header.
pub fn read_hostile(paths: &[impl AsRef<Path>]) -> Result<Vec<Frame>> {
    read_by(paths, Packet::parse_hostile)
}

type Parse = fn(&[u8]) -> Result<Packet, Malformed>;

fn read_by(paths: &[impl AsRef<Path>], parse: Parse) -> Result<Vec<Frame>> {
    let mut frames = Vec::new();
    for path in paths {
        read_one(path.as_ref(), parse, &mut frames)
            .with_context(|| format!("cannot read the capture {}", path.as_ref().display()))?;
    }
    frames.sort_by_key(|frame| frame.time_ns);
    Ok(frames)
}

fn read_one(path: &Path, parse: Parse, frames: &mut Vec<Frame>) -> Result<()> {
    let mut reader = LegacyPcapReader::new(1 << 20, File::open(path)?)?;
    loop {
        match reader.next() {
            Ok((length, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => {
                        ensure!(header.is_nanosecond_precision(), "times are not in nanoseconds");
                        ensure!(header.network == Linktype::ETHERNET, "not from an Ethernet interface");
                    }
                    PcapBlockOwned::Legacy(block) => {
                        ensure!(block.caplen == block.origlen, "a packet is cut short: capture with -s 0");
                        let time_ns = u64::from(block.ts_sec) * 1_000_000_000 + u64::from(block.ts_usec);
                        frames.extend(frame(time_ns, parse, block.data)?);
                    }
                    PcapBlockOwned::NG(_) => bail!("a pcapng block"),
                }
                reader.consume(length);
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => {
                if let Err(error) = reader.refill() {
                    bail!("{error}");
                }
            }
            Err(error) => bail!("{error}"),
        }
    }
}

/// Returns the SCTP packet in an Ethernet frame, also one inside of UDP; `None` if there is none.
fn frame(time_ns: u64, parse: Parse, bytes: &[u8]) -> Result<Option<Frame>> {
    let sliced = SlicedPacket::from_ethernet(bytes)?;
    let Some(net) = &sliced.net else { return Ok(None) };
    let (source, destination): (IpAddr, IpAddr) = match net {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => return Ok(None),
    };
    let payload = match &sliced.transport {
        Some(TransportSlice::Udp(udp))
            if [udp.source_port(), udp.destination_port()].contains(&ENCAPSULATION_PORT) =>
        {
            udp.payload()
        }
        None => match net.ip_payload_ref() {
            Some(payload) if payload.ip_number == ip_number::SCTP => {
                ensure!(!payload.fragmented, "an IP fragment");
                payload.payload
            }
            _ => return Ok(None),
        },
        Some(_) => return Ok(None),
    };
    let packet = parse(payload)?;
    Ok(Some(Frame {
        time_ns,
        source: (source, packet.source).into(),
        destination: (destination, packet.destination).into(),
        packet,
    }))
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, ip_number};

    use super::frame;
    use crate::sctp::{Chunk, Packet};

    /// An SCTP packet from port 1 to 2, with a SHUTDOWN chunk that acknowledges TSN 9.
    const SHUTDOWN: [u8; 20] = [0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 7, 0, 0, 8, 0, 0, 0, 9];

    #[test]
    fn plain_ipv4_and_ipv6() {
        for v6 in [false, true] {
            let ethernet = PacketBuilder::ethernet2([1; 6], [2; 6]);
            let ip = if v6 {
                ethernet.ipv6([1; 16], [2; 16], 64)
            } else {
                ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            };
            let mut bytes = Vec::new();
            ip.write(&mut bytes, ip_number::SCTP, &SHUTDOWN).unwrap();
            let frame = frame(5, Packet::parse, &bytes).unwrap().unwrap();
            assert_eq!(frame.packet.chunks, [Chunk::Shutdown(9)]);
            assert_eq!((frame.source.port(), frame.destination.port(), frame.source.is_ipv6()), (1, 2, v6));
        }
    }

    #[test]
    fn inside_udp() {
        let builder =
            PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(9899, 9899);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &SHUTDOWN).unwrap();
        let frame = frame(5, Packet::parse, &bytes).unwrap().unwrap();
        assert_eq!(frame.source, "10.0.0.1:1".parse().unwrap());
        assert_eq!(frame.packet.chunks, [Chunk::Shutdown(9)]);
    }

    #[test]
    fn other_traffic_is_passed_over() {
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([1; 4], [2; 4], 64).udp(53, 53);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &SHUTDOWN).unwrap();
        assert_eq!(frame(5, Packet::parse, &bytes).unwrap(), None);
    }
}
