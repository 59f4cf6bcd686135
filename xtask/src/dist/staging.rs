//! Checks the packages' files without making packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Dist, X86_64};
use crate::files::{entries, read};
use crate::run::{Failure, cargo_command, output, run};

impl Dist {
    /// Check each package's folder: cargo reads its `Cargo.toml`, every file named in that exists, and sh and
    /// python3 can parse the scripts that they run.
    pub fn check_staged(&self, programs: &Path) -> Result<(), Failure> {
        for (name, folder) in self.stage_all(programs, &X86_64)? {
            let manifest = folder.join("Cargo.toml");
            output(
                cargo_command()
                    .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
                    .arg(&manifest),
            )?;
            let text = read(&manifest)?;
            for source in sources(&text) {
                if !is_there(&folder, source)? {
                    return Err(Failure(format!("{name}: {source} is to be packed, but not there")));
                }
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

/// Returns whether an asset exists. If its name has a `*`, some file has to end as that name does.
fn is_there(folder: &Path, source: &str) -> Result<bool, Failure> {
    let path = folder.join(source);
    let Some((_, ending)) = source.split_once('*') else { return Ok(path.exists()) };
    let parent = path.parent().unwrap_or(folder);
    Ok(files(parent)?.iter().any(|file| file.to_string_lossy().ends_with(ending)))
}

/// The files that a package's `Cargo.toml` names as assets.
fn sources(manifest: &str) -> impl Iterator<Item = &str> {
    manifest.lines().filter_map(|line| {
        let line = line.trim();
        line.strip_prefix("[\"").or_else(|| line.strip_prefix("{ source = \""))?.split('"').next()
    })
}

#[cfg(test)]
mod tests {
    use super::sources;

    #[test]
    fn assets_of_both_kinds_of_package() {
        let manifest = "assets = [\n    [\"a/b\", \"usr/bin/\", \"755\"],\n]\nassets = [\n    \
            { source = \"c\", dest = \"/usr/bin/\", mode = \"755\" },\n]\nlicense-file = [\"LICENSE\", \"4\"]";
        assert_eq!(sources(manifest).collect::<Vec<_>>(), ["a/b", "c"]);
    }
}
