//! Losses that are the same in every run: computes which packets `sctp-drop` must have dropped, to compare
//! with its report.
//!
//! `sctp-drop` drops a packet if it chooses the transmission of the packet's first DATA chunk, or the
//! packet's SACK. The choice depends on a seed and on three numbers, none of which depends on time: see
//! [`Transmission`]. `bpf/drop.bpf.c` and this module choose by the same function.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::capture::Frame;
use crate::sctp::Chunk;

/// What is transmitted, in three numbers. Of a DATA chunk: the association (0, 1, ... in the order of the
/// INITs), the TSN relative to the association's first TSN, and the copy (0 is the first transmission). Of a
/// SACK: the association, the SACK's number among the association's packets that begin with a SACK, and 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Transmission(pub u32, pub u32, pub u32);

/// Chooses which transmissions to drop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Seed of the choice: with another seed, other transmissions are chosen.
    pub seed: u32,
    /// Share of all transmissions to choose, in percent.
    pub percent: f64,
}

/// The report that `sctp-drop` prints as JSON at its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// The choice that `sctp-drop` was started with.
    #[serde(flatten)]
    pub choice: Choice,
    /// The first DATA chunk, or the SACK, of each dropped packet, in the order of dropping.
    pub dropped: Vec<Transmission>,
    /// Number of packets that `sctp-drop` could not assign, such as DATA of an association whose INIT it did
    /// not see. `sctp-drop` fails unless this is 0.
    pub unknown: u32,
}

impl Choice {
    /// A transmission is chosen if its hash, of 32 bits, is below this threshold.
    pub fn threshold(self) -> u32 {
        (self.percent / 100.0 * 2.0_f64.powi(32)) as u32
    }

    /// Returns whether a transmission is chosen, by the same function as `is_chosen()` in `drop.bpf.c`.
    fn is_chosen(self, Transmission(association, tsn, copy): Transmission) -> bool {
        let hash = [association, tsn, copy].iter().fold(mix(self.seed), |hash, n| mix(hash.wrapping_add(*n)));
        hash < self.threshold()
    }

    /// Returns the transmissions that `sctp-drop` must have dropped, in the order of sending: the chosen ones
    /// that are the first DATA chunk of their packet. `frames` is a capture at the sender, of the one path on
    /// which `sctp-drop` was attached.
    pub fn of(self, frames: &[Frame], from_sender: impl Fn(&Frame) -> bool) -> Vec<Transmission> {
        let mut associations: BTreeMap<(u16, u16), Association> = BTreeMap::new();
        let (mut begun, mut chosen) = (0, Vec::new());
        for frame in frames.iter().filter(|frame| from_sender(frame)) {
            let ports = (frame.packet.source, frame.packet.destination);
            let mut is_first = true;
            for chunk in &frame.packet.chunks {
                match chunk {
                    Chunk::Init { ack: false, tag, tsn, .. }
                        if associations.get(&ports).is_none_or(|known| known.tag != *tag) =>
                    {
                        let new =
                            Association { index: begun, tag: *tag, first: *tsn, copies: BTreeMap::new() };
                        associations.insert(ports, new);
                        begun += 1;
                    }
                    Chunk::Data(data) => {
                        if let Some(association) = associations.get_mut(&ports) {
                            let transmission = association.send(data.tsn);
                            chosen.extend((is_first && self.is_chosen(transmission)).then_some(transmission));
                            is_first = false;
                        }
                    }
                    _ => {}
                }
            }
        }
        chosen
    }

    /// Returns the SACKs that `sctp-drop --sacks` must have dropped, in the order of sending. `frames`: a
    /// capture at the host that sent the SACKs. `from_sender`: returns whether that host sent a frame.
    pub fn of_sacks(self, frames: &[Frame], from_sender: impl Fn(&Frame) -> bool) -> Vec<Transmission> {
        let mut associations: BTreeMap<(u16, u16), (u32, u32)> = BTreeMap::new();
        let mut chosen = Vec::new();
        for frame in frames.iter().filter(|frame| from_sender(frame)) {
            let ports = (frame.packet.source, frame.packet.destination);
            match frame.packet.chunks.first() {
                Some(Chunk::Init { ack: true, .. }) => {
                    let index = associations.len() as u32;
                    associations.entry(ports).or_insert((index, 0));
                }
                Some(Chunk::Sack(_)) => {
                    if let Some((index, sacks)) = associations.get_mut(&ports) {
                        let transmission = Transmission(*index, *sacks, 0);
                        chosen.extend(self.is_chosen(transmission).then_some(transmission));
                        *sacks += 1;
                    }
                }
                _ => {}
            }
        }
        chosen
    }
}

struct Association {
    index: u32,
    tag: u32,
    first: u32,
    /// How often each TSN was sent so far, by TSN relative to `first`.
    copies: BTreeMap<u32, u32>,
}

impl Association {
    fn send(&mut self, tsn: u32) -> Transmission {
        let tsn = tsn.wrapping_sub(self.first);
        let copy = self.copies.entry(tsn).or_default();
        let transmission = Transmission(self.index, tsn, *copy);
        *copy += 1;
        transmission
    }
}

fn mix(mut value: u32) -> u32 {
    value = (value ^ (value >> 16)).wrapping_mul(0x7feb_352d);
    value = (value ^ (value >> 15)).wrapping_mul(0x846c_a68b);
    value ^ (value >> 16)
}

#[cfg(test)]
mod tests {
    use super::{Choice, Transmission};

    #[test]
    fn as_many_as_asked_for_and_others_with_another_seed() {
        let chosen = |seed, percent| {
            let choice = Choice { seed, percent };
            (0..100_000).filter(|tsn| choice.is_chosen(Transmission(0, *tsn, 0))).collect::<Vec<_>>()
        };
        assert!((4800..5200).contains(&chosen(1, 5.0).len()));
        assert!((900..1100).contains(&chosen(1, 1.0).len()));
        assert!(chosen(1, 0.0).is_empty());
        assert_ne!(chosen(1, 1.0), chosen(2, 1.0));
        // With the same seed, all that is chosen at 1 % is chosen at 5 %, too.
        let more = chosen(1, 5.0);
        assert!(chosen(1, 1.0).iter().all(|tsn| more.contains(tsn)));
    }
}
