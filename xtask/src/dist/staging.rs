//! Checks the packages' files without making packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::assets::{Layout, assets};
use super::{Dist, X86_64};
use crate::files::{entries, read};
use crate::run::{Failure, cargo_command, output, run};

impl Dist {
    /// Put the packages' files where `cargo xtask install` does, and check each package's folder: cargo reads its
    /// `Cargo.toml`, every file named in that exists, and sh and python3 can parse the scripts that they run.
    pub fn check_staged(&self, programs: &Path) -> Result<(), Failure> {
        for (name, layout) in [("deb", Layout::Deb), ("rpm", Layout::Rpm)] {
            self.place_all(programs, layout, &self.work.join(name))?;
        }
        for (_, folder) in self.stage_all(programs, &X86_64)? {
            let manifest = folder.join("Cargo.toml");
            output(
                cargo_command()
                    .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
                    .arg(&manifest),
            )?;
            let text = read(&manifest)?;
            for asset in assets(&text) {
                asset.files(&folder)?;
            }
            for script in [files(&folder.join("scripts"))?, files(&folder.join("rpm"))?].concat() {
                run(Command::new("sh").arg("-n").arg(script))?;
            }
            for program in files(&folder.join("bin"))? {
                let compile = "import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')";
                run(Command::new("python3").args(["-c", compile]).arg(program))?;
            }
        }
        Ok(())
    }
}

/// The files of a folder; none if the folder does not exist.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    if folder.exists() { entries(folder) } else { Ok(Vec::new()) }
}
