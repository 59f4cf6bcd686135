//! The kernel's own counters of SCTP (RFC 3873). Linux has them for each network namespace: these are the counters of
//! this process's namespace.

use std::{fs::File, os::unix::fs::FileExt, str};

const PATH: &str = "/proc/net/sctp/snmp";

/// Size of the buffer into which the file is read. The file is shorter: some 40 lines of 40 bytes.
const ROOM: usize = 8192;

/// The open file `/proc/net/sctp/snmp`. It stays open, as a confined process cannot open it.
pub(crate) struct Snmp(File);

impl Snmp {
    /// Opens the file; `None` where there is none, as without the sctp module.
    pub(crate) fn open() -> Option<Self> {
        File::open(PATH).ok().map(Self)
    }

    /// Each counter's name, such as `SctpOutOfBlues`, and its value; nothing where the file cannot be read.
    pub(crate) fn read(&self) -> Vec<(String, u64)> {
        let mut bytes = vec![0; ROOM];
        let len = self.0.read_at(&mut bytes, 0).unwrap_or_default();
        let text = str::from_utf8(&bytes[..len]).unwrap_or_default();
        let line = |line: &str| {
            let (name, value) = line.split_once(char::is_whitespace)?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        text.lines().filter_map(line).collect()
    }
}

#[cfg(test)]
impl From<File> for Snmp {
    fn from(file: File) -> Self {
        Self(file)
    }
}
