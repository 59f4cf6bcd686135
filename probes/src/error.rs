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
    /// The kernel refused the programs, with each kind of hooks that was tried. The fields describe the first
    /// kind's failure.
    #[error("this kernel does not take the programs of this command: {reason}{}", detail(.log))]
    Refused {
        /// The error that ended the attempt, mostly libbpf's.
        reason: String,
        /// libbpf's first warning. If the user asked for one kind of hooks (`--hooks`): all warnings of
        /// libbpf, with the verifier's log.
        log: String,
    },
    /// The tables or the ring buffer of a running probe could not be read.
    #[error("cannot read from the kernel: {0}")]
    Read(#[from] io::Error),
}

/// The end of the standard library's message for EPERM. libbpf-rs hands out neither an error's number nor its
/// `io::Error`, so that EPERM shows only in the message.
const EPERM: &str = "(os error 1)";

impl Error {
    /// Returns the error to report after the kernel has refused to make tables of `bytes` bytes, or to load
    /// the programs.
    pub(crate) fn of_tables(error: libbpf_rs::Error, bytes: u64) -> Self {
        match error.kind() {
            ErrorKind::OutOfMemory => Unsupported::Memory(bytes).into(),
            // A seccomp filter refuses bpf(2) with EPERM; the verifier refuses a program with EACCES.
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

/// Returns the error for an object file that is not as the build made it: a map is missing, or a map's bytes
/// have the wrong length.
pub(crate) fn malformed() -> Error {
    Error::Read(io::Error::from(io::ErrorKind::InvalidData))
}
