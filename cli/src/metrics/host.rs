//! The kernel's own counters of SCTP as metrics.

use std::fs;

use crate::snmp::Snmp;

/// The kernel's own counters, open.
pub(crate) struct HostCounters(Snmp);

impl HostCounters {
    /// Opens the file. `None` where it is missing, and in a namespace that has no interface but lo, such as the
    /// namespace of a service with `PrivateNetwork=yes`: nothing is ever counted there.
    pub(crate) fn open() -> Option<Self> {
        if !has_interface(&fs::read_to_string("/proc/net/dev").ok()?) {
            return None;
        }
        Snmp::open().map(Self)
    }

    /// Each counter's metric and value. `SctpCurrEstab` is no counter, and is left out.
    pub(crate) fn read(&self) -> Vec<(String, u64)> {
        let of = |(name, value): (String, u64)| {
            Some((metric(name.strip_prefix("Sctp").filter(|name| *name != "CurrEstab")?), value))
        };
        self.0.read().into_iter().filter_map(of).collect()
    }
}

/// Returns whether the text of `/proc/net/dev` has an interface besides lo.
fn has_interface(text: &str) -> bool {
    text.lines().filter_map(|line| line.split_once(':')).any(|(name, _)| name.trim() != "lo")
}

/// The metric's name: `T1InitExpireds` becomes `sctp_host_t1_init_expireds_total`.
fn metric(name: &str) -> String {
    let is_upper = |at: usize| name.as_bytes().get(at).is_some_and(u8::is_ascii_uppercase);
    let mut text = "sctp_host".to_owned();
    for (at, c) in name.char_indices() {
        // A word begins: after a small letter or digit, or where a word of capitals alone ends.
        if is_upper(at) && (at == 0 || !is_upper(at - 1) || at + 1 < name.len() && !is_upper(at + 1)) {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text + "_total"
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_namespace_of_lo_alone_has_no_host() {
        let head = "Inter-|   Receive    |  Transmit\n face |bytes | bytes\n";
        assert!(!has_interface(&format!("{head}    lo:  7 0\n")));
        assert!(has_interface(&format!("{head}    lo:  7 0\n  eth0: 1 0\n")));
    }

    #[test]
    fn counters_have_names_of_their_own() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "SctpCurrEstab                   \t3\nSctpActiveEstabs                \t5\n\
                    SctpT3RtxExpireds               \t7\nSctpInPktSoftirq                \t11\nSctpInSCTPPacks                 \t13\nnonsense\n";
        fs::write(file.path(), text).unwrap();
        let found = HostCounters(File::open(file.path()).unwrap().into()).read();
        let expected = [
            ("sctp_host_active_estabs_total", 5),
            ("sctp_host_t3_rtx_expireds_total", 7),
            ("sctp_host_in_pkt_softirq_total", 11),
            ("sctp_host_in_sctp_packs_total", 13),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)));
    }
}
