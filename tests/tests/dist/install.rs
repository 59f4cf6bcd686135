//! Packages are installed, upgraded, removed and purged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::command;
use sctptrace_tests::programs::{TOOLS, target_folder};
use sctptrace_tests::tree::Tree;

use crate::{VERSION, ending, packages, version_line};

/// The version of the packages that the tests upgrade from: older than any release.
const BEFORE: &str = "0.0.1";

/// Returns a system of the Debian release `suite` on which all packages are installed.
pub fn installed(suite: &str) -> Result<Tree> {
    let tree = Tree::debian(suite)?;
    for package in ending("_amd64.deb")? {
        put(&package, &tree, "new")?;
    }
    tree.run("dpkg --install /tmp/new/*.deb")?;
    Ok(tree)
}

/// Debian packages of an older version are installed, upgraded to this one, removed and purged. Nothing of
/// them is left behind.
pub fn debian(suite: &str) -> Result<()> {
    let tree = Tree::debian(suite)?;
    for package in ending("_amd64.deb")? {
        put(&package, &tree, "new")?;
        put(&older_deb(&package, tree.path())?, &tree, "old")?;
    }
    let before = tree.files()?;

    tree.run("dpkg --install /tmp/old/*.deb")?;
    versions(&tree, &format!("{BEFORE}-1"))?;
    ensure!(tree.path().join("usr/share/doc/sctp-rtt/old").is_file(), "the older package is not older");
    // An instance that the administrator has enabled stays enabled until the package is purged.
    let wants = tree.path().join("etc/systemd/system/multi-user.target.wants");
    tree.run("systemctl --quiet enable sctp-rtt@web.service sctp-rto@web.service")?;
    tree.run("dpkg --install /tmp/new/*.deb")?;
    versions(&tree, &format!("{VERSION}-1"))?;
    ensure!(!tree.path().join("usr/share/doc/sctp-rtt/old").exists(), "a file of the older version is left");
    ensure!(wants.join("sctp-rtt@web.service").is_symlink(), "the instance is no longer enabled");

    for tool in TOOLS {
        let expected = version_line(&format!("sctp-{tool}"))?;
        for program in
            [format!("sctp-{tool}"), format!("sctp_{tool}.py"), format!("python3 /usr/bin/sctp_{tool}.py")]
        {
            let said = tree.run(&format!("{program} --version"))?;
            ensure!(said.trim_end() == expected, "{program}: {said}");
        }
        for file in [
            format!("usr/share/man/man8/sctp-{tool}.8.gz"),
            format!("usr/share/man/man8/sctp_{tool}.py.8.gz"),
            format!("usr/share/bash-completion/completions/sctp-{tool}"),
            format!("usr/share/zsh/vendor-completions/_sctp-{tool}"),
            format!("usr/share/fish/vendor_completions.d/sctp-{tool}.fish"),
        ] {
            ensure!(tree.path().join(&file).metadata().is_ok_and(|file| file.len() > 20), "no {file}");
        }
        let unit = format!("/usr/lib/systemd/system/sctp-{tool}@.service");
        let said = tree.run(&format!("systemd-analyze verify --man=no {unit} 2>&1"))?;
        ensure!(said.is_empty(), "{unit}: {said}");
        // The threshold is systemd's exposure level in tenths: 100 is a service without any restriction.
        tree.run(&format!("systemd-analyze security --offline=true --threshold=17 {unit}"))?;
    }

    tree.run(&format!("dpkg --remove {}", packages().join(" ")))?;
    ensure!(!tree.path().join("usr/bin/sctp-rtt").exists(), "removed, and still there");
    ensure!(wants.join("sctp-rtt@web.service").is_symlink(), "removed, and no longer enabled");
    tree.run(&format!("dpkg --purge {}", packages().join(" ")))?;
    let after = tree.files()?;
    let left: Vec<_> = after.iter().filter(|file| !before.contains(file)).collect();
    let gone: Vec<_> = before.iter().filter(|file| !after.contains(file)).collect();
    // dpkg's own files, and what systemctl and systemd-analyze write as they run.
    let others = ["/var/lib/dpkg/", "/var/log/dpkg.log", "/run/systemd"];
    let left: Vec<_> =
        left.into_iter().filter(|file| !others.iter().any(|other| file.starts_with(other))).collect();
    ensure!(left.is_empty() && gone.is_empty(), "left behind: {left:?}; missing: {gone:?}");
    Ok(())
}

fn versions(tree: &Tree, expected: &str) -> Result<()> {
    let query = "dpkg-query --show --showformat '${Package} ${Version} ${db:Status-Status}\\n' 'sctp*'";
    let mut found: Vec<_> = tree.run(query)?.lines().map(str::to_owned).collect();
    found.sort();
    let mut all: Vec<_> = packages().iter().map(|name| format!("{name} {expected} installed")).collect();
    all.sort();
    ensure!(found == all, "{found:?}");
    Ok(())
}

/// Copies a package into a folder of the tree's `/tmp`.
fn put(package: &Path, tree: &Tree, folder: &str) -> Result<()> {
    let folder = tree.path().join("tmp").join(folder);
    fs::create_dir_all(&folder)?;
    fs::copy(package, folder.join(package.file_name().context("no name")?))?;
    Ok(())
}

/// Makes a copy of a package that claims the version [`BEFORE`] and has one file more, `old`, which the
/// upgrade must remove. Returns the copy's path.
fn older_deb(package: &Path, scratch: &Path) -> Result<PathBuf> {
    let folder = tempfile::tempdir_in(scratch.join("tmp"))?;
    let inside = folder.path().join("package");
    command::run(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&inside))?;
    let control = inside.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?.replace(&format!("{VERSION}-1"), &format!("{BEFORE}-1"));
    fs::write(&control, text)?;
    let name = package.file_name().context("no name")?.to_string_lossy().into_owned();
    let documents = inside.join("usr/share/doc").join(name.split('_').next().unwrap_or_default());
    fs::write(documents.join("old"), "old\n")?;
    let older = scratch.join("tmp").join(name);
    command::run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&inside).arg(&older))?;
    Ok(older)
}

/// RPM packages of an older version are installed, upgraded to this one and erased. No file of them is left
/// behind. The system is Debian's otherwise, and rpm knows none of its libraries: so a trial installation
/// shows what the packages require, and the real ones ignore it (`--nodeps`).
pub fn rpm() -> Result<()> {
    let new = ending(".x86_64.rpm")?;
    ensure!(new.len() == packages().len(), "not every package: {new:?}");
    let tree = Tree::debian("bookworm")?;
    let before = tree.files()?;
    let old = older_rpms(tree.path())?;
    let run = |arguments: &[&str], files: &[PathBuf]| {
        command::run(Command::new("rpm").arg("--root").arg(tree.path()).args(arguments).args(files))
    };
    run(&["--checksig", "--nosignature"], &new)?;

    let mut test = Command::new("rpm");
    test.arg("--root").arg(tree.path()).args(["--install", "--test"]).args(&new);
    let refused = String::from_utf8_lossy(&test.output()?.stderr).into_owned();
    let needed: Vec<_> = refused.lines().filter_map(|line| line.split_once(" is needed by ")).collect();
    let of_system = |name: &str| {
        name.starts_with("lib")
            || name.starts_with("rtld(")
            || name == "/bin/sh"
            || name.starts_with("ld-linux")
    };
    ensure!(needed.iter().all(|(name, _)| of_system(name.trim())), "{refused}");
    for library in ["libelf.so.1", "libz.so.1", "libc.so.6"] {
        let by = needed.iter().filter(|(name, _)| name.trim().starts_with(&format!("{library}()"))).count();
        ensure!(by == TOOLS.len(), "{library} is needed by {by} packages:\n{refused}");
    }

    run(&["--install", "--nodeps"], &old)?;
    run(&["--upgrade", "--nodeps"], &new)?;
    let mut found: Vec<_> = run(&["--query", "--all"], &[])?.lines().map(str::to_owned).collect();
    found.sort();
    let mut all: Vec<_> = packages().iter().map(|name| format!("{name}-{VERSION}-1.x86_64")).collect();
    all.sort();
    ensure!(found == all, "{found:?}");
    run(&["--verify", "--nodeps", "--all"], &[])?;
    for tool in TOOLS {
        let expected = version_line(&format!("sctp-{tool}"))?;
        for program in [format!("sctp-{tool}"), format!("sctp_{tool}.py")] {
            let said = tree.run(&format!("{program} --version"))?;
            ensure!(said.trim_end() == expected, "{program}: {said}");
        }
    }
    let names = packages();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    run(&[&["--erase"], names.as_slice()].concat(), &[])?;
    let after = tree.files()?;
    // Folders that no RPM package owns stay, and so does rpm's own database.
    let left: Vec<_> = after
        .iter()
        .filter(|file| !before.contains(file) && !file.contains("rpm"))
        .filter(|file| !tree.path().join(file.trim_start_matches('/')).is_dir())
        .collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// Makes all RPM packages anew with the version [`BEFORE`]. Returns their paths.
fn older_rpms(scratch: &Path) -> Result<Vec<PathBuf>> {
    let stage = target_folder().join("dist-work/x86_64");
    packages()
        .iter()
        .map(|name| {
            let older = scratch.join(format!("tmp/{name}.rpm"));
            let manifest = fs::read_to_string(stage.join(name).join("Cargo.toml"))?;
            let requires: Vec<_> = manifest
                .lines()
                .filter(|line| line.ends_with(&format!("= \"= {VERSION}-1\"")))
                .map(|line| line.replace(VERSION, BEFORE))
                .collect();
            let requires = if requires.is_empty() {
                String::new()
            } else {
                format!("\n[requires]\n{}", requires.join("\n"))
            };
            let metadata = format!("version = \"{BEFORE}\"{requires}");
            command::run(
                Command::new("cargo")
                    .args(["generate-rpm", "--arch", "x86_64", "--set-metadata", &metadata, "--output"])
                    .arg(&older)
                    .current_dir(stage.join(name))
                    .env_remove("CARGO_TARGET_DIR"),
            )?;
            Ok(older)
        })
        .collect()
}
