//! The `.deb` and `.rpm` packages.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::Linking;
use super::licences::{THIRD_PARTY, THIRD_PARTY_REPORT};
use super::templates::Values;
use super::{Arch, Dist, REPORT, VERSION, X86_64, workspace};
use crate::files::{copy, gzip, read, write};
use crate::run::{Failure, cargo_command, output, run};

const MAINTAINER: &str = "The sctptrace authors <sctptrace@sctptrace.invalid>";

impl Dist {
    /// Build the commands for an architecture, and make all packages.
    pub fn packages(&self, arch: &Arch) -> Result<(), Failure> {
        let programs = self.build(arch, Linking::Dynamic)?;
        println!("packing for {}", arch.name);
        for (name, folder) in self.stage_all(&programs, arch)? {
            self.pack(&name, &folder, arch)?;
        }
        Ok(())
    }

    /// Put together the files of all packages. Returns each package's name and folder.
    pub fn stage_all(&self, programs: &Path, arch: &Arch) -> Result<Vec<(String, PathBuf)>, Failure> {
        let mut staged = Vec::new();
        for name in &self.commands {
            staged.push((name.clone(), self.stage_command(name, &programs.join(name), arch)?));
        }
        staged.push((REPORT.to_owned(), self.stage_report(&programs.join(REPORT), arch)?));
        staged.push(("sctptrace-compat".to_owned(), self.stage_compat(arch)?));
        staged.push(("sctptrace".to_owned(), self.stage_meta(arch)?));
        Ok(staged)
    }

    /// Put together the files of a command's package. Returns their folder.
    fn stage_command(&self, name: &str, program: &Path, arch: &Arch) -> Result<PathBuf, Failure> {
        let depends = self.depends(name, arch)?;
        let values = Values::new([
            ("NAME", name.to_owned()),
            ("VERSION", VERSION.to_owned()),
            ("MAINTAINER", MAINTAINER.to_owned()),
            ("SUMMARY", summary(name)?),
            ("SCRIPT", script(name)),
            ("DEPENDS", depends),
            ("PORT", port(name)?.to_string()),
        ]);
        let folder = self.stage("command", name, arch, &values)?;
        copy(program, &folder.join(name))?;
        self.copy_manual(name, &folder)?;
        copy(&self.work.join(THIRD_PARTY), &folder.join(THIRD_PARTY))?;
        gzip(&folder.join(THIRD_PARTY))?;
        values.fill("unit.service", &folder.join(format!("{name}@.service")))?;
        values.fill("unit.socket", &folder.join(format!("{name}@.socket")))?;
        for script in ["postinst", "prerm", "postrm"] {
            values.fill(&format!("deb/{script}"), &folder.join("scripts").join(script))?;
        }
        for script in ["postin", "preun", "postun"] {
            values.fill(&format!("rpm/{script}"), &folder.join("rpm").join(script))?;
        }
        Ok(folder)
    }

    /// The libraries' packages that a program needs. cargo-deb (`$auto`) finds them, and their lowest versions, only where
    /// these packages are installed: for this machine's architecture. They are the same for arm64, which takes them from
    /// the package for x86-64.
    fn depends(&self, name: &str, arch: &Arch) -> Result<String, Failure> {
        if arch.name == env::consts::ARCH {
            return Ok("$auto, libgcc-s1".to_owned());
        }
        let package = self.out.join(deb_name(name, &X86_64));
        output(Command::new("dpkg-deb").arg("--field").arg(package).arg("Depends"))
    }

    /// Put together the files of the package of [`REPORT`]. Returns their folder.
    fn stage_report(&self, program: &Path, arch: &Arch) -> Result<PathBuf, Failure> {
        let values = Values::new([
            ("VERSION", VERSION.to_owned()),
            ("MAINTAINER", MAINTAINER.to_owned()),
            ("SUMMARY", summary(REPORT)?),
            ("DEPENDS", self.depends(REPORT, arch)?),
        ]);
        let folder = self.stage("report", REPORT, arch, &values)?;
        copy(program, &folder.join(REPORT))?;
        self.copy_manual(REPORT, &folder)?;
        copy(&self.work.join(THIRD_PARTY_REPORT), &folder.join(THIRD_PARTY))?;
        gzip(&folder.join(THIRD_PARTY))?;
        Ok(folder)
    }

    /// Put together the files of the package that has the commands under the Python scripts' names. Returns
    /// their folder.
    fn stage_compat(&self, arch: &Arch) -> Result<PathBuf, Failure> {
        let scripts: Vec<_> = self.commands.iter().map(|name| format!("  {}", script(name))).collect();
        let commands = self.commands.iter().map(String::as_str);
        let values = Self::values_of(commands, [("SCRIPTS", scripts.join("\n"))]);
        let folder = self.stage("compat", "sctptrace-compat", arch, &values)?;
        for name in &self.commands {
            let script = script(name);
            Values::new([("NAME", name.clone())]).fill("compat.py", &folder.join("bin").join(&script))?;
            let page = folder.join(format!("man/{script}.8"));
            write(&page, &format!(".so man8/{name}.8\n"))?;
            gzip(&page)?;
        }
        Ok(folder)
    }

    /// Put together the files of the package that depends on all commands. Returns their folder.
    fn stage_meta(&self, arch: &Arch) -> Result<PathBuf, Failure> {
        let lines = self.names().map(|name| Ok(format!("  {name}\n    {}", summary(name)?)));
        let summaries = lines.collect::<Result<Vec<_>, Failure>>()?.join("\n");
        let values = Self::values_of(self.names(), [("SUMMARIES", summaries)]);
        self.stage("meta", "sctptrace", arch, &values)
    }

    /// The values for the template of a package that depends on these programs: version, maintainer,
    /// dependencies, and `more`.
    fn values_of<'a>(programs: impl Iterator<Item = &'a str>, more: [(&'static str, String); 1]) -> Values {
        let (depends, requires): (Vec<_>, Vec<_>) = programs
            .map(|name| (format!("{name} (= {VERSION}-1)"), format!("{name} = \"= {VERSION}-1\"")))
            .unzip();
        Values::new(
            [
                ("VERSION", VERSION.to_owned()),
                ("MAINTAINER", MAINTAINER.to_owned()),
                ("DEPENDS", depends.join(", ")),
                ("REQUIRES", requires.join("\n")),
            ]
            .into_iter()
            .chain(more),
        )
    }

    /// Make a package's folder with the files that every package has. The folder is a crate with an empty
    /// `lib.rs`, as `cargo deb` and `cargo generate-rpm` need one.
    fn stage(&self, template: &str, name: &str, arch: &Arch, values: &Values) -> Result<PathBuf, Failure> {
        let folder = self.work.join(arch.name).join(name);
        values.fill(&format!("{template}.toml"), &folder.join("Cargo.toml"))?;
        values.fill(&format!("lintian/{template}"), &folder.join("lintian-overrides"))?;
        write(&folder.join("lib.rs"), "")?;
        for file in ["LICENSE", "CHANGELOG.md"] {
            copy(&workspace(file), &folder.join(file))?;
        }
        copy(&folder.join("CHANGELOG.md"), &folder.join("changelog"))?;
        gzip(&folder.join("changelog"))?;
        Ok(folder)
    }

    /// Make the `.deb` and the `.rpm` package of the files in a package's folder.
    fn pack(&self, name: &str, folder: &Path, arch: &Arch) -> Result<(), Failure> {
        let date = self.time("-R")?;
        let entry = format!(
            "{name} ({VERSION}-1) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {MAINTAINER}  {date}\n"
        );
        write(&folder.join("changelog.Debian"), &entry)?;
        let target = arch.target();
        let deb = self.out.join(deb_name(name, arch));
        let rpm = self.out.join(format!("{name}-{VERSION}-1.{}.rpm", arch.name));
        let mut command = self.packer("deb", folder);
        command.args(["--quiet", "--no-build", "--no-strip", "--no-dbgsym", "--target", &target, "--output"]);
        run(command.arg(deb))?;
        let mut command = self.packer("generate-rpm", folder);
        run(command.args(["--arch", arch.name, "--source-date", &self.epoch, "--output"]).arg(rpm))
    }

    /// A command that runs the packing subcommand `name` of cargo in a package's folder.
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

/// The name of the Python script that a command stands in for: `sctp_rtt.py` for `sctp-rtt`.
fn script(name: &str) -> String {
    format!("{}.py", name.replace('-', "_"))
}

/// The port at which a command's socket unit serves metrics.
fn port(name: &str) -> Result<u16, Failure> {
    let found = METRICS_PORTS.iter().find(|(command, _)| *command == name);
    found.map(|(_, port)| *port).ok_or_else(|| Failure(format!("{name} has no port for metrics")))
}

/// The ports of metrics. packaging/monitoring and docs/metrics.md have them, too.
const METRICS_PORTS: [(&str, u16); 5] = [
    ("sctp-rtt", 10_621),
    ("sctp-rto", 10_622),
    ("sctp-bufmon", 10_623),
    ("sctp-jitter", 10_624),
    ("sctp-streamutil", 10_625),
];

/// A command's `description` in its `Cargo.toml`.
pub fn summary(name: &str) -> Result<String, Failure> {
    let manifest = read(&workspace(name).join("Cargo.toml"))?;
    let summary = manifest.lines().find_map(|line| line.strip_prefix("description = \"")?.strip_suffix('"'));
    summary.map(str::to_owned).ok_or_else(|| Failure(format!("{name} has no description")))
}
