//! Others' code that is linked into the commands: licences, and bills of materials.

use std::fs;
use std::path::Path;

use super::{Dist, VERSION, X86_64, workspace};
use crate::files::{WORKSPACE, absolute, entries, failure, read, write};
use crate::run::{Failure, cargo_command, run};

/// Who made what is linked into the commands, and its licences.
pub const THIRD_PARTY: &str = "third-party.txt";

/// Name of the file that cargo-cyclonedx writes beside each `Cargo.toml`.
const BILL: &str = "dist.cdx.json";

impl Dist {
    /// Gather the licences of the crates that are linked into a command. All commands are made of the same crates.
    pub fn licences(&self) -> Result<(), Failure> {
        println!("gathering licences");
        let mut command = cargo_command();
        command.args(["about", "generate", "--offline", "--locked"]);
        command.arg("--manifest-path").arg(workspace(&self.commands[0]).join("Cargo.toml"));
        command.arg("--config").arg(workspace("packaging/about.toml"));
        command.arg("--output-file").arg(self.work.join(THIRD_PARTY));
        run(command.arg(workspace("packaging/about.hbs")))
    }

    /// List what each command is made of, in CycloneDX's form: Rust's crates, libbpf among them.
    pub fn bills(&self) -> Result<(), Failure> {
        let mut command = cargo_command();
        command
            .args(["cyclonedx", "--quiet", "--format", "json", "--no-build-deps"])
            .args(["--target", &X86_64.target(), "--override-filename", "dist.cdx"])
            .env("SOURCE_DATE_EPOCH", &self.epoch);
        run(&mut command)?;
        let workspace = absolute(Path::new(WORKSPACE))?;
        for name in &self.commands {
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
