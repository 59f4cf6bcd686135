//! Packets that the kernel discards before they belong to an association: `host_discards`, the finding that all commands have.

use std::mem;

use crate::{Figures, Rule, Words, snmp::Snmp};

/// The rules about the host.
pub const HOST_RULES: &[Rule<Discards>] = &[Rule {
    words: Words {
        code: "host_discards",
        premises: "SctpChecksumErrors or SctpOutOfBlues grew in the command's own network namespace; of others nothing is \
            known",
        sentence: "This host discards SCTP packets: their checksum is wrong, or they are of no association that it has",
        cure: "wrong checksums: a network card's or a middle box's offloads (ethtool -K, CRC32c); packets of no association: \
            peers that have not noticed an end, or that try closed ports",
        section: "RFC 9260 6.8, 8.4",
    },
    intervals: 1,
    evaluate: host_discards,
}];

/// Packets that the host has discarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discards {
    /// Packets with a wrong checksum (`SctpChecksumErrors`).
    pub checksum_errors: u64,
    /// Packets of no association (`SctpOutOfBlues`).
    pub out_of_the_blue: u64,
}

fn host_discards(discards: &Discards) -> Option<Figures> {
    (*discards != Discards::default()).then(|| {
        vec![
            ("checksum_errors", discards.checksum_errors as f64),
            ("out_of_the_blue", discards.out_of_the_blue as f64),
        ]
    })
}

impl Discards {
    /// Takes the two counters from a list of counters; `None` if either is missing.
    fn of(counters: &[(String, u64)]) -> Option<Self> {
        let counter = |wanted| counters.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        Some(Self {
            checksum_errors: counter("SctpChecksumErrors")?,
            out_of_the_blue: counter("SctpOutOfBlues")?,
        })
    }
}

/// The kernel's counters of discarded packets.
pub(crate) struct Counters {
    file: Snmp,
    before: Discards,
}

impl Counters {
    /// Opens the counters; `None` where there are none, as in a network namespace without SCTP.
    pub(crate) fn open() -> Option<Self> {
        let file = Snmp::open()?;
        Some(Self { before: Discards::of(&file.read())?, file })
    }

    /// Returns how many packets were discarded since the last call, at first since [`Counters::open`]; `None` if the
    /// counters cannot be read.
    pub(crate) fn grown(&mut self) -> Option<Discards> {
        let now = Discards::of(&self.file.read())?;
        let before = mem::replace(&mut self.before, now);
        Some(Discards {
            checksum_errors: now.checksum_errors.saturating_sub(before.checksum_errors),
            out_of_the_blue: now.out_of_the_blue.saturating_sub(before.out_of_the_blue),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn snmp(checksum: u64, blue: u64) -> String {
        format!(
            "SctpCurrEstab                   \t2\nSctpOutOfBlues                  \t{blue}\nSctpChecksumErrors              \
             \t{checksum}\nSctpOutCtrlChunks               \t17\n"
        )
    }

    #[test]
    fn what_has_grown_is_found_and_nothing_else() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(snmp(3, 4).as_bytes()).unwrap();
        let snmp_file = Snmp::from(file.try_clone().unwrap());
        let before = Discards::of(&snmp_file.read()).unwrap();
        assert_eq!(before, Discards { checksum_errors: 3, out_of_the_blue: 4 });
        let mut counters = Counters { file: snmp_file, before };
        assert_eq!(counters.grown().map(|grown| host_discards(&grown)), Some(None));
        for (checksum, blue, expected) in [(5, 4, [2.0, 0.0]), (5, 7, [0.0, 3.0])] {
            file.set_len(0).unwrap();
            file.rewind().unwrap();
            file.write_all(snmp(checksum, blue).as_bytes()).unwrap();
            let figures = host_discards(&counters.grown().unwrap()).unwrap();
            assert_eq!(figures.iter().map(|(_, n)| *n).collect::<Vec<_>>(), expected);
        }
        assert_eq!(counters.grown(), Some(Discards::default()));
    }

    #[test]
    fn a_kernel_that_has_not_both_has_no_finding() {
        for name in ["SctpOutOfBlues", "SctpChecksumErrors"] {
            assert_eq!(Discards::of(&[(name.to_owned(), 4)]), None);
        }
    }
}
