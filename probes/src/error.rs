//! Why a probe could not be opened or read.

use std::io;

use libbpf_rs::ErrorKind;
use thiserror::Error;

use crate::kernel::{Unsupported, has_seccomp};

/// Why a probe could not be opened or read.
#[derive(Debug, Error)]
pub enum Error {
    /// This machine lacks something that tracing needs.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The kernel refused both kinds of hooks: the sentence of the first one.
    #[error("this kernel does not take the programs of this command: {reason}{}", detail(.log))]
    Refused {
        /// libbpf's error.
        reason: String,
        /// libbpf's first warning; all of them, the verifier's log among them, if one kind of hooks was asked for.
        log: String,
    },
    /// A running probe could not be read.
    #[error("cannot read from the kernel: {0}")]
    Read(#[from] io::Error),
}

/// How the standard library's message for EPERM ends: libbpf-rs hands out neither the number nor its `io::Error`.
const EPERM: &str = "(os error 1)";

impl Error {
    /// The error to report when the kernel refuses tables of so many bytes.
    pub(crate) fn of_tables(error: libbpf_rs::Error, bytes: u64) -> Self {
        match error.kind() {
            ErrorKind::OutOfMemory => Unsupported::Memory(bytes).into(),
            // EPERM; the verifier refuses with EACCES.
            _ if error.to_string().contains(EPERM) && has_seccomp() => Unsupported::Seccomp.into(),
            _ => error.into(),
        }
    }
}

impl From<libbpf_rs::Error> for Error {
    fn from(e: libbpf_rs::Error) -> Self {
        Self::Read(io::Error::other(e))
    }
}

fn detail(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!(" ({log})") }
}

/// The error where bytes in an object or a map are not of the length that the build gave them.
pub(crate) fn malformed() -> Error {
    Error::Read(io::Error::from(io::ErrorKind::InvalidData))
}
