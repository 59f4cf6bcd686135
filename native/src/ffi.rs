//! Safe access to the stub kernel and the wrapped programs, which are C code (`kernel.h`). All `unsafe` code
//! of this crate is in this file.

#![allow(unsafe_code)]

use std::{
    ffi::{CStr, c_char, c_void},
    marker::PhantomData,
    ptr, slice,
    sync::{Mutex, MutexGuard, PoisonError},
};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::raw::Settings;

/// `struct kernel` (`kernel.h`), set by a test: the results of BPF helpers, and how hooks run.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel {
    /// Result of `bpf_ktime_get_ns()`, in nanoseconds.
    pub now_ns: u64,
    /// Result of `bpf_jiffies64()`, in jiffies.
    pub jiffies: u64,
    /// Result of `bpf_get_current_pid_tgid()`: process number in the upper half, thread number in the lower.
    pub pid_tgid: u64,
    /// Result of `bpf_get_current_task()`: address of the current task.
    pub task: u64,
    /// Size of the ring buffer in bytes.
    pub ring_size: u64,
    /// Result of `bpf_get_smp_processor_id()`: the current CPU, 0 to 7.
    pub cpu: u32,
    /// 1: hooks run the kprobe programs. 0: hooks run the fentry, fexit and tp_btf programs.
    pub kprobes: u32,
    /// 1: `bpf_rdonly_cast()` exists, as from Linux 6.2, and programs read any address by plain loads. 0:
    /// programs read by a helper call.
    pub has_bpf_rdonly_cast: u32,
    /// The wrapper's rival (`kernel_rival`), in the role of another CPU, runs at this moment, counted from 1.
    /// Each compare-and-swap has two moments, just before and just after it. The stub counts down to 0: no
    /// rival.
    pub rival_at: u32,
}

/// `struct memory` (`kernel.h`): a variable or table of a program that a test can read.
#[repr(C)]
struct Memory {
    name: *const c_char,
    at: *mut c_void,
    size: u64,
    mask: *const u32,
}

/// `struct hook` (`kernel.h`): a function of a wrapper that a test can run.
#[repr(C)]
struct RawHook {
    name: *const c_char,
    run: Option<unsafe extern "C" fn(args: *const c_void, bytes: *const u8, len: u64)>,
    args_size: u64,
}

/// `struct program` (`kernel.h`): a wrapped program with its settings, memory and hooks.
#[repr(C)]
struct RawProgram {
    name: *const c_char,
    settings: Memory,
    memories: *const Memory,
    hooks: *const RawHook,
    _resize_maps: unsafe extern "C" fn(),
}

unsafe extern "C" {
    static mut kernel: Kernel;
    static programs: [*const RawProgram; 1];

    fn program_open(program: *const RawProgram, settings: *const c_void);
    fn memory_at(memory: *const Memory, elements: *mut u64) -> *const c_void;
    fn ring_first(size: *mut u64) -> *const c_void;
    fn ring_discard_first();
}

/// Locked while a program is open: a process has one stub kernel, so only one program can be open at a time.
static OPEN: Mutex<()> = Mutex::new(());

/// An open program: loaded into the stub kernel, with its own variables, tables and maps.
pub struct Program {
    raw: &'static RawProgram,
    /// Records taken out of the ring buffers, and not handed out yet.
    records: Vec<Vec<u8>>,
    _open: MutexGuard<'static, ()>,
}

/// A function of a wrapper that a test can run, mostly as the kernel function that a program is attached to
/// (`struct hook` in `kernel.h`). `Args` is its struct of arguments.
pub struct Hook<Args> {
    raw: &'static RawHook,
    args: PhantomData<Args>,
}

impl<Args> Clone for Hook<Args> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Args> Copy for Hook<Args> {}

impl Program {
    /// Loads the program that `c/NAME.c` wraps, with all variables, tables and maps as they are at load.
    /// Waits while another program is open.
    ///
    /// # Panics
    /// When there is no program of this name, or its `struct settings` has another size than `Settings`.
    pub fn open(name: &str, settings: &Settings) -> Self {
        // A failed test poisons the lock: no harm, as program_open() resets all that the test has left.
        let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: build.rs ends the list with a null pointer, and its programs are static.
        let raw = unsafe {
            find((&raw const programs).cast(), |program: &*const RawProgram| program.as_ref(), name)
        };
        assert_eq!(raw.settings.size, size_of::<Settings>() as u64, "struct settings differs from raw.rs");
        // SAFETY: the settings are as long as the program's own, and no other thread uses the stub kernel,
        // since this one holds OPEN.
        unsafe {
            kernel = Kernel { ring_size: 1 << 20, ..Kernel::default() };
            program_open(raw, ptr::from_ref(settings).cast());
        }
        Self { raw, records: Vec::new(), _open: open }
    }

    /// Returns the stub kernel's state, for a test to set: the results of helpers, and how hooks run.
    pub fn kernel(&mut self) -> &mut Kernel {
        let stub = &raw mut kernel;
        // SAFETY: `kernel` is a plain struct, which nothing else touches while this program is borrowed.
        unsafe { &mut *stub }
    }

    /// Returns the hook of this name.
    ///
    /// # Panics
    /// When the program has no such hook, or its arguments have another size than `Args`.
    pub fn hook<Args>(&self, name: &str) -> Hook<Args> {
        // SAFETY: a wrapper's list ends with a hook without a name, and is never written to.
        let raw =
            unsafe { find(self.raw.hooks, |hook: &RawHook| (!hook.name.is_null()).then_some(hook), name) };
        assert_eq!(raw.args_size, size_of::<Args>() as u64, "arguments of {name}");
        Hook { raw, args: PhantomData }
    }

    /// Runs a hook. `bytes` are the chunk that the hook is called for, or other input of variable length;
    /// they may be empty.
    pub fn run<Args: IntoBytes + Immutable>(&mut self, hook: Hook<Args>, args: &Args, bytes: &[u8]) {
        let run = hook.raw.run.expect("a hook of the list has a function");
        // SAFETY: hook() has compared the size of Args, which has no padding and outlives the call. The
        // wrapper reads no more than `len` of the bytes. A hook of a program that is no longer open finds its
        // tables at NULL, so that it crashes and does no other harm.
        unsafe { run(ptr::from_ref(args).cast(), bytes.as_ptr(), bytes.len() as u64) }
    }

    /// Returns all elements of the table of this name.
    ///
    /// # Panics
    /// When the program has no such table, or its elements have another size than `T`.
    pub fn table<T: FromBytes>(&self, name: &str) -> Vec<T> {
        // SAFETY: a wrapper's list ends with a memory without a name, and is never written to.
        let memory = unsafe {
            find(self.raw.memories, |memory: &Memory| (!memory.name.is_null()).then_some(memory), name)
        };
        assert_eq!(memory.size, size_of::<T>() as u64, "size of {name}");
        let mut elements = 0;
        // SAFETY: the memory is as long as the wrapper's list says, and no hook runs while it is read.
        let bytes = unsafe {
            let at = memory_at(memory, &raw mut elements);
            slice::from_raw_parts(at.cast::<u8>(), (elements * memory.size) as usize)
        };
        if size_of::<T>() == 0 {
            return Vec::new();
        }
        bytes.chunks_exact(size_of::<T>()).map(parse).collect()
    }

    /// Returns the variable of this name.
    ///
    /// # Panics
    /// When the program has no such variable, or it has another size than `T`.
    pub fn variable<T: FromBytes>(&self, name: &str) -> T {
        self.table(name).pop().expect("a variable is a table of one")
    }

    /// Takes all records of the type `T` out of the ring buffers: those that are as long as a `T`. (The stub
    /// kernel has one buffer for all ring buffers of a program.)
    pub fn records<T: FromBytes>(&mut self) -> Vec<T> {
        let mut size = 0;
        loop {
            // SAFETY: ring_first() returns NULL, or a record of `size` bytes that stays until discarded.
            let bytes = unsafe {
                let record = ring_first(&raw mut size);
                if record.is_null() {
                    break;
                }
                slice::from_raw_parts(record.cast::<u8>(), size as usize)
            };
            self.records.push(bytes.to_vec());
            // SAFETY: the record was copied, so nothing refers to it any more.
            unsafe { ring_discard_first() }
        }
        self.records
            .extract_if(.., |record| record.len() == size_of::<T>())
            .map(|record| parse(&record))
            .collect()
    }
}

fn parse<T: FromBytes>(bytes: &[u8]) -> T {
    T::read_from_bytes(bytes).unwrap_or_else(|_| panic!("{} bytes are not {}", bytes.len(), size_of::<T>()))
}

/// An element of a C list in which `find` searches by name.
trait Named {
    fn name(&self) -> *const c_char;
}

impl Named for RawProgram {
    fn name(&self) -> *const c_char {
        self.name
    }
}

impl Named for RawHook {
    fn name(&self) -> *const c_char {
        self.name
    }
}

impl Named for Memory {
    fn name(&self) -> *const c_char {
        self.name
    }
}

/// Returns the element of this name in a C list, and panics if there is none. `get` returns `None` at the
/// list's end.
///
/// # Safety
/// The list must have an end, the list and all that it refers to must be static, and names must be C strings.
unsafe fn find<E: 'static, T: Named>(
    list: *const E,
    get: impl Fn(&'static E) -> Option<&'static T>,
    name: &str,
) -> &'static T {
    for n in 0.. {
        // SAFETY: the caller guarantees that the list goes on until `get` has found its end.
        let Some(item) = get(unsafe { &*list.add(n) }) else { break };
        // SAFETY: the caller guarantees that names are C strings.
        if unsafe { CStr::from_ptr(item.name()) }.to_bytes() == name.as_bytes() {
            return item;
        }
    }
    panic!("the C side has no {name}");
}
