//! `cargo xtask dist`: what is handed out, in `dist` of the target folder. Same source, same bytes.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages;
use crate::run::{Failure, cargo, cargo_command, output, run, succeeds};

const COMMANDS: [&str; 5] = ["sctp-bufmon", "sctp-jitter", "sctp-rto", "sctp-rtt", "sctp-streamutil"];
/// One version for all: the workspace's.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const MAINTAINER: &str = "The sctptrace authors <sctptrace@sctptrace.invalid>";
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What an architecture is called.
struct Arch {
    /// By Rust, the kernel and RPM.
    name: &'static str,
    /// By Debian.
    debian: &'static str,
}

const X86_64: Arch = Arch { name: "x86_64", debian: "amd64" };
const AARCH64: Arch = Arch { name: "aarch64", debian: "arm64" };

impl Arch {
    fn target(&self) -> String {
        format!("{}-unknown-linux-gnu", self.name)
    }
}

/// What to make.
pub struct Options {
    /// For this machine's architecture only.
    pub native: bool,
    /// Make it again in another folder, and compare.
    pub twice: bool,
}

impl Options {
    /// Read the flags.
    pub fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut options = Self { native: false, twice: false };
        for flag in arguments {
            match *flag {
                "--native" => options.native = true,
                "--check" => options.twice = true,
                _ => return Err(format!("unknown option {flag}")),
            }
        }
        Ok(options)
    }
}

/// Make everything.
pub fn make(options: &Options) -> Result<(), Failure> {
    packages::install(!options.native)?;
    packages::install_for_dist()?;
    for (tool, version, features) in TOOLS {
        if !succeeds(Command::new("cargo").args([tool, "--version"])) {
            println!("installing cargo-{tool}");
            let name = format!("cargo-{tool}");
            let what = [name.as_str(), "--version", version, "--features", features];
            cargo(&[&["install", "--locked", "--quiet"], &what[..]].concat())?;
        }
    }
    let dist = Dist::new()?;
    dist.manual()?;
    dist.third_party()?;
    dist.packages(&X86_64)?;
    dist.archive(&X86_64)?;
    if !options.native {
        dist.packages(&AARCH64)?;
        dist.archive(&AARCH64)?;
    }
    dist.bills()?;
    dist.checksums()?;
    if options.twice { dist.compare_with_second(options) } else { Ok(()) }
}

/// What makes packages, bills of materials and the licences of others, with the features that it takes.
const TOOLS: [(&str, &str, &str); 4] =
    [("deb", "^3", ""), ("generate-rpm", "^0.21", ""), ("cyclonedx", "^0.5", ""), ("about", "^0.9", "cli")];

/// Who made what is linked into the commands, and its licences.
const THIRD_PARTY: &str = "third-party.txt";

/// What cargo-cyclonedx writes.
const BILL: &str = "dist.cdx.json";

/// How the commands find libelf, zlib and the C library.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Linking {
    /// The distribution's, when started.
    Dynamic,
    /// Built in: nothing is needed.
    Static,
}

struct Dist {
    target: PathBuf,
    /// What is handed out.
    out: PathBuf,
    /// What it is made of.
    work: PathBuf,
    /// Seconds since 1970 of the commit: the time of every file.
    epoch: String,
}

impl Dist {
    fn new() -> Result<Self, Failure> {
        let target = target_folder()?;
        let [out, work] = ["dist", "dist-work"].map(|name| target.join(name));
        for folder in [&out, &work] {
            if folder.exists() {
                fs::remove_dir_all(folder).map_err(|error| Failure::new("cannot clear target", error))?;
            }
            create(folder)?;
        }
        let epoch = match env::var("SOURCE_DATE_EPOCH") {
            Ok(epoch) => epoch,
            Err(_) => output(Command::new("git").args(["-C", WORKSPACE, "log", "-1", "--format=%ct"]))
                .map_err(|_| Failure("outside of git, SOURCE_DATE_EPOCH must be set".to_owned()))?,
        };
        Ok(Self { target, out, work, epoch })
    }

    /// Build the commands for an architecture, without a word of where. Returns their folder.
    fn build(&self, arch: &Arch, linking: Linking) -> Result<PathBuf, Failure> {
        let name = if linking == Linking::Static { "static" } else { "dynamic" };
        println!("building the {name} commands for {}", arch.name);
        let target = arch.target();
        let variable = target.replace('-', "_");
        let cargo_home = match env::var_os("CARGO_HOME") {
            Some(home) => PathBuf::from(home),
            None => PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        };
        let workspace = absolute(Path::new(WORKSPACE))?;
        // The last that fits counts, and the target folder may be in the workspace.
        let places = [(cargo_home, "/cargo"), (workspace, "/sctptrace"), (self.target.clone(), "/target")];
        let mut c_flags = vec![];
        let mut flags = vec![];
        for (from, to) in &places {
            flags.push(format!("--remap-path-prefix={}={to}", from.display()));
            c_flags.push(format!("-ffile-prefix-map={}={to}", from.display()));
        }
        // Cargo would take the libraries of the one for those of the other, and make them anew each time.
        let build = if linking == Linking::Static { self.target.join("static") } else { self.target.clone() };
        let mut command = cargo_command();
        command
            .args(["build", "--release", "--locked", "--quiet", "--target", &target])
            .arg("--target-dir")
            .arg(&build);
        command.args(["--package", "probes"]);
        for package in COMMANDS {
            command.args(["--package", package]);
        }
        let mut libraries = PathBuf::from(format!("/usr/lib/{}-linux-gnu", arch.name));
        if arch.name != X86_64.name {
            let compiler = format!("{}-linux-gnu-gcc", arch.name);
            let bed = ["run", "--quiet", "--package", "sctptrace-tests", "--bin", "bed", "--"];
            let root = output(cargo_command().args(bed).args(["sysroot", arch.name]))?;
            c_flags.push(format!("--sysroot={root}"));
            flags.push(format!("-Clink-arg=--sysroot={root}"));
            libraries = Path::new(&root).join("usr/lib").join(format!("{}-linux-gnu", arch.name));
            command
                .env(format!("CC_{variable}"), &compiler)
                .env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), &compiler);
        }
        if linking == Linking::Static {
            flags.push("-Ctarget-feature=+crt-static".to_owned());
            command.args(["--features", "libbpf-rs/static"]);
            // The build's own libbpf becomes static with it.
            let own = X86_64.target().replace('-', "_");
            command
                .env(format!("LIBBPF_SYS_LIBRARY_PATH_{own}"), "/usr/lib/x86_64-linux-gnu")
                .env(format!("LIBBPF_SYS_LIBRARY_PATH_{variable}"), &libraries);
        }
        command
            // Of the target alone: what runs while building is shared with other builds.
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env(format!("CFLAGS_{variable}"), c_flags.join(" "))
            .env("SOURCE_DATE_EPOCH", &self.epoch);
        run(&mut command)?;
        let folder = self.work.join(arch.name).join(name);
        create(&folder)?;
        for name in COMMANDS {
            copy(&build.join(&target).join("release").join(name), &folder.join(name))?;
        }
        Ok(folder)
    }

    /// Man pages and completions.
    fn manual(&self) -> Result<(), Failure> {
        let folder = self.work.join("manual");
        create(&folder)?;
        run(cargo_command().args(["run", "--quiet", "--package", "sctptrace-manual", "--"]).arg(&folder))?;
        for name in COMMANDS {
            gzip(&folder.join(format!("man/{name}.8")))?;
        }
        Ok(())
    }

    /// The licences of what is linked into the commands, which all are made of the same crates.
    fn third_party(&self) -> Result<(), Failure> {
        println!("gathering licences");
        let mut command = cargo_command();
        command.args(["about", "generate", "--offline", "--locked"]);
        command.arg("--manifest-path").arg(Path::new(WORKSPACE).join(COMMANDS[0]).join("Cargo.toml"));
        command.arg("--config").arg(packaging("about.toml"));
        run(command.arg("--output-file").arg(self.work.join(THIRD_PARTY)).arg(packaging("about.hbs")))
    }

    /// Copy a command's page and completions to where they belong in a prefix.
    fn copy_manual(&self, name: &str, prefix: &Path) -> Result<(), Failure> {
        let manual = self.work.join("manual");
        for (from, to) in [
            (format!("man/{name}.8.gz"), format!("share/man/man8/{name}.8.gz")),
            (format!("completions/bash/{name}"), format!("share/bash-completion/completions/{name}")),
            (format!("completions/zsh/_{name}"), format!("share/zsh/site-functions/_{name}")),
            (format!("completions/fish/{name}.fish"), format!("share/fish/vendor_completions.d/{name}.fish")),
        ] {
            copy(&manual.join(from), &prefix.join(to))?;
        }
        Ok(())
    }

    /// The `.deb` and `.rpm` packages.
    fn packages(&self, arch: &Arch) -> Result<(), Failure> {
        let programs = self.build(arch, Linking::Dynamic)?;
        println!("packing for {}", arch.name);
        // What the libraries are called, and since when they have what is used, is the same for all architectures; to
        // find it out takes the libraries as installed packages.
        let mut depends = "$auto, libgcc-s1".to_owned();
        for name in COMMANDS {
            if arch.name != X86_64.name {
                let package = self.out.join(deb_name(name, &X86_64));
                depends = output(Command::new("dpkg-deb").arg("--field").arg(package).arg("Depends"))?;
            }
            let folder = self.stage("command", name, arch, &[("@DEPENDS@", &depends)])?;
            copy(&programs.join(name), &folder.join(name))?;
            self.copy_manual(name, &folder)?;
            copy(&self.work.join(THIRD_PARTY), &folder.join(THIRD_PARTY))?;
            gzip(&folder.join(THIRD_PARTY))?;
            fill("unit.service", &folder.join(format!("{name}@.service")), name)?;
            for script in ["postinst", "prerm", "postrm"] {
                fill(&format!("deb/{script}"), &folder.join("scripts").join(script), name)?;
            }
            for script in ["postin", "preun", "postun"] {
                fill(&format!("rpm/{script}"), &folder.join("rpm").join(script), name)?;
            }
            self.pack(name, &folder, arch)?;
        }

        let folder = self.stage("compat", "sctptrace-compat", arch, &[])?;
        for name in COMMANDS {
            let script = script(name);
            fill("compat.py", &folder.join("bin").join(&script), name)?;
            let page = folder.join(format!("man/{script}.8"));
            write(&page, &format!(".so man8/{name}.8\n"))?;
            gzip(&page)?;
        }
        self.pack("sctptrace-compat", &folder, arch)?;

        let folder = self.stage("meta", "sctptrace", arch, &[])?;
        self.pack("sctptrace", &folder, arch)
    }

    /// A folder with what `cargo deb` and `cargo generate-rpm` want to read: a crate that compiles nothing.
    fn stage(
        &self,
        template: &str,
        name: &str,
        arch: &Arch,
        more: &[(&str, &str)],
    ) -> Result<PathBuf, Failure> {
        let folder = self.work.join(arch.name).join(name);
        let all: Vec<_> = COMMANDS.iter().map(|name| format!("{name} (= {VERSION}-1)")).collect();
        let requires: Vec<_> = COMMANDS.iter().map(|name| format!("{name} = \"= {VERSION}-1\"")).collect();
        let mut text = read(&packaging(&format!("{template}.toml")))?;
        let (all, requires) = (all.join(", "), requires.join("\n"));
        for (mark, value) in [
            ("@VERSION@", VERSION),
            ("@MAINTAINER@", MAINTAINER),
            ("@COMMANDS@", &all),
            ("@REQUIRES@", &requires),
        ]
        .iter()
        .chain(more)
        {
            text = text.replace(mark, value);
        }
        write(&folder.join("Cargo.toml"), &filled(&text, name)?)?;
        write(&folder.join("lib.rs"), "")?;
        for file in ["LICENSE", "CHANGELOG.md"] {
            copy(&Path::new(WORKSPACE).join(file), &folder.join(file))?;
        }
        copy(&folder.join("CHANGELOG.md"), &folder.join("changelog"))?;
        gzip(&folder.join("changelog"))?;
        let date = output(Command::new("date").args(["-R", "-u", "-d", &format!("@{}", self.epoch)]))?;
        let entry = format!(
            "{name} ({VERSION}-1) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {MAINTAINER}  {date}\n"
        );
        write(&folder.join("changelog.Debian"), &entry)?;
        fill(&format!("lintian/{template}"), &folder.join("lintian-overrides"), name)?;
        Ok(folder)
    }

    fn pack(&self, name: &str, folder: &Path, arch: &Arch) -> Result<(), Failure> {
        let target = arch.target();
        let deb = self.out.join(deb_name(name, arch));
        let rpm = self.out.join(format!("{name}-{VERSION}-1.{}.rpm", arch.name));
        let mut command = self.tool("deb", folder);
        command.args(["--quiet", "--no-build", "--no-strip", "--no-dbgsym", "--target", &target, "--output"]);
        run(command.arg(deb))?;
        let mut command = self.tool("generate-rpm", folder);
        run(command.args(["--arch", arch.name, "--source-date", &self.epoch, "--output"]).arg(rpm))
    }

    fn tool(&self, name: &str, folder: &Path) -> Command {
        let mut command = cargo_command();
        command.arg(name).current_dir(folder).env("SOURCE_DATE_EPOCH", &self.epoch);
        command.env("CARGO_TARGET_DIR", self.work.join("packing"));
        command
    }

    /// Static commands, with their man pages and completions.
    fn archive(&self, arch: &Arch) -> Result<(), Failure> {
        let programs = self.build(arch, Linking::Static)?;
        let name = format!("sctptrace-{VERSION}-{}", arch.name);
        let folder = self.work.join(arch.name).join(&name);
        for command in COMMANDS {
            copy(&programs.join(command), &folder.join("bin").join(command))?;
            self.copy_manual(command, &folder)?;
        }
        for file in ["LICENSE", "CHANGELOG.md", "README.md"] {
            copy(&Path::new(WORKSPACE).join(file), &folder.join(file))?;
        }
        copy(&self.work.join(THIRD_PARTY), &folder.join(THIRD_PARTY))?;
        let archive = self.out.join(format!("{name}.tar"));
        let mut tar = Command::new("tar");
        tar.args(["--create", "--sort=name", "--format=gnu", "--owner=0", "--group=0", "--numeric-owner"])
            .args(["--mode=u+rw,go=u-w", &format!("--mtime=@{}", self.epoch), "--directory"])
            .arg(self.work.join(arch.name))
            .arg("--file")
            .arg(&archive)
            .arg(&name);
        run(&mut tar)?;
        gzip(&archive)
    }

    /// What each command is made of, in CycloneDX's form: of Rust's crates, libbpf among them.
    fn bills(&self) -> Result<(), Failure> {
        let mut command = cargo_command();
        command
            .args(["cyclonedx", "--quiet", "--format", "json", "--no-build-deps"])
            .args(["--target", &X86_64.target(), "--override-filename", "dist.cdx"])
            .env("SOURCE_DATE_EPOCH", &self.epoch);
        run(&mut command)?;
        let workspace = absolute(Path::new(WORKSPACE))?;
        for name in COMMANDS {
            let bill = read(&workspace.join(name).join(BILL))?;
            let bill = bill.replace(&workspace.display().to_string(), "/sctptrace");
            write(&self.out.join(format!("{name}-{VERSION}.cdx.json")), &bill)?;
        }
        // It puts them beside every Cargo.toml.
        let folders =
            fs::read_dir(&workspace).map_err(|error| Failure::new("cannot read the workspace", error))?;
        for bill in folders.filter_map(Result::ok).map(|folder| folder.path().join(BILL)) {
            if bill.is_file() {
                fs::remove_file(&bill).map_err(|error| Failure::new(BILL, error))?;
            }
        }
        Ok(())
    }

    fn checksums(&self) -> Result<(), Failure> {
        let mut names = Vec::new();
        let files = fs::read_dir(&self.out).map_err(|error| Failure::new("cannot read dist", error))?;
        for file in files.filter_map(Result::ok) {
            names.push(file.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        let sums = output(Command::new("sha256sum").current_dir(&self.out).args(&names))?;
        write(&self.out.join("SHA256SUMS"), &format!("{sums}\n"))?;
        println!("{sums}\nin {}", self.out.display());
        Ok(())
    }

    /// The commit, built from a clone in a folder of another name, gives the same bytes.
    fn compare_with_second(&self, options: &Options) -> Result<(), Failure> {
        let folder = self.target.join("dist-second");
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|error| Failure::new("cannot clear target", error))?;
        }
        println!("once more in {}", folder.display());
        run(Command::new("git").args(["clone", "--quiet", "--shared", WORKSPACE]).arg(&folder))?;
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&folder).env("CARGO_TARGET_DIR", folder.join("elsewhere"));
        command.args(["xtask", "dist"]).args(options.native.then_some("--native"));
        run(&mut command)?;
        let [first, second] =
            [self.out.clone(), folder.join("elsewhere/dist")].map(|folder| read(&folder.join("SHA256SUMS")));
        let (first, second) = (first?, second?);
        let different: Vec<_> =
            first.lines().filter(|line| !second.lines().any(|other| other == *line)).collect();
        if different.is_empty() && first.lines().count() == second.lines().count() {
            println!("the same bytes, twice");
            return Ok(());
        }
        Err(Failure(format!("other bytes in {}:\n{}", folder.display(), different.join("\n"))))
    }
}

fn deb_name(name: &str, arch: &Arch) -> String {
    format!("{name}_{VERSION}-1_{}.deb", arch.debian)
}

/// `sctp_rtt.py` of `sctp-rtt`.
fn script(name: &str) -> String {
    format!("{}.py", name.replace('-', "_"))
}

fn packaging(file: &str) -> PathBuf {
    Path::new(WORKSPACE).join("packaging").join(file)
}

/// A file of `packaging` with the names of a command in it.
fn fill(file: &str, to: &Path, name: &str) -> Result<(), Failure> {
    let from = packaging(file);
    write(to, &filled(&read(&from)?, name)?)?;
    let mode = fs::metadata(&from).map_err(|error| Failure::new(file, error))?.permissions();
    fs::set_permissions(to, mode).map_err(|error| Failure::new(file, error))
}

fn filled(text: &str, name: &str) -> Result<String, Failure> {
    let mut text = text.replace("@NAME@", name).replace("@SCRIPT@", &script(name));
    if text.contains("@SUMMARY@") {
        let manifest = read(&Path::new(WORKSPACE).join(name).join("Cargo.toml"))?;
        let line = manifest.lines().find_map(|line| line.strip_prefix("description = \""));
        let summary = line.and_then(|line| line.strip_suffix('"'));
        let summary = summary.ok_or_else(|| Failure(format!("{name} has no description")))?;
        text = text.replace("@SUMMARY@", summary);
    }
    Ok(text)
}

/// Cargo's target folder.
pub fn target_folder() -> Result<PathBuf, Failure> {
    let folder =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(WORKSPACE).join("target"), PathBuf::from);
    create(&folder)?;
    absolute(&folder)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(path).map_err(|error| Failure::new(&path.display().to_string(), error))
}

fn create(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::new(&folder.display().to_string(), error))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::new(&path.display().to_string(), error))
}

/// Write a file, and the folders that it is in.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    create(path.parent().unwrap_or(path))?;
    fs::write(path, text).map_err(|error| Failure::new(&path.display().to_string(), error))
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    create(to.parent().unwrap_or(to))?;
    fs::copy(from, to).map_err(|error| Failure::new(&from.display().to_string(), error))?;
    Ok(())
}

/// Without name or time in it.
fn gzip(path: &Path) -> Result<(), Failure> {
    run(Command::new("gzip").args(["-9", "--no-name"]).arg(path))
}
