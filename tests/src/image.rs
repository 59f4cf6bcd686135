//! The guest's root file system: a cpio archive (format `newc`) of scripts, kernel modules and Debian's
//! programs. If guest and host have the same architecture, these are the host's own programs.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cpio::newc::{Builder, ModeFileType, trailer};

use crate::arch::Arch;
use crate::command;
use crate::kernel::Kernel;
use crate::programs::TOOLS;

/// Debian's programs that every guest gets, because busybox lacks them or features of them that the cases
/// need.
const PROGRAMS: [&str; 6] = ["ip", "tc", "ethtool", "tcpdump", "kmod", "script"];

/// Further programs of Debian, only for guests of the host's own architecture: the cases that need them run
/// there alone.
const OWN_PROGRAMS: [&str; 2] = ["chrt", "unshare"];

/// Kernel modules that the guest may load. The image also contains the modules that they depend on.
const MODULES: [&str; 20] = [
    "act_bpf",
    "act_gact",
    "act_mirred",
    "cls_basic",
    "cls_bpf",
    "cls_flower",
    "cls_matchall",
    "cls_u32",
    "crc32c_generic",
    "em_u32",
    "sch_ingress",
    "sch_netem",
    "sch_prio",
    "sch_tbf",
    "sctp",
    "sctp_diag",
    "udp_tunnel",
    "veth",
    "virtio_console",
    "virtio_pci",
];

/// The guest's scripts, each with its path: `init`, the first process; and the functions that cases
/// (`lib.sh`) and the bench (`bench.sh`) call.
const GUEST_FILES: [(&str, &str); 3] = [
    ("init", include_str!("../guest/init.sh")),
    ("lib.sh", include_str!("../guest/lib.sh")),
    ("bench.sh", include_str!("../guest/bench.sh")),
];

/// A root file system under construction.
pub struct Image {
    arch: Arch,
    archive: Vec<u8>,
    folders: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
}

impl Image {
    /// Everything that the guest needs to boot `kernel` and run cases, without the programs under test.
    ///
    /// # Errors
    /// When a program, `modules.dep` or a module's file is missing.
    pub fn new(kernel: &Kernel) -> Result<Self> {
        let arch = kernel.arch;
        let mut image = Self { arch, archive: Vec::new(), folders: BTreeSet::new(), files: BTreeSet::new() };
        for folder in ["dev", "proc", "sys", "tmp", "out", "run", "etc", "root"] {
            image.folder(Path::new(folder))?;
        }
        image.program(&arch.program("busybox")?, "bin/busybox")?;
        image.link("bin/sh", "busybox")?;
        let own: &[&str] = if arch == Arch::X86_64 { &OWN_PROGRAMS } else { &[] };
        for name in PROGRAMS.iter().chain(own) {
            image.program(&arch.program(name)?, &format!("sbin/{name}"))?;
        }
        for name in ["modprobe", "rmmod", "lsmod"] {
            image.link(&format!("sbin/{name}"), "kmod")?;
        }
        // For the case "not root", and for libraries that look up a name.
        image.bytes(
            "etc/passwd",
            0o644,
            b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n",
        )?;
        image.bytes("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
        for (path, text) in GUEST_FILES {
            image.bytes(path, 0o755, text.as_bytes())?;
        }
        image.bytes("tools", 0o644, TOOLS.join(" ").as_bytes())?;
        image.modules(kernel)?;
        Ok(image)
    }

    /// Adds a program of the host as `path`, and the libraries that the program needs.
    ///
    /// # Errors
    /// When the program or a library cannot be read.
    pub fn program(&mut self, from: &Path, path: &str) -> Result<()> {
        self.file(from, path)?;
        for (library, inside) in self.arch.libraries(from)? {
            self.file(&library, &inside)?;
        }
        Ok(())
    }

    /// Adds a file with the given permissions and content.
    ///
    /// # Errors
    /// When the content exceeds the format's limit of 4 GB, or `path` is absolute.
    pub fn bytes(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.entry(Path::new(path), ModeFileType::Regular, mode, content)
    }

    /// Adds a file of the host as `path`, with its permissions.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn file(&mut self, from: &Path, path: &str) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let mode = fs::metadata(from)?.permissions().mode() & 0o777;
        self.bytes(path, mode, &content)
    }

    /// Returns the finished archive.
    ///
    /// # Errors
    /// Never, as the archive is written to memory; only the archive writer's type has errors.
    pub fn finish(self) -> Result<Vec<u8>> {
        Ok(trailer(self.archive)?)
    }

    fn modules(&mut self, kernel: &Kernel) -> Result<()> {
        let staging = tempfile::tempdir()?;
        let base = staging.path().join("lib/modules").join(&kernel.release);
        fs::create_dir_all(&base)?;
        let depends = fs::read_to_string(kernel.modules.join("modules.dep"))
            .context("modules.dep is missing: delete the cached kernel")?;
        for module in needed_modules(&depends, &MODULES) {
            let target = base.join(&module);
            fs::create_dir_all(target.parent().context("a module outside of any folder")?)?;
            fs::copy(kernel.modules.join(&module), &target)?;
            self.file(&target, &format!("lib/modules/{}/{module}", kernel.release))?;
        }
        for list in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
            if kernel.modules.join(list).is_file() {
                fs::copy(kernel.modules.join(list), base.join(list))?;
            }
        }
        command::run(
            Command::new(command::find("depmod")?).arg("-b").arg(staging.path()).arg(&kernel.release),
        )?;
        for list in fs::read_dir(&base)? {
            let list = list?.path();
            if list.extension().is_some_and(|extension| extension == "bin") {
                let name = list.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.file(&list, &format!("lib/modules/{}/{name}", kernel.release))?;
            }
        }
        Ok(())
    }

    fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.entry(Path::new(path), ModeFileType::Symlink, 0o777, target.as_bytes())
    }

    fn folder(&mut self, path: &Path) -> Result<()> {
        self.entry(path, ModeFileType::Directory, 0o755, &[])
    }

    fn entry(&mut self, path: &Path, kind: ModeFileType, mode: u32, content: &[u8]) -> Result<()> {
        let seen = if matches!(kind, ModeFileType::Directory) { &mut self.folders } else { &mut self.files };
        if !seen.insert(path.to_owned()) {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.folder(parent)?;
        }
        let name = path.to_str().context("a path that is not text")?;
        ensure!(!name.starts_with('/'), "paths inside the image are relative");
        let size = u32::try_from(content.len())?;
        // Every entry needs an inode number of its own: the kernel takes entries of the same number for hard
        // links.
        let inode = u32::try_from(self.folders.len() + self.files.len())?;
        let builder = Builder::new(name).ino(inode).mode(mode).set_mode_file_type(kind);
        let mut writer = builder.write(&mut self.archive, size);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }
}

/// Returns the files of the modules `wanted` and of all modules that they depend on, from the text of
/// `modules.dep`. Modules that `modules.dep` does not list are left out: they are built into the kernel, or
/// do not exist for it.
fn needed_modules(depends: &str, wanted: &[&str]) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    for line in depends.lines() {
        let Some((file, needs)) = line.split_once(':') else { continue };
        let name = file.rsplit('/').next().unwrap_or(file).split('.').next().unwrap_or_default();
        if wanted.contains(&name.replace('-', "_").as_str()) {
            needed.insert(file.to_owned());
            // A line of `modules.dep` also lists indirect dependencies.
            needed.extend(needs.split_whitespace().map(str::to_owned));
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::needed_modules;

    #[test]
    fn modules_come_with_what_they_need() {
        let depends = "kernel/a/sctp.ko.xz: kernel/b/udp-tunnel.ko.xz kernel/c/crc.ko.xz\n\
                       kernel/b/udp-tunnel.ko.xz:\nkernel/d/other.ko.xz: kernel/e/far.ko.xz\n";
        let needed: Vec<_> = needed_modules(depends, &["sctp", "udp_tunnel"]).into_iter().collect();
        assert_eq!(needed, ["kernel/a/sctp.ko.xz", "kernel/b/udp-tunnel.ko.xz", "kernel/c/crc.ko.xz"]);
    }
}
