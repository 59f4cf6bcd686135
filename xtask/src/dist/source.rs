//! The source archive, from which a distribution builds packages without a network.

use std::path::Path;
use std::process::Command;

use super::licences::{THIRD_PARTY, THIRD_PARTY_REPORT};
use super::{Dist, VERSION};
use crate::files::{WORKSPACE, copy, create, read, remove, write, xz};
use crate::run::{Failure, cargo_command, output, run};

/// Makes cargo take every crate from the folder `vendor` beside `.cargo`.
const CRATES: &str = "
[source.crates-io]
replace-with = \"vendored-sources\"

[source.vendored-sources]
directory = \"vendor\"

[net]
offline = true
";

impl Dist {
    /// Make the archive: the commit's files, every crate that `Cargo.lock` names in `vendor`, and what takes git or
    /// `cargo about` to find out (the commit's hash in `COMMIT`, the crates' licences).
    pub fn source(&self) -> Result<(), Failure> {
        println!("making the source archive");
        let name = format!("sctptrace-{VERSION}");
        let place = self.work.join("source");
        let folder = place.join(&name);
        remove(&place)?;
        create(&folder)?;
        let committed = place.join("committed.tar");
        let mut git = Command::new("git");
        git.args(["-C", WORKSPACE, "archive", "--format=tar", "HEAD", "--output"]);
        run(git.arg(&committed))?;
        run(Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(&committed)
            .arg("--directory")
            .arg(&folder))?;
        let commit = output(Command::new("git").args(["-C", WORKSPACE, "rev-parse", "HEAD"]))?;
        write(&folder.join("COMMIT"), &format!("{commit}\n"))?;
        for file in [THIRD_PARTY, THIRD_PARTY_REPORT] {
            copy(&self.work.join(file), &folder.join("packaging").join(file))?;
        }
        // Output are the lines for .cargo/config.toml, with the absolute path of `vendor`.
        let mut vendor = cargo_command();
        vendor.args(["vendor", "--quiet", "--locked", "--versioned-dirs"]).arg(folder.join("vendor"));
        output(&mut vendor)?;
        use_vendored(&folder)?;
        self.source_archive(&place, &name)
    }

    /// Make the archive of a folder `name` in `place`.
    fn source_archive(&self, place: &Path, name: &str) -> Result<(), Failure> {
        let archive = self.out.join(format!("{name}.tar"));
        self.tar(&archive, place, &[name])?;
        xz(&archive)
    }
}

/// Make cargo take crates from `vendor`, in the workspace `folder`.
fn use_vendored(folder: &Path) -> Result<(), Failure> {
    let config = folder.join(".cargo/config.toml");
    write(&config, &format!("{}{CRATES}", read(&config)?))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::process::{self, Command};
    use std::time::{Duration, SystemTime};

    use super::super::Dist;
    use super::use_vendored;
    use crate::files::{WORKSPACE, copy, create, remove, write};
    use crate::run::{Failure, output};

    /// A small source tree in an empty folder, and the archive of it. `order` is that in which the files are made.
    fn archive(place: &Path, order: &[(&str, u32)], age: u64) -> Result<PathBuf, Failure> {
        remove(place)?;
        let [out, work] = ["out", "work"].map(|name| place.join(name));
        create(&out)?;
        let tree = work.join("source/sctptrace-1");
        copy(&Path::new(WORKSPACE).join(".cargo/config.toml"), &tree.join(".cargo/config.toml"))?;
        use_vendored(&tree)?;
        for (name, mode) in order {
            let path = tree.join(name);
            write(&path, name)?;
            fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
            File::open(&path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        let dist = Dist {
            target: place.to_owned(),
            out,
            work,
            epoch: "1000000000".to_owned(),
            commands: Vec::new(),
        };
        dist.source_archive(&dist.work.join("source"), "sctptrace-1")?;
        Ok(dist.out.join("sctptrace-1.tar.xz"))
    }

    /// The same files give the same bytes, in whatever folder, order, time and umask they were made. Their names are
    /// relative, below one folder; and cargo's configuration names no folder of the machine.
    #[test]
    fn an_archive_depends_on_its_files_only() {
        let folder = std::env::temp_dir().join(format!("sctptrace-source-{}", process::id()));
        let names = ["Cargo.toml", "run", "vendor/b-1.0.0/src/lib.rs", "vendor/a-1.0.0/src/lib.rs"];
        let modes =
            |plain, executable| names.map(|name| (name, if name == "run" { executable } else { plain }));
        let [first, mut second] = [modes(0o644, 0o755), modes(0o600, 0o700)];
        second.reverse();
        let made = [
            archive(&folder.join("one"), &first, 0),
            archive(&folder.join("a longer name/two"), &second, 1_000_000),
        ];
        let [first, second] = made.map(|path| path.unwrap_or_else(|Failure(message)| panic!("{message}")));
        assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap(), "other bytes");

        let tar = |flags: &[&str]| {
            output(Command::new("tar").args(flags).arg("--file").arg(&first))
                .unwrap_or_else(|failure| panic!("{}", failure.0))
        };
        let listed = tar(&["--list"]);
        let files: Vec<_> = listed.lines().filter(|name| !name.ends_with('/')).collect();
        assert_eq!(
            files,
            [
                "sctptrace-1/.cargo/config.toml",
                "sctptrace-1/Cargo.toml",
                "sctptrace-1/run",
                "sctptrace-1/vendor/a-1.0.0/src/lib.rs",
                "sctptrace-1/vendor/b-1.0.0/src/lib.rs",
            ]
        );
        let listed = tar(&["--list", "--verbose", "--numeric-owner", "--utc"]);
        for line in listed.lines() {
            let mode = if line.ends_with('/') {
                "drwxr-xr-x"
            } else if line.ends_with("run") {
                "-rwxr-xr-x"
            } else {
                "-rw-r--r--"
            };
            assert!(
                line.starts_with(&format!("{mode} 0/0 ")) && line.contains(" 2001-09-09 01:46 "),
                "{line}"
            );
        }
        let config =
            fs::read_to_string(folder.join("one/work/source/sctptrace-1/.cargo/config.toml")).unwrap();
        assert!(config.contains("directory = \"vendor\"") && config.contains("xtask = "), "{config}");
        assert!(!config.contains("= \"/"), "an absolute path: {config}");
        fs::remove_dir_all(folder).unwrap();
    }
}
