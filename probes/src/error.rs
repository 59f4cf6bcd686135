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
    /// The kernel refused the programs with each kind of hooks that was tried; the fields are of the first
    /// kind.
    #[error("this kernel does not take the programs of this command: {reason}{}", detail(.log))]
    Refused {
        /// The error that ended the attempt, mostly libbpf's.
        reason: String,
        /// libbpf's first warning. If one kind of hooks was asked for: all warnings, the verifier's log among
        /// them.
        log: String,
    },
    /// A running probe could not be read.
    #[error("cannot read from the kernel: {0}")]
    Read(#[from] io::Error),
}

/// The end of the standard library's message for EPERM. libbpf-rs hands out neither the error number nor the
/// `io::Error`, so that only the message shows EPERM.
const EPERM: &str = "(os error 1)";

impl Error {
    /// The error to report where the kernel refuses tables of `bytes` bytes.
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

/// The error for an object or a map that is not as the build made it: a map is missing, or its bytes have
/// another length.
pub(crate) fn malformed() -> Error {
    Error::Read(io::Error::from(io::ErrorKind::InvalidData))
}
