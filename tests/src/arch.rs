//! The architectures of guests.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command;
use crate::sysroot;

/// The architecture of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// x86-64, the host's own architecture: guests get the host's programs.
    X86_64,
    /// arm64, which QEMU emulates: a cross compiler builds the workspace's programs for the guest, and the
    /// other programs come from Debian's packages.
    Aarch64,
}

impl Arch {
    /// Returns the architecture that `$SCTPTRACE_ARCH` names; x86_64 if that variable is not set.
    ///
    /// # Errors
    /// When `$SCTPTRACE_ARCH` names no known architecture.
    pub fn chosen() -> Result<Self> {
        env::var("SCTPTRACE_ARCH").map_or(Ok(Self::X86_64), |name| Self::from_name(&name))
    }

    /// Returns the architecture whose [`name`](Self::name) is `name`.
    ///
    /// # Errors
    /// When there is no such architecture.
    pub fn from_name(name: &str) -> Result<Self> {
        [Self::X86_64, Self::Aarch64]
            .into_iter()
            .find(|arch| arch.name() == name)
            .with_context(|| format!("no architecture {name}: choose from x86_64, aarch64"))
    }

    /// The architecture's name, as `uname -m` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Debian's name of the architecture.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The suffix that folders and virtual machines of this architecture have in their names; empty for the
    /// host's own.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::X86_64 => "",
            Self::Aarch64 => "-arm64",
        }
    }

    /// Finds a program for guests of this architecture: its path on the host.
    ///
    /// # Errors
    /// When there is no program of that name.
    pub fn program(self, name: &str) -> Result<PathBuf> {
        match self {
            Self::X86_64 => command::find(name),
            Self::Aarch64 => sysroot::program(self, name),
        }
    }

    /// The files that a program of this architecture needs to run, each with its path in the guest.
    ///
    /// # Errors
    /// When the file is no program, or a library that it needs is missing.
    pub fn libraries(self, program: &Path) -> Result<Vec<(PathBuf, String)>> {
        match self {
            Self::X86_64 => Ok(command::libraries(program)?
                .into_iter()
                .map(|library| {
                    let inside = library.to_string_lossy().trim_start_matches('/').to_owned();
                    (library, inside)
                })
                .collect()),
            Self::Aarch64 => sysroot::libraries(self, program),
        }
    }
}
