//! The door to the C (`kernel.h`): all of its `unsafe` stands here.

#![allow(unsafe_code)]

use std::{
    ffi::{CStr, c_char, c_void},
    marker::PhantomData,
    ptr, slice,
    sync::{Mutex, MutexGuard, PoisonError},
};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::raw::Settings;

/// What helpers answer and how hooks run: `struct kernel`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel {
    /// `bpf_ktime_get_ns()`.
    pub now_ns: u64,
    /// `bpf_jiffies64()`.
    pub jiffies: u64,
    /// `bpf_get_current_pid_tgid()`.
    pub pid_tgid: u64,
    /// `bpf_get_current_task()`: an address.
    pub task: u64,
    /// Size of the ring buffer in bytes.
    pub ring_size: u64,
    /// `bpf_get_smp_processor_id()`: up to 7.
    pub cpu: u32,
    /// 1: hooks run the programs of kprobes; 0: those of fentry, fexit and tp_btf.
    pub kprobes: u32,
    /// 1: any address can be read by plain loads (from 6.2); 0: a helper does.
    pub has_bpf_rdonly_cast: u32,
    /// At which moment of the next hook another CPU runs the wrapper's rival, counted from 1: each compare-and-swap has
    /// two, before and after it. 0: never.
    pub rival_at: u32,
}

/// `struct memory`.
#[repr(C)]
struct Memory {
    name: *const c_char,
    at: *mut c_void,
    size: u64,
    mask: *const u32,
}

/// `struct hook`.
#[repr(C)]
struct RawHook {
    name: *const c_char,
    run: Option<unsafe extern "C" fn(args: *const c_void, bytes: *const u8, len: u64)>,
    args_size: u64,
}

/// `struct program`.
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

/// There is one stub kernel in a process, so that one program is open at a time.
static OPEN: Mutex<()> = Mutex::new(());

/// A program as if just loaded.
pub struct Program {
    raw: &'static RawProgram,
    _open: MutexGuard<'static, ()>,
}

/// A way into a program (`struct hook`), which takes an `Args`.
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
    /// Loads the program that `c/NAME.c` wraps, with all variables, tables and maps as they are at first. Waits until
    /// no other is open.
    ///
    /// # Panics
    /// When there is none of this name, or `Settings` is not its `struct settings`.
    pub fn open(name: &str, settings: &Settings) -> Self {
        // Another test that failed has left nothing that program_open() does not make anew.
        let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: build.rs writes the list with a null at its end, and programs that live as long as the process.
        let raw = unsafe {
            find((&raw const programs).cast(), |program: &*const RawProgram| program.as_ref(), name)
        };
        assert_eq!(raw.settings.size, size_of::<Settings>() as u64, "struct settings differs from raw.rs");
        // SAFETY: the settings are as long as the program's own, and nobody else is in the stub kernel: OPEN is locked.
        unsafe {
            kernel = Kernel { ring_size: 1 << 20, ..Kernel::default() };
            program_open(raw, ptr::from_ref(settings).cast());
        }
        Self { raw, _open: open }
    }

    /// What helpers answer and how hooks run.
    pub fn kernel(&mut self) -> &mut Kernel {
        let stub = &raw mut kernel;
        // SAFETY: a plain struct, which nothing else touches while this program is borrowed.
        unsafe { &mut *stub }
    }

    /// A hook by its name.
    ///
    /// # Panics
    /// When there is none, or its arguments have another size.
    pub fn hook<Args>(&self, name: &str) -> Hook<Args> {
        // SAFETY: a wrapper's list ends with a hook without a name, and is never written to.
        let raw =
            unsafe { find(self.raw.hooks, |hook: &RawHook| (!hook.name.is_null()).then_some(hook), name) };
        assert_eq!(raw.args_size, size_of::<Args>() as u64, "arguments of {name}");
        Hook { raw, args: PhantomData }
    }

    /// Runs a hook; the bytes are the chunk that it is called for, if any.
    pub fn run<Args: IntoBytes + Immutable>(&mut self, hook: Hook<Args>, args: &Args, bytes: &[u8]) {
        let run = hook.raw.run.expect("a hook of the list has a function");
        // SAFETY: hook() has compared the size of Args, which has no padding and lives until the call is over. The
        // wrapper takes no more than it copies from the bytes. A hook of a program that is not open any more finds
        // tables at NULL and crashes, no more.
        unsafe { run(ptr::from_ref(args).cast(), bytes.as_ptr(), bytes.len() as u64) }
    }

    /// A table, all of it.
    ///
    /// # Panics
    /// When there is none of this name, or its elements have another size.
    pub fn table<T: FromBytes>(&self, name: &str) -> Vec<T> {
        // SAFETY: a wrapper's list ends with a memory without a name, and is never written to.
        let memory = unsafe {
            find(self.raw.memories, |memory: &Memory| (!memory.name.is_null()).then_some(memory), name)
        };
        assert_eq!(memory.size, size_of::<T>() as u64, "size of {name}");
        let mut elements = 0;
        // SAFETY: the memory is as long as the program's own list says, and no hook runs while we look.
        let bytes = unsafe {
            let at = memory_at(memory, &raw mut elements);
            slice::from_raw_parts(at.cast::<u8>(), (elements * memory.size) as usize)
        };
        if size_of::<T>() == 0 {
            return Vec::new();
        }
        bytes.chunks_exact(size_of::<T>()).map(parse).collect()
    }

    /// A variable.
    ///
    /// # Panics
    /// When there is none of this name, or it has another size.
    pub fn variable<T: FromBytes>(&self, name: &str) -> T {
        self.table(name).pop().expect("a variable is a table of one")
    }

    /// Takes all records out of the ring buffer.
    ///
    /// # Panics
    /// When a record has another size.
    pub fn records<T: FromBytes>(&mut self) -> Vec<T> {
        let mut records = Vec::new();
        let mut size = 0;
        loop {
            // SAFETY: NULL, or a record of that many bytes, which stays until it is discarded.
            let bytes = unsafe {
                let record = ring_first(&raw mut size);
                if record.is_null() {
                    return records;
                }
                slice::from_raw_parts(record.cast::<u8>(), size as usize)
            };
            records.push(parse(bytes));
            // SAFETY: what was read of it is a copy.
            unsafe { ring_discard_first() }
        }
    }
}

fn parse<T: FromBytes>(bytes: &[u8]) -> T {
    T::read_from_bytes(bytes).unwrap_or_else(|_| panic!("{} bytes are not {}", bytes.len(), size_of::<T>()))
}

/// An element of the stub kernel's lists: it has a name.
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

/// The element of this name in a list of the C side; `get` returns `None` at the list's end.
///
/// # Safety
/// The list has an end, it and all in it live as long as the process, and names are C strings.
unsafe fn find<E: 'static, T: Named>(
    list: *const E,
    get: impl Fn(&'static E) -> Option<&'static T>,
    name: &str,
) -> &'static T {
    for n in 0.. {
        // SAFETY: by the caller's word, as long as the end was not met.
        let Some(item) = get(unsafe { &*list.add(n) }) else { break };
        // SAFETY: by the caller's word.
        if unsafe { CStr::from_ptr(item.name()) }.to_bytes() == name.as_bytes() {
            return item;
        }
    }
    panic!("the C side has no {name}");
}
