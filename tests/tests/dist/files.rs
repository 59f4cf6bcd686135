//! Tests of the release's files that need no installation.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::command;
use sctptrace_tests::programs::TOOLS;
use serde_json::Value;

use crate::{VERSION, dist, ending, packages, version_line};

/// `SHA256SUMS` has the right checksum of every other file in the release's folder.
pub fn checksums() -> Result<()> {
    let checked = command::run(
        Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(dist()),
    )?;
    ensure!(checked.lines().count() + 1 == ending("")?.len(), "not of every file:\n{checked}");
    Ok(())
}

/// Each command's bill of materials (CycloneDX) lists all crates that cargo links into the command, and fewer
/// than five others, each of which Cargo.lock has.
pub fn bills() -> Result<()> {
    for tool in TOOLS {
        let [bill] =
            ending(&format!("sctp-{tool}-{VERSION}.cdx.json"))?.try_into().ok().context("not one bill")?;
        let bill: Value = serde_json::from_str(&fs::read_to_string(bill)?)?;
        let listed: BTreeSet<_> = bill["components"]
            .as_array()
            .context("no components")?
            .iter()
            .map(|part| format!("{} {}", part["name"], part["version"]).replace('"', ""))
            .collect();
        let linked = linked(tool, "x86_64")?;
        ensure!(listed.iter().any(|part| part.starts_with("libbpf-sys ")), "no libbpf: {listed:?}");
        let missing: Vec<_> = linked.difference(&listed).collect();
        ensure!(missing.is_empty(), "{tool}: missing {missing:?}");
        // cargo-cyclonedx also lists dependencies for a platform that does not exist: a crate names them only
        // to lock their versions.
        let more: Vec<_> = listed.difference(&linked).filter(|part| !is_locked(part)).collect();
        ensure!(more.is_empty() && listed.len() < linked.len() + 5, "{tool}: not linked {more:?}");
    }
    Ok(())
}

/// Returns the crates that cargo links into a command, without those of the commands, as `NAME VERSION`.
fn linked(tool: &str, architecture: &str) -> Result<BTreeSet<String>> {
    let flags = ["--edges", "normal", "--prefix", "none", "--format", "{p}", "--target"];
    let tree = command::run(
        Command::new("cargo")
            .args(["tree", "--package", &format!("sctp-{tool}")])
            .args(flags)
            .arg(format!("{architecture}-unknown-linux-gnu")),
    )?;
    let parts = tree.lines().filter_map(|line| line.split_once(" v"));
    let parts = parts.map(|(name, rest)| format!("{name} {}", rest.split(' ').next().unwrap_or(rest)));
    Ok(parts.filter(|part| !part.starts_with("sctp-")).collect())
}

/// `third-party.txt` in each archive names all crates that cargo links into a command, other than the
/// project's own, and has their licences' texts.
pub fn third_party() -> Result<()> {
    for archive in ending(".tar.gz")? {
        let folder = unpack(&archive)?;
        let text = fs::read_to_string(folder.path().join("third-party.txt"))?;
        let named: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("  ")).collect();
        let architecture = if archive.to_string_lossy().contains("aarch64") { "aarch64" } else { "x86_64" };
        for tool in TOOLS {
            for part in linked(tool, architecture)? {
                let own = ["cli ", "probes "].iter().any(|name| part.starts_with(name));
                ensure!(own || named.contains(part.as_str()), "{tool}: no licence of {part}");
            }
        }
        ensure!(text.matches("Copyright").count() > 10, "no texts");
    }
    Ok(())
}

/// Returns whether Cargo.lock has the package that `part` names as `NAME VERSION`.
fn is_locked(part: &str) -> bool {
    let (name, version) = part.split_once(' ').unwrap_or((part, ""));
    include_str!("../../../Cargo.lock").contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n"))
}

/// The archives' programs are static and built for the archive's architecture, and those for x86-64 print
/// their version. Each has a man page.
pub fn statics() -> Result<()> {
    for archive in ending(".tar.gz")? {
        let folder = unpack(&archive)?;
        for tool in TOOLS {
            let program = folder.path().join(format!("bin/sctp-{tool}"));
            let read = ["--wide", "--file-header", "--program-headers", "--dynamic"];
            let text = command::run(Command::new("readelf").args(read).arg(&program))?;
            ensure!(!text.contains("(NEEDED)") && !text.contains("program interpreter"), "{text}");
            let arm = archive.to_string_lossy().contains("aarch64");
            ensure!(text.contains(if arm { "AArch64" } else { "X86-64" }), "{text}");
            if !arm {
                let said = command::run(Command::new(&program).arg("--version"))?;
                ensure!(said.trim_end() == version_line(&format!("sctp-{tool}"))?, "{said}");
            }
            ensure!(folder.path().join(format!("share/man/man8/sctp-{tool}.8.gz")).is_file(), "no man page");
        }
    }
    Ok(())
}

/// The source archive has each crate that `Cargo.lock` names. Without any other crate on the machine, cargo finds from it
/// what all programs and tests are made of.
pub fn source() -> Result<()> {
    let [archive] = ending(".tar.xz")?.try_into().ok().context("not one source archive")?;
    let folder = unpack(&archive)?;
    let commit = fs::read_to_string(folder.path().join("COMMIT"))?;
    ensure!(
        commit == format!("{}\n", command::run(Command::new("git").args(["rev-parse", "HEAD"]))?.trim_end()),
        "{commit}"
    );
    let lock = include_str!("../../../Cargo.lock");
    let crates: BTreeSet<_> = lock.split("[[package]]").filter(|part| part.contains("\nsource = ")).collect();
    let mut vendored = BTreeSet::new();
    for entry in fs::read_dir(folder.path().join("vendor"))? {
        vendored.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    ensure!(
        crates.len() > 100 && crates.len() == vendored.len(),
        "{} of {} crates",
        vendored.len(),
        crates.len()
    );
    let home = tempfile::tempdir()?;
    let flags = ["metadata", "--format-version=1", "--offline", "--locked", "--all-features"];
    let mut metadata = Command::new("cargo");
    metadata.args(flags).current_dir(folder.path()).env("CARGO_HOME", home.path());
    let metadata: Value = serde_json::from_str(&command::run(&mut metadata)?)?;
    for part in metadata["packages"].as_array().context("no packages")? {
        let manifest = part["manifest_path"].as_str().unwrap_or_default();
        ensure!(
            Path::new(manifest).starts_with(fs::canonicalize(folder.path())?),
            "from elsewhere: {manifest}"
        );
    }
    let config = fs::read_to_string(folder.path().join(".cargo/config.toml"))?;
    ensure!(!config.contains("= \"/"), "an absolute path: {config}");
    Ok(())
}

/// The container image has the static programs of each architecture that was built. `oci.py` reads its archive as the
/// specification has it, and so does skopeo, by which images get to registries.
pub fn image() -> Result<()> {
    let [archive] = ending(".oci.tar")?.try_into().ok().context("not one image")?;
    let archives = ending(".tar.gz")?;
    let is_built = |name: &str| archives.iter().any(|path| path.to_string_lossy().contains(name));
    let built = [("x86_64", "amd64"), ("aarch64", "arm64")].into_iter().filter(|(name, _)| is_built(name));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/oci.py");
    let mut check = Command::new("python3");
    command::run(check.args([script, "--programs"]).arg(&archive).args(built.map(|(_, name)| name)))?;
    let copy = tempfile::tempdir()?;
    let flags = ["--insecure-policy", "copy", "--quiet", "--all"];
    let [from, to] =
        [format!("oci-archive:{}:{VERSION}", archive.display()), format!("dir:{}", copy.path().display())];
    command::run(Command::new("skopeo").args(flags).args([from, to]))?;
    Ok(())
}

/// Unpacks an archive into a temporary folder, without the one folder at the archive's top.
pub fn unpack(archive: &Path) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let flags = ["--strip-components=1", "--extract", "--file"];
    command::run(Command::new("tar").args(flags).arg(archive).arg("-C").arg(folder.path()))?;
    Ok(folder)
}

/// lintian finds no error and no warning in the Debian packages, other than those that the packages'
/// overrides explain.
pub fn lintian() -> Result<()> {
    let packed = ending("_amd64.deb")?;
    ensure!(packed.len() == packages().len(), "not every package: {packed:?}");
    let flags = ["--allow-root", "--tag-display-limit=0", "--fail-on=error,warning"];
    command::run(Command::new("lintian").args(flags).args(ending(".deb")?))?;
    Ok(())
}
