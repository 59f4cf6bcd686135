//! The archives of statically linked commands.

use std::path::Path;
use std::process::Command;

use super::build::Linking;
use super::licences::{THIRD_PARTY, THIRD_PARTY_REPORT};
use super::{Arch, Dist, VERSION, workspace};
use crate::files::{copy, entries, gzip};
use crate::run::{Failure, run};

impl Dist {
    /// Build the static commands for an architecture, and make their archive (`.tar.gz`), with man pages,
    /// completions, documentation and licences.
    pub fn archive(&self, arch: &Arch) -> Result<(), Failure> {
        let programs = self.build(arch, Linking::Static)?;
        let name = format!("sctptrace-{VERSION}-{}", arch.name);
        let folder = self.work.join(arch.name).join(&name);
        for command in self.names() {
            copy(&programs.join(command), &folder.join("bin").join(command))?;
            self.copy_manual(command, &folder)?;
        }
        for file in ["LICENSE", "CHANGELOG.md", "README.md", "SECURITY.md"] {
            copy(&workspace(file), &folder.join(file))?;
        }
        // README is a front page: what it links to comes with it.
        for pages in ["docs", "docs/examples", "docs/images"] {
            for page in entries(&workspace(pages))?.iter().filter(|page| page.is_file()) {
                copy(page, &folder.join(pages).join(page.file_name().unwrap_or_default()))?;
            }
        }
        for file in [THIRD_PARTY, THIRD_PARTY_REPORT] {
            copy(&self.work.join(file), &folder.join(file))?;
        }
        let archive = self.out.join(format!("{name}.tar"));
        self.tar(&archive, &self.work.join(arch.name), &[&name])?;
        gzip(&archive)
    }

    /// Make a tar archive that depends on nothing but these files' names, contents and right to be executed.
    pub fn tar(&self, archive: &Path, folder: &Path, names: &[&str]) -> Result<(), Failure> {
        let mut tar = Command::new("tar");
        tar.args(["--create", "--sort=name", "--format=gnu", "--owner=0", "--group=0", "--numeric-owner"])
            .args(["--mode=u+rw,go=u-w", &format!("--mtime=@{}", self.epoch), "--directory"])
            .arg(folder)
            .arg("--file")
            .arg(archive)
            .args(names);
        run(&mut tar)
    }
}
