//! Makes a running process do system calls that are not in its program, as an attacker who controls the
//! process would. Prints the result of each: `CALL: ok` or `CALL: ERROR`. Afterwards the process continues
//! unchanged.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use libc::{c_int, c_long, user_regs_struct};
use nix::errno::Errno;
use nix::sys::ptrace::regset::NT_PRSTATUS;
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

#[derive(Parser)]
#[command(about, version)]
struct Flags {
    /// The process, which is to have one thread
    pid: i32,
    /// The calls
    #[arg(required = true)]
    calls: Vec<Call>,
    /// Another process, as a target
    #[arg(long)]
    other: i32,
    /// Switch the process's seccomp filter off meanwhile, to see what else holds
    #[arg(long)]
    suspend_seccomp: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Call {
    /// Nothing that anybody would refuse: getpid
    GetPid,
    /// Open /etc/shadow
    ReadShadow,
    /// Make /tmp/injected
    WriteFile,
    /// Load a BPF program
    LoadProgram,
    /// Make a BPF map
    MakeMap,
    /// Make a socket
    Socket,
    /// Trace the other process
    Trace,
    /// Signal 0 to the other process
    Kill,
    /// Get memory for code
    CodeMemory,
    /// Become /bin/sh
    Execute,
    /// A line of the numbers of all calls that are not refused with EPERM, whatever their arguments
    Survey,
}

/// A system call: its number, its arguments, and the bytes to write into the process's memory, to which the
/// arguments point.
struct Injected {
    number: c_long,
    args: [u64; 6],
    memory: Vec<u8>,
}

impl Call {
    fn injected(self, at: u64, other: i32) -> Injected {
        let call = |number, args: &[u64], memory: &[u8]| {
            let mut all = [0; 6];
            all[..args.len()].copy_from_slice(args);
            Injected { number, args: all, memory: memory.to_vec() }
        };
        let here = libc::AT_FDCWD as u64;
        match self {
            Self::GetPid | Self::Survey => call(libc::SYS_getpid, &[], &[]),
            Self::ReadShadow => call(libc::SYS_openat, &[here, at, libc::O_RDONLY as u64], b"/etc/shadow\0"),
            Self::WriteFile => {
                let flags = (libc::O_WRONLY | libc::O_CREAT) as u64;
                call(libc::SYS_openat, &[here, at, flags, 0o600], b"/tmp/injected\0")
            }
            Self::LoadProgram => {
                // union bpf_attr: a program of type BPF_PROG_TYPE_SOCKET_FILTER (1), two instructions, and
                // the addresses of the instructions and the licence, which follow.
                let (instructions, licence) = (at + 48, at + 64);
                let mut memory = [1_u32, 2].map(u32::to_ne_bytes).concat();
                memory.extend([instructions, licence].map(u64::to_ne_bytes).concat());
                memory.resize(48, 0);
                // r0 = 0; exit
                memory.extend([0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
                memory.extend(b"GPL\0");
                call(libc::SYS_bpf, &[5, at, 48], &memory)
            }
            Self::MakeMap => {
                // union bpf_attr: BPF_MAP_TYPE_ARRAY (2), keys of 4 bytes, values of 8 bytes, 1 entry.
                let memory = [2_u32, 4, 8, 1].map(u32::to_ne_bytes).concat();
                call(libc::SYS_bpf, &[0, at, 16], &memory)
            }
            Self::Socket => call(libc::SYS_socket, &[libc::AF_INET as u64, libc::SOCK_STREAM as u64], &[]),
            Self::Trace => call(libc::SYS_ptrace, &[libc::PTRACE_SEIZE.into(), other as u64], &[]),
            Self::Kill => call(libc::SYS_kill, &[other as u64, 0], &[]),
            Self::CodeMemory => {
                let protection = (libc::PROT_READ | libc::PROT_EXEC) as u64;
                let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
                call(libc::SYS_mmap, &[0, 4096, protection, flags, u64::MAX], &[])
            }
            Self::Execute => {
                let mut memory = b"/bin/sh\0".to_vec();
                memory.extend([at, 0].map(u64::to_ne_bytes).concat());
                call(libc::SYS_execve, &[at, at + 8], &memory)
            }
        }
    }
}

/// A survey tries all system calls with a number below this.
const CALLS: c_long = 512;

/// System calls that a survey does not try: those that do not return, and x86's `uretprobe` (335) and
/// `uprobe` (336). The last two end in SIGILL unless the kernel's own trampoline makes them, and seccomp
/// filters are not asked about them.
const LEFT_OUT: [c_long; 5] = [libc::SYS_rt_sigreturn, libc::SYS_exit, libc::SYS_exit_group, 335, 336];

/// `PTRACE_O_SUSPEND_SECCOMP`: a ptrace option that switches off the traced process's seccomp filters.
const SUSPEND_SECCOMP: c_int = 1 << 21;

fn main() -> Result<()> {
    let flags = Flags::parse();
    let mut options = Options::PTRACE_O_TRACESYSGOOD;
    if flags.suspend_seccomp {
        options |= Options::from_bits_retain(SUSPEND_SECCOMP);
    }
    let mut process = Process::stop(Pid::from_raw(flags.pid), options)?;
    for call in flags.calls {
        let name = call.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        if matches!(call, Call::Survey) {
            let numbers: Vec<_> = process.survey()?.iter().map(c_long::to_string).collect();
            println!("{name}: {}", numbers.join(" "));
            continue;
        }
        match process.inject(&call.injected(process.room, flags.other))? {
            Ok(()) => println!("{name}: ok"),
            Err(error) => println!("{name}: {error:?}"),
        }
    }
    process.resume()
}

/// How the architecture makes a system call: the instruction, and the registers for arguments and result.
#[cfg(target_arch = "x86_64")]
mod machine {
    use super::{Injected, user_regs_struct};

    /// The machine code of `syscall`.
    pub const INSTRUCTION: [u8; 2] = [0x0f, 0x05];

    pub fn places(registers: &user_regs_struct) -> (u64, u64) {
        (registers.rip, registers.rsp)
    }

    pub fn set(registers: user_regs_struct, rip: u64, call: &Injected) -> user_regs_struct {
        let [rdi, rsi, rdx, r10, r8, r9] = call.args;
        // Without an original call (-1), the kernel has no interrupted system call to restart.
        let (rax, orig_rax) = (call.number as u64, u64::MAX);
        user_regs_struct { rip, rax, orig_rax, rdi, rsi, rdx, r10, r8, r9, ..registers }
    }

    pub fn result(registers: &user_regs_struct) -> i64 {
        registers.rax as i64
    }
}

#[cfg(target_arch = "aarch64")]
mod machine {
    use super::{Injected, user_regs_struct};

    /// The machine code of `svc #0`.
    pub const INSTRUCTION: [u8; 4] = [0x01, 0x00, 0x00, 0xd4];

    pub fn places(registers: &user_regs_struct) -> (u64, u64) {
        (registers.pc, registers.sp)
    }

    pub fn set(mut registers: user_regs_struct, pc: u64, call: &Injected) -> user_regs_struct {
        registers.regs[..6].copy_from_slice(&call.args);
        registers.regs[8] = call.number as u64;
        registers.pc = pc;
        registers
    }

    pub fn result(registers: &user_regs_struct) -> i64 {
        registers.regs[0] as i64
    }
}

/// A process that ptrace has stopped in a system call.
struct Process {
    pid: Pid,
    registers: user_regs_struct,
    memory: File,
    /// Address of the system call instruction after which the process has stopped.
    instruction_at: u64,
    /// Address of memory that the process does not use: far below the stack pointer.
    room: u64,
}

impl Process {
    fn stop(pid: Pid, options: Options) -> Result<Self> {
        ptrace::seize(pid, options).with_context(|| format!("cannot trace {pid}"))?;
        ptrace::interrupt(pid)?;
        let WaitStatus::PtraceEvent(..) = waitpid(pid, None)? else { bail!("{pid} does not stop") };
        let registers = ptrace::getregset::<NT_PRSTATUS>(pid)?;
        let (next, stack) = machine::places(&registers);
        let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
        let mut instruction = machine::INSTRUCTION;
        let instruction_at = next - instruction.len() as u64;
        memory.read_exact_at(&mut instruction, instruction_at)?;
        ensure!(instruction == machine::INSTRUCTION, "{pid} is not in a system call");
        Ok(Self { pid, registers, memory, instruction_at, room: (stack - 8192) & !15 })
    }

    fn inject(&mut self, call: &Injected) -> Result<Result<(), Errno>> {
        self.memory.write_all_at(&call.memory, self.room)?;
        let registers = machine::set(self.registers, self.instruction_at, call);
        ptrace::setregset::<NT_PRSTATUS>(self.pid, registers)?;
        // ptrace stops the process at the call's entry and at its exit.
        for _ in 0..2 {
            ptrace::syscall(self.pid, None)?;
            let status = waitpid(self.pid, None)?;
            ensure!(matches!(status, WaitStatus::PtraceSyscall(_)), "call {}: {status:?}", call.number);
        }
        let result = machine::result(&ptrace::getregset::<NT_PRSTATUS>(self.pid)?);
        Ok(if (-4095..0).contains(&result) { Err(Errno::from_raw(-result as i32)) } else { Ok(()) })
    }

    fn survey(&mut self) -> Result<Vec<c_long>> {
        let mut open = Vec::new();
        for number in 0..CALLS {
            if LEFT_OUT.contains(&number) {
                continue;
            }
            let call = Injected { number, args: [u64::MAX; 6], memory: Vec::new() };
            if self.inject(&call)? != Err(Errno::EPERM) {
                open.push(number);
            }
        }
        Ok(open)
    }

    fn resume(self) -> Result<()> {
        ptrace::setregset::<NT_PRSTATUS>(self.pid, self.registers)?;
        Ok(ptrace::detach(self.pid, None)?)
    }
}
