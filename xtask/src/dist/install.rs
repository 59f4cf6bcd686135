//! `cargo xtask build` and `cargo xtask install`, for the build of a distribution's packages: they need no network, and
//! install nothing on the machine.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::assets::{Asset, Layout, assets};
use super::licences::{THIRD_PARTY, THIRD_PARTY_REPORT};
use super::manual::MANUAL;
use super::{AARCH64, Arch, Dist, X86_64, workspace};
use crate::files::{copy, create, entries, failure, read, target_folder, write};
use crate::run::{Failure, cargo_command, run};

/// Build the programs, and the program that writes their man pages.
pub fn build() -> Result<(), Failure> {
    let dist = Dist::for_install()?;
    let mut command = cargo_command();
    command.args(["build", "--release", "--locked"]);
    for package in dist.names().chain([MANUAL]) {
        command.args(["--package", package]);
    }
    run(&mut command)
}

/// Put the files of all packages into a folder. [`build`] must have built the programs.
pub fn install(layout: Layout, folder: &Path) -> Result<(), Failure> {
    let dist = Dist::for_install()?;
    let programs = dist.target.join("release");
    dist.manual(&mut Command::new(programs.join(MANUAL)))?;
    for file in [THIRD_PARTY, THIRD_PARTY_REPORT] {
        let from = workspace("packaging").join(file);
        if !from.exists() {
            let missing = from.display();
            return Err(Failure(format!(
                "no {missing}: `cargo xtask dist --source` puts it into the source archive"
            )));
        }
        copy(&from, &dist.work.join(file))?;
    }
    dist.place_all(&programs, layout, folder)
}

impl Dist {
    /// The folders for [`build`] and [`install`]: `target/install`, and of the release's none.
    fn for_install() -> Result<Self, Failure> {
        let work = target_folder()?.join("install");
        // No time is needed: the distribution's tools give the files theirs.
        Self::within(work.join("out"), work, String::new())
    }

    /// Put the files of all packages into a folder, from the programs in `programs`.
    pub fn place_all(&self, programs: &Path, layout: Layout, folder: &Path) -> Result<(), Failure> {
        create(folder)?;
        for (name, staged) in self.stage_all(programs, &Arch::of_host())? {
            let root = if layout == Layout::Deb { folder.join(&name) } else { folder.to_owned() };
            let manifest = read(&staged.join("Cargo.toml"))?;
            let mut list = String::new();
            for asset in assets(&manifest).filter(|asset| asset.layout == layout) {
                for path in place(&asset, &staged, &root)? {
                    list.push_str(&listed(&path));
                }
            }
            match layout {
                Layout::Deb => {
                    copy_all(&staged.join("scripts"), |script| folder.join(format!("{name}.{script}")))?
                }
                Layout::Rpm => {
                    // Folders that are the package's own.
                    for owned in [format!("/usr/share/doc/{name}"), format!("/usr/share/licenses/{name}")] {
                        list.push_str(&format!("%dir {owned}\n"));
                    }
                    write(&self.work.join(format!("{name}.files")), &list)?;
                    copy_all(&staged.join("rpm"), |script| self.work.join(format!("{name}.{script}")))?;
                }
            }
        }
        Ok(())
    }
}

impl Arch {
    /// The architecture that xtask runs on, and programs are built for.
    fn of_host() -> Self {
        let known = [X86_64, AARCH64].into_iter().find(|arch| arch.name == env::consts::ARCH);
        known.unwrap_or(Self { name: env::consts::ARCH, debian: env::consts::ARCH })
    }
}

/// Copy an asset from a package's folder to the system below `root`. Returns the copies' paths in the system.
fn place(asset: &Asset<'_>, staged: &Path, root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut placed = Vec::new();
    for source in asset.files(staged)? {
        let mut path = PathBuf::from("/").join(asset.dest);
        if asset.dest.ends_with('/') {
            path.push(source.file_name().unwrap_or_default());
        }
        let to = root.join(path.strip_prefix("/").unwrap_or(&path));
        copy(&source, &to)?;
        let mode = u32::from_str_radix(asset.mode, 8).map_err(|error| failure(&to, error))?;
        fs::set_permissions(&to, Permissions::from_mode(mode)).map_err(|error| failure(&to, error))?;
        placed.push(path);
    }
    Ok(placed)
}

/// A file's line in a list for `%files -f`.
fn listed(path: &Path) -> String {
    let kind = match path {
        _ if path.starts_with("/usr/share/licenses") => "%license ",
        _ if path.starts_with("/usr/share/doc") || path.starts_with("/usr/share/man") => "%doc ",
        _ => "",
    };
    format!("{kind}{}\n", path.display())
}

/// Copy the files of a folder, if there is one, each to where `to` says for its name.
fn copy_all(folder: &Path, to: impl Fn(&str) -> PathBuf) -> Result<(), Failure> {
    if !folder.exists() {
        return Ok(());
    }
    for file in entries(folder)? {
        copy(&file, &to(&file.file_name().unwrap_or_default().to_string_lossy()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process;

    use super::super::licences::{THIRD_PARTY, THIRD_PARTY_REPORT};
    use super::super::packages::summary;
    use super::super::{Dist, REPORT, VERSION, workspace};
    use super::Layout;
    use crate::commands::names;
    use crate::files::{WORKSPACE, entries, gzip, read, remove, write};
    use crate::run::Failure;

    /// Files with the names of those that a release is made of, and the folders to put them into.
    fn stand_ins(folder: &Path) -> Result<Dist, Failure> {
        remove(folder)?;
        let mut dist = Dist::within(folder.join("out"), folder.join("work"), String::new())?;
        dist.target = folder.to_owned();
        let manual = dist.work.join("manual");
        for name in dist.names() {
            write(&folder.join("release").join(name), name)?;
            let section = if name == REPORT { 1 } else { 8 };
            let page = manual.join(format!("man/{name}.{section}"));
            write(&page, name)?;
            gzip(&page)?;
            for file in [format!("bash/{name}"), format!("zsh/_{name}"), format!("fish/{name}.fish")] {
                write(&manual.join("completions").join(file), name)?;
            }
        }
        for file in [THIRD_PARTY, THIRD_PARTY_REPORT] {
            write(&dist.work.join(file), file)?;
        }
        Ok(dist)
    }

    /// The paths of all files below a folder, each with its permissions.
    fn below(folder: &Path) -> BTreeSet<(String, u32)> {
        let mut files = BTreeSet::new();
        for entry in entries(folder).unwrap_or_else(|failure| panic!("{}", failure.0)) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            if entry.is_dir() {
                files.extend(below(&entry).into_iter().map(|(path, mode)| (format!("{name}/{path}"), mode)));
            } else {
                files.insert((name, fs::metadata(&entry).unwrap().permissions().mode() & 0o7777));
            }
        }
        files
    }

    /// Debian's and RPM's packages have the same files, apart from those that each kind has for itself. The lists for
    /// `%files` name each file of the one folder once.
    #[test]
    fn both_layouts_have_the_same_files() {
        let folder = std::env::temp_dir().join(format!("xtask-install-{}", process::id()));
        let place = |dist: &Dist, layout: Layout, name: &str| {
            let placed = dist.place_all(&dist.target.join("release"), layout, &folder.join(name));
            placed.unwrap_or_else(|failure| panic!("{}", failure.0));
        };
        let dist = stand_ins(&folder).unwrap_or_else(|failure| panic!("{}", failure.0));
        place(&dist, Layout::Deb, "deb");
        place(&dist, Layout::Rpm, "rpm");
        let (deb, rpm) = (below(&folder.join("deb")), below(&folder.join("rpm")));

        let is_script = |path: &str| !path.contains('/');
        let scripts: Vec<_> = deb.iter().filter(|(path, _)| is_script(path)).collect();
        assert_eq!(scripts.len(), 3 * dist.commands.len(), "{scripts:?}");
        // Documentation and licences are named otherwise in each.
        let own = |path: &str| {
            ["usr/share/doc/", "usr/share/licenses/", "usr/share/lintian/"]
                .iter()
                .any(|own| path.starts_with(own))
        };
        let of_deb: BTreeSet<_> = deb
            .iter()
            .filter(|(path, _)| !is_script(path))
            .map(|(path, mode)| {
                (path.split_once('/').unwrap().1.replace("vendor-completions", "site-functions"), *mode)
            })
            .filter(|(path, _)| !own(path))
            .collect();
        let of_rpm: BTreeSet<_> = rpm.iter().filter(|(path, _)| !own(path)).cloned().collect();
        assert_eq!(of_deb, of_rpm);
        // Of each command: program, page, two units, three completions, script and its page. Of the report: no units and
        // no script.
        assert_eq!(of_rpm.len(), 9 * dist.commands.len() + 5);
        assert!(of_rpm.contains(&("usr/bin/sctp-rtt".to_owned(), 0o755)), "{of_rpm:?}");
        assert!(
            of_rpm.contains(&("usr/lib/systemd/system/sctp-rtt@.service".to_owned(), 0o644)),
            "{of_rpm:?}"
        );

        let mut listed = Vec::new();
        for (name, _) in
            below(&dist.work).iter().filter(|(name, _)| name.ends_with(".files") && is_script(name))
        {
            let list = fs::read_to_string(dist.work.join(name)).unwrap();
            let lines = list.lines().filter(|line| !line.starts_with("%dir "));
            listed.extend(
                lines.filter_map(|line| line.split(' ').next_back()?.strip_prefix('/').map(str::to_owned)),
            );
        }
        listed.sort();
        assert_eq!(listed, rpm.into_iter().map(|(path, _)| path).collect::<Vec<_>>());
        fs::remove_dir_all(folder).unwrap();
    }

    /// systemd takes each word of `Environment=` for an assignment of its own, and ignores those that are none.
    #[test]
    fn default_flags_of_units_are_one_assignment() {
        let unit =
            read(&workspace("packaging/unit.service")).unwrap_or_else(|failure| panic!("{}", failure.0));
        let values: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("Environment=")).collect();
        assert_eq!(values, ["\"FLAGS=--json --no-samples\""]);
    }

    /// Debian's and RPM's descriptions of the packages have the workspace's version, the oldest Rust that builds it, and
    /// each program's package with its summary.
    #[test]
    fn descriptions_of_packages_are_those_of_the_workspace() {
        let text = |name: &str| read(&workspace(name)).unwrap_or_else(|failure| panic!("{}", failure.0));
        let [control, spec] = ["packaging/debian/control", "packaging/rpm/sctptrace.spec"].map(text);
        let has = |text: &str, line: &str| assert!(text.lines().any(|other| other == line), "no line {line}");

        let changes = text("packaging/debian/changelog");
        assert!(changes.starts_with(&format!("sctptrace ({VERSION}-1) ")), "{changes}");
        has(&spec, &format!("Version:        {VERSION}"));
        let manifest = text("Cargo.toml");
        let oldest =
            manifest.split_once("\nrust-version = \"").and_then(|(_, rest)| rest.split('"').next()).unwrap();
        for program in ["cargo", "rustc"] {
            has(&control, &format!("               {program} (>= {oldest}),"));
        }
        for program in ["cargo", "rust"] {
            has(&spec, &format!("BuildRequires:  {program} >= {oldest}"));
        }
        for name in names(WORKSPACE.as_ref()).unwrap().iter().map(String::as_str).chain([REPORT]) {
            let summary = summary(name).unwrap_or_else(|failure| panic!("{}", failure.0));
            has(&control, &format!("Package: {name}"));
            has(&control, &format!("Description: {summary}"));
            has(
                &spec,
                &format!(
                    "%package {}",
                    name.strip_prefix("sctptrace-").map_or(format!("-n {name}"), str::to_owned)
                ),
            );
            has(&spec, &format!("Summary:        {summary}"));
            has(&spec, &format!("Requires:       {name} = %{{version}}-%{{release}}"));
        }
    }
}
