//! The architectures that a guest may have.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command;
use crate::sysroot;

/// An architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// The machine's own.
    X86_64,
    /// By a cross compiler, and programs from Debian's packages.
    Aarch64,
}

impl Arch {
    /// The one that `$SCTPTRACE_ARCH` names; x86_64 without it.
    ///
    /// # Errors
    /// When there is no such architecture.
    pub fn chosen() -> Result<Self> {
        env::var("SCTPTRACE_ARCH").map_or(Ok(Self::X86_64), |name| Self::from_name(&name))
    }

    /// The architecture of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn from_name(name: &str) -> Result<Self> {
        [Self::X86_64, Self::Aarch64]
            .into_iter()
            .find(|arch| arch.name() == name)
            .with_context(|| format!("no architecture {name}: choose from x86_64, aarch64"))
    }

    /// What `uname -m` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// What Debian calls it.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// What is added to the name of a folder or machine: nothing for the machine's own architecture.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::X86_64 => "",
            Self::Aarch64 => "-arm64",
        }
    }

    /// Where a program for the guest is.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn program(self, name: &str) -> Result<PathBuf> {
        match self {
            Self::X86_64 => command::find(name),
            Self::Aarch64 => sysroot::program(self, name),
        }
    }

    /// The files that a program of this architecture needs to run, each with its path in the guest.
    ///
    /// # Errors
    /// When it is no program, or something that it needs is missing.
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
