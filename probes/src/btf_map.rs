//! Maps `/sys/kernel/btf/vmlinux` for libbpf on kernels that do not let it be mapped.
//!
//! This file saves memory. libbpf tries to map the file with the kernel's type information (BTF), which
//! kernels allow since 6.16. On older kernels the mapping fails; then libbpf reads the file into one buffer
//! and copies it into another (`btf_parse_raw()`, `btf_new()`): twice 4.7 MB on Debian's 6.12. That is most
//! of a command's peak memory (12.9 MB; 8.4 MB with this file). libbpf has no function that takes the bytes
//! from its caller. So the `mmap64()` below replaces the C library's: if a private read-only mapping of a
//! file fails with `ENODEV`, it returns an anonymous mapping with the file's bytes. To a caller that only
//! reads, this is the same. (Reading the file still takes 1,150 calls of read(2): sysfs gives 4 kB at a
//! time.)

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

/// Replaces the C library's `mmap64()`, for files that cannot be mapped: see the text at the top of this
/// file.
///
/// # Safety
/// As for mmap(2): with `MAP_FIXED`, no Rust value may lie in the memory that the mapping replaces.
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    addr: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: RawFd,
    offset: off64_t,
) -> *mut c_void {
    // SAFETY: the caller vouches for its own arguments; the other call is an anonymous mapping at the same
    // place.
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
    // SAFETY: `len` zeroed bytes of a new mapping, to which no other pointer exists yet.
    let bytes = unsafe { slice::from_raw_parts_mut(copy.cast::<u8>(), len) };
    // SAFETY: the caller's descriptor, which is open during this call; `ManuallyDrop` never closes it.
    let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    if file.read_exact(bytes).is_ok() {
        return copy;
    }
    // SAFETY: the anonymous mapping made above; `bytes` is not used any more.
    unsafe { nix::libc::munmap(copy, len) };
    Errno::ENODEV.set();
    MAP_FAILED
}
