//! Maps `/sys/kernel/btf/vmlinux` for libbpf on kernels that do not let it be mapped.
//!
//! libbpf maps the kernel's type information, which the kernel allows since 6.16; where it does not, libbpf reads it
//! into one buffer and copies that into another (`btf_parse_raw()`, `btf_new()`): twice 4.7 MB on Debian's 6.12, most of
//! a command's peak memory (12.9 MB with, 8.4 MB without). libbpf has no way to be handed the bytes. So this stands
//! before the C library's `mmap64`: where a private read-only mapping of a file fails with `ENODEV`, it gives an
//! anonymous one with the file's bytes, which is the same to whoever only reads it. (It still takes 1,150 calls of
//! read(2): sysfs gives 4 kB at a time.)

use std::{
    ffi::c_void,
    fs::File,
    io::Read,
    mem::ManuallyDrop,
    os::fd::{FromRawFd, RawFd},
    slice,
};

use nix::{
    errno::Errno,
    libc::{
        MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, SYS_mmap, c_int, off64_t, syscall,
    },
};

/// # Safety
/// As mmap(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    addr: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: RawFd,
    offset: off64_t,
) -> *mut c_void {
    // SAFETY: the caller's arguments, as they are.
    let map = |prot: c_int, flags: c_int, fd: RawFd| unsafe {
        syscall(SYS_mmap, addr, len, prot, flags, fd, offset)
    } as *mut c_void;
    let mapped = map(prot, flags, fd);
    if mapped != MAP_FAILED
        || Errno::last() != Errno::ENODEV
        || (prot, flags, offset) != (PROT_READ, MAP_PRIVATE, 0)
    {
        return mapped;
    }
    let copy = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if copy == MAP_FAILED {
        return copy;
    }
    // SAFETY: `len` zeroed bytes that nobody else knows yet.
    let bytes = unsafe { slice::from_raw_parts_mut(copy.cast::<u8>(), len) };
    // SAFETY: the caller's descriptor, open during this call; never closed here.
    let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    if file.read_exact(bytes).is_ok() {
        return copy;
    }
    // SAFETY: the very mapping made above; `bytes` is not used any more.
    unsafe { nix::libc::munmap(copy, len) };
    Errno::ENODEV.set();
    MAP_FAILED
}
