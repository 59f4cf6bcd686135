//! Virtual machines: boots a kernel in QEMU, without KVM and without a network, and runs cases in it.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};

use crate::arch::Arch;
use crate::command;
use crate::image::Image;
use crate::kernel::{Kernel, Series, cache_dir};

/// Time limit for booting a kernel, in the host's time.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// How many times its limit a virtual machine may take of the host's time.
const PATIENCE: u32 = 4;

/// Texts of a kernel panic, a bug, an oops and a warning (`WARN_ON`). If the console shows one of them, the
/// run has failed.
const KERNEL_FAULTS: [&str; 4] = ["Kernel panic", "BUG: ", "Oops", "------------[ cut here ]"];

/// How the guest's time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One CPU on which an instruction takes one nanosecond. Every run is the same, and idle time is skipped.
    Icount,
    /// As [`Icount`](Self::Icount), on a kernel that may be preempted anywhere (`preempt=full`).
    Preempt,
    /// As [`Icount`](Self::Icount), on a kernel as hardening guides set it: locked down against changes of itself
    /// (`lockdown=integrity`), memory is poisoned when it is freed and wiped when it is taken, interrupts have threads.
    /// Scenarios set sysctls, too ([`Mode::settings`]).
    Hardened,
    /// As [`Icount`](Self::Icount), on a kernel that hides its memory from programs (`lockdown=confidentiality`).
    Locked,
    /// Two CPUs that run in the host's time: for races, and for checks of how long a person would wait.
    Smp,
}

impl Mode {
    /// The mode's name, as a part of virtual machines' names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Icount => "icount",
            Self::Preempt => "preempt",
            Self::Hardened => "hardened",
            Self::Locked => "locked",
            Self::Smp => "smp",
        }
    }

    /// Additions to the kernel's command line.
    const fn parameters(self) -> &'static str {
        match self {
            Self::Icount | Self::Smp => "",
            Self::Preempt => " preempt=full",
            Self::Hardened => {
                " lockdown=integrity init_on_alloc=1 init_on_free=1 slub_debug=FZP page_poison=1 threadirqs"
            }
            Self::Locked => " lockdown=confidentiality",
        }
    }

    /// Lines of shell with which a script begins that needs the mode's sysctls.
    pub const fn settings(self) -> &'static str {
        match self {
            Self::Hardened => {
                "sysctl -qw kernel.kptr_restrict=2 kernel.perf_event_paranoid=4 net.core.bpf_jit_harden=2\n\
                sysctl -qw kernel.bpf_stats_enabled=1\n"
            }
            Self::Icount | Self::Preempt | Self::Locked | Self::Smp => "",
        }
    }

    const fn arguments(self) -> &'static [&'static str] {
        match self {
            // The virtual machine's clock is the same in every run, too.
            Self::Icount | Self::Preempt | Self::Hardened | Self::Locked => &[
                "-accel",
                "tcg",
                "-icount",
                "shift=0,sleep=off",
                "-smp",
                "1",
                "-rtc",
                "base=2026-01-01T12:00:00,clock=vm",
            ],
            Self::Smp => &["-accel", "tcg,thread=multi", "-smp", "2"],
        }
    }
}

/// A shell script to run in a guest.
#[derive(Debug, Clone)]
pub struct Case {
    /// The case's name, and the name of its folder of results.
    pub name: String,
    /// Lines for busybox's shell, which may call the functions of `guest/lib.sh`. They run in the case's own
    /// folder, `/out/<name>`.
    pub script: String,
    /// Time limit of the script, in the guest's time. The sum of all cases' limits and of that for booting
    /// limits the CPU time of the virtual machine's whole run, so that it takes as long as it needs on a host
    /// that is busy; the host's time is limited to `PATIENCE` times that.
    pub limit: Duration,
    /// Further programs of Debian that the script runs, by name: they are put into the guest's `/sbin`. Also files that they
    /// need, by path: these have the same path in the guest.
    pub programs: &'static [&'static str],
}

impl Case {
    /// A case with the usual limit of two minutes.
    pub fn new(name: &str, script: &str) -> Self {
        Self {
            name: name.to_owned(),
            script: script.to_owned(),
            limit: Duration::from_secs(120),
            programs: &[],
        }
    }
}

/// A virtual machine to boot.
#[derive(Debug, Clone)]
pub struct Vm {
    /// The virtual machine's name, and the name of its folder of results.
    pub name: String,
    /// The guest's architecture.
    pub arch: Arch,
    /// The kernel to boot.
    pub series: Series,
    /// How the guest's time passes.
    pub mode: Mode,
    /// Programs of the host, usually those under test, to put into the guest's `/bin`.
    pub programs: Vec<PathBuf>,
    /// Other files of the host to put into the guest, each with its path there, without the leading `/`.
    pub files: Vec<(PathBuf, String)>,
}

/// Results of a virtual machine's run.
#[derive(Debug)]
pub struct Results {
    /// The folder on the host with the results: a folder for each case.
    pub folder: PathBuf,
    /// The file with the output of the guest's serial console.
    pub console: PathBuf,
    /// Why the virtual machine as a whole failed, if it did. The folders of cases that ended before the
    /// failure are there all the same.
    pub failure: Option<String>,
    /// The host's time that booting and each case took.
    pub costs: Vec<Cost>,
}

/// The host's time that booting or a case took.
#[derive(Debug, Clone)]
pub struct Cost {
    /// The case's name, or `boot`.
    pub name: String,
    /// CPU time of QEMU, in seconds.
    pub cpu_s: f64,
    /// Time by the host's clock, in seconds.
    pub wall_s: f64,
}

impl Results {
    /// Returns the folder of results of a case that ran and exited with 0.
    ///
    /// # Errors
    /// When the case did not run or failed, or the virtual machine failed. The message contains the end of
    /// the case's log or of the console.
    pub fn case(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
        match (status.trim(), &self.failure) {
            ("0", None) => Ok(folder),
            (_, Some(failure)) => bail!("{failure}"),
            ("", None) => bail!("case {name} left no status\n{}", tail(&self.console, 30)),
            (status, None) => {
                bail!("case {name} exited with {status}\n{}", tail(&folder.join("log"), 30))
            }
        }
    }
}

impl Vm {
    /// Boots the virtual machine, runs the cases one after the other, and unpacks the files that they wrote.
    /// The caller must hold [`lock`].
    ///
    /// `live` is called with each line that the guest sends while it runs: one at the end of booting and of
    /// each case, and those that a case writes to `$LIVE`.
    ///
    /// # Errors
    /// When the virtual machine cannot be prepared or started, or QEMU fails. A failure in the guest is part
    /// of the results instead.
    pub fn run(&self, cases: &[Case], mut live: impl FnMut(&str)) -> Result<Results> {
        let folder = results_folder().join(&self.name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let kernel = Kernel::get(self.arch, self.series)?;
        let initrd = folder.join("initrd.cpio");
        fs::write(&initrd, self.image(&kernel, cases)?)?;

        let console = folder.join("console.log");
        let archive = folder.join("results.tar");
        let mut qemu = self.start(&kernel, &initrd, &console, &archive)?;
        let limit = cases.iter().fold(BOOT_LIMIT, |sum, case| sum + case.limit);
        let mut meter = Meter::new(qemu.id());
        let ended = watch(&mut qemu, limit, |line| {
            meter.line(line);
            live(line);
        })?;
        unpack(&archive, &folder)?;
        fs::remove_file(&initrd)?;

        let failure = kernel_fault(&console).or_else(|| {
            let text = format!("the machine did not end within {} s", limit.as_secs());
            (!ended).then(|| format!("{text}\n{}", tail(&console, 30)))
        });
        Ok(Results { folder, console, failure, costs: meter.costs })
    }

    /// The results of this virtual machine's last run, still in their folder. Whether that run failed as a
    /// whole is not known.
    #[must_use]
    pub fn last_results(&self) -> Results {
        let folder = results_folder().join(&self.name);
        Results { console: folder.join("console.log"), folder, failure: None, costs: Vec::new() }
    }

    fn image(&self, kernel: &Kernel, cases: &[Case]) -> Result<Vec<u8>> {
        let mut image = Image::new(kernel)?;
        for program in &self.programs {
            let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
            image.program(program, &format!("bin/{name}"))?;
        }
        for name in cases.iter().flat_map(|case| case.programs) {
            match name.strip_prefix('/') {
                Some(path) => image.file(Path::new(name), path)?,
                None => image.program(&self.arch.program(name)?, &format!("sbin/{name}"))?,
            }
        }
        for (file, path) in &self.files {
            image.file(file, path)?;
        }
        for (index, case) in cases.iter().enumerate() {
            ensure!(!case.name.contains(['/', ' ']), "case {:?}: not a name for a folder", case.name);
            let folder = format!("cases/{index:03}");
            let limit = case.limit.as_secs().to_string();
            image.bytes(&format!("{folder}/name"), 0o644, case.name.as_bytes())?;
            image.bytes(&format!("{folder}/limit"), 0o644, limit.as_bytes())?;
            image.bytes(&format!("{folder}/script"), 0o644, case.script.as_bytes())?;
        }
        image.finish()
    }

    fn start(&self, kernel: &Kernel, initrd: &Path, console: &Path, archive: &Path) -> Result<Child> {
        let (machine, cpu, console_device) = match self.arch {
            Arch::X86_64 => ("q35", "max", "ttyS0"),
            // Not `max`, which has pointer authentication: emulating that would double the time.
            Arch::Aarch64 => ("virt", "cortex-a76", "ttyAMA0"),
        };
        Command::new(command::find(&format!("qemu-system-{}", self.arch.name()))?)
            .args(["-cpu", cpu, "-M", machine, "-m", "2G", "-nodefaults", "-no-reboot"])
            .args(["-display", "none", "-nic", "none"])
            .args(self.mode.arguments())
            .args(["-seed", &seed()])
            .arg("-kernel")
            .arg(&kernel.vmlinuz)
            .arg("-initrd")
            .arg(initrd)
            .arg("-append")
            .arg(format!(
                "console={console_device} loglevel=5 panic=-1 rdinit=/init mitigations=off nokaslr{}",
                self.mode.parameters()
            ))
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-device", "virtio-serial-pci,ioeventfd=off"])
            .args(["-chardev", "file,id=live,path=/dev/stdout"])
            .args(["-device", "virtserialport,chardev=live,name=live"])
            .arg("-chardev")
            .arg(format!("file,id=results,path={}", archive.display()))
            .args(["-device", "virtserialport,chardev=results,name=results"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start QEMU")
    }
}

/// Measures the host's time that a virtual machine takes for booting and for each case.
struct Meter {
    pid: u32,
    cpu_s: f64,
    since: Instant,
    costs: Vec<Cost>,
}

impl Meter {
    fn new(pid: u32) -> Self {
        Self { pid, cpu_s: 0.0, since: Instant::now(), costs: Vec::new() }
    }

    /// Handles a line that the guest has sent. If the line reports the end of booting or of a case, adds to
    /// `costs` the time since the last such line.
    fn line(&mut self, line: &str) {
        let Some(line) = line.strip_prefix("bed: ") else { return };
        let name = match line.split_once(": exit status ") {
            Some((name, _)) => name,
            None if line.starts_with("booted ") => "boot",
            None => return,
        };
        let cpu_s = cpu_s(self.pid).unwrap_or(self.cpu_s);
        let wall_s = self.since.elapsed().as_secs_f64();
        self.costs.push(Cost { name: name.to_owned(), cpu_s: cpu_s - self.cpu_s, wall_s });
        self.cpu_s = cpu_s;
        self.since = Instant::now();
    }
}

/// User and system CPU time of a process so far, in seconds.
fn cpu_s(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum();
    // The times are in ticks of USER_HZ, which is 100 on every supported architecture.
    Some(ticks / 100.0)
}

/// The seed of the random numbers of virtual machines: the same in every run, so that a run that counts instructions
/// can be repeated. `$SCTPTRACE_SEED` sets another one: HEARTBEATs and the like then come at other times, and each case
/// must still pass.
fn seed() -> String {
    env::var("SCTPTRACE_SEED").unwrap_or_else(|_| "1".to_owned())
}

/// The folder with the results of all virtual machines: `bed` in cargo's target folder.
pub fn results_folder() -> PathBuf {
    crate::programs::target_folder().join("bed")
}

/// The lock that a process holds while it runs virtual machines: the result of [`lock`].
pub type Lock = Flock<File>;

/// Takes the lock that lets one process at a time run virtual machines, as these keep all CPUs busy. Waits
/// while another process holds the lock.
///
/// # Errors
/// Where the cache's folder cannot be made, or the file of the lock in it cannot be used.
pub fn lock() -> Result<Lock> {
    let folder = cache_dir()?;
    fs::create_dir_all(&folder)?;
    let file = File::create(folder.join("vm.lock"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).or_else(|(file, _)| {
        to_stderr("waiting for the machines of another process to end");
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
    })
}

/// Calls `live` with each line from the guest until QEMU ends. Kills QEMU if it takes more CPU time than
/// `limit`, or [`PATIENCE`] times that of the host's time. Returns whether QEMU ended by itself.
fn watch(qemu: &mut Child, limit: Duration, mut live: impl FnMut(&str)) -> Result<bool> {
    let begin = Instant::now();
    let is_over = |pid| {
        let (taken, cpu_s) = (begin.elapsed(), cpu_s(pid).unwrap_or_default());
        taken > limit && (cpu_s > limit.as_secs_f64() || taken > limit * PATIENCE)
    };
    let (lines, received) = mpsc::channel();
    let output = qemu.stdout.take().context("QEMU has no output")?;
    let reader = thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    // The channel is disconnected when QEMU closes its output, that is, when QEMU ends.
    let ended = loop {
        match received.recv_timeout(Duration::from_secs(1)) {
            Ok(line) => live(line.trim_end_matches('\r')),
            Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if is_over(qemu.id()) {
            qemu.kill()?;
            break false;
        }
    };
    let status = qemu.wait()?;
    reader.join().ok();
    ensure!(!ended || status.success(), "QEMU failed: {status}");
    Ok(ended)
}

/// Unpacks `archive` into `folder`: the tar archives that the guest has sent, one after each case. Deletes
/// `archive`.
fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let mut tar = tar::Archive::new(BufReader::new(File::open(archive)?));
    tar.set_ignore_zeros(true);
    tar.set_preserve_mtime(false);
    for entry in tar.entries()? {
        // If QEMU was killed, the last tar archive is cut short. The ones before are complete.
        let Ok(mut entry) = entry else { break };
        if entry.unpack_in(folder).is_err() {
            break;
        }
    }
    fs::remove_file(archive)?;
    Ok(())
}

fn kernel_fault(console: &Path) -> Option<String> {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let fault = text.lines().position(|line| KERNEL_FAULTS.iter().any(|fault| line.contains(fault)))?;
    let shown: Vec<_> = text.lines().skip(fault).take(40).collect();
    Some(format!("the kernel complained:\n{}", shown.join("\n")))
}

/// Reads a text file, such as one that a case left in its folder of results.
///
/// # Errors
/// Where the file cannot be read, or is not UTF-8.
pub fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Returns the last `count` lines of a file, under a heading with its path.
pub fn tail(path: &Path, count: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(count)..];
    format!("--- the end of {}:\n{}", path.display(), shown.join("\n"))
}

/// Writes a line to standard error, indented: the usual `live` of [`Vm::run`].
pub fn to_stderr(line: &str) {
    writeln!(io::stderr(), "    {line}").ok();
}
