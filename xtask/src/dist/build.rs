//! Builds the commands, dynamically and statically linked, for x86-64 and arm64.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{AARCH64, Arch, Dist, X86_64};
use crate::files::{WORKSPACE, absolute, copy, create};
use crate::run::{Failure, cargo_command, output, run};

/// How the commands find libelf, zlib and the C library.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Linking {
    /// As the distribution's shared libraries, at each start.
    Dynamic,
    /// Linked into the command, which then needs no library.
    Static,
}

impl Linking {
    /// The name of the folder of programs that are linked in this way.
    fn name(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::Static => "static",
        }
    }
}

/// Flags for rustc and for the C compiler, and the folder of the target's libraries.
struct Flags {
    rust: Vec<String>,
    c: Vec<String>,
    libraries: PathBuf,
}

impl Dist {
    /// Build the commands for an architecture. Returns their folder.
    pub fn build(&self, arch: &Arch, linking: Linking) -> Result<PathBuf, Failure> {
        println!("building the {} commands for {}", linking.name(), arch.name);
        let target = arch.target();
        let variable = target.replace('-', "_");
        // A target folder for static builds alone: in a common one, Cargo would take the libraries of one
        // kind of build for those of the other, and make them anew each time.
        let build = if linking == Linking::Static { self.target.join("static") } else { self.target.clone() };

        let mut command = cargo_command();
        command.args(["build", "--release", "--locked", "--quiet", "--target", &target, "--target-dir"]);
        command.arg(&build).args(["--package", "probes"]);
        for package in self.names() {
            command.args(["--package", package]);
        }
        let mut flags = self.flags(arch)?;
        if arch.name == AARCH64.name {
            cross(arch, &mut command, &mut flags)?;
        }
        if linking == Linking::Static {
            flags.rust.push("-Ctarget-feature=+crt-static".to_owned());
            command.args(["--features", "libbpf-rs/static"]);
            // With this feature the build scripts' libbpf becomes static, too, and needs this machine's
            // libraries.
            let own = X86_64.target().replace('-', "_");
            command
                .env(format!("LIBBPF_SYS_LIBRARY_PATH_{own}"), "/usr/lib/x86_64-linux-gnu")
                .env(format!("LIBBPF_SYS_LIBRARY_PATH_{variable}"), &flags.libraries);
        }
        command
            // With `--target`, these flags apply to the commands but not to build scripts and macros, which
            // are shared with other builds.
            .env("CARGO_ENCODED_RUSTFLAGS", flags.rust.join("\u{1f}"))
            .env(format!("CFLAGS_{variable}"), flags.c.join(" "))
            .env("SOURCE_DATE_EPOCH", &self.epoch);
        run(&mut command)?;

        let folder = self.programs(arch, linking);
        create(&folder)?;
        for name in self.names() {
            copy(&build.join(&target).join("release").join(name), &folder.join(name))?;
        }
        Ok(folder)
    }

    /// The folder of the commands that [`build`](Self::build) has built for an architecture.
    pub fn programs(&self, arch: &Arch, linking: Linking) -> PathBuf {
        self.work.join(arch.name).join(linking.name())
    }

    /// Compiler flags that keep the names of this machine's folders out of the programs.
    fn flags(&self, arch: &Arch) -> Result<Flags, Failure> {
        let cargo_home = match env::var_os("CARGO_HOME") {
            Some(home) => PathBuf::from(home),
            None => PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        };
        let workspace = absolute(Path::new(WORKSPACE))?;
        // If several prefixes fit a path, the compilers take the last. The target folder is last, as it may
        // be in the workspace.
        let places = [(&cargo_home, "/cargo"), (&workspace, "/sctptrace"), (&self.target, "/target")];
        let with = |flag: &str| {
            places.iter().map(|(from, to)| format!("{flag}={}={to}", from.display())).collect::<Vec<_>>()
        };
        Ok(Flags {
            rust: with("--remap-path-prefix"),
            c: with("-ffile-prefix-map"),
            libraries: PathBuf::from(format!("/usr/lib/{}-linux-gnu", arch.name)),
        })
    }
}

/// Make `command` and `flags` build with Debian's cross compiler, and with the libraries that the test bed
/// fetches for its guests.
fn cross(arch: &Arch, command: &mut Command, flags: &mut Flags) -> Result<(), Failure> {
    let bed = ["run", "--quiet", "--package", "sctptrace-tests", "--bin", "bed", "--"];
    let root = output(cargo_command().args(bed).args(["sysroot", arch.name]))?;
    flags.c.push(format!("--sysroot={root}"));
    flags.rust.push(format!("-Clink-arg=--sysroot={root}"));
    flags.libraries = Path::new(&root).join("usr/lib").join(format!("{}-linux-gnu", arch.name));
    let compiler = format!("{}-linux-gnu-gcc", arch.name);
    let variable = arch.target().replace('-', "_");
    command
        .env(format!("CC_{variable}"), &compiler)
        .env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), &compiler);
    Ok(())
}
