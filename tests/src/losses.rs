//! Losses that are the same in every run: which transmissions `sctp-drop` drops, and whether it did.
//!
//! Chosen is a transmission of a DATA chunk, by numbers that do not depend on time: the association, the TSN relative to
//! the first one, and the copy; the first chunk of a packet decides. See `bpf/drop.bpf.c`, which decides by the same function.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::capture::Frame;
use crate::sctp::Chunk;

/// A transmission of a DATA chunk: association (0, 1, ... in the order of their INITs), TSN relative to the
/// association's first one, and copy (0 is the first transmission).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Transmission(pub u32, pub u32, pub u32);

/// Which transmissions to drop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Another seed chooses other transmissions.
    pub seed: u32,
    /// The share to choose.
    pub percent: f64,
}

/// The report that `sctp-drop` prints at its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// The choice that it was given.
    #[serde(flatten)]
    pub choice: Choice,
    /// First chunks of packets that were dropped, in their order.
    pub dropped: Vec<Transmission>,
    /// Packets that it could not follow: with DATA of an association whose INIT it did not see, for example.
    pub unknown: u32,
}

impl Choice {
    /// `is_chosen()` is true for hashes below this.
    pub fn threshold(self) -> u32 {
        (self.percent / 100.0 * 2.0_f64.powi(32)) as u32
    }

    /// The function of `drop.bpf.c`.
    fn is_chosen(self, Transmission(association, tsn, copy): Transmission) -> bool {
        let hash = [association, tsn, copy].iter().fold(mix(self.seed), |hash, n| mix(hash.wrapping_add(*n)));
        hash < self.threshold()
    }

    /// The transmissions of a capture at the sender that are to be dropped, in their order: chosen ones that are the first
    /// of their packet. `frames` are those of the one path that
    /// `sctp-drop` sits on.
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
}

struct Association {
    index: u32,
    tag: u32,
    first: u32,
    /// Of each TSN, relative to the first: how often it was sent.
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
        // Transmissions lost at 1 % are lost at 5 %, too.
        let more = chosen(1, 5.0);
        assert!(chosen(1, 1.0).iter().all(|tsn| more.contains(tsn)));
    }
}
