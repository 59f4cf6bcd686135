//! The `.deb` and `.rpm` packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::Linking;
use super::licences::THIRD_PARTY;
use super::{Arch, COMMANDS, Dist, VERSION, X86_64, workspace};
use crate::files::{copy, failure, gzip, read, write};
use crate::run::{Failure, cargo_command, output, run};

const MAINTAINER: &str = "The sctptrace authors <sctptrace@sctptrace.invalid>";

impl Dist {
    /// Build the commands, and pack them all.
    pub fn packages(&self, arch: &Arch) -> Result<(), Failure> {
        let programs = self.build(arch, Linking::Dynamic)?;
        println!("packing for {}", arch.name);
        for name in COMMANDS {
            self.command(name, &programs.join(name), arch)?;
        }
        self.compat(arch)?;
        let folder = self.stage("meta", "sctptrace", arch, &[])?;
        self.pack("sctptrace", &folder, arch)
    }

    /// The package of a command.
    fn command(&self, name: &str, program: &Path, arch: &Arch) -> Result<(), Failure> {
        // What the libraries are called, and since when they have what is used, is the same for all architectures; to
        // find it out takes the libraries as installed packages.
        let depends = if arch.name == X86_64.name {
            "$auto, libgcc-s1".to_owned()
        } else {
            let package = self.out.join(deb_name(name, &X86_64));
            output(Command::new("dpkg-deb").arg("--field").arg(package).arg("Depends"))?
        };
        let folder = self.stage("command", name, arch, &[("@DEPENDS@", &depends)])?;
        copy(program, &folder.join(name))?;
        self.copy_manual(name, &folder)?;
        copy(&self.work.join(THIRD_PARTY), &folder.join(THIRD_PARTY))?;
        gzip(&folder.join(THIRD_PARTY))?;
        fill("unit.service", &folder.join(format!("{name}@.service")), name)?;
        for script in ["postinst", "prerm", "postrm"] {
            fill(&format!("deb/{script}"), &folder.join("scripts").join(script), name)?;
        }
        for script in ["postin", "preun", "postun"] {
            fill(&format!("rpm/{script}"), &folder.join("rpm").join(script), name)?;
        }
        self.pack(name, &folder, arch)
    }

    /// The package with the Python scripts' names.
    fn compat(&self, arch: &Arch) -> Result<(), Failure> {
        let folder = self.stage("compat", "sctptrace-compat", arch, &[])?;
        for name in COMMANDS {
            let script = script(name);
            fill("compat.py", &folder.join("bin").join(&script), name)?;
            let page = folder.join(format!("man/{script}.8"));
            write(&page, &format!(".so man8/{name}.8\n"))?;
            gzip(&page)?;
        }
        self.pack("sctptrace-compat", &folder, arch)
    }

    /// A folder with what `cargo deb` and `cargo generate-rpm` want to read: a crate that compiles nothing.
    fn stage(
        &self,
        template: &str,
        name: &str,
        arch: &Arch,
        more: &[(&str, &str)],
    ) -> Result<PathBuf, Failure> {
        let folder = self.work.join(arch.name).join(name);
        let all: Vec<_> = COMMANDS.iter().map(|name| format!("{name} (= {VERSION}-1)")).collect();
        let requires: Vec<_> = COMMANDS.iter().map(|name| format!("{name} = \"= {VERSION}-1\"")).collect();
        let mut text = read(&packaging(&format!("{template}.toml")))?;
        let (all, requires) = (all.join(", "), requires.join("\n"));
        for (mark, value) in [
            ("@VERSION@", VERSION),
            ("@MAINTAINER@", MAINTAINER),
            ("@COMMANDS@", &all),
            ("@REQUIRES@", &requires),
        ]
        .iter()
        .chain(more)
        {
            text = text.replace(mark, value);
        }
        write(&folder.join("Cargo.toml"), &filled(&text, name)?)?;
        write(&folder.join("lib.rs"), "")?;
        for file in ["LICENSE", "CHANGELOG.md"] {
            copy(&workspace(file), &folder.join(file))?;
        }
        copy(&folder.join("CHANGELOG.md"), &folder.join("changelog"))?;
        gzip(&folder.join("changelog"))?;
        let date = output(Command::new("date").args(["-R", "-u", "-d", &format!("@{}", self.epoch)]))?;
        let entry = format!(
            "{name} ({VERSION}-1) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {MAINTAINER}  {date}\n"
        );
        write(&folder.join("changelog.Debian"), &entry)?;
        fill(&format!("lintian/{template}"), &folder.join("lintian-overrides"), name)?;
        Ok(folder)
    }

    /// Make both packages of what was staged in a folder.
    fn pack(&self, name: &str, folder: &Path, arch: &Arch) -> Result<(), Failure> {
        let target = arch.target();
        let deb = self.out.join(deb_name(name, arch));
        let rpm = self.out.join(format!("{name}-{VERSION}-1.{}.rpm", arch.name));
        let mut command = self.packer("deb", folder);
        command.args(["--quiet", "--no-build", "--no-strip", "--no-dbgsym", "--target", &target, "--output"]);
        run(command.arg(deb))?;
        let mut command = self.packer("generate-rpm", folder);
        run(command.args(["--arch", arch.name, "--source-date", &self.epoch, "--output"]).arg(rpm))
    }

    /// A subcommand of cargo that packs.
    fn packer(&self, name: &str, folder: &Path) -> Command {
        let mut command = cargo_command();
        command.arg(name).current_dir(folder).env("SOURCE_DATE_EPOCH", &self.epoch);
        command.env("CARGO_TARGET_DIR", self.work.join("packing"));
        command
    }
}

fn deb_name(name: &str, arch: &Arch) -> String {
    format!("{name}_{VERSION}-1_{}.deb", arch.debian)
}

/// `sctp_rtt.py` of `sctp-rtt`.
fn script(name: &str) -> String {
    format!("{}.py", name.replace('-', "_"))
}

fn packaging(file: &str) -> PathBuf {
    workspace("packaging").join(file)
}

/// A file of `packaging` with the names of a command in it.
fn fill(file: &str, to: &Path, name: &str) -> Result<(), Failure> {
    let from = packaging(file);
    write(to, &filled(&read(&from)?, name)?)?;
    let mode = fs::metadata(&from).map_err(|error| failure(&from, error))?.permissions();
    fs::set_permissions(to, mode).map_err(|error| failure(to, error))
}

fn filled(text: &str, name: &str) -> Result<String, Failure> {
    let mut text = text.replace("@NAME@", name).replace("@SCRIPT@", &script(name));
    if text.contains("@SUMMARY@") {
        let manifest = read(&workspace(name).join("Cargo.toml"))?;
        let line = manifest.lines().find_map(|line| line.strip_prefix("description = \""));
        let summary = line.and_then(|line| line.strip_suffix('"'));
        let summary = summary.ok_or_else(|| Failure(format!("{name} has no description")))?;
        text = text.replace("@SUMMARY@", summary);
    }
    Ok(text)
}
