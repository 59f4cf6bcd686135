//! `--anonymous`: numbered names in place of what would tell who took part. The same text has the same name all over a page.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

/// What a text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An IP address, or address:port. The port stays.
    Address,
    /// The name of a process.
    Process,
    /// The path of a cgroup.
    Cgroup,
    /// What an ABORT says.
    Text,
    /// The name of an input file, or of a host.
    Source,
}

/// At most this many names are given. Further texts have one name in common.
const MOST: usize = 100_000;

/// Gives numbered names to texts.
#[derive(Debug, Default)]
pub struct Names {
    is_on: bool,
    names: HashMap<(Kind, String), usize>,
    counts: HashMap<Kind, usize>,
}

impl Names {
    /// Gives names if `is_on`; else each text stays what it is.
    #[must_use]
    pub fn new(is_on: bool) -> Self {
        Self { is_on, ..Self::default() }
    }

    /// Whether numbered names replace texts (`--anonymous`).
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.is_on
    }

    /// What to write in place of `text`.
    pub fn name(&mut self, kind: Kind, text: &str) -> String {
        if !self.is_on {
            return text.to_owned();
        }
        if kind == Kind::Address {
            // If an address has a port, only the address is replaced: so it has the same name as the address of a path,
            // which has no port.
            if let Ok(address) = text.parse::<SocketAddr>() {
                return format!("{}:{}", self.number(kind, &address.ip().to_string()), address.port());
            }
            if let Ok(ip) = text.parse::<IpAddr>() {
                return self.number(kind, &ip.to_string());
            }
        }
        self.number(kind, text)
    }

    fn number(&mut self, kind: Kind, text: &str) -> String {
        let prefix = match kind {
            Kind::Address => "address",
            Kind::Process => "process",
            Kind::Cgroup => "cgroup",
            Kind::Text => "text",
            Kind::Source => "file",
        };
        let key = (kind, text.to_owned());
        if let Some(number) = self.names.get(&key) {
            return format!("{prefix}-{number}");
        }
        if self.names.len() >= MOST {
            return format!("{prefix}-more");
        }
        let number = self.counts.entry(kind).or_default();
        *number += 1;
        self.names.insert(key, *number);
        format!("{prefix}-{number}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_consistent_and_ports_stay() {
        let mut names = Names::new(true);
        assert_eq!(names.name(Kind::Address, "10.1.0.1:5000"), "address-1:5000");
        assert_eq!(names.name(Kind::Address, "[fd00::1]:5000"), "address-2:5000");
        assert_eq!(names.name(Kind::Address, "10.1.0.1"), "address-1");
        assert_eq!(names.name(Kind::Process, "10.1.0.1"), "process-1");
        assert_eq!(Names::new(false).name(Kind::Process, "amf"), "amf");
    }
}
