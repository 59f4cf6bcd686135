//! Makes the packets of a peer that breaks SCTP's rules, at random. The random numbers come from a seed, so
//! that a run can be repeated. On the host under attack runs `sctp-fuzz echo`; in this file, "the kernel" is
//! the one of that host.

use std::ops::RangeInclusive;

use fastrand::Rng;

use crate::wire::{IMMEDIATE, UNORDERED, WHOLE, chunk, data, sack};

/// Number of streams that each end offers, in each direction.
pub const STREAMS: u16 = 8;

/// Payload protocol identifiers of the peer's messages: each asks `sctp-fuzz echo` for an action.
pub mod ask {
    /// Send the message back.
    pub const ECHO: u32 = 1;
    /// Send the message back as many times as its first byte says.
    pub const SEND: u32 = 2;
    /// Ask the peer for an SSN/TSN reset (RFC 6525 4.3).
    pub const RESET: u32 = 3;
}

/// TSNs of an association in both directions, as far as the hostile peer knows them.
#[derive(Debug, Clone, Copy, Default)]
pub struct View {
    /// The peer's TSN that the kernel expects next.
    pub next: u32,
    /// The highest TSN that the kernel has sent.
    pub top: u32,
    /// The kernel's highest TSN that the peer has acknowledged in sequence.
    pub acked: u32,
}

/// Number of gap blocks in most hostile SACKs. The others have up to [`MOST`], as many as an IPv4 packet
/// holds.
const FEW: RangeInclusive<usize> = 1..=6;
const MOST: usize = (65_535 - 20 - 12 - 16) / 4;

/// Makes the chunks of one hostile packet at random. Returns a description of them, and their bytes.
pub fn attack(rng: &mut Rng, view: View) -> (&'static str, Vec<u8>) {
    match rng.u8(..100) {
        0..20 => ("asks for data", asks(rng, view)),
        20..60 => hostile_sack(rng, view),
        60..75 => hostile_data(rng, view),
        75..97 => control(rng, view),
        _ => ("flipped bits", flipped(rng, view)),
    }
}

/// Makes one to three valid messages in a packet, which ask the echo to send data.
fn asks(rng: &mut Rng, view: View) -> Vec<u8> {
    let payload = [rng.u8(1..12); 40];
    let flags = WHOLE | UNORDERED | if rng.bool() { IMMEDIATE } else { 0 };
    (0..rng.u32(1..4))
        .flat_map(|i| {
            let ask = if rng.bool() { ask::ECHO } else { ask::SEND };
            data(flags, view.next.wrapping_add(i), rng.u16(..STREAMS), 0, ask, &payload)
        })
        .collect()
}

/// Makes valid gap blocks, in ascending order and within the outstanding TSNs. They may leave out TSNs that
/// earlier SACKs reported, as a receiver may that reneges.
fn fair_gaps(rng: &mut Rng, outstanding: u16) -> Vec<(u16, u16)> {
    let mut gaps = Vec::new();
    let mut next = 2;
    while next <= outstanding && gaps.len() < 6 {
        let first = rng.u16(next..=outstanding);
        let last = rng.u16(first..=outstanding);
        gaps.push((first, last));
        next = last.saturating_add(2);
    }
    gaps
}

/// Makes gap blocks at random, most of them invalid: in any order, reversed, or beyond the outstanding TSNs.
fn wild_gaps(rng: &mut Rng, count: usize, outstanding: u16) -> Vec<(u16, u16)> {
    let near = outstanding.saturating_add(4);
    (0..count)
        .map(|_| match rng.u8(..8) {
            0 => (0, 0),
            1 => (u16::MAX, u16::MAX),
            2 => (rng.u16(..), rng.u16(..)),
            3 => (rng.u16(..=near), u16::MAX),
            4 => (rng.u16(1..=near), 0),
            5 => {
                let at = rng.u16(..=near);
                (at, at)
            }
            _ => (rng.u16(..=near), rng.u16(..=near)),
        })
        .collect()
}

fn hostile_sack(rng: &mut Rng, view: View) -> (&'static str, Vec<u8>) {
    let outstanding = view.top.wrapping_sub(view.acked).min(2000) as u16;
    let cumulative = match rng.u8(..100) {
        0..55 => view.acked,
        55..85 => view.acked.wrapping_add(u32::from(rng.u16(..=outstanding))),
        85..92 => view.acked.wrapping_sub(rng.u32(1..5)),
        92..96 => view.top,
        96..98 => view.top.wrapping_add(rng.u32(..1 << 20)),
        _ => rng.u32(..),
    };
    let a_rwnd = match rng.u8(..30) {
        0 => 0,
        1 => rng.u32(..),
        _ => 100_000,
    };
    let few = rng.usize(FEW);
    let duplicates: Vec<u32> = match rng.u8(..4) {
        0 => (0..rng.u32(..9)).map(|_| view.top.wrapping_sub(rng.u32(..20))).collect(),
        1 => (0..rng.u32(..3)).map(|_| rng.u32(..)).collect(),
        _ => Vec::new(),
    };
    let (name, gaps) = match rng.u8(..20) {
        0..8 => ("SACK", fair_gaps(rng, outstanding)),
        8..18 => ("SACK with wild gap blocks", wild_gaps(rng, few, outstanding)),
        18 => {
            // Only the list's second half has valid blocks: code that looks at a limited number of blocks
            // does not reach them.
            let mut gaps = vec![(u16::MAX, 0); rng.usize(few..=MOST)];
            let last = gaps.len() - 1;
            for gap in fair_gaps(rng, outstanding) {
                gaps[rng.usize(last / 2..=last)] = gap;
            }
            ("SACK with thousands of gap blocks", gaps)
        }
        _ => {
            let count = rng.usize(few..=MOST);
            ("SACK with thousands of wild gap blocks", wild_gaps(rng, count, outstanding))
        }
    };
    let duplicates = if gaps.len() > 100 { Vec::new() } else { duplicates };
    let mut out = sack(cumulative, a_rwnd, &gaps, &duplicates);
    if gaps.len() > 100 || rng.u8(..8) > 0 {
        return (name, out);
    }
    // The SACK claims more gap blocks than it has. Linux reads the missing ones from the rest of the packet:
    // from a chunk with valid blocks, or there is nothing.
    let room = 16 + 4 * (gaps.len() + duplicates.len());
    let claimed = if rng.bool() { u16::MAX } else { gaps.len() as u16 + rng.u16(1..4) };
    out[12..14].copy_from_slice(&claimed.to_be_bytes());
    out.truncate(room);
    if rng.bool() {
        let hidden: Vec<u8> = fair_gaps(rng, outstanding)
            .into_iter()
            .flat_map(|(first, last)| [first.to_be_bytes(), last.to_be_bytes()].concat())
            .collect();
        out.extend(chunk(0xbf, 0, &hidden));
    }
    ("SACK that claims more gap blocks", out)
}

fn hostile_data(rng: &mut Rng, view: View) -> (&'static str, Vec<u8>) {
    let payload = vec![rng.u8(..); rng.usize(1..200)];
    let (stream, sequence) = (rng.u16(..STREAMS), rng.u16(..3));
    let next = view.next;
    match rng.u8(..12) {
        0 => ("DATA on no stream", data(WHOLE, next, rng.u16(STREAMS..), 0, 1, &payload)),
        1 => ("DATA without data", data(WHOLE, next, stream, sequence, 1, &[])),
        2 => ("DATA far ahead", data(WHOLE, next.wrapping_add(rng.u32(4000..)), stream, 0, 1, &payload)),
        3 => ("DATA again", data(WHOLE, next.wrapping_sub(rng.u32(1..9)), stream, sequence, 1, &payload)),
        4 => ("I-DATA not agreed", chunk(64, WHOLE, &[next.to_be_bytes().as_slice(), &[0; 20]].concat())),
        5 | 6 => ("DATA in fragments", data(rng.u8(..8), next, stream, sequence, 1, &payload)),
        7 | 8 => (
            "DATA out of order",
            data(WHOLE, next.wrapping_add(rng.u32(1..40)), stream, sequence, 1, &payload),
        ),
        _ => ("DATA", data(rng.u8(..16) | WHOLE, next, stream, sequence, ask::ECHO, &payload)),
    }
}

fn control(rng: &mut Rng, view: View) -> (&'static str, Vec<u8>) {
    let noise: Vec<u8> = (0..rng.usize(..60)).map(|_| rng.u8(..)).collect();
    let mut bad = chunk(rng.choice([0, 3, 4, 6, 7, 9, 130, 192]).unwrap_or(0), 0, &noise);
    match rng.u8(..20) {
        0 => {
            bad[2..4].copy_from_slice(&rng.u16(..4).to_be_bytes());
            ("a chunk shorter than its header", bad)
        }
        1 => {
            let longer = bad.len() as u16 + rng.u16(1..1000);
            bad[2..4].copy_from_slice(&longer.to_be_bytes());
            ("a chunk longer than its packet", bad)
        }
        2 => ("a chunk of noise", bad),
        3 | 4 => {
            let tsn = match rng.u8(..3) {
                0 => view.next.wrapping_add(rng.u32(..20)),
                1 => view.next.wrapping_sub(rng.u32(1..20)),
                _ => rng.u32(..),
            };
            let streams = if rng.bool() { noise } else { Vec::new() };
            ("FORWARD TSN", chunk(192, 0, &[tsn.to_be_bytes().as_slice(), &streams].concat()))
        }
        5 => {
            let tsn = match rng.u8(..3) {
                0 => view.acked.wrapping_sub(1),
                1 => view.top,
                _ => rng.u32(..),
            };
            ("SHUTDOWN", chunk(7, 0, &tsn.to_be_bytes()))
        }
        6 => ("ERROR", chunk(9, 0, &noise)),
        7 => ("ABORT", chunk(6, rng.u8(..2), &noise)),
        8..11 => ("HEARTBEAT ACK never asked for", chunk(5, 0, &noise)),
        11..13 => ("ASCONF", chunk(0xc1, 0, &noise)),
        13..15 => ("RE-CONFIG", chunk(130, 0, &[&[0, rng.u8(12..19), 0, 16][..], &noise].concat())),
        15 => ("COOKIE ECHO of noise", chunk(10, 0, &noise)),
        16 => ("INIT inside an association", chunk(1, 0, &noise)),
        17 => ("ECNE and CWR", [chunk(12, 0, &rng.u32(..).to_be_bytes()), chunk(13, 0, &[0; 4])].concat()),
        18 => ("an unknown chunk", chunk(rng.u8(15..), rng.u8(..), &noise)),
        _ => ("HEARTBEAT of any size", chunk(4, 0, &noise)),
    }
}

/// Makes chunks that ask for data, or a hostile SACK, with one to three random bits flipped.
fn flipped(rng: &mut Rng, view: View) -> Vec<u8> {
    let mut out = if rng.bool() { asks(rng, view) } else { hostile_sack(rng, view).1 };
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..out.len());
        out[at] ^= 1 << rng.u8(..8);
    }
    out
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::{View, attack};

    #[test]
    fn attacks_fit_into_a_packet_and_come_again() {
        let view = View { next: u32::MAX - 1, top: 5, acked: u32::MAX - 20 };
        let attacks = |seed| {
            let mut rng = Rng::with_seed(seed);
            (0..3000).map(|_| attack(&mut rng, view)).collect::<Vec<_>>()
        };
        let found = attacks(1);
        assert!(found.iter().all(|(_, chunks)| chunks.len() <= 65_535 - 32));
        assert!(found.iter().any(|(_, chunks)| chunks.len() > 60_000));
        assert_eq!(found, attacks(1));
    }
}
