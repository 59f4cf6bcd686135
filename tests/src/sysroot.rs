//! Programs and libraries for an architecture that is not the host's, from Debian's packages, which are
//! unpacked into a folder of the cache: the sysroot.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::arch::Arch;
use crate::command;
use crate::kernel::{Apt, cache_dir, keep};

/// Debian packages of the programs that the guest runs, and of the libraries that the commands are linked
/// with. apt adds the packages that these depend on.
const PACKAGES: [&str; 9] = [
    "bsdutils",
    "busybox-static",
    "ethtool",
    "iproute2",
    "kmod",
    "libc6-dev",
    "libelf-dev",
    "tcpdump",
    "zlib1g-dev",
];

/// Returns the sysroot's folder. Downloads and unpacks the packages first if the folder does not exist.
///
/// # Errors
/// When apt cannot find or download the packages.
pub fn get(arch: Arch) -> Result<PathBuf> {
    let root = cache_dir()?.join(format!("sysroot{}", arch.suffix()));
    keep(&root, |partial| {
        eprintln!("fetching programs and libraries for {} with apt ...", arch.name());
        let apt = Apt::new(arch)?;
        apt.update()?;
        command::unpack(&apt.download_with_dependencies(&PACKAGES)?, partial)
    })?;
    for folder in library_folders(arch, &root) {
        keep_links_inside(&root, &folder)?;
    }
    Ok(root)
}

/// Makes the absolute symbolic links in a folder relative, so that they stay inside the sysroot. Otherwise
/// the linker would follow the link `libz.so` out of the sysroot, find nothing, and take `libz.a`.
fn keep_links_inside(root: &Path, folder: &Path) -> Result<()> {
    let up = "../".repeat(folder.strip_prefix(root)?.components().count());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Ok(target) = fs::read_link(&path) else { continue };
        if let Ok(inside) = target.strip_prefix("/") {
            fs::remove_file(&path)?;
            symlink(Path::new(&up).join(inside), &path)?;
        }
    }
    Ok(())
}

/// The folders of libraries in the sysroot `root`: some packages have moved their libraries to `/usr/lib`,
/// some have not.
pub fn library_folders(arch: Arch, root: &Path) -> [PathBuf; 2] {
    ["usr/lib", "lib"].map(|folder| root.join(folder).join(format!("{}-linux-gnu", arch.name())))
}

/// Finds a program in the sysroot.
///
/// # Errors
/// When the program is not in the sysroot, or the sysroot cannot be made.
pub fn program(arch: Arch, name: &str) -> Result<PathBuf> {
    let root = get(arch)?.canonicalize()?;
    ["usr/sbin", "usr/bin", "sbin", "bin"]
        .iter()
        // An absolute link leads out of the sysroot, to the host's own program: `/sbin/ip`.
        .filter_map(|folder| root.join(folder).join(name).canonicalize().ok())
        .find(|path| path.starts_with(&root))
        .with_context(|| format!("{} holds no {name}: delete it", root.display()))
}

/// Returns the loader and the shared libraries that a program needs, each with the path at which the guest's
/// loader looks for it; none if the program is static.
///
/// # Errors
/// When a library is missing, or `readelf` cannot read a file.
pub fn libraries(arch: Arch, program: &Path) -> Result<Vec<(PathBuf, String)>> {
    let folders = library_folders(arch, &get(arch)?);
    let mut found = BTreeMap::new();
    let mut rest = vec![program.to_owned()];
    while let Some(file) = rest.pop() {
        let text = command::run(Command::new("readelf").args(["--dynamic", "--program-headers"]).arg(&file))?;
        for inside in needed(&text, arch) {
            let name = inside.rsplit('/').next().unwrap_or(&inside);
            let Some(path) = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
            else {
                bail!("{} needs {name}, which no package has", file.display());
            };
            if found.insert(inside, path.clone()).is_none() {
                rest.push(path);
            }
        }
    }
    Ok(found.into_iter().map(|(inside, path)| (path, inside)).collect())
}

fn needed(text: &str, arch: Arch) -> Vec<String> {
    let bracketed = |line: &str, before: &str| {
        line.split_once(before).and_then(|(_, rest)| rest.split_once(']')).map(|(name, _)| name.to_owned())
    };
    text.lines()
        .filter_map(|line| {
            bracketed(line, "program interpreter: /").or_else(|| {
                bracketed(line, "Shared library: [")
                    // Libraries list the loader as a library, too. The program's interpreter names it
                    // already.
                    .filter(|name| !name.starts_with("ld-"))
                    .map(|name| format!("lib/{}-linux-gnu/{name}", arch.name()))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{keep_links_inside, needed};
    use crate::arch::Arch;

    #[test]
    fn absolute_links_stay_inside() {
        let root = tempfile::tempdir().unwrap();
        let [to, from] = ["lib/x", "usr/lib/x"].map(|folder| root.path().join(folder));
        fs::create_dir_all(&to).unwrap();
        fs::create_dir_all(&from).unwrap();
        fs::write(to.join("libz.so.1"), "z").unwrap();
        symlink("/lib/x/libz.so.1", from.join("libz.so")).unwrap();
        keep_links_inside(root.path(), &from).unwrap();
        assert_eq!(fs::read(from.join("libz.so")).unwrap(), b"z");
        assert_eq!(
            fs::read_link(from.join("libz.so")).unwrap().to_string_lossy(),
            "../../../lib/x/libz.so.1"
        );
    }

    #[test]
    fn readelf_names_loader_and_libraries() {
        let text = "      [Requesting program interpreter: /lib/ld-linux-aarch64.so.1]\n\
                    0x0000000000000001 (NEEDED)  Shared library: [libc.so.6]\n\
                    0x0000000000000001 (NEEDED)  Shared library: [ld-linux-aarch64.so.1]\n\
                    0x000000000000000e (SONAME)  Library soname: [libx.so.1]\n";
        let paths = needed(text, Arch::Aarch64);
        assert_eq!(paths, ["lib/ld-linux-aarch64.so.1", "lib/aarch64-linux-gnu/libc.so.6"]);
        assert!(needed("There is no dynamic section in this file.\n", Arch::Aarch64).is_empty());
    }
}
