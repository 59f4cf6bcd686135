//! Running the programs of the host that the test bed needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs a command to its end, and returns its standard output.
///
/// # Errors
/// When the program is missing or fails. The message then contains the program's standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| {
        format!("cannot run {name}: `cargo xtask test --only packages` installs what the bed needs")
    })?;
    if !output.status.success() {
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Finds a program's path in the usual folders. These include `/usr/sbin` and `/sbin`, which `PATH` may lack.
///
/// # Errors
/// When the program is in none of these folders.
pub fn find(name: &str) -> Result<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("{name} is missing: `cargo xtask test --only packages` installs what the bed needs")
        })
}

/// Returns the paths of the shared libraries that a program of the host needs, including the loader; none if
/// the program is static.
///
/// # Errors
/// When `ldd` is missing.
pub fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    Ok(parse_ldd(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_ldd(text: &str) -> Vec<PathBuf> {
    text.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

/// Unpacks Debian packages into a new folder, and deletes the package files.
///
/// # Errors
/// When a package is broken, or the folder cannot be made.
pub fn unpack(debs: &[PathBuf], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for deb in debs {
        run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(folder))?;
        fs::remove_file(deb)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse_ldd;

    #[test]
    fn ldd_lines_give_paths() {
        let text =
            "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x1)\n\t/lib64/ld.so.2 (0x2)\n";
        let paths: Vec<_> = parse_ldd(text).into_iter().map(|path| path.display().to_string()).collect();
        assert_eq!(paths, ["/lib/x/libc.so.6", "/lib64/ld.so.2"]);
        assert!(parse_ldd("\tnot a dynamic executable\n").is_empty());
    }
}
