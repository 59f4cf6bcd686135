//! Licences and bills of materials of the crates that are linked into the commands.

use std::fs;
use std::path::Path;

use super::{Dist, REPORT, VERSION, X86_64, workspace};
use crate::files::{WORKSPACE, absolute, entries, failure, read, write};
use crate::run::{Failure, cargo_command, run};

/// Name of the file with the licences of the crates that are linked into the commands.
pub const THIRD_PARTY: &str = "third-party.txt";

/// Name of the file with the licences of the crates that are linked into `sctptrace-report`.
pub const THIRD_PARTY_REPORT: &str = "third-party-report.txt";

/// Name of the bill of materials that cargo-cyclonedx writes beside each `Cargo.toml`.
const BILL: &str = "dist.cdx.json";

impl Dist {
    /// Write [`THIRD_PARTY`], for which the first command stands for all, as the same crates are linked into each; and
    /// [`THIRD_PARTY_REPORT`].
    pub fn licences(&self) -> Result<(), Failure> {
        println!("gathering licences");
        for (name, file) in [(self.commands[0].as_str(), THIRD_PARTY), (REPORT, THIRD_PARTY_REPORT)] {
            let mut command = cargo_command();
            command.args(["about", "generate", "--offline", "--locked"]);
            command.arg("--manifest-path").arg(workspace(name).join("Cargo.toml"));
            command.arg("--config").arg(workspace("packaging/about.toml"));
            command.arg("--output-file").arg(self.work.join(file));
            run(command.arg(workspace("packaging/about.hbs")))?;
        }
        Ok(())
    }

    /// Write each command's bill of materials in CycloneDX's format: a list of its crates, among them that of
    /// libbpf.
    pub fn bills(&self) -> Result<(), Failure> {
        let mut command = cargo_command();
        command
            .args(["cyclonedx", "--quiet", "--format", "json", "--no-build-deps"])
            .args(["--target", &X86_64.target(), "--override-filename", "dist.cdx"])
            .env("SOURCE_DATE_EPOCH", &self.epoch);
        run(&mut command)?;
        let workspace = absolute(Path::new(WORKSPACE))?;
        for name in self.names() {
            let bill = read(&workspace.join(name).join(BILL))?;
            let bill = bill.replace(&workspace.display().to_string(), "/sctptrace");
            write(&self.out.join(format!("{name}-{VERSION}.cdx.json")), &bill)?;
        }
        for bill in entries(&workspace)?.iter().map(|folder| folder.join(BILL)) {
            if bill.is_file() {
                fs::remove_file(&bill).map_err(|error| failure(&bill, error))?;
            }
        }
        Ok(())
    }
}
